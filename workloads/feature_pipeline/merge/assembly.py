"""The footer of the merged file while it is put together. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from workloads.feature_pipeline.merge import footer, writer
from workloads.feature_pipeline.merge.copy import Range, joined


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the merge."""

    index: int
    """Place of its columns in the merged file."""
    name: str
    path: Path
    columns: dict[str, str]
    """{column: name in the merged file}; what is not named is not copied."""


class Assembly:
    """Descriptions of the column chunks of `tables` tables, in the order of the tables, not of their arrival."""

    def __init__(self, tables: int):
        self._elements: list[list[bytes]] = [[] for _ in range(tables)]
        self._groups: list[list[writer.MergedGroup]] = [[] for _ in range(tables)]

    def place(self, table: Table, parsed: footer.Footer, position: int) -> list[Range]:
        """Describe the chunks of `table` as lying one after the other from `position`; return where they lie now."""
        columns = []
        elements = []
        for index, name in enumerate(parsed.names):
            new = table.columns.get(name)
            if new is not None:
                columns.append((index, None if new == name else writer.path_in_schema(new)))
                elements.append(parsed.elements[index] if new == name else writer.renamed(parsed.elements[index], new))
        self._elements[table.index] = elements
        ranges: list[Range] = []
        for group in parsed.groups:
            parts, raw_size, size = [], 0, 0
            for index, path in columns:
                chunk = group.chunks[index]
                parts.append(writer.moved(parsed.raw, chunk, position - chunk.start, path))
                ranges.append((chunk.start, chunk.size))
                position += chunk.size
                size += chunk.size
                raw_size += chunk.raw_size
            merged = writer.MergedGroup(group.rows, len(columns), raw_size, size, [b"".join(parts)])
            self._groups[table.index].append(merged)
        return joined(ranges)

    def finish(self, file: BinaryIO, metadata: Mapping[str, str]) -> int:
        """Write the footer to `file`; return the number of row groups."""
        groups = [
            writer.MergedGroup(
                parts[0].rows,
                sum(part.columns for part in parts),
                sum(part.raw_size for part in parts),
                sum(part.size for part in parts),
                [piece for part in parts for piece in part.parts],
            )
            for parts in zip(*self._groups, strict=True)
        ]
        elements = [element for table in self._elements for element in table]
        writer.finish(file, sum(group.rows for group in groups), elements, groups, metadata)
        return len(groups)
