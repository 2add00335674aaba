"""Cloud Storage of the local cloud: JSON API, uploads, batch, signed URLs and the part of the XML API that clients use.

Bytes are plain files, one per object generation, written once and never changed; everything else about an object is a
document in the store of the core. docs/decisions/0010-storage-data-plane.md says why there is no emulator underneath.
"""

from typing import TYPE_CHECKING, Any

from localcloud.storage.server import Server

if TYPE_CHECKING:
    from localcloud.cloud import Cloud
    from localcloud.shell import Service


def app(cloud: "Cloud") -> Any:
    """The ASGI application of the port `storage`."""
    server = Server(cloud)
    cloud.parts["storage.server"] = server
    return server.app


def services(cloud: "Cloud") -> "list[Service]":
    """The sweep; call after `app`."""
    return [cloud.parts["storage.server"].lifecycle]
