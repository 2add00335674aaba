"""Workflows that run Batch jobs: waiting, failing, cancelling, and a crash in the middle."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import run_support
from batch_support import PARENT, PROJECT, Batch, counts
from workflow_support import Workflows

from localcloud.testing import LocalCloud, local_cloud

pytestmark = [pytest.mark.container]
task_image = run_support.task_image
RUNNER = f"wf-batch@{PROJECT}.iam.gserviceaccount.com"
VM = "123456789012-compute@developer.gserviceaccount.com"
SOURCE = f"""
main:
  params: [args]
  steps:
  - create:
      try:
        call: googleapis.batch.v1.projects.locations.jobs.create
        args:
          parent: {PARENT}
          jobId: ${{args.job}}
          body:
            taskGroups:
            - taskCount: ${{args.count}}
              taskSpec:
                computeResource: {{cpuMilli: 500, memoryMib: 256}}
                runnables:
                - container: {{imageUri: "${{args.image}}", entrypoint: python3, commands: ["-c", "${{args.code}}"]}}
          connector_params: {{timeout: 120, polling_policy: {{initial_delay: 0.1}}, skip_polling: "${{args.skip}}"}}
        result: job
      except: {{as: e, steps: [told: {{return: ["${{e.tags[0]}}", "${{e.message}}", "${{e.operation.status.state}}"]}}]}}
  - r: {{return: ["${{job.status.state}}", "${{job.name}}"]}}
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    config = {
        "projects": [{"project_id": PROJECT, "number": 123456789012, "services_enabled": "all"}],
        "runtime": {"termination_grace_s": 0.3},
    }
    with local_cloud(tmp_path_factory.mktemp("wf") / "state", config) as running:
        yield running


@pytest.fixture(scope="module")
def workflow(cloud: LocalCloud) -> str:
    """Runs as an account that has what the documentation of Batch asks for, and no more."""
    accounts = f"{cloud.url('iam')}/v1/projects/{PROJECT}/serviceAccounts"
    assert httpx.post(accounts, json={"accountId": "wf-batch"}).status_code == 200
    member = f"serviceAccount:{RUNNER}"
    for api, resource, role in (
        ("resourcemanager", f"projects/{PROJECT}", "roles/batch.jobsEditor"),
        ("iam", f"projects/{PROJECT}/serviceAccounts/{VM}", "roles/iam.serviceAccountUser"),
    ):
        url = f"{cloud.url(api)}/v1/{resource}"
        policy = httpx.post(f"{url}:getIamPolicy", json={}).json()
        bindings = [*policy.get("bindings", []), {"role": role, "members": [member]}]
        answer = httpx.post(f"{url}:setIamPolicy", json={"policy": {**policy, "bindings": bindings}})
        assert answer.status_code == 200, answer.text
    return str(Workflows(cloud).deploy(SOURCE, "batch", service_account=RUNNER).name)


def start(cloud: LocalCloud, workflow: str, image: str, code: str, job: str, **more: Any) -> str:
    argument = {"image": image, "code": code, "job": job, "count": 1, "skip": False} | more
    return str(Workflows(cloud).start(workflow, argument).name)


def test_the_connector_waits_until_the_job_has_succeeded(cloud: LocalCloud, workflow: str, task_image: str) -> None:
    execution = start(cloud, workflow, task_image, "pass", "good", count=3)
    assert json.loads(Workflows(cloud).end(execution).result) == ["SUCCEEDED", f"{PARENT}/jobs/good"]
    assert counts(Batch(cloud, task_image).client.get_job(name=f"{PARENT}/jobs/good")) == {"SUCCEEDED": 3}


def test_a_failed_job_is_an_operation_error_and_a_second_of_its_name_a_conflict(
    cloud: LocalCloud, workflow: str, task_image: str
) -> None:
    execution = start(cloud, workflow, task_image, "raise SystemExit(2)", "bad")
    tag, message, state = json.loads(Workflows(cloud).end(execution).result)
    assert (tag, state) == ("OperationError", "FAILED")
    assert "exit code 2" in message
    again = Workflows(cloud).end(start(cloud, workflow, task_image, "pass", "bad"))
    assert again.state.name == "FAILED"  # a conflict has no operation to look into
    assert "operation" in again.error.context


def test_skip_polling_returns_at_once_and_cancelling_the_workflow_leaves_the_job(
    cloud: LocalCloud, workflow: str, task_image: str
) -> None:
    batch, workflows = Batch(cloud, task_image), Workflows(cloud)
    slow = "import time; time.sleep(60)"
    state, name = json.loads(workflows.end(start(cloud, workflow, task_image, slow, "skipped", skip=True)).result)
    assert state in ("QUEUED", "SCHEDULED")
    execution = start(cloud, workflow, task_image, slow, "orphan")
    batch.until(f"{PARENT}/jobs/skipped", "RUNNING")
    run_support.eventually(lambda: "orphan" in str(list(batch.client.list_jobs(parent=PARENT))))
    workflows.executions.cancel_execution(name=execution)
    batch.until(f"{PARENT}/jobs/orphan", "RUNNING")
    for job in (name, f"{PARENT}/jobs/orphan"):
        batch.client.delete_job(name=job).result(timeout=60)


def test_a_crash_while_the_job_runs_is_survived_by_both(tmp_path: Path, task_image: str) -> None:
    config = {
        "projects": [{"project_id": PROJECT, "number": 123456789012, "services_enabled": "all"}],
        "runtime": {"termination_grace_s": 0.3},
    }
    with local_cloud(tmp_path / "state", config) as cloud:
        workflow = Workflows(cloud).deploy(SOURCE, "batch").name
        execution = start(cloud, workflow, task_image, "import time; time.sleep(2)", "once")
        batch = Batch(cloud, task_image)
        run_support.eventually(
            lambda: any(job.status.state.name == "RUNNING" for job in batch.client.list_jobs(parent=PARENT))
        )
        cloud.kill()
        time.sleep(0.2)
        cloud.start()
        ended = Workflows(cloud).end(execution)
        assert json.loads(ended.result) == ["SUCCEEDED", f"{PARENT}/jobs/once"]
        assert len(list(Batch(cloud, task_image).client.list_jobs(parent=PARENT))) == 1
