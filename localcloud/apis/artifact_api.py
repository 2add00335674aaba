"""What the modules of Artifact Registry share: the API and the way to a path's repository."""

import re
from typing import Any
from urllib.parse import quote

from localcloud.discovery import Discovery
from localcloud.errors import invalid, not_found
from localcloud.registry.images import Images
from localcloud.registry.names import REPOSITORIES
from localcloud.schema import camel
from localcloud.shell import Api, Call

api = Api("artifactregistry", Discovery("artifactregistry", "v1"))
v1beta2 = Api("artifactregistry", Discovery("artifactregistry", "v1beta2"))
"""What gcloud still asks for there: locations."""
BASE = "artifactregistry.projects.locations"
TYPE = "type.googleapis.com/google.devtools.artifactregistry.v1"
Document = dict[str, Any]


def images_of(call: Call) -> Images:
    images: Images = call.cloud.parts["registry"]
    return images


def require(call: Call, name: str) -> Document:
    """The repository. Raises ApiError 404."""
    found = call.cloud.store.get(REPOSITORIES, name)
    if found is None:
        raise not_found(f'Repository "{name.rpartition("/")[2]}" not found.')
    return found


def repository_of(call: Call) -> str:
    """projects/P/locations/L/repositories/R of any path below it."""
    name = call.params.get("resource") or call.params.get("name") or call.params["parent"]
    return "/".join(name.split("/")[:6])


def pushed(call: Call) -> list[tuple[str, str, Document]]:
    """Package, digest and record of every manifest of the path's repository."""
    prefix = f"{image_prefix(call)}/"
    return [(image.removeprefix(prefix), digest, record) for image, digest, record in images_of(call).manifests(prefix)]


def image_prefix(call: Call) -> str:
    """PROJECT/REPOSITORY of the path's repository. Raises ApiError 404."""
    name = repository_of(call)
    require(call, name)
    _, project, _, _, _, repository_id = name.split("/")
    return f"{project}/{repository_id}"


def tags_of(call: Call, package: str) -> dict[str, str]:
    """Tag -> digest."""
    return images_of(call).tags(f"{image_prefix(call)}/{package}")


def package_name(call: Call, package: str) -> str:
    return f"{repository_of(call)}/packages/{quote(package, safe='')}"


TERM = re.compile(r'^\s*(\w+)\s*=\s*"?([^"\s]*)"?\s*$')


def listing(call: Call, key: str, items: list[Document], fields: tuple[str, ...]) -> Document:
    """A page of the items that the query's filter (FIELD="VALUE", * at an end) leaves, in the query's order.

    Raises ApiError 400 for a filter or an order that is not of `fields`.
    """
    for term in filter(None, re.split(r"\s+AND\s+", call.query.get("filter", ""))):
        found = TERM.match(term)
        if found is None or camel(found.group(1)) not in fields:
            raise invalid(f"filter must be of {', '.join(fields)} and =, got {term}.", "filter")
        wanted = re.compile(re.escape(found.group(2)).replace(r"\*", ".*"))
        items = [item for item in items if wanted.fullmatch(str(item.get(camel(found.group(1)), "")))]
    if order := call.query.get("orderBy", "").split():
        if camel(order[0]) not in fields:
            raise invalid(f"order_by must be of {', '.join(fields)}, got {order[0]}.", "order_by")
        items = sorted(items, key=lambda item: str(item.get(camel(order[0]), "")), reverse=order[-1].lower() == "desc")
    page, token = call.page(items, 100)
    return {**({key: page} if page else {}), **({"nextPageToken": token} if token else {})}


def done(call: Call, response: Document | None = None) -> Document:
    """An operation that is finished."""
    parent = "/".join((call.params.get("parent") or call.params["name"]).split("/")[:4])
    metadata = {"@type": f"{TYPE}.OperationMetadata"}
    return call.cloud.operations.done("artifactregistry", parent, response, metadata=metadata)
