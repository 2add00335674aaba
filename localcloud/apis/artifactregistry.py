"""Artifact Registry v1: repositories and their policies. What was pushed to them: artifact_images; the images themselves: ../registry.

https://cloud.google.com/artifact-registry/docs/reference/rest (2026-11)
"""

import re

from localcloud import masks, operations
from localcloud.apis import artifact_images, artifact_packages
from localcloud.apis.artifact_api import BASE, TYPE, Document, api, done, images_of, listing, require, v1beta2
from localcloud.cloud import Cloud
from localcloud.errors import already_exists, invalid, not_found
from localcloud.iam.routes import policy_routes
from localcloud.regions import ARTIFACT_LOCATIONS
from localcloud.registry.names import REPOSITORIES
from localcloud.schema import camel
from localcloud.shell import App, Call

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
operations.register(api, BASE)
artifact_images.register(api)
artifact_packages.register(api)


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
    pushed = images_of(call).manifests(f"{project}/{name}/") if repository["format"] == "DOCKER" else []
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
    repository = {**_with_ids(body), "name": name, "createTime": now, "updateTime": now}
    if repository.get("mode", "MODE_UNSPECIFIED") == "MODE_UNSPECIFIED":
        repository["mode"] = "STANDARD_REPOSITORY"
    call.cloud.store.put(REPOSITORIES, name, repository)
    return done(call, {"@type": f"{TYPE}.Repository", **_shown(call, repository)})


def _with_ids(body: Document) -> Document:
    """Cleanup policies carry their key as id."""
    if "cleanupPolicies" not in body:
        return body
    return {**body, "cleanupPolicies": {key: {**value, "id": key} for key, value in body["cleanupPolicies"].items()}}


@api.method(f"{BASE}.repositories.get", permission="artifactregistry.repositories.get")
async def get(call: Call) -> Document:
    return _shown(call, require(call, call.params["name"]))


@api.method(f"{BASE}.repositories.list", permission="artifactregistry.repositories.list")
async def list_(call: Call) -> Document:
    prefix = f"projects/{call.params['projectsId']}/locations/"
    location = call.params["locationsId"]
    if location != "-":
        _check_location(call)
        prefix += f"{location}/"
    listed = [_shown(call, value) for _, value in call.cloud.store.list(REPOSITORIES, prefix)]
    return listing(call, "repositories", listed, ("name", "createTime", "updateTime"))


@api.method(f"{BASE}.repositories.patch", permission="artifactregistry.repositories.update")
async def patch(call: Call) -> Document:
    name = call.params["name"]
    repository = require(call, name)
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
    require(call, name)
    _, project, _, _, _, repository_id = name.split("/")
    with call.cloud.store.transaction():
        call.cloud.store.delete(REPOSITORIES, name)
        call.cloud.iam.delete_policy(name)
    images_of(call).delete_repository(project, repository_id)
    return done(call)


def _check_exists(call: Call) -> None:
    require(call, call.params["resource"])


policy_routes(api, f"{BASE}.repositories", "artifactregistry.repositories", exists=_check_exists)


def _project(call: Call) -> str:
    return f"projects/{call.params['projectsId']}"


@api.method(f"{BASE}.list", permission="artifactregistry.locations.list", on=_project)
async def list_locations(call: Call) -> Document:
    listed = [_location(call, location) for location in sorted(ARTIFACT_LOCATIONS)]
    page, token = call.page(listed, 100)
    return {"locations": page, **({"nextPageToken": token} if token else {})}


@api.method(f"{BASE}.get", permission="artifactregistry.locations.get", on=_project)
async def get_location(call: Call) -> Document:
    if call.params["locationsId"] not in ARTIFACT_LOCATIONS:
        raise not_found(f"Location {call.params['locationsId']} not found.")
    return _location(call, call.params["locationsId"])


for _verb, _handler in (("list", list_locations), ("get", get_location)):
    v1beta2.method(f"{BASE}.{_verb}", permission=f"artifactregistry.locations.{_verb}", on=_project)(_handler)


def _location(call: Call, location: str) -> Document:
    return {
        "name": f"projects/{call.params['projectsId']}/locations/{location}",
        "locationId": location,
        "labels": {"cloud.googleapis.com/region": location},
    }


def app(cloud: Cloud) -> App:
    return App(cloud, [api, v1beta2])
