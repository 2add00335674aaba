"""Where an image lies: Artifact Registry names are read as names of the local registry."""

import re
from collections.abc import Mapping

import httpx

from localcloud.errors import ApiError

_PKG_DEV = re.compile(r"[a-z0-9-]+-docker\.pkg\.dev")
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")
_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


def local_reference(image: str, registry: str, hosts: Mapping[str, str]) -> str:
    """Return the reference to pull.

    Args:
        registry: HOST:PORT of the local registry.
        hosts: further hosts that mean another registry, host -> host.
    """
    host, slash, path = image.partition("/")
    if not slash:
        return image
    if host in hosts:
        return f"{hosts[host]}/{path}"
    return f"{registry}/{path}" if _PKG_DEV.fullmatch(host) else image


def checkable(reference: str) -> bool:
    """Whether the registry of a reference is one on this machine."""
    host, slash, _ = reference.partition("/")
    return bool(slash and _LOOPBACK.fullmatch(host))


async def exists(http: httpx.AsyncClient, reference: str, token: str) -> bool:
    """Ask the registry.

    Raises:
        ApiError: the registry refuses to say (403).
    """
    host, _, path = reference.partition("/")
    name, _, digest = path.partition("@")
    version = digest
    if not digest:
        name, colon, version = path.rpartition(":")
        if not colon:
            name, version = path, "latest"
    headers = {"Accept": _ACCEPT, "Authorization": f"Bearer {token}"}
    try:
        answer = await http.head(f"http://{host}/v2/{name}/manifests/{version}", headers=headers)
    except httpx.TransportError:
        return False
    if answer.status_code in (401, 403):
        raise ApiError(403, "PERMISSION_DENIED", f"the registry denies reading {reference}")
    return answer.status_code == 200


def missing(image: str) -> ApiError:
    """Return the error of an image that is not there, as Cloud Run words it."""
    return ApiError(404, "NOT_FOUND", f"Image '{image}' not found.")


def unreadable(image: str, agent: str) -> ApiError:
    """Return the error of an image that Cloud Run's own account may not read."""
    text = (
        f"Google Cloud Run Service Agent {agent} must have permission to read the image, {image}. "
        "Ensure that the provided container image URL is correct and that the above account has permission to access the image."
    )
    return ApiError(403, "PERMISSION_DENIED", text)
