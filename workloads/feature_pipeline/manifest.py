"""What is known of every checkpoint: written beside it, gathered into one manifest of the run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from workloads.common.contract import Document, from_json


@dataclass(frozen=True, kw_only=True)
class Entry(Document):
    """One checkpoint."""

    table: str
    snapshot_time: str
    rows: int
    columns: tuple[str, ...]
    """Its columns without the key, in their order."""
    counts: Mapping[str, int]
    """Rows that did not fit the target table: missing, duplicate, extra, null_key, reordered."""
    nan: Mapping[str, int]
    """{column: NaN values}; footers do not tell NaN."""
    size: int
    """Bytes of the checkpoint."""
    crc32c: int
    """Checksum of the checkpoint, as Cloud Storage computes it."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time for read, encode and upload."""

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Raises ValueError if `data` is no entry."""
        found = from_json(cls, data)
        return replace(found, columns=tuple(found.columns))


@dataclass(frozen=True, kw_only=True)
class Manifest(Document):
    """All checkpoints of one training file."""

    pair: str
    key: str
    target: str
    snapshot_time: str
    tables: Mapping[str, Entry]
    missing: tuple[str, ...] = ()
    """Tables that were allowed to be missing, and are."""
    empty: tuple[str, ...] = ()
    """Tables that were allowed to be empty or to vanish, and are."""
