"""Which tables belong to a pair, found by their names."""

from typing import Any

import pytest
from features_support import settings as env_of

from workloads.feature_pipeline.contract import FeatureEnv
from workloads.feature_pipeline.tables import (
    Snapshot,
    TablesMissingError,
    Uploaded,
    changed,
    choose,
    nested,
    refuse_missing,
)


def env(**changes: Any) -> FeatureEnv:
    from pathlib import Path

    return env_of(Path("/unused"), pairs=("eurusd", "gbpusd", "audusd"), **changes)


NAMES = ["targets_eurusd", "targets_gbpusd", "sma_5_eurusd", "sma_5_gbpusd", "std_eurusd", "shared_days", "notes"]


def test_target_features_and_shared_tables_are_told_apart() -> None:
    found = choose(NAMES, env())
    assert (found.target, found.features, found.shared) == (
        "targets_eurusd",
        ["sma_5_eurusd", "std_eurusd"],
        ["shared_days"],
    )
    assert found.missing == []


def test_a_family_of_another_pair_is_missed() -> None:
    assert choose(NAMES, env(pair="gbpusd")).missing == ["std_gbpusd"]


def test_the_pair_may_stand_anywhere_in_the_name() -> None:
    names = ["eurusd_target", "gbpusd_target", "eurusd_sma", "gbpusd_sma", "gbpusd_std"]
    found = choose(names, env(target_table="{pair}_target", pair_tables=r"{pair}_\w+"))
    assert (found.features, found.missing) == (["eurusd_sma"], ["eurusd_std"])


def test_a_correlation_with_the_pair_itself_is_not_missed() -> None:
    names = ["targets_eurusd", "corr_gbpusd_eurusd", "corr_eurusd_gbpusd", "corr_eurusd_audusd", "corr_gbpusd_audusd"]
    assert choose(names, env()).missing == []
    assert choose([*names, "targets_gbpusd"], env(pair="gbpusd")).missing == []


def test_tables_of_pairs_outside_the_stack_are_no_family() -> None:
    assert choose([*NAMES, "carry_nzdjpy"], env()).missing == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["sma_eurusd"], r"features has no target table 'targets_eurusd' \(setting target_table\)"),
        (["targets_eurusd", "other"], r"no feature tables for eurusd: none of its 2 tables matches"),
    ],
)
def test_a_dataset_without_them_is_refused_naming_the_setting(names: list[str], said: str) -> None:
    with pytest.raises(TablesMissingError, match=said):
        choose(names, env())


def test_every_missing_table_is_named_but_those_allowed() -> None:
    refuse_missing(["a", "b"], ["b", "a"], "missing")
    with pytest.raises(TablesMissingError, match=r"missing: a, c; make them, or name them in missing_allowed"):
        refuse_missing(["c", "a", "b"], ["b"], "missing")
    with pytest.raises(TablesMissingError, match=r"… \(67 in all\)"):
        refuse_missing([f"t{index}" for index in range(67)], [], "missing")


def test_a_change_of_columns_is_put_into_words() -> None:
    assert changed({"a": "INT64"}, {"a": ""}) == ""
    said = changed({"a": "INT64", "b": "INT64"}, {"a": "FLOAT64", "c": "INT64"})
    assert said == "without b and with new c and with another type for a"


def test_arrays_and_records_are_nested() -> None:
    kinds = {"a": "FLOAT64", "b": "ARRAY<INT64>", "c": "STRUCT<x INT64>"}
    assert nested(kinds) == ["b", "c"]


def test_a_snapshot_survives_json() -> None:
    snapshot = Snapshot(
        snapshot_id="20260131T235959Z",
        snapshot_time="2026-01-31T23:59:59Z",
        fingerprint="f",
        run_id="r",
        target="t",
        tables={"t": {"k": "INT64"}},
        datasets={"t": "p.d"},
        missing=("m",),
        output_generation=7,
        uploaded=Uploaded(generation=8, size=9, crc32c=10, records="gs://o/"),
    )
    assert Snapshot.from_json(snapshot.to_json()) == snapshot
    with pytest.raises(ValueError, match="Snapshot"):
        Snapshot.from_json(b"{}")
