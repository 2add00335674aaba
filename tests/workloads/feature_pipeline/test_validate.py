"""Each check fails for its own reason and for no other; the page says so, the same every time."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from features_support import KEY, features, keys, settings, targets

from workloads.feature_pipeline import checkpoint, report
from workloads.feature_pipeline.contract import FeatureEnv
from workloads.feature_pipeline.manifest import Entry, Manifest
from workloads.feature_pipeline.merge import footer, plan
from workloads.feature_pipeline.merge.splice import Options, merge
from workloads.feature_pipeline.validate import Report, validate

ROWS = 40_000


class Merged:
    """A merged file with its manifest, as the stages before make them."""

    def __init__(self, folder: Path, tables: Mapping[str, pa.Table]) -> None:
        self.folder, self.path = folder, folder / "out.parquet"
        sources, entries = [], {}
        for name, table in tables.items():
            path = folder / f"{name}.parquet"
            checkpoint.write(table, KEY, path)
            sources.append(plan.Source(table=name, path=path))
            entries[name] = entry(name, table)
        self.renamed = merge(sources, self.path, Options(key=KEY)).renamed
        self.manifest = Manifest(pair="eurusd", key=KEY, target="targets", snapshot_time="t", tables=entries)

    def report(self, manifest: Manifest | None = None, **changes: Any) -> Report:
        return validate(self.path, manifest or self.manifest, self.env(**changes), self.renamed)

    def env(self, **changes: Any) -> FeatureEnv:
        return settings(self.folder, **changes)


def entry(name: str, table: pa.Table) -> Entry:
    return Entry(
        table=name,
        snapshot_time="t",
        rows=len(table),
        columns=tuple(column for column in table.column_names if column != KEY),
        counts={"missing": 0, "duplicate": 0, "extra": 0},
        nan=checkpoint.nan_counts(table),
        size=0,
        crc32c=0,
    )


def failed(found: Report) -> dict[str, str]:
    return {check.name: check.detail for check in found.checks if not check.passed}


def tables(**more: pa.Table) -> dict[str, pa.Table]:
    return {"targets": targets(ROWS), "sma": features("sma", ROWS), **more}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Merged:
    return Merged(tmp_path_factory.mktemp("good"), tables())


def column(values: Any) -> pa.Table:
    return pa.table({KEY: keys(ROWS), "x": values})


def test_a_good_file_passes_every_check(good: Merged) -> None:
    found = good.report()
    assert failed(found) == {}
    assert (found.rows, found.columns, found.row_groups) == (ROWS, 11, 3)
    assert found.targets == {"return": [15, 30, 45, 60, 75, 90, 105]}
    assert found.tables["sma"]["columns"] == 3


@pytest.mark.parametrize(
    ("changes", "name", "said"),
    [
        ({"min_rows": ROWS + 1}, "rows", "40,000 rows; the target table has 40,000, at least 40,001"),
        ({"min_columns": 12}, "columns", "11 columns, at least 12"),
        ({"horizons": (15, 120)}, "horizons", "return lacks h120"),
    ],
)
def test_settings_that_ask_for_more(good: Merged, changes: dict[str, Any], name: str, said: str) -> None:
    assert list(found := failed(good.report(**changes))) == [name]
    assert said in found[name]


Change = Callable[[Manifest], Manifest]


def of(manifest: Manifest, **changes: Any) -> Manifest:
    values = {name: getattr(manifest, name) for name in ("pair", "key", "target", "snapshot_time", "tables")}
    return Manifest(**{**values, **changes})


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        (
            lambda m: of(m, tables={**m.tables, "lost": entry("lost", features("lost", ROWS))}),
            "columns",
            "absent: lost_0",
        ),
        (lambda m: of(m, tables={"targets": m.tables["targets"]}), "columns", "not expected: sma_0"),
        (lambda m: of(m, missing=("gone",)), "tables", "missing or empty: gone"),
        (lambda m: of(m, empty=("bare",)), "tables", "missing or empty: bare"),
    ],
)
def test_what_the_manifest_says_otherwise(good: Merged, change: Change, name: str, said: str) -> None:
    found = failed(good.report(change(good.manifest)))
    assert list(found) == [name]
    assert said in found[name]


def test_tables_missing_by_name_are_told_but_pass(good: Merged) -> None:
    found = good.report(of(good.manifest, missing=("gone",)), missing_allowed=("gone",))
    assert failed(found) == {}
    assert "allowed by name: gone" in next(check.detail for check in found.checks if check.name == "tables")


@pytest.mark.parametrize(
    ("values", "name", "passes"),
    [
        (np.full(ROWS, np.nan), "no empty column", False),
        (pa.nulls(ROWS, pa.float64()), "no empty column", False),
        (pa.array([None, float("nan")] * (ROWS // 2), from_pandas=False), "no empty column", False),
        (np.full(ROWS, 2.5), "no constant column", True),
        (np.where(np.arange(ROWS) % 2, 0.0, -0.0), "no constant column", True),
        (pa.array([1.0, *[None] * (ROWS - 2), 2.0]), "null ratio", True),
        (np.concatenate([[1.0, 2.0], np.full(ROWS - 2, np.nan)]), "null ratio", True),
        (pa.array(np.arange(ROWS)).cast(pa.string()), "types", True),
    ],
)
def test_columns_that_are_not_what_a_feature_is(tmp_path: Path, values: Any, name: str, passes: bool) -> None:
    found = Merged(tmp_path, tables(odd=column(values))).report()
    assert list(failed(found)) == [name]
    assert "x" in failed(found)[name]
    assert found.passed is passes


def test_a_column_that_differs_between_row_groups_only_is_not_constant(tmp_path: Path) -> None:
    steps = np.repeat([1.0, 2.0, 3.0], [16_384, 16_384, ROWS - 32_768])
    assert failed(Merged(tmp_path, tables(odd=column(steps))).report()) == {}


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pa.concat_arrays([keys(ROWS - 1), keys(1)]), ["key unique", "key ordered"]),
        (keys(ROWS)[::-1], ["key ordered"]),
        (pa.concat_arrays([pa.nulls(1, keys(1).type), keys(ROWS)[1:]]), ["key unique"]),
    ],
)
def test_a_key_that_repeats_falls_or_is_absent(tmp_path: Path, values: pa.Array, names: list[str]) -> None:
    every = {name: table.set_column(0, KEY, values) for name, table in tables().items()}
    assert list(failed(Merged(tmp_path, every).report())) == names


def test_renamed_columns_are_known_and_their_nan_counted(tmp_path: Path) -> None:
    one = column(np.full(ROWS, np.nan))
    merged = Merged(tmp_path, tables(a=one, b=column(np.arange(ROWS, dtype="float64"))))
    assert failed(merged.report()) == {"no empty column": "only null or NaN: a__x"}


def test_a_target_table_without_horizons(tmp_path: Path) -> None:
    merged = Merged(tmp_path, {"targets": features("plain", ROWS), "sma": features("sma", ROWS)})
    assert list(failed(merged.report())) == ["horizons"]


def test_a_file_cut_short_is_no_parquet_file(tmp_path: Path) -> None:
    merged = Merged(tmp_path, tables())
    merged.path.write_bytes(merged.path.read_bytes()[:-5])
    with pytest.raises(footer.BadParquetError, match=r"out\.parquet"):
        merged.report()


# -- the page -----------------------------------------------------------------------------------------------------


def test_the_page_is_the_same_every_time_and_needs_nothing_else(good: Merged) -> None:
    found = good.report()
    one, two = (report.page(found, good.path, {"run": "r1"}) for _ in range(2))
    assert one == two
    pictures = re.findall(r"<svg.*?</svg>", one, re.DOTALL)
    assert [ElementTree.fromstring(picture).get("role") for picture in pictures] == ["img"] * 3  # noqa: S314  # our own text
    assert "http" not in one.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in one


def test_the_page_says_what_failed_and_escapes_names(tmp_path: Path) -> None:
    odd = pa.table({KEY: keys(ROWS), "<b>x</b>": pa.nulls(ROWS, pa.float64())})
    merged = Merged(tmp_path, tables(odd=odd))
    found = report.page(merged.report(), merged.path, {"run": "<i>"})
    assert "NOT valid" in found
    assert "FAILED" in found
    assert "<b>x" not in found
    assert "<i>" not in found


@pytest.mark.parametrize("rows", [1, 3])
def test_the_page_of_few_rows_and_other_types(tmp_path: Path, rows: int) -> None:
    odd = pa.table(
        {
            KEY: keys(rows),
            "text": ["a"] * rows,
            "flag": [True] * rows,
            "when": keys(rows),
            "none": pa.nulls(rows, pa.float64()),
            "inf": np.full(rows, np.inf),
        }
    )
    merged = Merged(tmp_path, {"targets": targets(rows), "odd": odd})
    found = merged.report()
    assert "no values" in report.page(found, merged.path, {})
    json.dumps(found.to_dict(), allow_nan=False)
