"""Settings travel through the environment, and wrong ones fail where they are made."""

from pathlib import Path
from typing import Any

import pytest
from features_support import settings

from workloads.common.contract import ExitCode
from workloads.feature_pipeline.contract import (
    PAIRS,
    ErrorCode,
    FeatureEnv,
    Status,
    checkpoint_object,
    records_prefix,
    snapshot_object,
    training_object,
)

FULL: dict[str, Any] = {
    "run_id": "r1",
    "pairs": ("eurusd", "gbpusd"),
    "missing_allowed": ("a", "b"),
    "horizons": (15, 30),
    "keep": True,
    "max_null_ratio": 0.5,
    "scratch": "disk",
    "workers": 3,
}


def test_settings_survive_the_environment() -> None:
    env = settings(Path("/x"), **FULL)
    assert FeatureEnv.from_env(env.to_env()) == env


def test_every_setting_that_is_not_its_default_becomes_a_variable() -> None:
    assert set(settings(Path("/x")).to_env()) == {
        "FEATURES_PROJECT", "FEATURES_FEATURES_DATASET", "FEATURES_RAW_DATASET", "FEATURES_OUTPUT_BUCKET",
        "FEATURES_STAGING_BUCKET", "FEATURES_SCRATCH_DIR", "FEATURES_IO_THREADS", "TARGET_PAIR",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pair": "EURUSD"}, "pair: must be six lower-case letters"),
        ({"pairs": ("euro",)}, "pair: must be six"),
        ({"project": ""}, "project: must not be empty"),
        ({"target_table": "targets"}, "target_table: must contain {pair}"),
        ({"pair_tables": "({pair}"}, "pair_tables: is no regular expression"),
        ({"io_threads": 0}, "io_threads: must be 1 to 64, got 0"),
        ({"max_null_ratio": 1.5}, "max_null_ratio: must be 0 to 1, got 1.5"),
        ({"scratch": "tape"}, "scratch: must be one of memory, disk, got 'tape'"),
        ({"policy_extra": "first"}, "policy_extra: must be one of drop, error"),
        ({"horizons": ()}, "horizons: must be one or more minutes above 0"),
        ({"merge_tries": 0}, "merge_tries: must be 1 to 10"),
    ],
)
def test_a_wrong_setting_fails_at_construction_with_name_range_and_value(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("{", r"\{")):
        settings(Path("/x"), **changes)


def test_all_wrong_variables_are_named_at_once() -> None:
    env = {"FEATURES_IO_THREADS": "many", "FEATURES_KEEP": "maybe", "FEATURES_HORIZONS": "15,x"}
    with pytest.raises(ValueError, match="IO_THREADS: must be a whole number") as caught:
        FeatureEnv.from_env(env)
    for said in (
        "FEATURES_KEEP: must be true or false",
        "FEATURES_HORIZONS: must be whole numbers",
        "PROJECT: must be",
    ):
        assert said in str(caught.value)


def test_names_of_objects() -> None:
    assert len(set(PAIRS)) == 26
    assert training_object("eurusd") == "training_eurusd.parquet"
    assert records_prefix("eurusd", "r1") == "runs/eurusd/r1/"
    assert snapshot_object("eurusd") == "checkpoints/eurusd/snapshot.json"
    assert checkpoint_object("eurusd", "S", "t") == "checkpoints/eurusd/S/t.parquet"


def test_what_a_retry_cannot_cure_exits_2() -> None:
    assert ErrorCode.TOO_LARGE.exit_code is ExitCode.BAD_REQUEST
    assert ErrorCode.STORAGE_UNAVAILABLE.exit_code is ExitCode.RETRY


def test_a_status_of_a_newer_writer_is_read() -> None:
    status = Status(state="RUNNING", pair="eurusd", run_id="r")
    assert Status.from_json(status.to_json().replace(b'"pair"', b'"later": 1, "pair"')).pair == "eurusd"
