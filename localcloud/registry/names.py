"""Image names of the local registry, and the Artifact Registry repositories they lie in."""

import re
from dataclasses import dataclass

from localcloud.cloud import Cloud

REPOSITORIES = "artifactregistry.repository"
"""Kind of the repositories in the store, by projects/P/locations/L/repositories/R."""
COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
NAME = re.compile(rf"^{COMPONENT}(?:/{COMPONENT})*$")
TAG = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")
DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
HOST = re.compile(r"^([a-z0-9-]+)-docker\.pkg\.dev$")


@dataclass(frozen=True)
class Image:
    """`name` is PROJECT/REPOSITORY/IMAGE, as in the registry's paths."""

    name: str
    repository: str
    """projects/P/locations/L/repositories/R."""

    @property
    def package(self) -> str:
        return self.name.split("/", 2)[2]


def find_repository(cloud: Cloud, project: str, repository: str, location: str = "") -> str | None:
    """The repository's resource name. Without a location: that of the settings' region, else the only or first one."""
    names = [
        name
        for name, _ in cloud.store.list(REPOSITORIES, f"projects/{project}/locations/")
        if name.rpartition("/")[2] == repository
    ]
    if location:
        names = [name for name in names if name.split("/")[3] == location]
    home = f"projects/{project}/locations/{cloud.settings.region}/repositories/{repository}"
    return home if home in names else next(iter(names), None)


def location_of_host(host: str) -> str:
    """europe-west1 of europe-west1-docker.pkg.dev; empty for this registry's own address."""
    found = HOST.match(host.partition(":")[0])
    return found.group(1) if found else ""


def resolve(cloud: Cloud, name: str, host: str = "") -> Image | None:
    """None for a name that is not of the form PROJECT/REPOSITORY/IMAGE or lies in no repository."""
    parts = name.split("/", 2)
    if len(parts) != 3 or not NAME.match(name):
        return None
    repository = find_repository(cloud, parts[0], parts[1], location_of_host(host))
    return Image(name, repository) if repository else None
