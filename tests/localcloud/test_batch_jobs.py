"""Batch jobs in real containers, by Google's own client."""

import base64
import os
import uuid
from collections.abc import Iterator
from typing import Any

import batch_support
import httpx
import pytest
import run_support
from batch_support import PARENT, PROJECT, Batch, counts
from google.api_core import exceptions

from localcloud.testing import LocalCloud, local_cloud

pytestmark = [pytest.mark.container]
task_image = run_support.task_image


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    config = {
        "projects": [{"project_id": PROJECT, "number": 123456789012, "services_enabled": "all"}],
        "runtime": {"termination_grace_s": 0.3},
    }
    with local_cloud(tmp_path_factory.mktemp("batch") / "state", config) as running:
        yield running


@pytest.fixture(scope="module")
def batch(cloud: LocalCloud, task_image: str) -> Batch:
    return Batch(cloud, task_image)


def events(task: Any) -> list[str]:
    return [event.task_state.name for event in task.status.status_events]


def test_tasks_run_with_their_index_and_their_output_is_logged(batch: Batch) -> None:
    said = "import os, json; print(json.dumps(dict(os.environ)))"
    group = {"task_count": 3, "parallelism": 2, "task_environments": [{"variables": {"OWN": str(n)}} for n in range(3)]}
    environment = {"variables": {"SHARED": "spec", "BATCH_TASK_INDEX": "mine"}}
    job = batch.run(
        batch.python(said, environment={"variables": {"SHARED": "runnable"}}), group=group, environment=environment
    )
    assert job.status.state.name == "SUCCEEDED"
    assert counts(job) == {"SUCCEEDED": 3}
    states = [event.description.split(" to ")[1].split()[0] for event in job.status.status_events]
    assert states == ["SCHEDULED", "RUNNING", "SUCCEEDED"]
    assert job.status.run_duration.total_seconds() > 0
    entries = batch.lines(job)
    found = {entry["jsonPayload"]["BATCH_TASK_INDEX"]: entry["jsonPayload"] for entry in entries}
    assert sorted(found) == ["0", "1", "2"]
    for index, env in found.items():
        assert (env["OWN"], env["SHARED"], env["BATCH_TASK_COUNT"]) == (index, "runnable", "3")
        assert env["BATCH_JOB_ID"] == job.name.rpartition("/")[2]
        assert (env["BATCH_JOB_UID"], env["BATCH_TASK_RETRY_ATTEMPT"]) == (job.uid, "0")
    assert entries[0]["resource"]["type"] == "batch.googleapis.com/Job"
    assert entries[0]["labels"]["task_id"].startswith(f"task/{job.uid}-group0-")
    task = batch.task(job, 1)
    assert events(task) == ["RUNNING", "SUCCEEDED"]
    assert task.status.status_events[-1].task_execution.exit_code == 0


def test_failure_of_one_task_fails_the_job_after_the_others_have_run(batch: Batch) -> None:
    code = "import os, sys; print('no', file=sys.stderr); sys.exit(7 if os.environ['BATCH_TASK_INDEX'] == '1' else 0)"
    job = batch.run(batch.python(code), group={"task_count": 3, "parallelism": 1})
    assert (job.status.state.name, counts(job)) == ("FAILED", {"SUCCEEDED": 2, "FAILED": 1})
    assert "task with index 1 failed" in job.status.status_events[-1].description
    assert "exit code 7" in job.status.status_events[-1].description
    assert batch.task(job, 1).status.status_events[-1].task_execution.exit_code == 7
    request = {"parent": f"{job.name}/taskGroups/group0", "filter": "State=FAILED"}
    assert [task.name.rpartition("/")[2] for task in batch.client.list_tasks(request)] == ["1"]
    assert {entry["severity"] for entry in batch.lines(job)} == {"ERROR"}


@pytest.mark.parametrize(
    ("codes", "retries", "policies", "attempts"),
    [
        ([5, 5, 0], 3, [], 3),
        ([5, 5, 5], 1, [], 2),
        ([1, 0], 3, [("RETRY_TASK", [1, 50001]), ("FAIL_TASK", [2])], 2),
        ([2, 0], 3, [("RETRY_TASK", [1, 50001]), ("FAIL_TASK", [2])], 1),
        ([9, 0], 3, [("RETRY_TASK", [1])], 1),
        ([9, 0], 3, [("FAIL_TASK", [1])], 2),
    ],
)
def test_exit_codes_and_lifecycle_policies_decide_on_retries(
    batch: Batch, codes: list[int], retries: int, policies: list[tuple[str, list[int]]], attempts: int
) -> None:
    code = f"import os, sys; sys.exit({codes}[int(os.environ['BATCH_TASK_RETRY_ATTEMPT'])])"
    lifecycle = [{"action": action, "action_condition": {"exit_codes": listed}} for action, listed in policies]
    job = batch.run(batch.python(code), max_retry_count=retries, lifecycle_policies=lifecycle)
    assert events(batch.task(job)).count("RUNNING") == attempts
    assert job.status.state.name == ("SUCCEEDED" if codes[attempts - 1] == 0 else "FAILED")


def test_runnables_run_in_turn_and_after_a_failure_only_those_that_always_do(batch: Batch) -> None:
    ends = batch.run(
        batch.python("print('a'); raise SystemExit(3)", ignore_exit_status=True),
        batch.python("print('b'); raise SystemExit(4)"),
        batch.python("print('c')"),
        batch.python("print('d'); raise SystemExit(5)", always_run=True),
    )
    assert ends.status.state.name == "FAILED"
    assert [entry["textPayload"] for entry in batch.lines(ends)] == ["a", "b", "d"]
    assert batch.task(ends).status.status_events[-1].task_execution.exit_code == 4


def test_time_limits_and_memory_limit(batch: Batch) -> None:
    sleep = "import time; time.sleep(60)"
    late = batch.submit(batch.job(batch.python(sleep), max_run_duration="1s"))
    eager = batch.submit(batch.job(batch.python("held = []\nwhile True: held.append(bytearray(8 << 20))")))
    own = batch.submit(batch.job(batch.python(sleep, timeout="1s"), batch.python("print('never')")))
    ended = [batch.until(name, "FAILED") for name in (late, eager, own)]
    codes = [batch.task(job).status.status_events[-1].task_execution.exit_code for job in ended]
    assert codes[:2] == [50005, 137]
    assert codes[2] in (137, 143)
    assert "memory limit" in batch.task(ended[1]).status.status_events[-1].description


def test_missing_image_is_exit_code_125_with_the_reason(batch: Batch, cloud: LocalCloud) -> None:
    image = f"europe-west1-docker.pkg.dev/{PROJECT}/none/none@sha256:{'0' * 64}"
    job = batch.run({"container": {"image_uri": image}})
    last = batch.task(job).status.status_events[-1]
    assert last.task_execution.exit_code == 125
    assert image in last.description


def test_spot_tasks_are_preempted_on_demand_and_retried_by_policy(batch: Batch, cloud: LocalCloud) -> None:
    retry = [{"action": "RETRY_TASK", "action_condition": {"exit_codes": [50001]}}]
    job = batch.job(batch.python("import time; time.sleep(0.6)"), max_retry_count=2, lifecycle_policies=retry)
    spot = job | {"allocation_policy": {"instances": [{"policy": {"provisioning_model": "SPOT"}}]}}
    cloud.control("PUT", "/faults", {"preemption_rate": 1, "max_preemptions": 1, "preemption_after_s": 0.05})
    try:
        ended = batch.until(batch.submit(spot), *batch_support.ENDED)
        task = batch.task(ended)
        ends = [event for event in task.status.status_events if event.task_state.name in ("FAILED", "SUCCEEDED")]
        codes = [event.task_execution.exit_code for event in ends]
        assert (ended.status.state.name, codes) == ("SUCCEEDED", [50001, 0])
        assert "Spot VM preemption" in task.status.status_events[1].description
        assert ended.status.task_groups["group0"].instances[0].provisioning_model.name == "SPOT"
        cloud.control("PUT", "/faults", {"max_preemptions": 0})
        assert batch.until(batch.submit(spot), *batch_support.ENDED).status.state.name == "FAILED"
        assert batch.until(batch.submit(job), *batch_support.ENDED).status.state.name == "SUCCEEDED"  # not on spot
    finally:
        cloud.control("PUT", "/faults", {"preemption_rate": 0, "max_preemptions": 0})


def test_cancel_stops_what_runs_and_leaves_the_rest_unexecuted(batch: Batch) -> None:
    job = batch.job(batch.python("import time; time.sleep(60)"), group={"task_count": 5, "parallelism": 1})
    name = batch.submit(job)
    batch.until(name, "RUNNING")
    batch.client.cancel_job(name=name).result(timeout=60)
    ended = batch.client.get_job(name=name)
    assert (ended.status.state.name, counts(ended)) == ("CANCELLED", {"FAILED": 1, "UNEXECUTED": 4})
    assert [batch.task(ended, index).status.state.name for index in (0, 4)] == ["FAILED", "UNEXECUTED"]
    with pytest.raises(exceptions.BadRequest, match="CANCELLED"):
        batch.client.cancel_job(name=name)
    batch.client.delete_job(name=name).result(timeout=60)
    with pytest.raises(exceptions.NotFound):
        batch.client.get_job(name=name)


def test_deleting_a_running_job_stops_it_first(batch: Batch) -> None:
    name = batch.submit(batch.job(batch.python("import time; time.sleep(60)")))
    batch.until(name, "RUNNING")
    operation = batch.client.delete_job(name=name)
    operation.result(timeout=60)
    with pytest.raises(exceptions.NotFound):
        batch.client.get_job(name=name)


def test_secret_variables_reach_the_task_of_an_account_that_may_read_them(batch: Batch, cloud: LocalCloud) -> None:
    name, url = f"projects/{PROJECT}/secrets/for-batch", f"{cloud.url('secretmanager')}/v1/projects/{PROJECT}/secrets"
    assert httpx.post(f"{url}?secretId=for-batch", json={"replication": {"automatic": {}}}).status_code == 200
    payload = {"payload": {"data": base64.b64encode(b"needle-4711").decode()}}
    assert httpx.post(f"{url}/for-batch:addVersion", json=payload).status_code == 200
    environment = {"secret_variables": {"TOKEN": f"{name}/versions/latest"}}
    runnable = batch.python("import os; print(len(os.environ['TOKEN']))")
    refused = batch.run(runnable, environment=environment)  # the default account is an editor, who may not read secrets
    last = batch.task(refused).status.status_events[-1]
    assert "secretmanager.versions.access" in last.description
    assert last.task_execution.exit_code == 50000
    member = "serviceAccount:123456789012-compute@developer.gserviceaccount.com"
    binding = {"role": "roles/secretmanager.secretAccessor", "members": [member]}
    assert httpx.post(f"{url}/for-batch:setIamPolicy", json={"policy": {"bindings": [binding]}}).status_code == 200
    job = batch.run(runnable, environment=environment)
    assert [entry["textPayload"] for entry in batch.lines(job)] == ["11"]
    assert "needle-4711" not in str(batch.client.get_job(name=job.name)) + str(batch.task(job))


def test_request_id_makes_one_job_and_job_id_is_unique(batch: Batch) -> None:
    body, request = batch.job(batch.python("pass")), str(uuid.uuid4())
    job_id = f"once-{os.getpid()}"
    names = {batch.submit(body, job_id=job_id, request_id=request) for _ in range(2)}
    assert names == {f"{PARENT}/jobs/{job_id}"}
    with pytest.raises(exceptions.Conflict):
        batch.submit(body, job_id=job_id)
    listed = batch.client.list_jobs({"parent": PARENT, "filter": f'name="{PARENT}/jobs/{job_id}"'})
    assert [job.name for job in listed] == list(names)
    batch.until(names.pop(), "SUCCEEDED")
