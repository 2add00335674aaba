"""What the modules of Artifact Registry share: the API and the way to a path's repository."""

from typing import Any

from localcloud.discovery import Discovery
from localcloud.errors import not_found
from localcloud.registry.images import Images
from localcloud.registry.names import REPOSITORIES
from localcloud.shell import Api, Call

api = Api("artifactregistry", Discovery("artifactregistry", "v1"))
v1beta2 = Api("artifactregistry", Discovery("artifactregistry", "v1beta2"))
"""What gcloud still asks for there: locations."""
BASE = "artifactregistry.projects.locations"
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
