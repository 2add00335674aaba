"""A local Google Cloud for development and tests: one process, loopback only, no credentials. See README.md beside this file."""
