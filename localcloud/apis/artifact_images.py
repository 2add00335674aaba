"""What was pushed to the repositories: Docker images, packages, versions, tags. Read only; the registry writes.

https://cloud.google.com/artifact-registry/docs/reference/rest (2026-11)
"""

from urllib.parse import quote, unquote

from localcloud.apis.artifact_api import BASE, Document, images_of, repository_of, require
from localcloud.errors import invalid, not_found
from localcloud.registry.images import INDEX_TYPES
from localcloud.schema import camel
from localcloud.shell import Api, Call


def _pushed(call: Call) -> list[tuple[str, str, Document]]:
    """Package, digest and record of every manifest of the path's repository."""
    name = repository_of(call)
    require(call, name)
    _, project, _, _, _, repository_id = name.split("/")
    prefix = f"{project}/{repository_id}/"
    return [(image.removeprefix(prefix), digest, record) for image, digest, record in images_of(call).manifests(prefix)]


def _tags(call: Call, package: str) -> dict[str, str]:
    _, project, _, _, _, repository_id = repository_of(call).split("/")
    return images_of(call).tags(f"{project}/{repository_id}/{package}")


def _docker_image(call: Call, package: str, digest: str, record: Document) -> Document:
    repository = repository_of(call)
    _, project, _, location, _, repository_id = repository.split("/")
    tags = sorted(tag for tag, target in _tags(call, package).items() if target == digest)
    return {
        "name": f"{repository}/dockerImages/{quote(package, safe='')}@{digest}",
        "uri": f"{location}-docker.pkg.dev/{project}/{repository_id}/{package}@{digest}",
        **({"tags": tags} if tags else {}),
        "imageSizeBytes": str(record["imageSize"] or record["size"]),
        "uploadTime": record["uploaded"],
        "mediaType": record["mediaType"],
        **({"buildTime": record["built"]} if record["built"] else {}),
        "updateTime": record["updated"],
        **({"artifactType": record["artifactType"]} if record["mediaType"] not in INDEX_TYPES else {}),
    }


async def list_docker_images(call: Call) -> Document:
    order = call.query.get("orderBy", "").split()
    listed = [_docker_image(call, *item) for item in _pushed(call)]
    if order:
        field = camel(order[0])
        if field not in ("uploadTime", "updateTime", "buildTime", "name"):
            raise invalid(f"order_by {order[0]} is not supported.", "order_by")
        listed.sort(key=lambda item: item.get(field, ""), reverse=order[-1].lower() == "desc")
    page, token = call.page(listed, 100)
    return {**({"dockerImages": page} if page else {}), **({"nextPageToken": token} if token else {})}


async def get_docker_image(call: Call) -> Document:
    wanted = unquote(call.params["name"].split("/dockerImages/")[1])
    for package, digest, record in _pushed(call):
        if wanted == f"{package}@{digest}" or (package == wanted.partition(":")[0] and _by_tag(call, wanted) == digest):
            return _docker_image(call, package, digest, record)
    raise not_found(f"Docker image {wanted} not found.")


def _by_tag(call: Call, wanted: str) -> str | None:
    package, _, tag = wanted.partition(":")
    return _tags(call, package).get(tag)


async def list_packages(call: Call) -> Document:
    pushed = _pushed(call)
    listed = []
    for package in sorted({name for name, _, _ in pushed}):
        times = [record for name, _, record in pushed if name == package]
        listed.append(
            {
                "name": f"{repository_of(call)}/packages/{quote(package, safe='')}",
                "createTime": min(record["uploaded"] for record in times),
                "updateTime": max(record["updated"] for record in times),
            }
        )
    page, token = call.page(listed, 1000)
    return {**({"packages": page} if page else {}), **({"nextPageToken": token} if token else {})}


def _package(call: Call) -> str:
    name = call.params.get("name") or call.params["parent"]
    return unquote(name.split("/")[7])


def _version(call: Call, package: str, digest: str, record: Document) -> Document:
    base = f"{repository_of(call)}/packages/{quote(package, safe='')}"
    tags = [
        {"name": f"{base}/tags/{tag}", "version": f"{base}/versions/{digest}"}
        for tag, target in sorted(_tags(call, package).items())
        if target == digest
    ]
    return {
        "name": f"{base}/versions/{digest}",
        "createTime": record["uploaded"],
        "updateTime": record["updated"],
        **({"relatedTags": tags} if tags else {}),
        "metadata": {
            "name": f"{repository_of(call)}/dockerImages/{quote(package, safe='')}@{digest}",
            "imageSizeBytes": str(record["imageSize"]),
            "mediaType": record["mediaType"],
        },
    }


async def list_versions(call: Call) -> Document:
    listed = [_version(call, *item) for item in _pushed(call) if item[0] == _package(call)]
    page, token = call.page(listed, 1000)
    return {**({"versions": page} if page else {}), **({"nextPageToken": token} if token else {})}


async def get_version(call: Call) -> Document:
    wanted = call.params["name"].rpartition("/")[2]
    for package, digest, record in _pushed(call):
        if package == _package(call) and digest == wanted:
            return _version(call, package, digest, record)
    raise not_found(f"Version {wanted} not found.")


async def list_tags(call: Call) -> Document:
    require(call, repository_of(call))
    base = f"{repository_of(call)}/packages/{quote(_package(call), safe='')}"
    tags = sorted(_tags(call, _package(call)).items())
    listed = [{"name": f"{base}/tags/{tag}", "version": f"{base}/versions/{digest}"} for tag, digest in tags]
    page, token = call.page(listed, 1000)
    return {**({"tags": page} if page else {}), **({"nextPageToken": token} if token else {})}


def register(api: Api) -> None:
    for method, permission, handler in (
        ("dockerImages.list", "artifactregistry.dockerimages.list", list_docker_images),
        ("dockerImages.get", "artifactregistry.dockerimages.get", get_docker_image),
        ("packages.list", "artifactregistry.packages.list", list_packages),
        ("packages.versions.list", "artifactregistry.versions.list", list_versions),
        ("packages.versions.get", "artifactregistry.versions.get", get_version),
        ("packages.tags.list", "artifactregistry.tags.list", list_tags),
    ):
        api.method(f"{BASE}.repositories.{method}", permission=permission, on=repository_of)(handler)
