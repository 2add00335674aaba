"""Alignment says and does the same as Polars, whatever rows are missing, doubled, extra, shuffled or without key."""

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.feature_pipeline.align import POLICIES, MisalignedError, Policies, align

KEY = "k"


@st.composite
def case(draw: st.DrawFn) -> tuple[pa.Array, pa.Table]:
    kind = draw(st.sampled_from([pa.int64(), pa.timestamp("us", "UTC"), pa.string(), pa.date32()]))
    target = draw(st.lists(st.integers(0, 40), unique=True, max_size=30))
    rows = draw(st.lists(st.one_of(st.integers(0, 50), st.none()), max_size=60))
    if draw(st.booleans()):
        rows = [*target, *rows[: draw(st.integers(0, 3))]]
    return _keys(sorted(target), kind), pa.table({KEY: _keys(rows, kind), "v": np.arange(len(rows), dtype="float64")})


def _keys(values: list[int | None] | list[int], kind: pa.DataType) -> pa.Array:
    if kind == pa.string():
        return pa.array([None if value is None else f"{value:03}" for value in values], kind)
    return pa.array(values, pa.int32() if kind == pa.date32() else pa.int64()).cast(kind)


def by_polars(target: pa.Array, table: pa.Table, keep: Any) -> tuple[pl.DataFrame, dict[str, int]]:
    rows = pl.DataFrame(table)
    frame = rows.filter(pl.col(KEY).is_not_null())
    unique = frame.unique(subset=KEY, keep=keep, maintain_order=True)
    wanted = pl.DataFrame(pa.table({KEY: target}))
    joined = wanted.join(unique, on=KEY, how="left", maintain_order="left")
    counts = {
        "rows": len(rows),
        "missing": len(wanted.join(unique, on=KEY, how="anti")),
        "duplicate": len(frame) - len(unique),
        "extra": len(unique.join(wanted, on=KEY, how="anti")),
        "null_key": len(rows) - len(frame),
    }
    return joined, counts


@given(case(), st.sampled_from(["first", "last"]))
@settings(max_examples=300, deadline=None)
def test_rows_and_counts_equal_those_of_a_join(drawn: tuple[pa.Array, pa.Table], keep: str) -> None:
    target, table = drawn
    aligned, counts = align(table, target, KEY, Policies(duplicate=keep))
    expected, known = by_polars(target, table, keep)
    assert pl.DataFrame(aligned).equals(expected)
    assert {name: value for name, value in counts.to_dict().items() if name != "reordered"} == known


@given(case())
@settings(max_examples=200, deadline=None)
def test_a_policy_of_error_refuses_exactly_when_its_count_is_not_zero(drawn: tuple[pa.Array, pa.Table]) -> None:
    target, table = drawn
    _, known = by_polars(target, table, "first")
    for name in POLICIES:
        policies = Policies(**{name: "error"})
        if known[name]:
            with pytest.raises(MisalignedError, match=f"{known[name]} .* policy {name} = error"):
                align(table, target, KEY, policies)
        else:
            align(table, target, KEY, policies)


def test_a_table_that_fits_is_not_copied() -> None:
    table = pa.table({KEY: pa.array([1, 2, 3]), "v": pa.array([1.0, 2.0, 3.0])})
    aligned, counts = align(table, pa.array([1, 2, 3]), KEY, Policies())
    assert aligned is table
    assert not counts.reordered


def test_order_of_columns_is_kept() -> None:
    table = pa.table({"a": [1, 2], KEY: [2, 1], "b": [3, 4]})
    aligned, counts = align(table, pa.array([1, 2]), KEY, Policies())
    assert aligned.column_names == ["a", KEY, "b"]
    assert aligned["a"].to_pylist() == [2, 1]
    assert counts.reordered


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"x": [1]}), "no key column 'k'; it has x"),
        (pa.table({KEY: ["1"]}), "is string, the target table's is int64"),
    ],
)
def test_a_key_that_cannot_be_compared_is_named(table: pa.Table, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        align(table, pa.array([1]), KEY, Policies())


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="policy extra must be one of drop, error, got 'keep'"):
        Policies(extra="keep")
