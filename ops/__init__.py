"""The `longhaul` command and the Python functions behind it."""
