"""Artifact Registry v1: repositories, their policies, and what was pushed to them. The images themselves: ../registry.

https://cloud.google.com/artifact-registry/docs/reference/rest (2026-11)
"""

import re
from typing import Any
from urllib.parse import quote, unquote

from localcloud import masks, operations
from localcloud.cloud import Cloud
from localcloud.discovery import Discovery
from localcloud.errors import already_exists, invalid, not_found
from localcloud.iam.routes import policy_routes
from localcloud.regions import ARTIFACT_LOCATIONS
from localcloud.registry.images import INDEX_TYPES, Images
from localcloud.registry.names import REPOSITORIES
from localcloud.schema import camel
from localcloud.shell import Api, App, Call

api = Api("artifactregistry", Discovery("artifactregistry", "v1"))
BASE = "artifactregistry.projects.locations"
TYPE = "type.googleapis.com/google.devtools.artifactregistry.v1"
REPOSITORY_ID = re.compile(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")
LABEL = re.compile(r"^[a-z][a-z0-9_-]{0,62}$")
FORMATS = ("DOCKER", "MAVEN", "NPM", "APT", "YUM", "PYTHON", "KFP", "GO", "GENERIC")
MUTABLE = {
    "description",
    "labels",
    "cleanupPolicies",
    "cleanupPolicyDryRun",
    "dockerConfig",
    "mavenConfig",
    "virtualRepositoryConfig",
    "remoteRepositoryConfig",
    "vulnerabilityScanningConfig",
}
Document = dict[str, Any]

operations.register(api, BASE)


def _images(call: Call) -> Images:
    images: Images = call.cloud.parts["registry"]
    return images


def _require(call: Call, name: str) -> Document:
    found = call.cloud.store.get(REPOSITORIES, name)
    if found is None:
        raise not_found(f'Repository "{name.rpartition("/")[2]}" not found.')
    return found


def repository_of(call: Call) -> str:
    """projects/P/locations/L/repositories/R of any path below it."""
    name = call.params.get("resource") or call.params.get("name") or call.params["parent"]
    return "/".join(name.split("/")[:6])


def _check_location(call: Call) -> None:
    location = call.params["locationsId"]
    if location not in ARTIFACT_LOCATIONS:
        raise invalid(f"Location {location} is not found or access is unauthorized.", "parent")


def _check_fields(body: Document) -> None:
    for key, value in body.get("labels", {}).items():
        if not LABEL.match(key) or len(value) > 63:
            raise invalid(
                f"Label {key!r} is invalid: keys are lower-case letters, digits, _ and -, up to 63.",
                "repository.labels",
            )
    for key, policy in body.get("cleanupPolicies", {}).items():
        if ("condition" in policy) == ("mostRecentVersions" in policy):
            raise invalid(
                f"Cleanup policy {key} must have exactly one of condition and most_recent_versions.",
                "repository.cleanup_policies",
            )
        if policy.get("action") not in ("KEEP", "DELETE"):
            raise invalid(f"Cleanup policy {key} must have the action KEEP or DELETE.", "repository.cleanup_policies")


def _shown(call: Call, repository: Document) -> Document:
    _, project, _, location, _, name = repository["name"].split("/")
    pushed = _images(call).manifests(f"{project}/{name}/") if repository["format"] == "DOCKER" else []
    size = sum(record["imageSize"] + record["size"] for _, _, record in pushed)
    uri = f"{location}-{repository['format'].lower()}.pkg.dev/{project}/{name}"
    return {**repository, **({"sizeBytes": str(size)} if size else {}), "registryUri": uri}


@api.method(f"{BASE}.repositories.create", permission="artifactregistry.repositories.create")
async def create(call: Call) -> Document:
    _check_location(call)
    repository_id, body = call.query.get("repositoryId", ""), call.body
    if not REPOSITORY_ID.match(repository_id):
        raise invalid(
            "The repository ID must begin with a letter, hold only lower-case letters, digits and hyphens, and have at most "
            f"63 characters, got {repository_id!r}.",
            "repository_id",
        )
    if body.get("format") not in FORMATS:
        raise invalid("The repository format must be set.", "repository.format")
    _check_fields(body)
    name = f"{call.params['parent']}/repositories/{repository_id}"
    if call.cloud.store.get(REPOSITORIES, name) is not None:
        raise already_exists("the repository already exists")
    now = call.cloud.clock.timestamp()
    repository = {"mode": "STANDARD_REPOSITORY", **_with_ids(body), "name": name, "createTime": now, "updateTime": now}
    call.cloud.store.put(REPOSITORIES, name, repository)
    return _done(call, {"@type": f"{TYPE}.Repository", **_shown(call, repository)})


def _with_ids(body: Document) -> Document:
    """Cleanup policies carry their key as id."""
    if "cleanupPolicies" not in body:
        return body
    return {**body, "cleanupPolicies": {key: {**value, "id": key} for key, value in body["cleanupPolicies"].items()}}


def _done(call: Call, response: Document | None = None) -> Document:
    parent = "/".join((call.params.get("parent") or call.params["name"]).split("/")[:4])
    return call.cloud.operations.done(
        "artifactregistry", parent, response, metadata={"@type": f"{TYPE}.OperationMetadata"}
    )


@api.method(f"{BASE}.repositories.get", permission="artifactregistry.repositories.get")
async def get(call: Call) -> Document:
    return _shown(call, _require(call, call.params["name"]))


@api.method(f"{BASE}.repositories.list", permission="artifactregistry.repositories.list")
async def list_(call: Call) -> Document:
    prefix = f"projects/{call.params['projectsId']}/locations/"
    location = call.params["locationsId"]
    if location != "-":
        _check_location(call)
        prefix += f"{location}/"
    listed = [_shown(call, value) for _, value in call.cloud.store.list(REPOSITORIES, prefix)]
    page, token = call.page(listed, 100)
    return {**({"repositories": page} if page else {}), **({"nextPageToken": token} if token else {})}


@api.method(f"{BASE}.repositories.patch", permission="artifactregistry.repositories.update")
async def patch(call: Call) -> Document:
    name = call.params["name"]
    repository = _require(call, name)
    mask = call.query.get("updateMask") or ",".join(set(call.body) & MUTABLE)
    roots = {camel(path.partition(".")[0]) for path in mask.split(",") if path}
    if roots - MUTABLE - {"*"}:
        raise invalid(f"Cannot update {', '.join(sorted(roots - MUTABLE))} of a repository.", "update_mask")
    _check_fields(call.body)
    changed = masks.update(repository, _with_ids(call.body), mask)
    if changed.get("format") != repository["format"]:
        raise invalid("The format of a repository cannot be changed.", "repository.format")
    changed = {**changed, "name": name, "updateTime": call.cloud.clock.timestamp()}
    call.cloud.store.put(REPOSITORIES, name, changed)
    return _shown(call, changed)


@api.method(f"{BASE}.repositories.delete", permission="artifactregistry.repositories.delete")
async def delete(call: Call) -> Document:
    name = call.params["name"]
    _require(call, name)
    _, project, _, _, _, repository_id = name.split("/")
    with call.cloud.store.transaction():
        call.cloud.store.delete(REPOSITORIES, name)
        call.cloud.iam.delete_policy(name)
    _images(call).delete_repository(project, repository_id)
    return _done(call)


def _check_exists(call: Call) -> None:
    _require(call, call.params["resource"])


policy_routes(api, f"{BASE}.repositories", "artifactregistry.repositories", exists=_check_exists)


# --- what was pushed ----------------------------------------------------------------------------------------------


def _pushed(call: Call) -> list[tuple[str, str, Document]]:
    """Package, digest and record of every manifest of the path's repository."""
    name = repository_of(call)
    _require(call, name)
    _, project, _, _, _, repository_id = name.split("/")
    prefix = f"{project}/{repository_id}/"
    return [(image.removeprefix(prefix), digest, record) for image, digest, record in _images(call).manifests(prefix)]


def _tags(call: Call, package: str) -> dict[str, str]:
    _, project, _, _, _, repository_id = repository_of(call).split("/")
    return _images(call).tags(f"{project}/{repository_id}/{package}")


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


@api.method(f"{BASE}.repositories.dockerImages.list", permission="artifactregistry.dockerimages.list", on=repository_of)
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


@api.method(f"{BASE}.repositories.dockerImages.get", permission="artifactregistry.dockerimages.get", on=repository_of)
async def get_docker_image(call: Call) -> Document:
    wanted = unquote(call.params["name"].split("/dockerImages/")[1])
    for package, digest, record in _pushed(call):
        if wanted == f"{package}@{digest}" or (package == wanted.partition(":")[0] and _by_tag(call, wanted) == digest):
            return _docker_image(call, package, digest, record)
    raise not_found(f"Docker image {wanted} not found.")


def _by_tag(call: Call, wanted: str) -> str | None:
    package, _, tag = wanted.partition(":")
    return _tags(call, package).get(tag)


@api.method(f"{BASE}.repositories.packages.list", permission="artifactregistry.packages.list", on=repository_of)
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


@api.method(
    f"{BASE}.repositories.packages.versions.list", permission="artifactregistry.versions.list", on=repository_of
)
async def list_versions(call: Call) -> Document:
    listed = [_version(call, *item) for item in _pushed(call) if item[0] == _package(call)]
    page, token = call.page(listed, 1000)
    return {**({"versions": page} if page else {}), **({"nextPageToken": token} if token else {})}


@api.method(f"{BASE}.repositories.packages.versions.get", permission="artifactregistry.versions.get", on=repository_of)
async def get_version(call: Call) -> Document:
    wanted = call.params["name"].rpartition("/")[2]
    for package, digest, record in _pushed(call):
        if package == _package(call) and digest == wanted:
            return _version(call, package, digest, record)
    raise not_found(f"Version {wanted} not found.")


@api.method(f"{BASE}.repositories.packages.tags.list", permission="artifactregistry.tags.list", on=repository_of)
async def list_tags(call: Call) -> Document:
    _require(call, repository_of(call))
    base = f"{repository_of(call)}/packages/{quote(_package(call), safe='')}"
    tags = sorted(_tags(call, _package(call)).items())
    listed = [{"name": f"{base}/tags/{tag}", "version": f"{base}/versions/{digest}"} for tag, digest in tags]
    page, token = call.page(listed, 1000)
    return {**({"tags": page} if page else {}), **({"nextPageToken": token} if token else {})}


@api.method(f"{BASE}.list", permission="artifactregistry.locations.list", on=lambda call: call.params["name"])
async def list_locations(call: Call) -> Document:
    listed = [_location(call, location) for location in sorted(ARTIFACT_LOCATIONS)]
    page, token = call.page(listed, 100)
    return {"locations": page, **({"nextPageToken": token} if token else {})}


@api.method(
    f"{BASE}.get",
    permission="artifactregistry.locations.get",
    on=lambda call: "/".join(call.params["name"].split("/")[:2]),
)
async def get_location(call: Call) -> Document:
    if call.params["locationsId"] not in ARTIFACT_LOCATIONS:
        raise not_found(f"Location {call.params['locationsId']} not found.")
    return _location(call, call.params["locationsId"])


def _location(call: Call, location: str) -> Document:
    return {
        "name": f"projects/{call.params['projectsId']}/locations/{location}",
        "locationId": location,
        "labels": {"cloud.googleapis.com/region": location},
    }


def app(cloud: Cloud) -> App:
    return App(cloud, [api])
