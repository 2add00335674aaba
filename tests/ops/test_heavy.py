import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ops_support import FakePlatform

from ops import heavy, lifecycle, runs
from ops.errors import BadRequest, OpsError
from ops.platforms import Phase, View
from ops.request import Request
from ops.store import Held
from ops.targets import Target, from_env
from workloads.common.contract import RunState
from workloads.heavy_runner.contract import ErrorCode, ErrorReport, Status


def end_as(target: Target, run: runs.Run, state: RunState, code: str = "") -> None:
    now = datetime.now(UTC).isoformat()
    status = Status(state=state, run_id=run.run_id, heartbeat_at=now, started_at=now, ended_at=now, error_code=code)
    target.store.write(f"{run.prefix}status.json", status.to_json())


def held(target: Target, name: str) -> Held:
    found = target.store.read(name)
    assert found is not None, name
    return found


def test_index_uploads_and_request_are_there_before_the_container_starts(
    request_: Request, target: Target, platform: FakePlatform
) -> None:
    run = heavy.submit(request_, target, run_id="r1", started_by="user:me")
    env = platform.started[0]
    index = runs.find([target.store], "heavy", "r1").index
    assert env["RUN_START_TOKEN"] == index.start_token
    assert env["INPUT_URI"] == f"{target.store.uri}/inputs/r1.json"
    assert env["OUTPUT_URI"] == f"{target.store.uri}/outputs/r1/"
    assert index.platform == {"container": "container-1", "runtime": "container"}
    assert json.loads(held(target, "inputs/r1.json").data)["run_id"] == "r1"
    assert held(target, "datasets/r1/cleaned_data.csv").data == request_.data.read_bytes()
    assert run.index.started_by == "user:me"


def test_a_second_start_of_a_run_id_says_who_holds_it(
    request_: Request, target: Target, platform: FakePlatform
) -> None:
    heavy.submit(request_, target, run_id="r1", started_by="user:first")
    with pytest.raises(BadRequest, match=r"run r1 exists: user:first started it at .*; it is STARTING"):
        heavy.submit(request_, target, run_id="r1", force=True)
    assert len(platform.started) == 1


def test_a_run_that_has_ended_is_run_again_only_by_force_and_beside_the_old_outputs(
    request_: Request, target: Target, platform: FakePlatform
) -> None:
    first = heavy.submit(request_, target, run_id="r1")
    end_as(target, first, RunState.SUCCEEDED)
    with pytest.raises(BadRequest, match="it is SUCCEEDED") as caught:
        heavy.submit(request_, target, run_id="r1")
    assert "--force" in caught.value.remedy
    second = heavy.submit(request_, target, run_id="r1", force=True)
    assert second.prefix == "outputs/r1/attempt_2/"
    assert json.loads(held(target, "inputs/r1.json").data)["attempt"] == 2
    end_as(target, second, RunState.FAILED)
    assert heavy.submit(request_, target, run_id="r1", force=True).prefix == "outputs/r1/attempt_3/"


def test_a_start_that_the_platform_refuses_ends_as_failed(
    request_: Request, target: Target, platform: FakePlatform
) -> None:
    platform.refuses = "403 PERMISSION_DENIED: Permission 'run.jobs.run' denied"
    with pytest.raises(OpsError, match=r"run\.jobs\.run"):
        heavy.submit(request_, target, run_id="r1")
    run = runs.find([target.store], "heavy", "r1")
    assert run.index.state == RunState.FAILED
    error = ErrorReport.from_json(held(target, "outputs/r1/error.json").data)
    assert error.code == ErrorCode.NOT_STARTED
    assert "run.jobs.run" in error.message
    platform.refuses = ""
    assert heavy.submit(request_, target, run_id="r1", force=True)


def test_waiting_ends_with_the_containers_own_end(request_: Request, target: Target) -> None:
    run = heavy.submit(request_, target, run_id="r1")
    seen: list[RunState] = []

    def sleep(_seconds: float) -> None:
        end_as(target, run, RunState.SUCCEEDED)

    ended = lifecycle.wait(run, target, on_look=lambda _, judgement: seen.append(judgement.state), sleep=sleep)
    assert seen == [RunState.STARTING, RunState.SUCCEEDED]
    assert ended.index.state == RunState.SUCCEEDED


def test_waiting_writes_down_an_end_that_the_container_could_not(
    request_: Request, target: Target, platform: FakePlatform
) -> None:
    run = heavy.submit(request_, target, run_id="r1")
    platform.says = View(phase=Phase.FAILED, signal=9, start=datetime.now(UTC))
    ended = lifecycle.wait(run, target, sleep=lambda _: None)
    assert ended.status is not None
    assert (ended.status.state, ended.status.error_code) == (RunState.FAILED, ErrorCode.LOST)


def test_cancelling_waits_for_the_end_and_calls_it_cancelled(
    request_: Request, target: Target, platform: FakePlatform
) -> None:
    run = heavy.submit(request_, target, run_id="r1")

    def stop() -> None:
        end_as(target, run, RunState.FAILED, ErrorCode.TERMINATED)
        platform.says = View(phase=Phase.FAILED, exit_code=1)

    platform.on_cancel = stop
    ended = lifecycle.cancel(run, target, sleep=lambda _: None)
    assert ended.index.state == RunState.CANCELLED
    with pytest.raises(BadRequest, match="has ended: CANCELLED"):
        lifecycle.cancel(ended, target)


def test_a_starter_that_died_before_it_wrote_the_name_is_made_up_for(
    request_: Request, target: Target, platform: FakePlatform
) -> None:
    run = heavy.submit(request_, target, run_id="r1")
    nameless = replace(run, index=replace(run.index, platform={}))
    assert lifecycle.found(nameless, target).index.platform == {"container": "container-1"}


def test_outputs_are_fetched_below_the_folder_only(request_: Request, target: Target, tmp_path: Path) -> None:
    run = heavy.submit(request_, target, run_id="r1")
    target.store.write("outputs/r1/data/metrics.json", b"{}")
    files = lifecycle.download(run, tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in files] == ["data/metrics.json"]


def test_the_target_of_a_calling_system_comes_from_its_variables() -> None:
    env = {
        "HEAVY_RUNNER_ENABLED": "true",
        "HEAVY_RUNNER_JOB": "heavy",
        "HEAVY_RUNNER_REGION": "r",
        "HEAVY_RUNNER_BUCKET": "b",
        "HEAVY_RUNNER_PROJECT": "p",
    }
    target = from_env(env)
    assert target.store.uri == "gs://b"
    with pytest.raises(BadRequest, match="not set: HEAVY_RUNNER_BUCKET"):
        from_env({**env, "HEAVY_RUNNER_BUCKET": ""})
    with pytest.raises(BadRequest, match="not enabled"):
        from_env({})
