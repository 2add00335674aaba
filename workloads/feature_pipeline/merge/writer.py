"""The footer of a merged file: column chunks described where they lie now. Standard library only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from workloads.feature_pipeline.merge import thrift
from workloads.feature_pipeline.merge.footer import ELEMENT_NAME, FOREIGN, MAGIC, META_PATH, PAGES, Chunk

CREATED_BY = b"longhaul splice version 1"


def moved(raw: bytes, chunk: Chunk, shift: int, path: bytes | None) -> bytes:
    """Return the ColumnChunk that describes `chunk` after its bytes moved by `shift`.

    `path` is the encoded path_in_schema (a list of one string) of a renamed column, None to keep it.
    """
    # file_offset is deprecated and 0 in what current writers make; page indexes are left out.
    out = [b"\x26\x00\x1c"]
    last = 0
    for number, kind, value, end in chunk.meta:
        if number in FOREIGN:
            continue
        out.append(thrift.write_field(last, number, kind))
        last = number
        if number in PAGES:
            offset = thrift.integer(raw, value)
            out.append(thrift.write_integer(offset + shift if offset > 0 else offset))
        elif number == META_PATH and path is not None:
            out.append(path)
        else:
            out.append(raw[value:end])
    out.append(b"\x00\x00")
    return b"".join(out)


def renamed(element: bytes, name: str) -> bytes:
    """Return the SchemaElement `element` under another name."""
    out, last = [], 0
    for number, kind, value, end in thrift.fields(element, 0)[0]:
        out.append(thrift.write_field(last, number, kind))
        out.append(thrift.write_binary(name.encode()) if number == ELEMENT_NAME else element[value:end])
        last = number
    out.append(b"\x00")
    return b"".join(out)


def path_in_schema(name: str) -> bytes:
    """Return the path of a top-level column, as ColumnMetaData holds it."""
    return thrift.write_list(1, thrift.BINARY) + thrift.write_binary(name.encode())


@dataclass(slots=True)
class MergedGroup:
    """One row group of the merged file while it is put together."""

    rows: int
    columns: int = 0
    raw_size: int = 0
    size: int = 0
    parts: list[bytes] = field(default_factory=list)
    """Encoded column chunks, one item per source table."""


def encode(
    rows: int, elements: Sequence[bytes], groups: Sequence[MergedGroup], metadata: Mapping[str, str]
) -> Iterator[bytes]:
    """Yield the merged FileMetaData in pieces, so that a footer of many MB is never held twice.

    ARROW:schema of the sources is not carried over: it would describe one table, not all.
    """
    yield b"\x15\x04"  # 1: version 2
    root = b"\x48" + thrift.write_binary(b"schema") + b"\x15" + thrift.write_integer(len(elements)) + b"\x00"
    yield b"\x19" + thrift.write_list(len(elements) + 1, thrift.STRUCT) + root
    yield from elements
    yield b"\x16" + thrift.write_integer(rows)
    yield b"\x19" + thrift.write_list(len(groups), thrift.STRUCT)
    for group in groups:
        yield b"\x19" + thrift.write_list(group.columns, thrift.STRUCT)
        yield from group.parts
        yield b"\x16" + thrift.write_integer(group.raw_size) + b"\x16" + thrift.write_integer(group.rows)
        yield b"\x36" + thrift.write_integer(group.size) + b"\x00"  # 6: total_compressed_size
    if metadata:
        yield b"\x19" + thrift.write_list(len(metadata), thrift.STRUCT)
        for key, text in metadata.items():
            yield b"\x18" + thrift.write_binary(key.encode()) + b"\x18" + thrift.write_binary(text.encode()) + b"\x00"
    yield (b"\x18" if metadata else b"\x28") + thrift.write_binary(CREATED_BY)  # 6: created_by
    # 7: every column in its type's own order; without it readers ignore min and max.
    yield b"\x19" + thrift.write_list(len(elements), thrift.STRUCT) + b"\x1c\x00\x00" * len(elements) + b"\x00"


def finish(
    file: BinaryIO, rows: int, elements: Sequence[bytes], groups: Sequence[MergedGroup], metadata: Mapping[str, str]
) -> None:
    """Write the footer, its length and the closing mark to `file`, which is a complete Parquet file then."""
    size = sum(file.write(piece) for piece in encode(rows, elements, groups, metadata))
    file.write(size.to_bytes(4, "little") + MAGIC)
