"""An OCI distribution endpoint: the data plane of Artifact Registry."""

from localcloud.registry.app import app

__all__ = ["app"]
