"""What the Batch API refuses, pages and asks of IAM; no container is started."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from batch_support import PARENT, PROJECT, Batch, counts
from google.api_core import exceptions

from localcloud.testing import LocalCloud, local_cloud

ACCOUNT = f"batch-vm@{PROJECT}.iam.gserviceaccount.com"
SUBMITTER = "user:submitter@example.com"


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A cloud whose jobs stay queued."""
    config = {
        "projects": [{"project_id": PROJECT, "number": 123456789012, "services_enabled": "all"}],
        "extra": {"batch": {"queue_delay_s": 600}},
    }
    with local_cloud(tmp_path_factory.mktemp("batch") / "state", config) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def batch(waiting: LocalCloud) -> Batch:
    return Batch(waiting, "some/image:1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task_count": 100_001}, "100000"),
        ({"parallelism": 5001}, "5000"),
        ({"task_spec": {}}, "1 to 100 runnables"),
        ({"task_spec": {"runnables": [{"container": {}}]}}, "image_uri"),
        ({"task_spec": {"runnables": [{"container": {"image_uri": "a"}}], "max_retry_count": 11}}, "0 to 10"),
        ({"task_spec": {"runnables": [{"container": {"image_uri": "a"}}], "max_run_duration": "0s"}}, "more than 0"),
        (
            {"task_spec": {"runnables": [{"container": {"image_uri": "a"}}], "lifecycle_policies": [{"action": 1}]}},
            "exit_codes",
        ),
        ({"task_spec": {"runnables": [{}]}}, "one of container, script"),
        (
            {
                "task_spec": {
                    "runnables": [{"container": {"image_uri": "a"}}],
                    "environment": {"secret_variables": {"A": "tok"}},
                }
            },
            "versions/V",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_field(batch: Batch, change: dict[str, Any], words: str) -> None:
    job = batch.job(batch.python("pass"))
    job["task_groups"][0] |= change
    with pytest.raises(exceptions.BadRequest, match=words):
        batch.submit(job)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"runnables": [{"script": {"text": "ls"}}]}, "no virtual machine"),
        ({"runnables": [{"container": {"image_uri": "a", "volumes": ["/a:/a"]}}]}, "volumes"),
        ({"runnables": [{"container": {"image_uri": "a", "options": "--privileged"}}]}, "--privileged"),
        (
            {
                "runnables": [{"container": {"image_uri": "a"}}],
                "volumes": [{"gcs": {"remote_path": "b"}, "mount_path": "/mnt"}],
            },
            "kind gcs",
        ),
    ],
)
def test_what_is_not_there_locally_is_refused_and_not_passed_over(
    batch: Batch, spec: dict[str, Any], words: str
) -> None:
    job = {"task_groups": [{"task_spec": spec}]}
    with pytest.raises(exceptions.MethodNotImplemented, match=words):
        batch.submit(job)


@pytest.mark.parametrize("job_id", ["Upper", "1st", "end-", "a" * 64, "under_score"])
def test_job_ids_are_checked(batch: Batch, job_id: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="63 lowercase"):
        batch.submit(batch.job(batch.python("pass")), job_id=job_id)


def test_unknown_field_and_bad_request_id_are_refused(waiting: LocalCloud, batch: Batch) -> None:
    url = f"{waiting.url('batch')}/v1/{PARENT}/jobs"
    answer = httpx.post(url, json={"taskGroups": [{"taskSpecs": {}}]})
    assert (answer.status_code, "taskSpecs" in answer.text) == (400, True)
    with pytest.raises(exceptions.BadRequest, match="request_id"):
        batch.submit(batch.job(batch.python("pass")), request_id="00000000-0000-0000-0000-000000000000")


def test_defaults_are_those_of_batch(batch: Batch) -> None:
    job = batch.client.get_job(name=batch.submit({"task_groups": [{"task_spec": {"runnables": [batch.python("1")]}}]}))
    [group] = job.task_groups
    assert (group.task_count, group.parallelism, group.name) == (1, 1, f"{job.name}/taskGroups/group0")
    assert (group.task_spec.compute_resource.cpu_milli, group.task_spec.compute_resource.memory_mib) == (2000, 2000)
    assert job.status.state.name == "QUEUED"
    assert counts(job) == {"PENDING": 1}


def test_a_job_of_100_000_tasks_is_summarised_and_its_tasks_are_paged(batch: Batch) -> None:
    name = batch.submit(batch.job(batch.python("pass"), group={"task_count": 100_000, "parallelism": 5000}))
    began = time.monotonic()
    for _ in range(20):
        job = batch.client.get_job(name=name)
    assert counts(job) == {"PENDING": 100_000}
    assert len(batch.client.get_job(name=name)._pb.SerializeToString()) < 2000
    assert time.monotonic() - began < 20  # twenty reads, not a reading of 100,000 tasks each
    url = f"{batch.cloud.url('batch')}/v1/{name}/taskGroups/group0/tasks"
    first = httpx.get(url, params={"pageSize": 2}).json()
    second = httpx.get(url, params={"pageSize": 2, "pageToken": first["nextPageToken"]}).json()
    assert [task["name"].rpartition("/")[2] for task in first["tasks"] + second["tasks"]] == ["0", "1", "2", "3"]
    last = httpx.get(url, params={"pageSize": 5, "pageToken": "99998"}).json()
    assert (len(last["tasks"]), "nextPageToken" in last) == (2, False)
    assert httpx.get(url, params={"filter": "State=RUNNING"}).json() == {}
    assert httpx.get(f"{url}/100000").status_code == 404
    batch.client.cancel_job(name=name).result(timeout=60)
    assert counts(batch.client.get_job(name=name)) == {"UNEXECUTED": 100_000}


def grant(cloud: LocalCloud, resource: str, role: str, member: str, api: str) -> None:
    url = f"{cloud.url(api)}/v1/{resource}"
    policy = httpx.post(f"{url}:getIamPolicy", json={}).json()
    bindings = [*policy.get("bindings", []), {"role": role, "members": [member]}]
    answer = httpx.post(f"{url}:setIamPolicy", json={"policy": {**policy, "bindings": bindings}})
    assert answer.status_code == 200, answer.text


def test_creating_takes_the_role_on_the_project_and_acting_as_the_machines_account(waiting: LocalCloud) -> None:
    accounts = f"{waiting.url('iam')}/v1/projects/{PROJECT}/serviceAccounts"
    assert httpx.post(accounts, json={"accountId": "batch-vm"}).status_code == 200
    submitter = Batch(waiting, "some/image:1", SUBMITTER)
    job = submitter.job(submitter.python("pass")) | {"allocation_policy": {"service_account": {"email": ACCOUNT}}}
    with pytest.raises(exceptions.Forbidden, match=r"batch\.jobs\.create"):
        submitter.submit(job)
    grant(waiting, f"projects/{PROJECT}", "roles/batch.jobsEditor", SUBMITTER, "resourcemanager")
    with pytest.raises(exceptions.Forbidden, match="act as the specified service account"):
        submitter.submit(job)
    grant(waiting, f"projects/{PROJECT}/serviceAccounts/{ACCOUNT}", "roles/iam.serviceAccountUser", SUBMITTER, "iam")
    name = submitter.submit(job)
    stranger = Batch(waiting, "some/image:1", "user:stranger@example.com")
    for call in (stranger.client.get_job, stranger.client.cancel_job, stranger.client.delete_job):
        with pytest.raises(exceptions.Forbidden):
            call(name=name)


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("", set()),
        ("roles/batch.agentReporter", set()),
        ("roles/batch.jobsViewer", {"get", "list", "tasks"}),
        ("roles/batch.jobsEditor", {"get", "list", "tasks", "cancel", "delete"}),
    ],
)
def test_roles_allow_what_they_say(waiting: LocalCloud, batch: Batch, role: str, allowed: set[str]) -> None:
    member = f"user:of-{role.rpartition('.')[2].lower() or 'nothing'}@example.com"
    if role:
        grant(waiting, f"projects/{PROJECT}", role, member, "resourcemanager")
    name = batch.submit(batch.job(batch.python("pass")))
    client = Batch(waiting, "some/image:1", member).client
    calls: dict[str, Callable[[], Any]] = {
        "get": lambda: client.get_job(name=name),
        "list": lambda: client.list_jobs(parent=PARENT),
        "tasks": lambda: client.list_tasks(parent=f"{name}/taskGroups/group0"),
        "cancel": lambda: client.cancel_job(name=name).result(timeout=30),
        "delete": lambda: client.delete_job(name=name),
    }
    done = set()
    for verb, call in calls.items():
        try:
            call()
        except exceptions.Forbidden:
            continue
        done.add(verb)
    assert done == allowed


def test_reset_forgets_jobs_and_frees_their_names(tmp_path: Path) -> None:
    projects = [{"project_id": PROJECT, "services_enabled": "all"}]
    config = {"projects": projects, "extra": {"batch": {"queue_delay_s": 600}}}
    with local_cloud(tmp_path / "state", config) as cloud:
        batch = Batch(cloud, "some/image:1")
        name = batch.submit(batch.job(batch.python("pass")), job_id="again")
        cloud.control("POST", "/reset")
        with pytest.raises(exceptions.NotFound):
            batch.client.get_job(name=name)
        assert batch.submit(batch.job(batch.python("pass")), job_id="again") == name
        assert batch.state(name) == "QUEUED"


def test_job_of_an_account_that_may_not_report_stays_scheduled_and_says_so(tmp_path: Path) -> None:
    config = {"projects": [{"project_id": PROJECT, "services_enabled": "all"}], "runtime": {"mode": "processes"}}
    with local_cloud(tmp_path / "state", config) as cloud:
        accounts = f"{cloud.url('iam')}/v1/projects/{PROJECT}/serviceAccounts"
        assert httpx.post(accounts, json={"accountId": "batch-vm"}).status_code == 200
        repositories = f"{cloud.url('artifactregistry')}/v1/{PARENT}/repositories"
        assert httpx.post(f"{repositories}?repositoryId=r", json={"format": "DOCKER"}).status_code == 200
        batch = Batch(cloud, f"127.0.0.1:{cloud.ports['registry']}/{PROJECT}/r/i@sha256:{'0' * 64}")
        account = {"allocation_policy": {"service_account": {"email": ACCOUNT}}}
        name = batch.submit(batch.job(batch.python("pass")) | account)
        batch.until(name, "SCHEDULED")
        deadline = time.monotonic() + 10
        while len((job := batch.client.get_job(name=name)).status.status_events) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert "roles/batch.agentReporter" in job.status.status_events[1].description
        other = batch.submit(batch.job(batch.python("pass")) | account)
        batch.client.cancel_job(name=other).result(timeout=30)
        assert batch.state(other) == "CANCELLED"
        cloud.control("PUT", "/clock", {"advance_s": 1081})
        late = batch.until(name, "FAILED")
        assert "no VM has agent reporting" in late.status.status_events[-1].description
        name = batch.submit(batch.job(batch.python("pass")) | account)
        batch.until(name, "SCHEDULED")
        grant(cloud, f"projects/{PROJECT}", "roles/batch.agentReporter", f"serviceAccount:{ACCOUNT}", "resourcemanager")
        ended = batch.until(name, "FAILED")  # it starts now; its account may not read the image
        last = batch.task(ended).status.status_events[-1]
        assert last.task_execution.exit_code == 125
        assert "roles/artifactregistry.reader" in last.description
