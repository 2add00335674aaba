"""Batches of the feature pipeline: what is started, what is left alone, what goes on, and how it is told."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ops_support import FakePlatform

from ops import costs, prices, runs
from ops.errors import BadRequest
from ops.feature_results import PairResult, checklist, result_of, worst
from ops.features import Batch, choose
from ops.outputs import Features
from ops.platforms import Phase, View
from ops.router import Place
from ops.store import FolderStore
from ops.targets import Target
from workloads.common.contract import ExitCode, RunRecord, RunState
from workloads.feature_pipeline.contract import Status, training_object

IMAGE = "host/p/images/feature-pipeline@sha256:" + "1f" * 32
PAIRS = ["eurusd", "gbpusd", "usdjpy"]
SYSTEM = Features(
    job="fp", job_id="projects/p/locations/l/jobs/fp", location="l", output_bucket="out", staging_bucket="st",
    service_account="fp@p.iam.gserviceaccount.com", image=IMAGE, cpu=4, memory_gib=12, task_timeout_s=7_200,
    pairs=PAIRS, features_dataset="f", raw_dataset="r",
)  # fmt: skip


@pytest.fixture
def pipeline(tmp_path: Path, platform: FakePlatform) -> Target:
    platform.runtime = "cloud-run"
    return Target(
        place=Place.JOB,
        store=FolderStore(tmp_path / "runs"),
        outputs=FolderStore(tmp_path / "out"),
        platform=platform,
        cpu=4,
        memory_gib=12,
    )


def batch(pipeline: Target, name: str = "b", pairs: list[str] | None = None, **more: Any) -> Batch:
    made = Batch(pipeline, pairs or PAIRS, name=name, **more)
    made.open()
    return made


def files(pipeline: Target) -> FolderStore:
    assert isinstance(pipeline.outputs, FolderStore)
    return pipeline.outputs


def write(pipeline: Target, made: Batch, pair: str, state: RunState, **changes: Any) -> Status:
    """Write the status of a pair's run, as its container would."""
    run = next(slot.run for slot in made.slots if slot.pair == pair)
    assert run is not None
    now = datetime.now(UTC).isoformat()
    ended = now if state.is_final else ""
    status = Status(state=state, pair=pair, run_id=run.run_id, started_at=now, heartbeat_at=now, ended_at=ended)
    status = replace(status, **changes)
    files(pipeline).write(f"{run.prefix}status.json", status.to_json())
    return status


def started(platform: FakePlatform) -> list[str]:
    return [env["TARGET_PAIR"] for env in platform.started]


def states(made: Batch) -> dict[str, str]:
    return {slot.pair: str(slot.state) for slot in made.slots}


def test_pairs_are_all_or_those_of_the_stack_each_once() -> None:
    assert choose("all", PAIRS) == PAIRS
    assert choose(" usdjpy,EURUSD,usdjpy ", PAIRS) == ["usdjpy", "eurusd"]
    with pytest.raises(BadRequest, match="not a pair of this stack: eurxxx") as refused:
        choose("eurusd,eurxxx", PAIRS)
    assert "usdjpy" in refused.value.remedy
    with pytest.raises(BadRequest, match="names no pair"):
        choose(" , ", PAIRS)


def test_the_index_is_written_before_the_container_starts_and_names_its_pair(
    pipeline: Target, platform: FakePlatform
) -> None:
    batch(pipeline, pairs=["eurusd"], started_by="user:me", keep=True).step()
    index = runs.find([pipeline.store], "features", "b-eurusd").index
    env = platform.started[0]
    assert (env["TARGET_PAIR"], env["RUN_ID"], env["FEATURES_KEEP"]) == ("eurusd", "b-eurusd", "true")
    assert env["RUN_START_TOKEN"] == index.start_token
    assert index.output_uri == f"{files(pipeline).uri}/runs/eurusd/b-eurusd/"
    assert index.platform == {"pair": "eurusd", "batch": "b", "container": "container-1", "runtime": "cloud-run"}
    assert index.started_by == "user:me"


def test_no_more_pairs_run_at_a_time_than_asked(pipeline: Target, platform: FakePlatform) -> None:
    made = batch(pipeline, parallel=2)
    assert not made.step()
    assert started(platform) == ["eurusd", "gbpusd"]
    assert states(made)["usdjpy"] == "WAITING"
    write(pipeline, made, "eurusd", RunState.RUNNING)
    write(pipeline, made, "gbpusd", RunState.SUCCEEDED)
    assert not made.step()
    assert started(platform) == ["eurusd", "gbpusd", "usdjpy"]
    for pair in ("eurusd", "usdjpy"):
        write(pipeline, made, pair, RunState.SUCCEEDED)
    assert made.step()
    assert set(states(made).values()) == {"SUCCEEDED"}
    assert runs.find([pipeline.store], "features", "b-usdjpy").index.state == RunState.SUCCEEDED


def test_a_batch_goes_on_where_each_pair_stood(pipeline: Target, platform: FakePlatform) -> None:
    first = batch(pipeline, parallel=3)
    first.step()
    write(pipeline, first, "eurusd", RunState.SUCCEEDED)
    write(pipeline, first, "gbpusd", RunState.FAILED, error_code="storage_unavailable")
    write(pipeline, first, "usdjpy", RunState.RUNNING)
    first.step()

    second = batch(pipeline, parallel=3)
    assert states(second) == {"eurusd": "SUCCEEDED", "gbpusd": "WAITING", "usdjpy": "RUNNING"}
    second.step()
    assert started(platform) == [*PAIRS, "gbpusd"]
    assert platform.started[-1]["RUN_ID"] == "b-gbpusd-2"
    write(pipeline, second, "gbpusd", RunState.FAILED, error_code="lost")
    second.step()
    third = batch(pipeline, parallel=3)
    third.step()
    assert platform.started[-1]["RUN_ID"] == "b-gbpusd-3"


def test_a_container_that_was_killed_is_written_down_before_the_pair_starts_again(
    pipeline: Target, platform: FakePlatform
) -> None:
    first = batch(pipeline, pairs=["eurusd"])
    first.step()
    write(pipeline, first, "eurusd", RunState.RUNNING, tables_done=7)
    platform.says = View(phase=Phase.FAILED, exit_code=137, message="killed")
    second = batch(pipeline, pairs=["eurusd"])
    status = Status.from_json(files(pipeline).read("runs/eurusd/b-eurusd/status.json").data)  # type: ignore[union-attr]  # it is there
    assert (status.state, status.error_code, status.tables_done) == ("FAILED", "lost", 7)
    assert "goes on where it stood" in status.hint
    platform.says = View(phase=Phase.RUNNING)
    second.step()
    assert [env["RUN_ID"] for env in platform.started] == ["b-eurusd", "b-eurusd-2"]


def test_only_force_runs_again_what_has_succeeded(pipeline: Target, platform: FakePlatform) -> None:
    first = batch(pipeline, pairs=["eurusd"])
    first.step()
    write(pipeline, first, "eurusd", RunState.SUCCEEDED)
    assert batch(pipeline, pairs=["eurusd"]).step()
    assert len(platform.started) == 1
    batch(pipeline, pairs=["eurusd"], force=True).step()
    assert platform.started[-1]["RUN_ID"] == "b-eurusd-2"


def test_a_pair_that_cannot_be_started_does_not_stop_the_others(pipeline: Target, platform: FakePlatform) -> None:
    made = batch(pipeline, pairs=["eurusd", "gbpusd"], parallel=1)
    platform.refuses = "403 PERMISSION_DENIED: Permission 'run.jobs.run' denied"
    made.step()
    platform.refuses = ""
    assert not made.step()
    write(pipeline, made, "gbpusd", RunState.SUCCEEDED)
    assert made.step()
    results = [result_of(slot, pipeline, prices.Prices()) for slot in made.slots]
    assert (results[0].state, results[0].error_code) == ("FAILED", "not_started")
    assert "run.jobs.run" in results[0].message
    assert runs.find([pipeline.store], "features", "b-eurusd").index.state == RunState.FAILED
    assert worst(results) == ExitCode.RETRY


def test_cancelling_ends_what_is_under_way_and_leaves_the_rest_unstarted(
    pipeline: Target, platform: FakePlatform
) -> None:
    made = batch(pipeline, parallel=2)
    made.step()

    def end() -> None:
        platform.says = View(phase=Phase.CANCELLED)

    platform.on_cancel = end
    made.cancel()
    assert states(made) == {"eurusd": "CANCELLED", "gbpusd": "CANCELLED", "usdjpy": "WAITING"}
    assert worst([result_of(slot, pipeline, prices.Prices()) for slot in made.slots]) == ExitCode.RETRY


@pytest.mark.parametrize(
    ("codes", "exit_code"),
    [(["", ""], 0), (["", "lost"], 1), (["lost", "tables_missing"], 2), (["validation_failed", ""], 2)],
)
def test_the_exit_code_is_that_of_the_worst_pair(codes: list[str], exit_code: int) -> None:
    results = [
        PairResult(pair="eurusd", run_id="r", state="FAILED" if code else "SUCCEEDED", error_code=code)
        for code in codes
    ]
    assert worst(results) == exit_code


def test_a_name_that_makes_no_run_id_is_refused(pipeline: Target) -> None:
    for name in ("-b", "x" * 51, "a b"):
        with pytest.raises(BadRequest, match="--batch must be"):
            batch(pipeline, name=name)
    with pytest.raises(BadRequest, match="--parallel must be 1 to 100, got 0"):
        batch(pipeline, parallel=0)


def test_a_delayed_execution_may_begin_hours_later_and_costs_less(pipeline: Target, platform: FakePlatform) -> None:
    made = batch(pipeline, pairs=["eurusd"], delayed=True)
    made.step()
    run = made.slots[0].run
    assert run is not None
    began = datetime.fromisoformat(run.index.started_at)
    assert runs.judge(run, None, began + timedelta(hours=12)).state == RunState.STARTING
    assert runs.judge(run, None, began + timedelta(hours=13)).state == RunState.LOST
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = {"started_at": start.isoformat(), "ended_at": (start + timedelta(minutes=85)).isoformat()}
    write(pipeline, made, "eurusd", RunState.SUCCEEDED, **times)
    made.step()
    result = result_of(made.slots[0], pipeline, prices.Prices())
    assert result.delayed
    assert result.usd == result.usd_delayed == pytest.approx(0.343, abs=0.0005)
    cost = costs.of_run(
        runs.find([pipeline.store], "features", "b-eurusd", pipeline.outputs), pipeline, prices.Prices()
    )
    assert any("$0.0000126" in line for line in cost.lines(prices.Prices()))


def test_85_minutes_of_a_pair_cost_what_the_price_list_says(pipeline: Target) -> None:
    made = batch(pipeline, pairs=["eurusd"])
    made.step()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = {"started_at": start.isoformat(), "ended_at": (start + timedelta(minutes=85)).isoformat()}
    write(pipeline, made, "eurusd", RunState.SUCCEEDED, **times)
    made.step()
    result = result_of(made.slots[0], pipeline, prices.Prices())
    assert result.usd == pytest.approx(0.490, abs=0.0005)
    assert result.usd_delayed == pytest.approx(0.343, abs=0.0005)
    assert 26 * result.usd == pytest.approx(12.73, abs=0.01)
    assert result.seconds == 5_100


CHECKS = {"rows": True, "columns": True, "horizons": True}


def finish(pipeline: Target, made: Batch, pair: str, *, size: int = 3, cpus: float = 4, **status: Any) -> None:
    """End a pair well: status, record and training file."""
    written = write(pipeline, made, pair, RunState.SUCCEEDED, **{"checks": CHECKS, "tables_per_minute": 20, **status})
    record = RunRecord(
        system="features", run_id=written.run_id, state="SUCCEEDED", start="", end="", image=IMAGE, arguments={},
        counts={"rows": 6_000, "columns": 400, "tables": 62, "tables_reused": 2},
        details={"training_file": {"uri": f"gs://out/{training_object(pair)}", "bytes": 3}, "resources": {"cpus": cpus}},
    )  # fmt: skip
    files(pipeline).write(f"runs/{pair}/{written.run_id}/run_metadata.json", record.to_json())
    files(pipeline).write(training_object(pair), b"x" * size)


def test_the_summary_has_what_the_record_says(pipeline: Target) -> None:
    made = batch(pipeline, pairs=["eurusd"])
    made.step()
    finish(pipeline, made, "eurusd")
    made.step()
    result = result_of(made.slots[0], pipeline, prices.Prices())
    assert (result.rows, result.columns, result.tables, result.tables_reused, result.bytes) == (6_000, 400, 62, 2, 3)
    assert result.validation == "3 of 3"
    assert result.report_uri.endswith("/runs/eurusd/b-eurusd/validation.html")
    assert result.training_uri == "gs://out/training_eurusd.parquet"


def marks(pipeline: Target, made: Batch) -> dict[str, bool | None]:
    results = [result_of(slot, pipeline, prices.Prices()) for slot in made.slots]
    return {item.text: item.ok for item in checklist(made, SYSTEM, results)}


def test_the_checklist_is_ticked_where_everything_is_well(pipeline: Target, platform: FakePlatform) -> None:
    made = batch(pipeline, pairs=["eurusd", "gbpusd"], parallel=2)
    made.step()
    for pair in ("eurusd", "gbpusd"):
        finish(pipeline, made, pair)
    made.step()
    found = marks(pipeline, made)
    del found["Cloud Run job created"]  # told by the name of an execution, which this platform has none of
    assert set(found.values()) == {True}, found
    assert len(found) == 10


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"size": 2}, "each of the size and checksum that was uploaded"),
        ({"checks": CHECKS | {"horizons": False}}, "all target horizons present"),
        ({"checks": CHECKS | {"columns": False}}, "rows and columns as the settings demand"),
        ({"cpus": 2}, "an encoder for each CPU"),
        ({"warnings": ["extraction runs at less than half of the expected 10 tables/min"]}, "extraction at the expect"),
    ],
)
def test_the_checklist_shows_what_is_not_well(pipeline: Target, changes: dict[str, Any], text: str) -> None:
    made = batch(pipeline, pairs=["eurusd"])
    made.step()
    finish(pipeline, made, "eurusd", **changes)
    made.step()
    wrong = [item for item, ok in marks(pipeline, made).items() if ok is False]
    assert len(wrong) == 1
    assert wrong[0].startswith(text)


def test_nothing_is_ticked_that_no_run_has_shown(pipeline: Target) -> None:
    made = batch(pipeline, pairs=["eurusd"])
    made.step()
    write(pipeline, made, "eurusd", RunState.FAILED, error_code="permission_denied")
    made.step()
    found = marks(pipeline, made)
    assert found.pop("container image built, named by its digest") is True
    assert found.pop("service account has the permissions it needs") is False
    assert found.pop("executions complete") is False
    assert set(found.values()) == {None}


def test_what_the_container_warns_of_the_rate_is_what_the_checklist_looks_for() -> None:
    from ops.feature_results import SLOW

    source = (Path(__file__).parents[2] / "workloads" / "feature_pipeline" / "stages.py").read_text()
    assert SLOW in source


def test_a_table_has_a_row_for_each_pair_and_a_column_for_each_stage(pipeline: Target) -> None:
    from ops.commands.feature_table import board, line, row

    made = batch(pipeline, parallel=1)
    made.step()
    beat = datetime.now(UTC)
    write(
        pipeline, made, "eurusd", RunState.RUNNING, stage="merge", stage_seconds={"extract": 61, "merge": 2.5},
        tables_done=62, tables_total=62, tables_per_minute=80.4, peak_memory_mib=512, heartbeat_at=beat.isoformat(),
    )  # fmt: skip
    made.step()
    now = beat + timedelta(seconds=4)
    assert row(made.slots[0], now) == [
        "eurusd", "RUNNING", "1 min 01 s", "6.5 s …", "", "", "", "62/62", "80", "", "512",
    ]  # fmt: skip
    assert row(made.slots[2], now)[:2] == ["usdjpy", "WAITING"]
    assert board(made, now).row_count == 3
    assert line(made.slots[0]) == "eurusd RUNNING merge, 62 tables"


def test_json_of_a_result_can_be_written(pipeline: Target) -> None:
    from dataclasses import asdict

    made = batch(pipeline, pairs=["eurusd"])
    made.step()
    finish(pipeline, made, "eurusd")
    made.step()
    json.dumps(asdict(result_of(made.slots[0], pipeline, prices.Prices())))
