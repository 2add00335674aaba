"""Executions of Cloud Run jobs in real containers, by Google's own clients."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import run_support
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2
from google.cloud.run_v2.types import condition

from localcloud.testing import LocalCloud, local_cloud

pytestmark = [pytest.mark.container]
task_image, eventually = run_support.task_image, run_support.eventually

PROJECT = "demo-project"
PARENT = f"projects/{PROJECT}/locations/europe-west1"
State = condition.Condition.State
Reason = condition.Condition.ExecutionReason


class Run:
    """Clients, and the few things every test here does with them."""

    def __init__(self, cloud: LocalCloud, image: str):
        self.cloud, self.image, self.number = cloud, image, 0
        given: dict[str, Any] = {
            "credentials": AnonymousCredentials(),
            "transport": "rest",
            "client_options": {"api_endpoint": cloud.url("run")},
        }
        self.jobs, self.executions, self.tasks = (
            run_v2.JobsClient(**given),
            run_v2.ExecutionsClient(**given),
            run_v2.TasksClient(**given),
        )
        self.http = httpx.Client(base_url=f"{cloud.url('run')}/v2/{PARENT}", timeout=30)

    def job(self, *args: str, image: str = "", memory: str = "512Mi", **fields: Any) -> str:
        """Create a job and return its name; `fields` go to the task (maxRetries default 0) or the execution."""
        self.number += 1
        execution = {key: fields.pop(key) for key in ("taskCount", "parallelism") if key in fields}
        env = [{"name": key, "value": value} for key, value in fields.pop("env", {}).items()]
        limits = {"limits": {"cpu": "1", "memory": memory}}
        container = {"image": image or self.image, "args": args, "env": env, "resources": limits}
        body = {"template": execution | {"template": {"maxRetries": 0, "containers": [container]} | fields}}
        name = f"job{self.number}-{os.getpid()}"
        answer = self.http.post(f"/jobs?jobId={name}", json=body)
        assert answer.status_code == 200, answer.text
        return f"{PARENT}/jobs/{name}"

    def end(self, operation: Any) -> run_v2.Execution:
        """Wait for the end of an execution, however it ends, and return it."""
        try:
            operation.result(timeout=60)
        except exceptions.GoogleAPICallError:
            assert operation.done()
        return self.executions.get_execution(name=operation.metadata.name)

    def run(self, *args: str, **fields: Any) -> run_v2.Execution:
        return self.end(self.jobs.run_job(name=self.job(*args, **fields)))

    def logs(self, execution: run_v2.Execution, log: str = "stdout") -> list[dict[str, Any]]:
        wanted = {
            "logName": f"projects/{PROJECT}/logs/run.googleapis.com%2F{log.replace('/', '%2F')}",
            'labels."run.googleapis.com/execution_name"': execution.name.rpartition("/")[2],
        }
        body = {
            "resourceNames": [f"projects/{PROJECT}"],
            "filter": " AND ".join(f'{key}="{value}"' for key, value in wanted.items()),
            "orderBy": "timestamp asc",
            "pageSize": 1000,
        }
        answer = httpx.post(f"{self.cloud.url('logging')}/v2/entries:list", json=body)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json().get("entries", [])
        return found


@pytest.fixture(scope="module")
def run(cloud: LocalCloud, task_image: str) -> Run:
    return Run(cloud, task_image)


def completed(conditions: Any) -> condition.Condition:
    found: condition.Condition = next(item for item in conditions if item.type_ == "Completed")
    return found


def test_success_is_told_by_operation_execution_task_job_and_logs(run: Run) -> None:
    name = run.job("lines", "plain", '{"severity":"WARNING","message":"said","n":1}', '{"message":"alone"}')
    operation = run.jobs.run_job(name=name)
    assert operation.metadata.reconciling
    execution = operation.result(timeout=60)
    assert (execution.succeeded_count, execution.failed_count, execution.running_count) == (1, 0, 0)
    states = {item.type_: item.state for item in execution.conditions}
    assert states == dict.fromkeys(
        ("Completed", "ContainerReady", "ResourcesAvailable", "Started"), State.CONDITION_SUCCEEDED
    )
    assert execution.start_time <= execution.completion_time
    assert execution.annotations["localcloud/runtime"] == "container"
    [task] = run.tasks.list_tasks(parent=execution.name)
    assert task.last_attempt_result.exit_code == 0
    latest = run.jobs.get_job(name=name).latest_created_execution
    assert latest.name == execution.name.rpartition("/")[2]
    assert latest.completion_status == run_v2.ExecutionReference.CompletionStatus.EXECUTION_SUCCEEDED

    entries = run.logs(execution)
    assert [entry.get("textPayload") for entry in entries] == ["plain", None, "alone"]
    assert entries[1]["severity"] == "WARNING"
    assert entries[1]["jsonPayload"] == {"message": "said", "n": 1}
    assert entries[0]["resource"]["labels"]["job_name"] == name.rpartition("/")[2]
    assert entries[0]["labels"]["run.googleapis.com/task_index"] == "0"
    assert run.logs(execution, "varlog/system")[0]["textPayload"] == "Container called exit(0)."


def test_failure_names_its_task_and_exit_code(run: Run) -> None:
    execution = run.run("exit", "7")
    end = completed(execution.conditions)
    short = execution.name.rpartition("/")[2]
    assert end.message == f"Task {short}-task0 failed with message: The container exited with an error."
    assert (end.state, end.execution_reason) == (State.CONDITION_FAILED, Reason.NON_ZERO_EXIT_CODE)
    [task] = run.tasks.list_tasks(parent=execution.name)
    assert (task.last_attempt_result.exit_code, task.last_attempt_result.status.code) == (7, 2)
    assert [entry["textPayload"] for entry in run.logs(execution, "stderr")] == ["trouble"]


def test_task_is_retried_with_its_attempt_until_it_succeeds(run: Run) -> None:
    execution = run.run("until", "2", maxRetries=3)
    assert (execution.succeeded_count, execution.retried_count) == (1, 2)
    [task] = run.tasks.list_tasks(parent=execution.name)
    assert task.retried == 2


def test_tasks_run_with_their_index_and_no_more_at_once_than_parallelism(run: Run) -> None:
    name = run.job("sleep", "1", taskCount=5, parallelism=3)
    operation = run.jobs.run_job(name=name)
    seen = set()

    def over() -> bool:
        execution = run.executions.get_execution(name=operation.metadata.name)
        seen.add(execution.running_count)
        return bool(execution.completion_time)

    eventually(over)
    assert max(seen) == 3
    tasks = list(run.tasks.list_tasks(parent=operation.metadata.name))
    assert [task.index for task in tasks] == list(range(5))
    starts = sorted(str(task.start_time) for task in tasks)
    assert starts[3] >= min(str(task.completion_time) for task in tasks)


def test_overrides_replace_arguments_merge_environment_and_change_count(run: Run) -> None:
    name = run.job("exit", "1", env={"KEPT": "1", "CHANGED": "1"})
    overrides = run_v2.RunJobRequest.Overrides(
        container_overrides=[
            {"args": ["env"], "env": [{"name": "CHANGED", "value": "2"}, {"name": "NEW", "value": "3"}]}
        ],
        task_count=2,
    )
    execution = run.end(run.jobs.run_job(request=run_v2.RunJobRequest(name=name, overrides=overrides)))
    assert execution.succeeded_count == 2
    env = run.logs(execution)[0]["jsonPayload"]["env"]
    assert (env["KEPT"], env["CHANGED"], env["NEW"]) == ("1", "2", "3")
    assert env["CLOUD_RUN_EXECUTION"] == execution.name.rpartition("/")[2]
    assert env["CLOUD_RUN_JOB"] == name.rpartition("/")[2]
    assert (env["CLOUD_RUN_TASK_COUNT"], env["CLOUD_RUN_TASK_ATTEMPT"]) == ("2", "0")
    assert run.jobs.get_job(name=name).template.template.containers[0].args == ["exit", "1"]


def test_timeout_gives_the_task_sigterm_and_fails(run: Run) -> None:
    execution = run.run("term", timeout="1s")
    assert completed(execution.conditions).message.endswith("failed with message: The configured timeout was reached.")
    assert run.logs(execution)[-1]["textPayload"] == "asked to stop"
    assert "maximum timeout of 1 seconds" in run.logs(execution, "varlog/system")[0]["textPayload"]


def test_memory_limit_is_told_as_such(run: Run) -> None:
    execution = run.run("memory")
    assert completed(execution.conditions).message.endswith(
        "failed with message: The configured memory limit was reached."
    )
    assert run.logs(execution, "varlog/system")[0]["textPayload"].startswith("Memory limit of 512 MiB exceeded.")
    [task] = run.tasks.list_tasks(parent=execution.name)
    assert task.last_attempt_result.term_signal == 9


def test_cancel_stops_what_runs_and_starts_nothing_more(run: Run) -> None:
    name = run.job("term", taskCount=3, parallelism=1, maxRetries=3)
    operation = run.jobs.run_job(name=name)
    target = operation.metadata.name
    eventually(lambda: run.executions.get_execution(name=target).running_count)
    eventually(lambda: run.logs(run.executions.get_execution(name=target)))
    cancelled = run.executions.cancel_execution(name=target).result(timeout=60)
    assert (cancelled.cancelled_count, cancelled.running_count) == (3, 0)
    end = completed(cancelled.conditions)
    assert (end.state, end.execution_reason) == (State.CONDITION_FAILED, Reason.CANCELLED)
    with pytest.raises(exceptions.BadRequest, match="already completed"):
        run.executions.cancel_execution(name=target)
    with pytest.raises(exceptions.GoogleAPICallError):
        operation.result(timeout=10)


def test_container_killed_from_outside_fails_with_137(run: Run) -> None:
    operation = run.jobs.run_job(name=run.job("sleep", "60"))
    execution = operation.metadata.name.rpartition("/")[2]
    engine = run_support.Engine()
    [container] = eventually(lambda: engine.running(execution))
    engine.call("POST", f"/containers/{container}/kill")
    end = run.end(operation)
    assert completed(end.conditions).message.endswith("The container exited with an error.")
    [task] = run.tasks.list_tasks(parent=end.name)
    assert task.last_attempt_result.exit_code == 137


def test_image_that_does_not_exist_fails_the_execution_by_name(run: Run, cloud: LocalCloud) -> None:
    image = f"127.0.0.1:{cloud.ports['registry']}/{PROJECT}/repo/none@sha256:{'1' * 64}"
    execution = run.run("env", image=image)
    end = completed(execution.conditions)
    assert end.message == f"Image '{image}' not found."
    assert end.reason == condition.Condition.CommonReason.CONTAINER_MISSING
    assert execution.failed_count == 1


def test_image_is_pulled_by_digest_also_by_its_artifact_registry_name(run: Run, cloud: LocalCloud) -> None:
    repositories = f"{cloud.url('artifactregistry')}/v1/{PARENT}/repositories"
    made = httpx.post(f"{repositories}?repositoryId=pulled", json={"format": "DOCKER"})
    assert made.status_code == 200, made.text
    path = f"{PROJECT}/pulled/task"
    host = f"127.0.0.1:{cloud.ports['registry']}"
    digest = run_support.Engine().push(run.image, f"{host}/{path}:v1", cloud.token("user:deployer@longhaul.local"))
    for registry in ("europe-west1-docker.pkg.dev", host):
        image = f"{registry}/{path}@{digest}"
        execution = run.run("lines", "pulled", image=image)
        assert execution.succeeded_count == 1, execution.conditions
        assert execution.template.containers[0].image == image  # as it was given


def test_program_that_does_not_exist_is_a_failure_to_start(run: Run) -> None:
    name = run.job()
    job = run.http.get(f"/jobs/{name.rpartition('/')[2]}").json()
    job["template"]["template"]["containers"][0]["command"] = ["no-such-program"]
    run.http.patch(f"/jobs/{name.rpartition('/')[2]}", json={"template": job["template"]})
    execution = run.end(run.jobs.run_job(name=name))
    assert "The container failed to start." in completed(execution.conditions).message
    assert "no-such-program" in completed(execution.conditions).message


def test_task_has_the_identity_of_its_service_account(run: Run, cloud: LocalCloud) -> None:
    email = f"worker@{PROJECT}.iam.gserviceaccount.com"
    accounts = f"{cloud.url('iam')}/v1/projects/{PROJECT}/serviceAccounts"
    httpx.post(accounts, json={"accountId": "worker", "serviceAccount": {"displayName": "w"}})
    base = "instance/service-accounts/default"
    execution = run.run(
        "metadata", f"{base}/email", f"{base}/token", f"{base}/identity?audience=https://x", serviceAccount=email
    )
    answers = run.logs(execution)[0]["jsonPayload"]["answers"]
    assert answers[f"{base}/email"] == email
    token = json.loads(answers[f"{base}/token"])["access_token"]
    seen = httpx.get(f"{cloud.url('run')}/v2/{PARENT}/jobs", headers={"Authorization": f"Bearer {token}"})
    assert seen.status_code == 403  # known, and granted nothing
    assert answers[f"{base}/identity?audience=https://x"].count(".") == 2


def test_secret_reaches_the_task_whose_account_may_read_it_and_no_other(run: Run, cloud: LocalCloud) -> None:
    secrets = f"{cloud.url('secretmanager')}/v1/projects/{PROJECT}/secrets"
    assert httpx.post(f"{secrets}?secretId=for-run", json={"replication": {"automatic": {}}}).status_code == 200
    payload = {"payload": {"data": base64.b64encode(b"open sesame").decode()}}
    assert httpx.post(f"{secrets}/for-run:addVersion", json=payload).status_code == 200
    email = f"reader@{PROJECT}.iam.gserviceaccount.com"
    accounts = f"{cloud.url('iam')}/v1/projects/{PROJECT}/serviceAccounts"
    httpx.post(accounts, json={"accountId": "reader", "serviceAccount": {"displayName": "r"}})
    name = run.job("env", serviceAccount=email)
    job = run.http.get(f"/jobs/{name.rpartition('/')[2]}").json()
    reference = {"secretKeyRef": {"secret": "for-run", "version": "latest"}}
    job["template"]["template"]["containers"][0]["env"] = [{"name": "S", "valueSource": reference}]
    run.http.patch(f"/jobs/{name.rpartition('/')[2]}", json={"template": job["template"]})

    refused = completed(run.end(run.jobs.run_job(name=name)).conditions).message
    assert "Permission 'secretmanager.versions.access' denied" in refused

    binding = {"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{email}"]}
    granted = httpx.post(f"{secrets}/for-run:setIamPolicy", json={"policy": {"bindings": [binding]}})
    assert granted.status_code == 200
    execution = run.end(run.jobs.run_job(name=name))
    assert run.logs(execution)[0]["jsonPayload"]["env"]["S"] == "open sesame"


def test_output_of_200_mb_is_cut_by_name_and_its_end_kept(run: Run) -> None:
    execution = run.run("flood", "200")
    assert execution.succeeded_count == 1
    system = [entry["textPayload"] for entry in run.logs(execution, "varlog/system")]
    assert any("passed 33554432 bytes of storage" in text for text in system)
    assert any("of this attempt's output were not stored" in text for text in system)
    body = {
        "resourceNames": [f"projects/{PROJECT}"],
        "filter": f'labels."run.googleapis.com/execution_name"="{execution.name.rpartition("/")[2]}" AND textPayload="flooded"',
    }
    assert len(httpx.post(f"{run.cloud.url('logging')}/v2/entries:list", json=body, timeout=60).json()["entries"]) == 1


def test_deleting_a_job_stops_what_runs_of_it_and_leaves_nothing(run: Run) -> None:
    name = run.job("term")
    operation = run.jobs.run_job(name=name)
    eventually(lambda: run.logs(operation.metadata))
    run.jobs.delete_job(name=name).result()
    gone = f"{run.cloud.url('run')}/v2/{operation.metadata.name}"
    eventually(lambda: httpx.get(gone).status_code == 404)
    engine = run_support.Engine()
    assert engine.running(operation.metadata.name.rpartition("/")[2]) == []


def test_anonymous_callers_can_be_denied_while_tasks_and_tokens_work(task_image: str, tmp_path: Path) -> None:
    projects = [{"project_id": PROJECT, "services_enabled": "all"}]
    apis = ("control", "run", "iam", "resourcemanager", "logging")
    config = {"projects": projects, "anonymous": "deny", "ports": dict.fromkeys(apis, 0)}
    with local_cloud(tmp_path / "state", config) as denying:
        url = f"{denying.url('run')}/v2/{PARENT}/jobs"
        body = {
            "template": {"template": {"maxRetries": 0, "containers": [{"image": task_image, "args": ["exit", "0"]}]}}
        }
        for headers in ({}, {"Authorization": "Bearer dummy"}):
            refused = httpx.post(f"{url}?jobId=a", json=body, headers=headers)
            assert (refused.status_code, refused.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
        owner = {"Authorization": "Bearer local-deployer"}
        assert httpx.post(f"{url}?jobId=a", json=body, headers=owner).json()["done"]
        execution = (
            f"{denying.url('run')}/v2/{httpx.post(f'{url}/a:run', json={}, headers=owner).json()['metadata']['name']}"
        )
        eventually(lambda: httpx.get(execution, headers=owner).json().get("succeededCount") == 1)
