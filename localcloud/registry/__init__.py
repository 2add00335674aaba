"""An OCI distribution endpoint: the data plane of Artifact Registry."""
