"""The key that every table of a merge must have, compared as bytes. Standard library only."""

import os
from dataclasses import dataclass
from pathlib import Path

from workloads.feature_pipeline.merge import footer, writer


@dataclass(frozen=True)
class Master:
    """The key column of the first table, encoded."""

    key: str
    raw: bytes
    """Footer that `chunks` point into."""
    element: bytes
    group_rows: list[int]
    chunks: list[footer.Chunk]
    """Key chunk of each row group."""
    data: list[bytes]
    """Pages of each key chunk."""

    @classmethod
    def read(cls, path: Path, parsed: footer.Footer, key: str) -> "Master":
        """Read the key of `path`, whose footer is `parsed`."""
        column = parsed.column(key)
        return cls._make(path, parsed, key, [group.chunks[column].start for group in parsed.groups])

    @classmethod
    def copied(cls, output: Path, parsed: footer.Footer, key: str, position: int) -> "Master":
        """Read the key from a partial output into which the first table was copied at `position`.

        The chunks of the first table lie there one after the other, row group by row group.
        """
        column = parsed.column(key)
        offsets, at = [], position
        for group in parsed.groups:
            offsets.append(at + sum(chunk.size for chunk in group.chunks[:column]))
            at += sum(chunk.size for chunk in group.chunks)
        return cls._make(output, parsed, key, offsets)

    @classmethod
    def _make(cls, path: Path, parsed: footer.Footer, key: str, starts: list[int]) -> "Master":
        column = parsed.column(key)
        chunks = [group.chunks[column] for group in parsed.groups]
        with path.open("rb", buffering=0) as file:
            data = [os.pread(file.fileno(), chunk.size, start) for chunk, start in zip(chunks, starts, strict=True)]
        return cls(key, parsed.raw, parsed.elements[column], parsed.group_rows, chunks, data)

    def matches(self, path: Path, parsed: footer.Footer) -> bool:
        """Say whether `path` has this very key, in the same row groups.

        Equal pages mean equal values; unequal ones may still hold equal values, which the recoding process finds out.
        """
        if parsed.group_rows != self.group_rows:
            return False
        column = parsed.column(self.key)
        if parsed.elements[column] != self.element:
            return False
        with path.open("rb", buffering=0) as file:
            for group, mine, data in zip(parsed.groups, self.chunks, self.data, strict=True):
                chunk = group.chunks[column]
                same = chunk.size == mine.size and footer.codec(parsed.raw, chunk) == footer.codec(self.raw, mine)
                if not same or os.pread(file.fileno(), chunk.size, chunk.start) != data:
                    return False
        return True

    def write(self, path: Path) -> None:
        """Write the key as a Parquet file of one column, from which recoding processes read it."""
        position, groups = len(footer.MAGIC), []
        with path.open("wb") as file:
            file.write(footer.MAGIC)
            for rows, chunk, data in zip(self.group_rows, self.chunks, self.data, strict=True):
                part = writer.moved(self.raw, chunk, position - chunk.start, None)
                groups.append(writer.MergedGroup(rows, 1, chunk.raw_size, chunk.size, [part]))
                position += file.write(data)
            writer.finish(file, sum(self.group_rows), [self.element], groups, {})
