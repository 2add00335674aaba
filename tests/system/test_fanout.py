"""The stack's fan-out: deployed by the real engine, started by the command, with Batch jobs in containers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from system_support import Lab, until

from workloads.batch_fanout.contract import JOB_STAGES, batch_job_id

STACK = "fanout"
SMALL = {"cpu_milli": 1_000, "memory_mib": 1_024, "max_retries": 0}
FANOUT = {"max_parallelism": 4, "poll_s": 1, "spot": True, "stage_a": SMALL, "stage_b": SMALL, "stage_c": SMALL}


def write_stack(lab: Lab, **changes: Any) -> None:
    """Write the stack's file: the local cloud's, with the fan-out alone."""
    document = yaml.safe_load((lab.folder / "Pulumi.local.yaml").read_text())
    document["config"].pop("longhaul:heavy_runner", None)
    document["config"]["longhaul:batch_fanout"] = FANOUT | changes
    (lab.folder / f"Pulumi.{STACK}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


@pytest.fixture(scope="module")
def lab(own_cloud: Lab) -> Iterator[Lab]:
    """A local cloud with a stack `fanout`."""
    write_stack(own_cloud)
    done = own_cloud.longhaul("up", "--stack", STACK, "--yes", timeout_s=800)
    assert done.returncode == 0, done.stdout + done.stderr
    yield own_cloud
    own_cloud.stack(STACK).destroy(remove=True)


def test_a_second_up_and_a_preview_after_refresh_change_nothing(lab: Lab) -> None:
    assert lab.stack(STACK).up().is_quiet
    assert lab.stack(STACK).preview(refresh=True).is_quiet


def run(lab: Lab, *words: str, code: int = 0) -> Any:
    return lab.json("run", "fanout", "--stack", STACK, *words, code=code)


def jobs(lab: Lab, run_id: str) -> dict[str, str]:
    """Stage -> state of the Batch jobs of a run's last execution."""
    execution = lab.json("status", run_id, "--stack", STACK)["platform"]["execution"].rpartition("/")[2]
    listed = lab.rest("batch", "GET", "/v1/projects/longhaul-local/locations/europe-west1/jobs").get("jobs", [])
    states = {job["name"].rpartition("/")[2]: job["status"]["state"] for job in listed}
    found = {stage: states.get(batch_job_id(execution, stage), "") for stage in JOB_STAGES}
    return {stage: state for stage, state in found.items() if state}


def test_a_run_is_gathered_into_a_chart_and_a_missing_result_is_made_again(lab: Lab) -> None:
    result = run(lab, "--count", "4", "--seed", "1", "--run-id", "four")
    assert (result["state"], result["inputs"], result["missing"]) == ("SUCCEEDED", 4, 0)
    assert [(stage["stage"], stage["done"]) for stage in result["stages"]] == [("a", 1), ("b", 4), ("c", 1)]
    assert Path(result["chart"]).read_bytes().startswith(b"\x89PNG")
    assert result["usd_at_most"] > 0
    table = Path(result["table"]).read_bytes()
    shown = lab.json("status", "four", "--stack", STACK)
    assert (shown["state"], shown["system"], shown["started_by"]) == (
        "SUCCEEDED",
        "fanout",
        "user:operator@longhaul.local",
    )
    assert "4 of 4 results" in lab.longhaul("logs", "four", "--stack", STACK).stdout

    assert "all 4 results" in lab.longhaul("run", "fanout", "--rerun-failed", "four", "--stack", STACK).stderr
    gone = "fanout/simulation/four/results/result_0002.pkl".replace("/", "%2F")
    lab.rest("storage", "DELETE", f"/storage/v1/b/{lab.outputs(STACK).bucket}/o/{gone}")
    again = run(lab, "--rerun-failed", "four")
    assert (again["state"], again["missing"]) == ("SUCCEEDED", 0)
    assert [(stage["stage"], stage["tasks"]) for stage in again["stages"]] == [("b", 1), ("c", 1)]
    assert Path(again["table"]).read_bytes() == table


def test_tasks_that_lose_their_machine_run_again_on_standard_ones_and_nothing_is_missing(lab: Lab) -> None:
    whole = run(lab, "--count", "4", "--seed", "2", "--run-id", "whole")
    lab.cloud.control("PUT", "/faults", {"preemption_rate": 1, "max_preemptions": 2, "preemption_after_s": 0.1})
    try:
        result = run(lab, "--count", "4", "--seed", "2", "--run-id", "lossy")
    finally:
        lab.cloud.control("PUT", "/faults", {"preemption_rate": 0, "max_preemptions": 0})
    stages = {stage["stage"]: stage for stage in result["stages"]}
    assert (stages["b"]["failed"], stages["b-standard"]["tasks"], stages["b-standard"]["done"]) == (2, 2, 2)
    assert (result["state"], result["missing"]) == ("SUCCEEDED", 0)
    assert Path(result["table"]).read_bytes() == Path(whole["table"]).read_bytes()


def test_a_run_id_that_is_taken_and_a_request_out_of_range_are_refused(lab: Lab) -> None:
    lab.json("run", "fanout", "--stack", STACK, "--count", "0", "--run-id", "none")
    taken = lab.longhaul("run", "fanout", "--stack", STACK, "--count", "1", "--run-id", "none")
    assert (taken.returncode, "there is a run none already" in taken.stderr) == (2, True)
    assert lab.longhaul("run", "fanout", "--stack", STACK, "--count", "100001").returncode == 2
    plan = run(lab, "--count", "1000", "--dry-run")
    assert (plan["jobs"][1]["tasks"], plan["jobs"][1]["parallelism"], plan["cpus_at_once"]) == (1_000, 4, 4)


def test_cancel_ends_the_execution_and_its_jobs(lab: Lab) -> None:
    run(lab, "--count", "200", "--run-id", "long", "--detach")
    until(lambda: "b" in jobs(lab, "long"))
    assert lab.json("cancel", "long", "--stack", STACK)["state"] == "CANCELLED"
    ended = {"SUCCEEDED", "FAILED", "CANCELLED"}
    until(lambda: set(jobs(lab, "long").values()) <= ended)
    assert jobs(lab, "long")["b"] == "CANCELLED"
    assert lab.json("status", "long", "--stack", STACK)["state"] == "CANCELLED"


def test_reap_ends_the_jobs_of_an_execution_that_was_cancelled_alone(lab: Lab) -> None:
    run(lab, "--count", "200", "--run-id", "orphans", "--detach")
    until(lambda: "b" in jobs(lab, "orphans"))
    execution = lab.json("status", "orphans", "--stack", STACK)["platform"]["execution"]
    lab.rest("workflowexecutions", "POST", f"/v1/{execution}:cancel", {})
    assert jobs(lab, "orphans")["b"] not in ("CANCELLED", "CANCELLATION_IN_PROGRESS")
    (reaped,) = lab.json("reap", "orphans", "--stack", STACK)
    assert (reaped["state"], reaped["wrote"]) == ("CANCELLED", True)
    until(lambda: jobs(lab, "orphans")["b"] == "CANCELLED")
