"""Parquet footers: where the column chunks of a file lie and how they are described.

Only what the merge needs is understood; the rest is carried along as bytes. Format:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift (read 2026-11).
Standard library only.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from workloads.feature_pipeline.merge import thrift

MAGIC = b"PAR1"
ENCRYPTED_MAGIC = b"PARE"
_GUESS = 64 * 1024
"""Bytes read from the end at once: the footer of a table of 16 features fits, so one read is enough."""

# Field ids of parquet.thrift.
_FILE_SCHEMA, _FILE_ROWS, _FILE_GROUPS = 2, 3, 4
_GROUP_COLUMNS, _GROUP_BYTES, _GROUP_ROWS = 1, 2, 3
_CHUNK_PATH, _CHUNK_META, _CHUNK_CRYPTO, _CHUNK_ENCRYPTED = 1, 3, 8, 9
META_PATH, _META_CODEC, _META_UNCOMPRESSED, _META_COMPRESSED = 3, 4, 6, 7
_META_DATA_PAGE, _META_INDEX_PAGE, _META_DICTIONARY_PAGE = 9, 10, 11
_META_BLOOM_OFFSET, _META_BLOOM_LENGTH = 14, 15
_ELEMENT_TYPE, ELEMENT_NAME, _ELEMENT_CHILDREN = 1, 4, 5

PAGES = (_META_DATA_PAGE, _META_DICTIONARY_PAGE)
"""Fields of ColumnMetaData that are absolute offsets of the chunk's own pages."""
FOREIGN = frozenset({_META_INDEX_PAGE, _META_BLOOM_OFFSET, _META_BLOOM_LENGTH})
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
    """Walk the footer once: with 10,000 columns a second walk would take longer than copying the file."""
    names, elements, rows, groups = list[str](), list[bytes](), None, None
    number, pos = 0, 0
    while True:
        number, kind, pos = thrift.header(raw, pos, number)
        if not kind:
            break
        if number == _FILE_GROUPS and kind == thrift.LIST:
            groups, pos = _groups(raw, pos)
            continue
        if number == _FILE_SCHEMA and kind == thrift.LIST:
            names, elements = _schema(raw, pos)
        elif number == _FILE_ROWS and kind == thrift.I64:
            rows = thrift.integer(raw, pos)
        pos = thrift.skip(raw, pos, kind)
    for found, what in ((elements or None, "schema"), (rows, "row count"), (groups, "row groups")):
        if found is None:
            raise BadParquetError(f"is damaged: its footer has no {what}")
    return Footer(raw, rows or 0, names, elements, groups or [], body_size)


def _groups(raw: bytes, pos: int) -> tuple[list[Group], int]:
    count, kind, pos = thrift.list_header(raw, pos)
    if count and kind != thrift.STRUCT:
        raise BadParquetError("is damaged: its row groups are no structures")
    groups = []
    for _ in range(count):
        group, pos = _group(raw, pos)
        groups.append(group)
    return groups, pos


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
            if ELEMENT_NAME not in values or _ELEMENT_TYPE not in values:
                raise BadParquetError("is damaged: a column without a name or type")
            names.append(thrift.binary(raw, values[ELEMENT_NAME]).decode())
            elements.append(raw[pos:end])
        pos = end
    return names, elements


def _group(raw: bytes, pos: int) -> tuple[Group, int]:
    chunks: list[Chunk] = []
    rows, number = None, 0
    while True:
        number, kind, pos = thrift.header(raw, pos, number)
        if not kind:
            break
        if number == _GROUP_COLUMNS and kind == thrift.LIST:
            chunks, pos = _chunks(raw, pos)
            continue
        if number == _GROUP_ROWS and kind == thrift.I64:
            rows = thrift.integer(raw, pos)
        pos = thrift.skip(raw, pos, kind)
    if rows is None:
        raise BadParquetError("is damaged: a row group without a row count")
    return Group(rows, chunks), pos


def _chunks(raw: bytes, pos: int) -> tuple[list[Chunk], int]:
    count, kind, pos = thrift.list_header(raw, pos)
    if count and kind != thrift.STRUCT:
        raise BadParquetError("is damaged: its column chunks are no structures")
    chunks = []
    for _ in range(count):
        chunk, pos = _chunk(raw, pos)
        chunks.append(chunk)
    return chunks, pos


def _chunk(raw: bytes, pos: int) -> tuple[Chunk, int]:
    meta: list[thrift.Field] = []
    number = 0
    while True:
        number, kind, pos = thrift.header(raw, pos, number)
        if not kind:
            break
        if number in (_CHUNK_CRYPTO, _CHUNK_ENCRYPTED):
            raise BadParquetError("has encrypted columns, which the merge cannot read")
        if number == _CHUNK_PATH:
            raise BadParquetError("keeps its columns in other files, which the merge does not follow")
        if number == _CHUNK_META and kind == thrift.STRUCT:
            meta, pos = thrift.fields(raw, pos)
        else:
            pos = thrift.skip(raw, pos, kind)
    values = {number: value for number, _, value, _ in meta}
    if not values.keys() >= {META_PATH, _META_COMPRESSED, _META_UNCOMPRESSED, _META_DATA_PAGE}:
        raise BadParquetError("is damaged: a column chunk without offset, size or path")
    # Writers put 0 where there is no such page: no dictionary, or no rows.
    offsets = (thrift.integer(raw, values[page]) for page in PAGES if page in values)
    start = min((offset for offset in offsets if offset > 0), default=0)
    size = thrift.integer(raw, values[_META_COMPRESSED])
    return Chunk(start, size, thrift.integer(raw, values[_META_UNCOMPRESSED]), meta), pos


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
