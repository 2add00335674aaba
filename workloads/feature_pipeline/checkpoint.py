"""Write a table as a canonical checkpoint: the form in which every merge is a copy of bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workloads.common.crc32c import extend

ROW_GROUP_ROWS = 16_384
"""Rows of a row group. 120,000 rows make 8 groups: whole rows can be streamed in about 1 GB of memory, and the footer
of 10,000 columns stays at 10 MB. More than 16 groups make every open of the merged file slow."""
ZSTD_LEVEL = 1
_BLOCK = 1 << 20


def write(table: pa.Table, key: str, path: Path, group_rows: Sequence[int] | None = None) -> None:
    """Write `table` to `path`: zstd 1 with byte stream split for floats, delta for the key, no dictionary on numbers.

    `group_rows` gives the rows of each row group; default: ROW_GROUP_ROWS each. The file appears complete or not at
    all under its name.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with pq.ParquetWriter(partial, table.schema, **_options(table.schema, key)) as writer:
            if group_rows is None:
                writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            else:
                _write_groups(writer, table, group_rows)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)


def _write_groups(writer: pq.ParquetWriter, table: pa.Table, group_rows: Sequence[int]) -> None:
    if sum(group_rows) != len(table):
        raise ValueError(f"group_rows must add up to {len(table)} rows, got {sum(group_rows)}")
    start = 0
    for rows in group_rows:
        writer.write_table(table.slice(start, rows), row_group_size=max(rows, 1))
        start += rows


def _options(schema: pa.Schema, key: str) -> dict[str, Any]:
    encodings, dictionary = {}, []
    for item in schema:
        if pa.types.is_floating(item.type) and not pa.types.is_float16(item.type):
            encodings[item.name] = "BYTE_STREAM_SPLIT"
        elif pa.types.is_integer(item.type) or pa.types.is_temporal(item.type):
            encodings[item.name] = "DELTA_BINARY_PACKED" if item.name == key else "PLAIN"
        elif not pa.types.is_boolean(item.type):
            dictionary.append(item.name)
    return {
        "compression": "zstd",
        "compression_level": ZSTD_LEVEL,
        "use_dictionary": dictionary or False,
        "column_encoding": encodings or None,
        "write_statistics": True,
        "write_page_index": False,
        "store_schema": False,  # it would describe one table in a file of many
        "version": "2.6",
    }


def crc32c(path: Path) -> int:
    """Return the checksum of `path`, as Cloud Storage computes it."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = extend(crc, block)
    return crc


def nan_counts(table: pa.Table) -> dict[str, int]:
    """Return {column: NaN values}, columns without any left out: the footer's statistics do not see NaN."""
    counts = {}
    for name in table.column_names:
        if pa.types.is_floating(table.schema.field(name).type):
            count = pc.sum(pc.is_nan(table[name])).as_py() or 0
            if count:
                counts[name] = count
    return counts
