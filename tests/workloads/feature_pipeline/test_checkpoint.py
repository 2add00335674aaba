"""A checkpoint is the same bytes however its table came, in the form that every merge can copy."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from features_support import KEY, features, keys

from workloads.feature_pipeline import checkpoint
from workloads.feature_pipeline.merge import footer
from workloads.feature_pipeline.merge.master import Master


def rows_of(path: Path) -> list[int]:
    metadata = pq.read_metadata(path)
    return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]


def test_pieces_of_a_stream_do_not_show_in_the_bytes(tmp_path: Path) -> None:
    whole = features("x", 50_000)
    pieces = pa.concat_tables([whole.slice(start, 7_001) for start in range(0, 50_000, 7_001)])
    assert pieces[KEY].num_chunks == 8
    for name, table in (("whole", whole), ("pieces", pieces)):
        checkpoint.write(table, KEY, tmp_path / name)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "pieces").read_bytes()


@pytest.mark.parametrize(("rows", "groups"), [(0, []), (1, [1]), (16_384, [16_384]), (40_000, [16_384, 16_384, 7_232])])
def test_row_groups_are_of_one_size(tmp_path: Path, rows: int, groups: list[int]) -> None:
    checkpoint.write(features("x", rows), KEY, tmp_path / "x")
    assert [count for count in rows_of(tmp_path / "x") if count] == groups


def test_row_groups_of_a_foreign_file_are_taken_over(tmp_path: Path) -> None:
    checkpoint.write(features("x", 100), KEY, tmp_path / "x", [30, 70])
    assert rows_of(tmp_path / "x") == [30, 70]
    with pytest.raises(ValueError, match="must add up to 100 rows, got 99"):
        checkpoint.write(features("x", 100), KEY, tmp_path / "y", [30, 69])
    assert not (tmp_path / "y.partial").exists()


def test_encodings_statistics_and_nothing_outside_the_chunks(tmp_path: Path) -> None:
    table = features("x", 1_000, columns=1).append_column("n", pa.array(range(1_000)))
    checkpoint.write(table, KEY, tmp_path / "x")
    group = pq.read_metadata(tmp_path / "x").row_group(0)
    kinds = {group.column(index).path_in_schema: group.column(index) for index in range(3)}
    assert "DELTA_BINARY_PACKED" in kinds[KEY].encodings
    assert "BYTE_STREAM_SPLIT" in kinds["x_0"].encodings
    for column in kinds.values():
        assert column.compression == "ZSTD"
        assert column.is_stats_set
        assert not column.has_dictionary_page
        assert not column.has_column_index
    assert b"ARROW:schema" not in (pq.read_metadata(tmp_path / "x").metadata or {})


def test_equal_keys_have_equal_bytes_whatever_stands_beside_them(tmp_path: Path) -> None:
    other = pa.table({"before": np.arange(40_000.0), KEY: keys(40_000)})
    checkpoint.write(features("x", 40_000), KEY, tmp_path / "a")
    checkpoint.write(other, KEY, tmp_path / "b")
    master = Master.read(tmp_path / "a", footer.read(tmp_path / "a"), KEY)
    assert master.matches(tmp_path / "b", footer.read(tmp_path / "b"))


def test_nan_is_counted_and_null_is_not(tmp_path: Path) -> None:
    table = pa.table(
        {"a": pa.array([1.0, float("nan"), None], from_pandas=False), "b": [1.0, 2.0, 3.0], "c": [1, 2, 3]}
    )
    assert checkpoint.nan_counts(table) == {"a": 1}
