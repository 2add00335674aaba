"""Parquet footers: read one, move its column chunks, write the footer of a merged file.

Only what the merge needs is understood; the rest is carried along as bytes. Format:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift (read 2026-11).
Standard library only.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from workloads.feature_pipeline.merge import thrift

MAGIC = b"PAR1"
ENCRYPTED_MAGIC = b"PARE"
_GUESS = 64 * 1024
"""Bytes read from the end at once: the footer of a table of 16 features fits, so one read is enough."""
CREATED_BY = b"longhaul splice version 1"

# Field ids of parquet.thrift.
_FILE_SCHEMA, _FILE_ROWS, _FILE_GROUPS = 2, 3, 4
_GROUP_COLUMNS, _GROUP_BYTES, _GROUP_ROWS = 1, 2, 3
_CHUNK_PATH, _CHUNK_META, _CHUNK_CRYPTO, _CHUNK_ENCRYPTED = 1, 3, 8, 9
_META_PATH, _META_CODEC, _META_UNCOMPRESSED, _META_COMPRESSED = 3, 4, 6, 7
_META_DATA_PAGE, _META_INDEX_PAGE, _META_DICTIONARY_PAGE = 9, 10, 11
_META_BLOOM_OFFSET, _META_BLOOM_LENGTH = 14, 15
_ELEMENT_TYPE, _ELEMENT_NAME, _ELEMENT_CHILDREN = 1, 4, 5

_PAGES = (_META_DATA_PAGE, _META_DICTIONARY_PAGE)
_FOREIGN = frozenset({_META_INDEX_PAGE, _META_BLOOM_OFFSET, _META_BLOOM_LENGTH})
"""Absolute offsets of things that lie outside the chunk and are not copied. Page indexes (fields 4 to 7 of the
chunk itself) are left out likewise: copied unshifted they make a file that arrow-rs readers refuse."""


class BadParquetError(ValueError):
    """The file is not a Parquet file that the merge can read; the message names the file and why."""


@dataclass(slots=True)
class Chunk:
    """One column chunk: where its bytes lie and the fields of its ColumnMetaData."""

    start: int
    """First byte of its pages in the file."""
    size: int
    """Bytes of all its pages, compressed."""
    raw_size: int
    """Bytes of all its pages, uncompressed."""
    meta: list[thrift.Field]


@dataclass(slots=True)
class Group:
    """One row group."""

    rows: int
    chunks: list[Chunk]


@dataclass(slots=True)
class Footer:
    """A parsed footer of a flat file (no nested columns)."""

    raw: bytes
    rows: int
    names: list[str]
    elements: list[bytes]
    """SchemaElement of each column, as encoded."""
    groups: list[Group]
    body_size: int
    """Bytes of the file before the footer."""

    @property
    def group_rows(self) -> list[int]:
        """Rows of each row group: equal lists are the first condition for a splice."""
        return [group.rows for group in self.groups]

    def column(self, name: str) -> int:
        """Index of the column `name`. Raises BadParquetError when there is none."""
        try:
            return self.names.index(name)
        except ValueError:
            raise BadParquetError(f"has no column {name!r}; it has {', '.join(self.names[:5])}, …") from None


def read(path: Path) -> Footer:
    """Read and parse the footer of `path`.

    Raises:
        BadParquetError: not Parquet, truncated, encrypted, nested, or a footer that contradicts the file's size.
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            raw, body_size = _tail(file.fileno())
        return parse(raw, body_size)
    except BadParquetError as error:
        raise BadParquetError(f"{path.name}: {error}") from None


def _tail(fd: int) -> tuple[bytes, int]:
    size = os.fstat(fd).st_size
    if size < 12:
        raise BadParquetError(f"is no Parquet file: it has {size} bytes, the smallest has 12")
    end = os.pread(fd, min(size, _GUESS), max(size - _GUESS, 0))
    tail = end[-8:]
    if tail[4:] == ENCRYPTED_MAGIC:
        raise BadParquetError("has an encrypted footer, which the merge cannot read")
    if tail[4:] != MAGIC or os.pread(fd, 4, 0) != MAGIC:
        raise BadParquetError("is no Parquet file or is cut short: it does not begin and end with PAR1")
    length = int.from_bytes(tail[:4], "little")
    if length > size - 12:
        raise BadParquetError(f"is damaged: its footer claims {length} bytes of a file of {size}")
    if length + 8 <= len(end):
        return end[-8 - length : -8], size - 8 - length
    return os.pread(fd, length, size - 8 - length), size - 8 - length


@dataclass(slots=True)
class Outline:
    """The part of a footer that a plan needs, read without walking the column chunks."""

    path: Path
    raw: bytes
    body_size: int
    rows: int
    group_count: int
    names: list[str]


def outline(path: Path) -> Outline:
    """Read the shape of `path`: some 20 times cheaper than `read`. Raises like it."""
    try:
        with path.open("rb", buffering=0) as file:
            raw, body_size = _tail(file.fileno())
        return parse_outline(path, raw, body_size)
    except BadParquetError as error:
        raise BadParquetError(f"{path.name}: {error}") from None
    except (IndexError, thrift.Malformed, UnicodeDecodeError) as error:
        raise BadParquetError(f"{path.name}: is damaged: its footer cannot be decoded ({error})") from None


def parse_outline(path: Path, raw: bytes, body_size: int) -> Outline:
    """Read the shape from an encoded FileMetaData. Raises BadParquetError."""
    pos, last, names, rows = 0, 0, None, None
    while head := raw[pos]:
        pos += 1
        if head < 0x10:
            last, pos = thrift.integer(raw, pos), thrift.varint(raw, pos)[1]
        else:
            last += head >> 4
        if last == _FILE_SCHEMA:
            names, _ = _schema(raw, pos)
        elif last == _FILE_ROWS:
            rows = thrift.integer(raw, pos)
        elif last == _FILE_GROUPS and names is not None and rows is not None:
            return Outline(path, raw, body_size, rows, thrift.list_header(raw, pos)[0], names)
        pos = thrift.skip(raw, pos, head & 0x0F)
    raise BadParquetError("is damaged: its footer has no schema, row count or row groups in the usual order")


def parse(raw: bytes, body_size: int) -> Footer:
    """Parse an encoded FileMetaData whose file has `body_size` bytes before it. Raises BadParquetError."""
    try:
        footer = _parse(raw, body_size)
    except (IndexError, thrift.Malformed, UnicodeDecodeError) as error:
        raise BadParquetError(f"is damaged: its footer cannot be decoded ({error})") from None
    _check(footer)
    return footer


def _parse(raw: bytes, body_size: int) -> Footer:
    found = {number: (kind, pos) for number, kind, pos, _ in thrift.fields(raw, 0)[0]}
    for number, kind, name in (
        (_FILE_SCHEMA, thrift.LIST, "schema"),
        (_FILE_ROWS, thrift.I64, "row count"),
        (_FILE_GROUPS, thrift.LIST, "row groups"),
    ):
        if number not in found or found[number][0] != kind:
            raise BadParquetError(f"is damaged: its footer has no {name}")
    names, elements = _schema(raw, found[_FILE_SCHEMA][1])
    count, kind, pos = thrift.list_header(raw, found[_FILE_GROUPS][1])
    if count and kind != thrift.STRUCT:
        raise BadParquetError("is damaged: its row groups are no structures")
    groups = []
    for _ in range(count):
        group, pos = _group(raw, pos)
        groups.append(group)
    return Footer(raw, thrift.integer(raw, found[_FILE_ROWS][1]), names, elements, groups, body_size)


def _schema(raw: bytes, pos: int) -> tuple[list[str], list[bytes]]:
    count, kind, pos = thrift.list_header(raw, pos)
    if not count or kind != thrift.STRUCT:
        raise BadParquetError("is damaged: its schema is empty")
    names, elements = [], []
    for index in range(count):
        parts, end = thrift.fields(raw, pos)
        values = {number: value for number, _, value, _ in parts}
        if index:
            if _ELEMENT_CHILDREN in values and thrift.integer(raw, values[_ELEMENT_CHILDREN]):
                raise BadParquetError("has nested columns; the merge takes flat tables only")
            if _ELEMENT_NAME not in values or _ELEMENT_TYPE not in values:
                raise BadParquetError("is damaged: a column without a name or type")
            names.append(thrift.binary(raw, values[_ELEMENT_NAME]).decode())
            elements.append(raw[pos:end])
        pos = end
    return names, elements


def _group(raw: bytes, pos: int) -> tuple[Group, int]:
    chunks: list[Chunk] = []
    rows = None
    parts, end = thrift.fields(raw, pos)
    for number, _, value, _ in parts:
        if number == _GROUP_ROWS:
            rows = thrift.integer(raw, value)
        elif number == _GROUP_COLUMNS:
            count, kind, at = thrift.list_header(raw, value)
            if count and kind != thrift.STRUCT:
                raise BadParquetError("is damaged: its column chunks are no structures")
            for _ in range(count):
                chunk, at = _chunk(raw, at)
                chunks.append(chunk)
    if rows is None:
        raise BadParquetError("is damaged: a row group without a row count")
    return Group(rows, chunks), end


def _chunk(raw: bytes, pos: int) -> tuple[Chunk, int]:
    parts, end = thrift.fields(raw, pos)
    meta: list[thrift.Field] = []
    for number, kind, value, _ in parts:
        if number in (_CHUNK_CRYPTO, _CHUNK_ENCRYPTED):
            raise BadParquetError("has encrypted columns, which the merge cannot read")
        if number == _CHUNK_PATH:
            raise BadParquetError("keeps its columns in other files, which the merge does not follow")
        if number == _CHUNK_META and kind == thrift.STRUCT:
            meta, _ = thrift.fields(raw, value)
    values = {number: value for number, _, value, _ in meta}
    if not values.keys() >= {_META_PATH, _META_COMPRESSED, _META_UNCOMPRESSED, _META_DATA_PAGE}:
        raise BadParquetError("is damaged: a column chunk without offset, size or path")
    # Writers put 0 where there is no such page: no dictionary, or no rows.
    offsets = (thrift.integer(raw, values[page]) for page in _PAGES if page in values)
    start = min((offset for offset in offsets if offset > 0), default=0)
    size = thrift.integer(raw, values[_META_COMPRESSED])
    return Chunk(start, size, thrift.integer(raw, values[_META_UNCOMPRESSED]), meta), end


def _check(footer: Footer) -> None:
    if len(set(footer.names)) != len(footer.names):
        raise BadParquetError("has two columns of one name")
    if sum(footer.group_rows) != footer.rows or min(footer.group_rows, default=0) < 0:
        raise BadParquetError(f"is damaged: its row groups hold {sum(footer.group_rows)} rows, not {footer.rows}")
    for group in footer.groups:
        if len(group.chunks) != len(footer.names):
            raise BadParquetError(f"is damaged: a row group has {len(group.chunks)} of {len(footer.names)} columns")
        for chunk in group.chunks:
            # A chunk of no rows may have no bytes, and then its offset says nothing.
            inside = len(MAGIC) <= chunk.start and chunk.start + chunk.size <= footer.body_size
            if chunk.size < 0 or (chunk.size and not inside):
                raise BadParquetError("is cut short or damaged: a column chunk lies outside the file")


def codec(raw: bytes, chunk: Chunk) -> int:
    """Return the number of the compression codec of `chunk`."""
    return next((thrift.integer(raw, value) for number, _, value, _ in chunk.meta if number == _META_CODEC), -1)


def moved(raw: bytes, chunk: Chunk, shift: int, path: bytes | None) -> bytes:
    """Return the ColumnChunk that describes `chunk` after its bytes moved by `shift`.

    `path` is the encoded path_in_schema (a list of one string) of a renamed column, None to keep it.
    """
    # file_offset is deprecated and 0 in what current writers make; page indexes are left out.
    out = [b"\x26\x00\x1c"]
    last = 0
    for number, kind, value, end in chunk.meta:
        if number in _FOREIGN:
            continue
        out.append(thrift.write_field(last, number, kind))
        last = number
        if number in _PAGES:
            offset = thrift.integer(raw, value)
            out.append(thrift.write_integer(offset + shift if offset > 0 else offset))
        elif number == _META_PATH and path is not None:
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
        out.append(thrift.write_binary(name.encode()) if number == _ELEMENT_NAME else element[value:end])
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
