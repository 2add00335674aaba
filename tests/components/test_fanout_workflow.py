"""The fan-out's workflow, as the interpreter executes it: every way a run can go."""

import json
import uuid
from typing import Any

import pytest
from fanout_workflow import (
    EXECUTION,
    EXECUTION_NAME,
    ROOT,
    FakeCloud,
    Plan,
    group,
    http_error,
    job_name,
    program,
    task,
    variables,
)

from components import batch_workflow
from components.batch_workflow import MAX_REPORTED
from localcloud.batch.validate import normalised
from localcloud.discovery import Discovery
from workloads.batch_fanout.contract import VARIABLES, FanoutEnv, IndexMap, RunPlace, batch_job_id
from workloads.common.contract import RunIndex, RunRecord, index_object
from workloads.common.contract import from_json as parse

ARGS = {"count": 3, "seed": 1, "sim_id": "flu"}
INDEX = f"runs/{index_object('fanout', EXECUTION)}"
RECORD = f"data/{ROOT}run_metadata.json"


def stages(cloud: FakeCloud) -> list[str]:
    return [creation["jobId"].removeprefix(f"fanout-{EXECUTION}-") for creation in cloud.creations]


def test_a_run_goes_from_inputs_over_tasks_to_the_gathered_result() -> None:
    cloud = FakeCloud()
    outcome = cloud.run(ARGS)
    assert stages(cloud) == ["a", "b", "c"]
    assert (outcome["state"], outcome["tasks"], outcome["run_id"]) == ("SUCCEEDED", 3, EXECUTION)
    assert outcome["jobs"] == {stage: job_name(stage) for stage in "abc"}
    assert outcome["table"] == f"gs://data/{ROOT}outputs/results.parquet"
    index = parse(RunIndex, as_bytes(cloud.read(INDEX)))
    assert (index.state, index.output_uri, index.platform["execution"]) == (
        "SUCCEEDED",
        f"gs://data/{ROOT}",
        EXECUTION_NAME,
    )
    assert index.platform["jobs"]["b_standard"] == job_name("b-standard")
    record = parse(RunRecord, as_bytes(cloud.read(RECORD)))
    assert (record.state, record.counts["tasks"], record.image) == ("SUCCEEDED", 3, "host/i@sha256:0")
    assert record.arguments["seed"] == 1


def as_bytes(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_what_each_stage_is_told_is_what_its_container_reads() -> None:
    cloud = FakeCloud()
    cloud.run({**ARGS, "githubForecastRepo": "o/r", "gitRef": "v1"}, github_secret="github-pat")
    place = RunPlace(dir_prefix="fanout/", sim_id="flu", run_id=EXECUTION)
    a, b, c = (FanoutEnv.from_env(variables(creation)) for creation in cloud.creations)
    assert (a.out_prefix, a.github_repo, a.git_ref, a.project) == (place.inputs, "o/r", "v1", "acme")
    assert (b.in_prefix, b.out_prefix, b.manifest, b.index_map) == (place.inputs, place.results, "", "")
    assert b.manifest_generation == cloud.objects[f"data/{place.manifest}"][1]
    assert (c.in_prefix, c.out_prefix, c.manifest) == (place.results, place.outputs, place.manifest)
    assert {env.job_id for env in (a, b, c)} == {EXECUTION}
    commands = [group(creation)["taskSpec"]["runnables"][0]["container"]["commands"] for creation in cloud.creations]
    assert commands == [["dispatch", "--count", "3", "--seed", "1"], ["run"], ["gather"]]
    assert set(variables(cloud.creations[0])) <= set(VARIABLES.values())


def test_job_and_request_ids_follow_from_the_execution() -> None:
    first, second = FakeCloud(), FakeCloud()
    first.run(ARGS)
    second.run(ARGS)
    for one, other in zip(first.creations, second.creations, strict=True):
        assert (one["jobId"], one["requestId"]) == (other["jobId"], other["requestId"])
        assert str(uuid.UUID(one["requestId"])) == one["requestId"]
        assert one["connector_params"]["timeout"] == 1_382_400
    assert len({creation["requestId"] for creation in first.creations}) == 3
    assert first.creations[1]["jobId"] == batch_job_id(EXECUTION, "b")


def test_every_job_is_one_that_batch_accepts() -> None:
    cloud = FakeCloud(b=Plan(["FAILED"], [task("b", 1, 50001)]))
    changes: Any = {"spot": True, "network": {"network": "n", "subnetwork": "s"}, "stage_b": {"machine_type": "c2-standard-4", "boot_disk_gib": 50}}  # fmt: skip
    cloud.run(ARGS, **changes)
    batch = Discovery("batch", "v1")
    for creation in cloud.creations:
        checked = batch.check("Job", creation["body"])
        normalised(checked)
    spec = group(cloud.creations[1])["taskSpec"]
    assert spec["computeResource"] == {"cpuMilli": 2000, "memoryMib": 8192}
    assert spec["lifecyclePolicies"] == [
        {"action": "RETRY_TASK", "actionCondition": {"exitCodes": [1, 50001]}},
        {"action": "FAIL_TASK", "actionCondition": {"exitCodes": [2]}},
    ]
    allocation = cloud.creations[1]["body"]["allocationPolicy"]
    (interface,) = allocation["network"]["networkInterfaces"]
    assert interface == {"network": "net", "subnetwork": "sub", "noExternalIpAddress": True}
    assert (allocation["serviceAccount"], allocation["labels"]["app"]) == ({"email": "tasks@acme"}, "test")


@pytest.mark.parametrize("inputs", [0, 1, 1_001, 100_000])
def test_the_manifest_decides_on_the_number_of_tasks(inputs: int) -> None:
    cloud = FakeCloud(inputs=inputs)
    outcome = cloud.run({**ARGS, "count": inputs})
    assert outcome["tasks"] == inputs
    if inputs == 0:
        assert stages(cloud) == ["a"]
        return
    assert group(cloud.creations[1])["taskCount"] == inputs
    assert group(cloud.creations[1])["parallelism"] == min(inputs, 100)


def test_a_run_says_how_many_tasks_go_at_once() -> None:
    cloud = FakeCloud(inputs=1_001)
    cloud.run({**ARGS, "maxParallelism": 500})
    assert group(cloud.creations[1])["parallelism"] == 500


@pytest.mark.parametrize(
    ("stage", "state"),
    [("a", "FAILED"), ("b", "FAILED"), ("b", "CANCELLED"), ("b", "DELETION_IN_PROGRESS"), ("c", "FAILED"), ("a", "CANCELLED")],
)  # fmt: skip
def test_a_job_that_ends_in_any_other_state_fails_the_run(stage: str, state: str) -> None:
    cloud = FakeCloud(3, **{stage: Plan(["RUNNING", state], [task(stage, 0, 2)])})
    error = cloud.fails(ARGS)
    assert error["tags"] == ["StageFailed"]
    assert error["message"] == f"stage {stage} ended in {state}, 1 tasks failed. the job's last event"
    assert (error["stage"], error["job"]) == (stage, job_name(stage))
    assert stages(cloud)[-1] == stage
    assert cloud.read(INDEX)["state"] == "FAILED"
    assert cloud.read(RECORD)["details"]["error"]["message"] == error["message"]


def test_a_failed_stage_says_which_tasks_failed_and_why() -> None:
    failed = [task("b", index, 2 if index % 2 else 1) for index in range(60)]
    error = FakeCloud(inputs=100, b=Plan(["FAILED"], failed)).fails({**ARGS, "count": 100})
    report = error["report"]
    assert (report["failed"], report["lost"]) == (60, [])
    assert [entry["task"] for entry in report["first"]] == list(range(MAX_REPORTED))
    assert report["first"][1]["exit_code"] == 2
    assert "with exit code 2" in report["first"][1]["why"]


def test_a_job_that_is_deleted_while_it_is_waited_for_fails_the_run() -> None:
    error = FakeCloud(b=Plan(["RUNNING", "ABSENT"])).fails(ARGS)
    assert "stage b ended in DELETED" in error["message"]


@pytest.mark.parametrize("problem", [http_error(409), http_error(500), http_error(504)])
def test_a_create_that_raises_is_no_failure_if_the_job_is_there(problem: Any) -> None:
    cloud = FakeCloud(b=Plan(["RUNNING", "RUNNING", "SUCCEEDED"], create_raises=problem))
    assert cloud.run(ARGS)["state"] == "SUCCEEDED"
    assert stages(cloud) == ["a", "b", "c"]


def test_a_create_that_waits_and_raises_because_the_job_failed_is_judged_by_the_job() -> None:
    error = {"message": "Batch job ended in FAILED", "tags": ["OperationError"]}
    cloud = FakeCloud(b=Plan(["FAILED"], [task("b", 0, 1)], create_raises=type(http_error(1))(error)))
    assert cloud.fails(ARGS)["report"]["first"][0]["exit_code"] == 1


def test_a_create_that_is_refused_says_so() -> None:
    error = FakeCloud(a=Plan(create_raises=http_error(403, "may not act as"), exists=False)).fails(ARGS)
    assert (error["code"], error["message"]) == (403, "may not act as")


def test_a_create_that_returns_early_is_waited_for() -> None:
    cloud = FakeCloud(b=Plan(["QUEUED", "SCHEDULED", "RUNNING", "CANCELLATION_IN_PROGRESS", "SUCCEEDED"]))
    began = cloud.time
    assert cloud.run(ARGS)["state"] == "SUCCEEDED"
    assert cloud.time - began > 20


def test_a_job_that_never_ends_is_given_up_and_not_called_a_success() -> None:
    cloud = FakeCloud(b=Plan(["RUNNING"]))
    error = cloud.fails(ARGS, job_wait_s=3_600)
    assert error["tags"] == ["TimeoutError"]
    assert "is still in RUNNING after 3600 s" in error["message"]


def test_tasks_lost_with_their_spot_machine_run_again_on_standard_ones() -> None:
    lost = [task("b", index, 50001, "due to Spot VM preemption ") for index in (1, 30, 77)]
    cloud = FakeCloud(inputs=100, b=Plan(["FAILED"], lost))
    outcome = cloud.run({**ARGS, "count": 100}, spot=True)
    assert stages(cloud) == ["a", "b", "b-standard", "c"]
    models = [creation["body"]["allocationPolicy"]["instances"][0]["policy"]["provisioningModel"] for creation in cloud.creations]  # fmt: skip
    assert models == ["STANDARD", "SPOT", "STANDARD", "STANDARD"]
    assert (outcome["rerun"], outcome["tasks"]) == (3, 100)
    again = cloud.creations[2]
    assert (group(again)["taskCount"], group(again)["parallelism"]) == (3, 3)
    name = FanoutEnv.from_env(variables(again)).index_map
    assert name == f"{ROOT}maps/{EXECUTION}-b-standard.json"
    assert IndexMap.from_json(as_bytes(cloud.read(f"data/{name}"))).indices == (1, 30, 77)


def test_lost_tasks_run_again_even_if_others_failed_and_the_run_fails_for_those() -> None:
    failed = [task("b", 0, 50001), task("b", 2, 2)]
    cloud = FakeCloud(b=Plan(["FAILED"], failed))
    error = cloud.fails(ARGS, spot=True)
    assert stages(cloud) == ["a", "b", "b-standard"]
    assert group(cloud.creations[2])["taskCount"] == 1
    assert [entry["task"] for entry in error["report"]["first"]] == [2]


def test_tasks_that_fail_on_standard_machines_too_fail_the_run() -> None:
    cloud = FakeCloud(
        b=Plan(["FAILED"], [task("b", 0, 50001)]), b_standard=Plan(["FAILED"], [task("b-standard", 0, 1)])
    )
    assert cloud.fails(ARGS, spot=True)["stage"] == "b-standard"


def test_a_cancelled_job_is_not_continued_on_standard_machines() -> None:
    cloud = FakeCloud(b=Plan(["CANCELLED"], [task("b", 0, 50001)]))
    assert "stage b ended in CANCELLED" in cloud.fails(ARGS, spot=True)["message"]
    assert stages(cloud) == ["a", "b"]


def test_without_spot_a_lost_task_is_a_failed_task() -> None:
    cloud = FakeCloud(b=Plan(["FAILED"], [task("b", 0, 50001)]))
    assert cloud.fails(ARGS)["report"]["lost"] == [0]
    assert stages(cloud) == ["a", "b"]


def test_more_lost_tasks_than_can_be_listed_run_all_again_and_keep_what_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_workflow, "MAX_LISTED", 100)
    lost = [task("b", index, 50001) for index in range(200)]
    cloud = FakeCloud(inputs=300, b=Plan(["FAILED"], lost))
    outcome = cloud.run({**ARGS, "count": 300}, spot=True)
    assert outcome["rerun"] == 300
    again = cloud.creations[2]
    assert group(again)["taskCount"] == 300
    assert variables(again)["FANOUT_INDEX_MAP"] == ""


def rerun_index(state: str) -> dict[str, Any]:
    return {"system": "fanout", "run_id": "r1", "start_token": "t", "started_by": "user:u", "started_at": "then",
            "state": state, "platform": {"execution": "projects/p/…/executions/old"}}  # fmt: skip


RERUN = {"sim_id": "flu", "run_id": "r1", "indexMap": "fanout/flu/r1/maps/again.json", "taskCount": 2}


def test_a_rerun_takes_the_run_over_and_runs_the_mapped_tasks_on_the_same_manifest() -> None:
    cloud = FakeCloud()
    cloud.put("runs/runs/fanout/r1.json", rerun_index("FAILED"))
    cloud.put("data/fanout/flu/r1/inputs/manifest.json", {"version": 1, "count": 50})
    outcome = cloud.run(RERUN)
    assert stages(cloud) == ["b", "c"]
    env = FanoutEnv.from_env(variables(cloud.creations[0]))
    assert (env.index_map, env.in_prefix) == (RERUN["indexMap"], "fanout/flu/r1/inputs/")
    assert (group(cloud.creations[0])["taskCount"], outcome["inputs"]) == (2, 50)
    assert cloud.read("runs/runs/fanout/r1.json")["platform"]["execution"] == EXECUTION_NAME


def test_a_rerun_whose_tasks_are_lost_maps_positions_of_its_own_map() -> None:
    cloud = FakeCloud(b=Plan(["FAILED"], [task("b", 1, 50001)]))
    cloud.put("runs/runs/fanout/r1.json", rerun_index("FAILED"))
    cloud.put("data/fanout/flu/r1/inputs/manifest.json", {"version": 1, "count": 50})
    cloud.run(RERUN, spot=True)
    name = FanoutEnv.from_env(variables(cloud.creations[1])).index_map
    written = IndexMap.from_json(as_bytes(cloud.read(f"data/{name}")))
    assert (written.indices, written.base) == ((1,), RERUN["indexMap"])


@pytest.mark.parametrize(("argument", "state"), [(RERUN, "RUNNING"), ({**ARGS, "run_id": "r1"}, "FAILED")])
def test_a_run_id_that_another_start_holds_is_refused_and_says_by_whom(argument: Any, state: str) -> None:
    cloud = FakeCloud()
    cloud.put("runs/runs/fanout/r1.json", rerun_index(state))
    error = cloud.fails(argument)
    assert "run_id r1 was started by user:u at then and is held by projects/p/…/executions/old" in error["message"]
    assert cloud.creations == []
    assert cloud.read("runs/runs/fanout/r1.json")["state"] == state


def test_the_index_that_the_starter_wrote_is_taken_by_its_token() -> None:
    cloud = FakeCloud()
    cloud.put("runs/runs/fanout/r1.json", rerun_index("STARTING"))
    cloud.put("data/fanout/flu/r1/inputs/manifest.json", {"version": 1, "count": 3})
    assert cloud.run({**ARGS, "run_id": "r1", "startToken": "t", "startedBy": "user:u"})["run_id"] == "r1"
    assert cloud.read("runs/runs/fanout/r1.json")["state"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (None, "count: must be 0 to 100000 inputs"),
        ({"count": "many"}, "count: must be a whole number"),
        ({"count": 100_001}, "count: must be 0 to 100000"),
        ({"count": 1, "maxParallelism": 5_001}, "maxParallelism: must be 1 to 5000"),
        ({"count": 1, "sim_id": "a/b"}, "sim_id: must be 1 to 63"),
        ({"count": 1, "dirPrefix": "x"}, "dirPrefix: must be empty or end in /"),
        ({"indexMap": "m"}, "indexMap: needs the run_id it belongs to"),
        ({"indexMap": "m", "run_id": "r"}, "indexMap: needs the run_id it belongs to, and taskCount"),
    ],
)
def test_an_argument_out_of_range_is_refused_before_anything_is_made(argument: Any, message: str) -> None:
    cloud = FakeCloud()
    assert message in cloud.fails(argument)["message"]
    assert (cloud.creations, cloud.objects) == ([], {})


def test_a_failure_that_cannot_be_recorded_is_still_the_error_that_is_shown() -> None:
    cloud = FakeCloud(a=Plan(["FAILED"], [task("a", 0, 2)]))
    cloud.write_fails = {RECORD: 403}
    assert cloud.fails(ARGS)["tags"] == ["StageFailed"]
    assert cloud.logs[0]["run_id"] == EXECUTION


def test_the_gather_can_be_left_out() -> None:
    cloud = FakeCloud()
    assert cloud.run(ARGS, gather=False)["state"] == "SUCCEEDED"
    assert stages(cloud) == ["a", "b"]


def test_the_source_does_not_depend_on_what_only_the_engine_knows() -> None:
    assert program(image="a@sha256:1", bucket="x") == program(image="b@sha256:2", bucket="y")
