"""Settings of BigQuery: `extra.bigquery` of the local cloud's settings."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class BigQuerySettings:
    base_image: str = "longhaul/base:trixie"
    """Image with Python 3.13 that the engine's image starts from. Default the one that the set-up makes;
    python:3.13-slim-trixie does as well."""
    memory_mib: int = 6144
    """Memory of the engine, MiB, 1,024 or more; clamped to three quarters of what the host has. Default 6,144: it holds a
    whole message of each stream that is being read."""
    cache: str = "~/.cache/localcloud"
    """Folder for the engine's environment where there is no Docker engine (0.8 GB, made once)."""
    start_timeout_s: float = 60.0
    """Until the engine must answer, seconds. Default 60; 2 to 6 are usual."""

    def __post_init__(self) -> None:
        if self.memory_mib < 1024:
            raise ValueError(f"settings: extra.bigquery.memory_mib must be 1,024 or more MiB, got {self.memory_mib}")

    @property
    def cache_folder(self) -> Path:
        return Path(self.cache).expanduser()


def from_extra(extra: dict[str, Any]) -> BigQuerySettings:
    """Raises ValueError for an unknown key or a value out of range."""
    given = extra.get("bigquery", {})
    known = {item.name for item in fields(BigQuerySettings)}
    if unknown := set(given) - known:
        keys = ", ".join(sorted(known))
        raise ValueError(f"settings: extra.bigquery must have keys of {keys}, got {', '.join(sorted(unknown))}")
    return BigQuerySettings(**given)
