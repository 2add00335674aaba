"""Secret Manager of the local cloud: secrets and their versions, payloads sealed on disk."""
