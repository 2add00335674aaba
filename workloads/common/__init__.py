"""What every container shares: exit codes, task, endpoints, logs, storage, memory, run index."""
