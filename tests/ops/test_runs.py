from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ops import runs
from ops.errors import BadRequest
from ops.platforms import Phase, View
from ops.reap import reap, verdict
from ops.runs import Run, judge
from ops.store import FolderStore
from workloads.common.contract import RunIndex, RunState
from workloads.heavy_runner.contract import ErrorCode, ErrorReport, Status


def make(tmp_path: Path, now: datetime, status: Status | None = None, **index: object) -> Run:
    store = FolderStore(tmp_path / "bucket")
    values = {"system": "heavy", "run_id": "r", "start_token": "t", "started_by": "me", "state": RunState.STARTING}
    held = RunIndex(
        **{**values, "started_at": now.isoformat(), "output_uri": f"{store.uri}/outputs/r/", **index}  # type: ignore[arg-type]  # test values
    )
    generation = store.write("runs/heavy/r.json", held.to_json(), generation=0)
    if status is not None:
        store.write("outputs/r/status.json", status.to_json())
    return runs.refresh(Run(store=store, index=held, index_generation=generation))


def running(now: datetime, *, age_s: float = 0) -> Status:
    beat = (now - timedelta(seconds=age_s)).isoformat()
    return Status(state=RunState.RUNNING, run_id="r", phase="script", heartbeat_at=beat, started_at=now.isoformat())


def test_a_heartbeat_older_than_five_intervals_is_lost(tmp_path: Path, now: datetime) -> None:
    run = make(tmp_path, now, running(now, age_s=49))
    assert judge(run, None, now).state == RunState.RUNNING
    lost = judge(run, None, now + timedelta(seconds=2))
    assert (lost.state, lost.recorded) == (RunState.LOST, False)
    assert "no heartbeat for 51 s" in lost.detail


def test_the_platforms_end_counts_where_the_container_wrote_none(tmp_path: Path, now: datetime) -> None:
    run = make(tmp_path, now, running(now))
    assert judge(run, View(phase=Phase.FAILED), now).state == RunState.FAILED
    assert judge(run, View(phase=Phase.CANCELLED), now).state == RunState.CANCELLED
    assert judge(run, View(phase=Phase.RUNNING), now).state == RunState.RUNNING


def test_a_final_status_counts_more_than_the_platform(tmp_path: Path, now: datetime) -> None:
    run = make(tmp_path, now, replace(running(now), state=RunState.SUCCEEDED))
    assert judge(run, View(phase=Phase.FAILED), now).state == RunState.SUCCEEDED
    assert not run.asks_platform


def test_a_container_that_was_told_to_stop_was_cancelled_if_the_platform_says_so(tmp_path: Path, now: datetime) -> None:
    status = replace(running(now), state=RunState.FAILED, error_code=ErrorCode.TERMINATED)
    run = make(tmp_path, now, status)
    assert run.asks_platform
    assert judge(run, View(phase=Phase.CANCELLED), now).state == RunState.CANCELLED
    assert judge(run, View(phase=Phase.FAILED), now).state == RunState.FAILED


def test_a_start_without_a_container_is_lost_after_the_grace(tmp_path: Path, now: datetime) -> None:
    run = make(tmp_path, now)
    assert judge(run, None, now + timedelta(minutes=29)).state == RunState.STARTING
    assert judge(run, None, now + timedelta(minutes=31)).state == RunState.LOST


@pytest.mark.parametrize(
    ("view", "seen", "code"),
    [
        (View(phase=Phase.CANCELLED), True, ErrorCode.CANCELLED),
        (View(phase=Phase.FAILED, exit_code=137, out_of_memory=True), True, ErrorCode.OUT_OF_MEMORY),
        (View(phase=Phase.FAILED, message="The task timed out: timeout of 60s"), True, ErrorCode.TASK_TIMEOUT),
        (View(phase=Phase.FAILED, reason="CONTAINER_MISSING", message="Image not found"), False, ErrorCode.NOT_STARTED),
        (View(phase=Phase.FAILED), False, ErrorCode.NOT_STARTED),
        (View(phase=Phase.FAILED, signal=9), True, ErrorCode.LOST),
        (View(phase=Phase.FAILED, exit_code=137), True, ErrorCode.LOST),
        (View(phase=Phase.GONE), True, ErrorCode.LOST),
        (View(phase=Phase.SUCCEEDED), True, ErrorCode.LOST),
    ],
)
def test_what_the_platform_says_becomes_a_code_of_the_contract(view: View, seen: bool, code: ErrorCode) -> None:
    assert verdict(view, seen=seen).code == code


def test_reaping_writes_status_error_record_and_index_once(tmp_path: Path, now: datetime) -> None:
    run = make(tmp_path, now, running(now), platform={"execution": "projects/p/x"})
    view = View(phase=Phase.FAILED, exit_code=137, out_of_memory=True, message="Memory limit exceeded")
    first = reap(run, view, now)
    assert (first.state, first.wrote) == (RunState.FAILED, True)
    names = {info.name.removeprefix("outputs/r/") for info in run.store.list("outputs/r/")}
    assert names == {"status.json", "error.json", "run_metadata.json"}
    held = run.store.read("outputs/r/error.json")
    assert held is not None
    assert ErrorReport.from_json(held.data).code == ErrorCode.OUT_OF_MEMORY
    again = runs.find([run.store], "heavy", "r")
    assert again.index.state == RunState.FAILED
    assert not reap(again, view, now).wrote


def test_reaping_leaves_a_run_alone_that_may_be_at_work(tmp_path: Path, now: datetime) -> None:
    run = make(tmp_path, now, running(now, age_s=500), platform={"execution": "projects/p/x"})
    result = reap(run, View(phase=Phase.RUNNING), now)
    assert (result.state, result.wrote) == (RunState.LOST, False)


def test_reaping_gives_way_to_a_container_that_writes_after_all(tmp_path: Path, now: datetime) -> None:
    run = make(tmp_path, now, running(now), platform={"execution": "projects/p/x"})
    done = replace(running(now), state=RunState.SUCCEEDED)
    run.store.write("outputs/r/status.json", done.to_json())
    assert not reap(run, View(phase=Phase.FAILED), now).wrote
    assert runs.refresh(run).status == done


def test_a_lost_start_is_written_down(tmp_path: Path, now: datetime) -> None:
    run = make(tmp_path, now)
    result = reap(run, None, now + timedelta(hours=1))
    assert result.wrote
    assert runs.find([run.store], "heavy", "r").index.state == RunState.FAILED


def test_an_unknown_run_and_a_wrong_run_id_are_told(tmp_path: Path, now: datetime) -> None:
    store = make(tmp_path, now).store
    with pytest.raises(BadRequest, match="there is no run other"):
        runs.find([store], "heavy", "other")
    with pytest.raises(BadRequest, match="run_id: must be"):
        runs.find([store], "heavy", "../x")


def test_the_last_runs_come_first(tmp_path: Path, now: datetime) -> None:
    run = make(tmp_path, now)
    for name in ("a", "b"):
        run.store.write(f"runs/heavy/{name}.json", replace(run.index, run_id=name).to_json())
    assert [found.run_id for found in runs.recent([runs.Shelf(system="heavy", store=run.store)], 2)] == ["b", "a"]
