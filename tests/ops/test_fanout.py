"""Starting, following and repeating a fan-out, on a workflow that does what the test says."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ops_support import FakePlatform

from ops import fanout, prices, runs
from ops.errors import BadRequest, OpsError
from ops.fanout import Request
from ops.fanout_jobs import ARGUMENT, failure, jobs_of, stage_view
from ops.fanout_results import plan
from ops.outputs import Fanout, Stage
from ops.platforms import Phase, View
from ops.reap import reap
from ops.router import Place
from ops.runs import Run, judge
from ops.store import FolderStore
from ops.targets import Target
from workloads.batch_fanout.contract import IndexMap, InputEntry, Manifest, ManifestPage, page_json, result_name
from workloads.common.contract import RunIndex, RunState, index_object

PARENT = "projects/p/locations/l"
EXECUTION = f"{PARENT}/workflows/w/executions/1234"


@dataclass
class Workflow(FakePlatform):
    """Takes a run over when it is started, as the real one does."""

    runtime: str = "workflow"
    on_start: Callable[[Mapping[str, Any]], None] = lambda _argument: None
    cancelled: int = 0

    def start(self, run_id: str, token: str, env: Mapping[str, str]) -> dict[str, str]:
        super().start(run_id, token, env)
        self.on_start(json.loads(env[ARGUMENT]))
        return {"execution": EXECUTION}

    def cancel(self, names: Mapping[str, str]) -> None:
        self.cancelled += 1


@pytest.fixture
def workflow() -> Workflow:
    return Workflow()


@pytest.fixture
def place(tmp_path: Path, workflow: Workflow) -> Target:
    store, data = FolderStore(tmp_path / "runs"), FolderStore(tmp_path / "data")
    workflow.on_start = lambda argument: claim(store, argument["run_id"])
    return Target(place=Place.JOB, store=store, platform=workflow, cpu=2, memory_gib=8, outputs=data)


def claim(store: FolderStore, run_id: str, state: str = RunState.RUNNING) -> None:
    """What the workflow writes first, and last."""
    name = index_object("fanout", run_id)
    held = store.read(name)
    assert held is not None, "the index is written before the start"
    index = replace(RunIndex.from_json(held.data), state=state, platform={"execution": EXECUTION})
    store.write(name, index.to_json())


def ended(place: Target, run: Run, results: set[int], count: int = 4) -> Run:
    """The run with a manifest of `count` inputs, and some results, in its final state."""
    entries = page_json([InputEntry(name=f"i{i}", size=1, sha256="0", generation=1) for i in range(count)])
    page = ManifestPage(name="manifest/00000.json", first=0, count=count, size=len(entries), sha256="0")
    manifest = Manifest(count=count, format="pickle", model="m", seed=7, requested=count, pages=(page,))
    run.files.write(f"{run.prefix}inputs/manifest.json", manifest.to_json())
    for index in results:
        run.files.write(f"{run.prefix}results/{result_name(index, count)}", b"x")
    claim(place.store, run.run_id, RunState.FAILED)  # type: ignore[arg-type]  # a folder here
    return runs.again(run)


def test_a_start_writes_the_index_first_and_waits_until_the_workflow_has_it(place: Target, workflow: Workflow) -> None:
    run = fanout.start(place, Request(count=4, seed=7, sim_id="flu"), prefix="fan/", run_id="r1", started_by="user:me")
    told = json.loads(workflow.started[0][ARGUMENT])
    assert told == {
        "count": 4,
        "seed": 7,
        "sim_id": "flu",
        "dirPrefix": "fan/",
        "run_id": "r1",
        "startToken": run.index.start_token,
        "startedBy": "user:me",
    }
    assert run.index.platform["execution"] == EXECUTION
    assert run.prefix == "fan/flu/r1/"
    with pytest.raises(BadRequest, match="there is a run r1 already"):
        fanout.start(place, Request(count=4), prefix="fan/", run_id="r1")


def test_a_start_that_the_platform_refuses_is_written_down(place: Target, workflow: Workflow) -> None:
    workflow.refuses = "403 no"
    with pytest.raises(OpsError, match="403 no"):
        fanout.start(place, Request(count=1), prefix="fan/", run_id="r1")
    run = runs.find([place.store], "fanout", "r1", place.outputs)
    assert run.index.state == RunState.FAILED


def test_a_rerun_maps_exactly_the_inputs_without_a_result(place: Target, workflow: Workflow) -> None:
    run = fanout.start(place, Request(count=4, seed=7, sim_id="flu"), prefix="a/b/", run_id="r1")
    run = ended(place, run, {0, 2})
    again, indices = fanout.rerun(run, place, max_parallelism=3, started_by="user:me")
    told = json.loads(workflow.started[1][ARGUMENT])
    held = run.files.read(told["indexMap"])
    assert held is not None
    assert tuple(IndexMap.from_json(held.data).indices) == (1, 3) == tuple(indices)
    assert told["indexMap"].startswith("a/b/flu/r1/maps/rerun-")
    assert (told["run_id"], told["taskCount"], told["dirPrefix"], told["sim_id"]) == ("r1", 2, "a/b/", "flu")
    assert (told["count"], told["seed"], told["maxParallelism"]) == (4, 7, 3)
    assert again.run_id == "r1"


def test_nothing_is_run_again_where_nothing_is_missing_or_the_run_goes_on(place: Target, workflow: Workflow) -> None:
    run = fanout.start(place, Request(count=4), prefix="fan/", run_id="r1")
    with pytest.raises(BadRequest, match="r1 is RUNNING"):
        fanout.rerun(run, place)
    run = ended(place, run, {0, 1, 2, 3})
    with pytest.raises(BadRequest, match="has all 4 results"):
        fanout.rerun(run, place)
    assert len(workflow.started) == 1


def test_the_platform_tells_the_state_of_a_run_without_a_status_object(place: Target) -> None:
    run = fanout.start(place, Request(count=4), prefix="fan/", run_id="r1")
    late = datetime(2100, 1, 1, tzinfo=UTC)
    busy = View(phase=Phase.RUNNING, message="stage b RUNNING: 45/200 tasks")
    assert judge(run, busy, late).state == RunState.RUNNING
    assert judge(run, busy, late).detail == "stage b RUNNING: 45/200 tasks"
    gone = View(phase=Phase.CANCELLED, message="cancelled")
    assert judge(run, gone, late).state == RunState.CANCELLED
    assert reap(run, gone, late).wrote
    assert runs.again(run).index.state == RunState.CANCELLED
    assert run.files.read(f"{run.prefix}run_metadata.json") is not None
    assert not reap(runs.again(run), gone, late).wrote


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 100_001}, "--count"),
        ({"count": 1, "max_parallelism": 0}, "--max-p"),
        ({"count": 1, "sim_id": "/"}, "--sim"),
    ],
)
def test_a_request_out_of_range_is_refused(given: Mapping[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        Request(**given)


def test_jobs_follow_from_the_execution_and_count_their_tasks() -> None:
    assert jobs_of(EXECUTION)["b-standard"] == f"{PARENT}/jobs/fanout-1234-b-standard"
    counts = {"group0": {"counts": {"SUCCEEDED": "45", "FAILED": "2", "PENDING": "153"}}}
    job = {
        "name": "j",
        "uid": "u",
        "taskGroups": [{"taskCount": "200", "parallelism": "8"}],
        "status": {"state": "RUNNING", "taskGroups": counts, "runDuration": "12.5s"},
    }
    found = stage_view("b", job)
    assert (found.tasks, found.parallelism, found.done, found.failed, found.seconds) == (200, 8, 45, 2, 12.5)
    assert str(found) == "stage b RUNNING: 45/200 tasks, 2 failed"


def test_a_failure_names_the_first_tasks() -> None:
    report = {"first": [{"task": 3, "exit_code": 2, "why": "exit code 2"}]}
    error = {"payload": json.dumps({"message": "stage b ended in FAILED", "report": report})}
    assert failure({"error": error}) == "stage b ended in FAILED task 3: exit code 2"
    assert failure({}) == ""


def test_a_plan_says_tasks_quota_and_price() -> None:
    system = Fanout(
        workflow="w", workflow_id="w", location="l", bucket="b", prefix="fan/", service_account="", workflow_account="",
        image="", max_parallelism=100, stages={"b": Stage(cpu_milli=2_000, memory_mib=8_192)},
    )  # fmt: skip
    made = plan(Request(count=1_000), system, task_seconds=600, prices=prices.Prices())
    assert (made.cpus_at_once, made.jobs[1]["parallelism"]) == (200, 100)
    assert made.usd == pytest.approx(11.2, rel=0.01)
