"""The Docker images that were pushed to the repositories. Read only; the registry writes.

https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories.dockerImages (2026-11)
"""

from urllib.parse import quote, unquote

from localcloud.apis.artifact_api import BASE, Document, listing, pushed, repository_of, tags_of
from localcloud.errors import not_found
from localcloud.registry.images import INDEX_TYPES
from localcloud.shell import Api, Call


def _docker_image(call: Call, package: str, digest: str, record: Document) -> Document:
    repository = repository_of(call)
    _, project, _, location, _, repository_id = repository.split("/")
    tags = sorted(tag for tag, target in tags_of(call, package).items() if target == digest)
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
    listed = [_docker_image(call, *item) for item in pushed(call)]
    return listing(call, "dockerImages", listed, ("name", "uploadTime", "updateTime", "buildTime"))


async def get_docker_image(call: Call) -> Document:
    wanted = unquote(call.params["name"].split("/dockerImages/")[1])
    for package, digest, record in pushed(call):
        by_tag = package == wanted.partition(":")[0] and tags_of(call, package).get(wanted.partition(":")[2]) == digest
        if by_tag or wanted == f"{package}@{digest}":
            return _docker_image(call, package, digest, record)
    raise not_found(f"Docker image {wanted} not found.")


def register(api: Api) -> None:
    for verb, handler in (("list", list_docker_images), ("get", get_docker_image)):
        permission = f"artifactregistry.dockerimages.{verb}"
        api.method(f"{BASE}.repositories.dockerImages.{verb}", permission=permission, on=repository_of)(handler)
