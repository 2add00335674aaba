"""The record of a merge that consumes its inputs, so that a crash loses none of them.

Each record says that the bytes of one table are in the partial output; only then is its checkpoint removed. The
footer of the removed file is part of the record, because nothing else describes those bytes any more.
Records are written without fsync: the journal is for a killed process. A machine that goes down takes the scratch
space with it, in memory as well as on a job's ephemeral disk. Standard library only.
"""

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 1
_MAGIC = b"LHJ1"


class JournalError(ValueError):
    """The journal cannot be used for this merge."""


@dataclass(frozen=True)
class Entry:
    """One table whose bytes are in the partial output."""

    table: str
    position: int
    """First byte of its ranges in the output."""
    end: int
    """First byte after them."""
    body_size: int
    footer: bytes
    """FileMetaData of the checkpoint, as it was."""


class Journal:
    """Append-only file of entries; each is complete or, after a crash, not there."""

    def __init__(self, path: Path, identity: str):
        """Open `path` for the merge named by `identity`; create it if need be.

        Raises:
            JournalError: the file belongs to another merge.
        """
        self.path, self.identity = path, identity
        self.entries: list[Entry] = []
        good = self._load() if path.exists() else 0
        self._file = path.open("r+b" if good else "wb", buffering=0)
        if good:
            self._file.truncate(good)
            self._file.seek(good)
        else:
            self._write({"version": VERSION, "identity": identity}, b"")

    def _load(self) -> int:
        """Read the complete records; return how many bytes they take."""
        good = 0
        for header, footer, end in _records(self.path.read_bytes()):
            if not good:
                if header.get("version") != VERSION or header.get("identity") != self.identity:
                    raise JournalError(
                        f"{self.path.name} belongs to another merge (other tables, key or version): finish that one, "
                        "or remove the file together with its partial output to start anew"
                    )
            else:
                self.entries.append(Entry(footer=footer, **header))
            good = end
        return good

    def add(self, entry: Entry) -> None:
        """Record `entry`. When this returns, its checkpoint may be removed."""
        self._write(
            {"table": entry.table, "position": entry.position, "end": entry.end, "body_size": entry.body_size},
            entry.footer,
        )
        self.entries.append(entry)

    def _write(self, header: dict[str, Any], footer: bytes) -> None:
        payload = json.dumps(header).encode() + b"\n" + footer
        frame = _MAGIC + len(payload).to_bytes(4, "little") + zlib.crc32(payload).to_bytes(4, "little") + payload
        if self._file.write(frame) != len(frame):
            raise OSError(f"{self.path.name}: a record could only be written in part; is the scratch space full?")

    def close(self) -> None:
        """Close the file and keep it."""
        self._file.close()

    def remove(self) -> None:
        """Close the file and remove it: the merge is complete."""
        self.close()
        os.unlink(self.path)


def _records(data: bytes) -> Iterator[tuple[dict[str, Any], bytes, int]]:
    pos = 0
    while data[pos : pos + 4] == _MAGIC and pos + 12 <= len(data):
        size, crc = (int.from_bytes(data[pos + at : pos + at + 4], "little") for at in (4, 8))
        payload = data[pos + 12 : pos + 12 + size]
        if len(payload) < size or zlib.crc32(payload) != crc:
            return  # cut by the crash: the checkpoint it speaks of is still there
        header, _, footer = payload.partition(b"\n")
        pos += 12 + size
        yield json.loads(header), footer, pos
