"""The merged file is the same table to Polars, PyArrow, DuckDB, DataFusion and pandas."""

from collections.abc import Callable
from pathlib import Path

import datafusion
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from features_support import KEY, features, keys, targets

from workloads.feature_pipeline import checkpoint
from workloads.feature_pipeline.merge import plan
from workloads.feature_pipeline.merge.splice import Options, merge

ROWS = 40_000


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    """Canonical, recoded and foreign checkpoints of every type a feature may have, and what they hold."""
    folder = tmp_path_factory.mktemp("merged")
    rng = np.random.default_rng(5)
    mixed = pa.table(
        {
            KEY: keys(ROWS),
            "whole": pa.array(rng.integers(-5, 5, ROWS), mask=rng.random(ROWS) < 0.1),
            "small": pa.array(rng.normal(size=ROWS).astype("float32")),
            "flag": pa.array(rng.random(ROWS) < 0.5),
            "text": pa.array([f"t{index % 7}" for index in range(ROWS)]),
        }
    )
    tables = {"targets": targets(ROWS), "sma": features("sma", ROWS), "mixed": mixed, "late": features("late", ROWS)}
    sources = []
    for name, table in tables.items():
        path = folder / f"{name}.parquet"
        if name == "mixed":
            pl.DataFrame(table).write_parquet(path)  # with page indexes
        else:
            checkpoint.write(table.slice(500) if name == "late" else table, KEY, path)
        sources.append(plan.Source(table=name, path=path))
    merge(sources, folder / "out.parquet", Options(key=KEY))
    expected = tables["targets"]
    late = tables["late"].to_pandas().set_index(KEY)
    late.iloc[:500] = np.nan
    tables["late"] = pa.table({KEY: keys(ROWS), **{name: pa.array(late[name], from_pandas=True) for name in late}})
    for name in ("sma", "mixed", "late"):
        for column in tables[name].column_names[1:]:
            expected = expected.append_column(column, tables[name][column])
    return folder / "out.parquet", expected


def by_datafusion(path: Path) -> pa.Table:
    context = datafusion.SessionContext()
    context.register_parquet("t", str(path))
    return pa.Table.from_batches(context.table("t").sort(datafusion.col(KEY).sort()).collect())


READERS: dict[str, Callable[[Path], pa.Table]] = {
    "polars": lambda path: pl.read_parquet(path).to_arrow(),
    "pyarrow": pq.read_table,
    "duckdb": lambda path: duckdb.read_parquet(str(path)).order(KEY).to_arrow_table(),
    "datafusion": by_datafusion,
    "pandas": lambda path: pa.Table.from_pandas(pd.read_parquet(path, dtype_backend="pyarrow"), preserve_index=False),
}


@pytest.mark.parametrize("reader", READERS)
def test_all_readers_see_equal_values(merged: tuple[Path, pa.Table], reader: str) -> None:
    path, expected = merged
    found = READERS[reader](path)
    assert found.column_names == expected.column_names
    for name in expected.column_names:
        kind = expected[name].type
        got = found[name].cast(kind).combine_chunks()
        assert got.equals(expected[name].combine_chunks()), name
