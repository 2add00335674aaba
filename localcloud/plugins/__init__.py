"""Stand-ins for the Pulumi plugins `gcp` and `docker`, for machines where the real ones cannot be installed.

Each is a gRPC server the Pulumi engine starts (`python -m localcloud.plugins.gcp`, `… .docker`). They know exactly the
resource types this project uses and send the REST calls the real plugins send; they never call a real cloud.
"""
