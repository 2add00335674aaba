from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.common.contract import (
    Endpoints,
    RunIndex,
    RunRecord,
    RunStart,
    RunState,
    Task,
    check_run_id,
    index_object,
    job_cost_usd,
    new_run_id,
)


def test_task_outside_a_platform_is_the_only_one() -> None:
    assert Task.from_env({}) == Task(index=0, count=1, attempt=0, execution="")


def test_task_is_read_from_cloud_run_and_from_batch() -> None:
    run = {"CLOUD_RUN_TASK_INDEX": "3", "CLOUD_RUN_TASK_COUNT": "8", "CLOUD_RUN_TASK_ATTEMPT": "1"}
    assert Task.from_env(run | {"CLOUD_RUN_EXECUTION": "heavy-x1"}) == Task(
        index=3, count=8, attempt=1, execution="heavy-x1"
    )
    assert Task.from_env({"BATCH_TASK_INDEX": "3", "BATCH_TASK_COUNT": "8"}).count == 8


def test_only_endpoints_that_are_set_reach_the_environment() -> None:
    assert Endpoints().to_env() == {}
    local = Endpoints(storage="http://127.0.0.1:8472")
    assert local.to_env() == {"LONGHAUL_STORAGE_ENDPOINT": "http://127.0.0.1:8472"}
    assert Endpoints.from_env(local.to_env()) == local


def test_endpoint_with_a_path_is_refused() -> None:
    with pytest.raises(ValueError, match=r"storage: endpoint must be .* without a path, got 'http://x/storage/v1/'"):
        Endpoints(storage="http://x/storage/v1/")


@given(st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", fullmatch=True))
def test_run_id_of_the_pattern_is_taken(run_id: str) -> None:
    assert index_object("heavy", run_id) == f"runs/heavy/{run_id}.json"


@pytest.mark.parametrize("run_id", ["", "a/b", "../a", "-a", "a-", "a" * 64, "a\n", "ä"])
def test_run_id_that_could_leave_its_place_is_refused(run_id: str) -> None:
    with pytest.raises(ValueError, match="run_id: must be 1 to 63"):
        check_run_id(run_id)


def test_new_run_ids_sort_by_time() -> None:
    first = new_run_id(datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC), b"\xff" * 4)
    second = new_run_id(datetime(2026, 2, 1, tzinfo=UTC), b"\x00" * 4)
    assert first == "20260131-235959-ffffffff"
    assert first < second


def test_documents_survive_their_json_and_newer_fields_are_ignored() -> None:
    index = RunIndex(system="heavy", run_id="a", start_token="t", started_by="user:x", started_at="now")
    assert RunIndex.from_json(index.to_json()) == index
    newer = index.to_json().replace(b'"system"', b'"added_later": 1, "system"', 1)
    assert RunIndex.from_json(newer) == index
    with pytest.raises(ValueError, match=r"RunRecord.*missing"):
        RunRecord.from_json(b"{}")
    with pytest.raises(ValueError, match="RunRecord: must be a JSON object, got list"):
        RunRecord.from_json(b"[]")


def test_start_variables_are_only_those_that_are_known() -> None:
    assert RunStart().to_env() == {}
    start = RunStart(token="t", started_by="user:x")
    assert RunStart.from_env(start.to_env()) == start


def test_states_that_are_final() -> None:
    assert {state for state in RunState if not state.is_final} == {"STARTING", "RUNNING"}


def test_cost_is_the_list_price_of_8_cpus_and_32_gib_for_half_an_hour() -> None:
    assert job_cost_usd(8, 32, 1_800) == pytest.approx(8 * 1800 * 0.000018 + 32 * 1800 * 0.000002)
