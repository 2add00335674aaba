"""Packages, versions and tags: the same images as another part of the API sees them.

https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories.packages (2026-11)
"""

from urllib.parse import quote, unquote

from localcloud.apis.artifact_api import (
    BASE,
    Document,
    done,
    image_prefix,
    images_of,
    listing,
    package_name,
    pushed,
    repository_of,
    require,
    tags_of,
)
from localcloud.errors import already_exists, failed_precondition, invalid, not_found
from localcloud.registry.names import TAG
from localcloud.shell import Api, Call

FIELDS = ("name", "createTime", "updateTime")


def _package(call: Call) -> str:
    name = call.params.get("name") or call.params["parent"]
    return unquote(name.split("/")[7])


def _last(call: Call) -> str:
    return call.params["name"].rpartition("/")[2]


def _image(call: Call) -> str:
    """PROJECT/REPOSITORY/IMAGE of the path's package."""
    return f"{image_prefix(call)}/{_package(call)}"


def _records(call: Call) -> list[tuple[str, Document]]:
    """Digest and record of each version of the path's package. Raises ApiError 404 for a package without any."""
    found = [(digest, record) for package, digest, record in pushed(call) if package == _package(call)]
    if not found:
        raise not_found(f"Package {_package(call)} not found.")
    return found


def _shown(call: Call, package: str, records: list[Document]) -> Document:
    return {
        "name": package_name(call, package),
        "createTime": min(record["uploaded"] for record in records),
        "updateTime": max(record["updated"] for record in records),
    }


async def list_packages(call: Call) -> Document:
    found: dict[str, list[Document]] = {}
    for package, _, record in pushed(call):
        found.setdefault(package, []).append(record)
    return listing(call, "packages", [_shown(call, name, records) for name, records in sorted(found.items())], FIELDS)


async def get_package(call: Call) -> Document:
    return _shown(call, _package(call), [record for _, record in _records(call)])


async def delete_package(call: Call) -> Document:
    for digest, _ in _records(call):
        images_of(call).delete_manifest(_image(call), digest)
    images_of(call).forget_blobs(_image(call))
    return done(call)


# --- versions -----------------------------------------------------------------------------------------------------


def _version(call: Call, digest: str, record: Document) -> Document:
    base = package_name(call, _package(call))
    tags = [
        _tag(base, tag, target) for tag, target in sorted(tags_of(call, _package(call)).items()) if target == digest
    ]
    return {
        "name": f"{base}/versions/{digest}",
        "createTime": record["uploaded"],
        "updateTime": record["updated"],
        **({"relatedTags": tags} if tags else {}),
        "metadata": {
            "name": f"{repository_of(call)}/dockerImages/{quote(_package(call), safe='')}@{digest}",
            "imageSizeBytes": str(record["imageSize"]),
            "mediaType": record["mediaType"],
        },
    }


async def list_versions(call: Call) -> Document:
    return listing(call, "versions", [_version(call, *item) for item in _records(call)], FIELDS)


def _require_version(call: Call, digest: str) -> Document:
    found = dict(_records(call)).get(digest)
    if found is None:
        raise not_found(f"Version {digest} not found.")
    return found


async def get_version(call: Call) -> Document:
    return _version(call, _last(call), _require_version(call, _last(call)))


async def delete_version(call: Call) -> Document:
    digest = _last(call)
    _require_version(call, digest)
    if digest in tags_of(call, _package(call)).values() and not call.query.get("force"):
        raise failed_precondition(f"Version {digest} is tagged: delete its tags first, or set force.")
    images_of(call).delete_manifest(_image(call), digest)
    if not [item for item in pushed(call) if item[0] == _package(call)]:
        images_of(call).forget_blobs(_image(call))
    return done(call)


# --- tags ---------------------------------------------------------------------------------------------------------


def _tag(base: str, tag: str, digest: str) -> Document:
    return {"name": f"{base}/tags/{tag}", "version": f"{base}/versions/{digest}"}


def _require_tag(call: Call) -> str:
    """The digest that the path's tag names."""
    digest = tags_of(call, _package(call)).get(_last(call))
    if digest is None:
        raise not_found(f"Tag {_last(call)} not found.")
    return digest


async def list_tags(call: Call) -> Document:
    base = package_name(call, _package(call))
    listed = [_tag(base, tag, digest) for tag, digest in sorted(tags_of(call, _package(call)).items())]
    return listing(call, "tags", listed, ("name", "version"))


async def get_tag(call: Call) -> Document:
    return _tag(package_name(call, _package(call)), _last(call), _require_tag(call))


def _point(call: Call, tag: str) -> Document:
    digest = call.body.get("version", "").rpartition("/")[2]
    _require_version(call, digest)
    images_of(call).put_tag(_image(call), tag, digest)
    return _tag(package_name(call, _package(call)), tag, digest)


async def create_tag(call: Call) -> Document:
    tag = call.query.get("tagId") or call.body.get("name", "").rpartition("/")[2]
    if not TAG.match(tag):
        raise invalid(f"tag_id must have up to 128 letters, digits, _ . or -, got {tag!r}.", "tag_id")
    if tag in tags_of(call, _package(call)):
        raise already_exists(f"the tag {tag} already exists")
    return _point(call, tag)


async def update_tag(call: Call) -> Document:
    current = _require_tag(call)
    immutable = require(call, repository_of(call)).get("dockerConfig", {}).get("immutableTags")
    if immutable and call.body.get("version", "").rpartition("/")[2] != current:
        raise failed_precondition(f"The tags of {repository_of(call)} are immutable.")
    return _point(call, _last(call))


async def delete_tag(call: Call) -> Document:
    _require_tag(call)
    images_of(call).delete_tag(_image(call), _last(call))
    return {}


def register(api: Api) -> None:
    for method, permission, handler in (
        ("packages.list", "packages.list", list_packages),
        ("packages.get", "packages.get", get_package),
        ("packages.delete", "packages.delete", delete_package),
        ("packages.versions.list", "versions.list", list_versions),
        ("packages.versions.get", "versions.get", get_version),
        ("packages.versions.delete", "versions.delete", delete_version),
        ("packages.tags.list", "tags.list", list_tags),
        ("packages.tags.get", "tags.get", get_tag),
        ("packages.tags.create", "tags.create", create_tag),
        ("packages.tags.patch", "tags.update", update_tag),
        ("packages.tags.delete", "tags.delete", delete_tag),
    ):
        named = f"artifactregistry.{permission}"
        api.method(f"{BASE}.repositories.{method}", permission=named, on=repository_of)(handler)
