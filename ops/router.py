"""Where a run goes: a small table to the sandbox on this machine, a large one to the Cloud Run job."""

import codecs
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ops.errors import BadRequest

MAX_BYTES = 50_000_000
MAX_ROWS = 50_000

_BLOCK = 1 << 20


class Place(StrEnum):
    """Where a run's container runs."""

    SANDBOX = "sandbox"
    JOB = "job"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """A table goes to the sandbox if it is below both."""

    max_bytes: int = MAX_BYTES
    """Bytes (0 or more; 0 sends everything to the job). Default 50 MB."""
    max_rows: int = MAX_ROWS
    """Rows without the header (0 or more). Default 50,000."""

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_rows"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Where a table goes, and why."""

    place: Place
    size_bytes: int
    rows: int | None
    """Rows counted, None where the size alone decided."""
    reason: str


def decide(size_bytes: int, rows: int | None, thresholds: Thresholds) -> Decision:
    """Return the place for a table of `size_bytes` and `rows`; rows matter only below `max_bytes`."""
    if size_bytes >= thresholds.max_bytes:
        reason = f"{size_bytes:,} bytes, the sandbox takes less than {thresholds.max_bytes:,}"
        return Decision(place=Place.JOB, size_bytes=size_bytes, rows=rows, reason=reason)
    if rows is None:
        raise ValueError(f"rows must be counted for a table of {size_bytes} bytes, got None")
    if rows >= thresholds.max_rows:
        reason = f"{rows:,} rows, the sandbox takes less than {thresholds.max_rows:,}"
        return Decision(place=Place.JOB, size_bytes=size_bytes, rows=rows, reason=reason)
    reason = f"{size_bytes:,} bytes and {rows:,} rows are below {thresholds.max_bytes:,} and {thresholds.max_rows:,}"
    return Decision(place=Place.SANDBOX, size_bytes=size_bytes, rows=rows, reason=reason)


def measure(path: Path, encoding: str, thresholds: Thresholds) -> Decision:
    """Return the place for the CSV file `path`; its rows are counted only if its size leaves the choice open.

    Raises BadRequest: the file cannot be read, is empty, or is not text in `encoding`.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise BadRequest(f"{path} is empty", "give a CSV file with a header line")
        rows = count_rows(path, encoding) if size < thresholds.max_bytes else None
    except OSError as exc:
        raise BadRequest(f"{path} cannot be read: {exc.strerror}") from exc
    return decide(size, rows, thresholds)


def count_rows(path: Path, encoding: str) -> int:
    """Return the number of records of a CSV file after its header; a newline inside quotes ends no record.

    Raises BadRequest: unknown encoding, or the file is not text in it. OSError: unreadable.
    """
    try:
        codecs.lookup(encoding)
        with path.open(encoding=encoding, newline="") as file:
            records = _records(iter(lambda: file.read(_BLOCK), ""))
    except LookupError as exc:
        raise BadRequest(f"--encoding must be one Python knows, got {encoding!r}", "utf-8 or cp1252, say") from exc
    except UnicodeError as exc:
        raise BadRequest(f"{path} is not {encoding} text: {exc}", "name the right one with --encoding") from exc
    return max(records - 1, 0)


def _records(blocks: Iterable[str]) -> int:
    # A doubled quote leaves and enters the quoted state again, so counting every quote is right for it too.
    records, quoted, content = 0, False, False
    for block in blocks:
        for number, piece in enumerate(block.split('"')):
            if number:
                quoted, content = not quoted, True
            if quoted or not piece:
                continue
            head, *rest = piece.replace("\r", "").split("\n") if "\n" in piece else (piece,)
            content = content or bool(head)
            for line in rest:
                records += content
                content = bool(line)
    return records + content
