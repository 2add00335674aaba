"""Cloud Run Admin v2 by Google's own client, and its refusals by plain REST. Nothing here starts a container."""

from typing import Any

import httpx
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2

from localcloud.testing import LocalCloud

PARENT = "projects/demo-project/locations/europe-west1"
SHAPE = {"cpu": "2", "memory": "4Gi"}


@pytest.fixture(scope="module")
def jobs(cloud: LocalCloud) -> run_v2.JobsClient:
    options = {"api_endpoint": cloud.url("run")}
    return run_v2.JobsClient(credentials=AnonymousCredentials(), transport="rest", client_options=options)


@pytest.fixture(scope="module")
def rest(cloud: LocalCloud) -> httpx.Client:
    return httpx.Client(base_url=f"{cloud.url('run')}/v2/{PARENT}")


def body(**changes: Any) -> dict[str, Any]:
    """A job as the Pulumi provider sends it; `changes` go into the container, or by name into the task or execution."""
    execution = {key: changes.pop(key) for key in ("taskCount", "parallelism") if key in changes}
    task_keys = (
        "maxRetries",
        "timeout",
        "serviceAccount",
        "volumes",
        "vpcAccess",
        "nodeSelector",
        "gpuZonalRedundancyDisabled",
    )
    task = {key: changes.pop(key) for key in task_keys if key in changes}
    container = {"image": "example.test/i:1", "resources": {"limits": SHAPE}} | changes
    return {"template": execution | {"template": {"maxRetries": 3, "containers": [container]} | task}}


def refusal(rest: httpx.Client, job: dict[str, Any], name: str = "refused") -> str:
    answer = rest.post("/jobs", params={"jobId": name, "validateOnly": "true"}, json=job)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["status"] == "INVALID_ARGUMENT"
    return str(error["message"])


def test_job_lives_its_life_by_the_official_client(jobs: run_v2.JobsClient) -> None:
    container = run_v2.Container(image="example.test/i:1", env=[run_v2.EnvVar(name="A", value="1")])
    template = run_v2.ExecutionTemplate(task_count=3, template=run_v2.TaskTemplate(containers=[container]))
    job = jobs.create_job(
        parent=PARENT, job=run_v2.Job(template=template, labels={"team": "a"}), job_id="life"
    ).result()
    assert (job.name, job.generation, job.creator) == (f"{PARENT}/jobs/life", 1, "deployer@longhaul.local")
    assert job.terminal_condition.state == run_v2.Condition.State.CONDITION_SUCCEEDED
    assert job.name in [item.name for item in jobs.list_jobs(parent=PARENT)]

    job.template.template.containers[0].env[0].value = "2"
    assert jobs.update_job(job=job).result().generation == 2
    assert jobs.update_job(job=jobs.get_job(name=job.name)).result().generation == 2  # nothing changed
    job.etag = '"old"'
    with pytest.raises(exceptions.Conflict):
        jobs.update_job(job=job)

    with pytest.raises(exceptions.Conflict):
        jobs.create_job(parent=PARENT, job=run_v2.Job(template=template), job_id="life")
    jobs.delete_job(name=job.name).result()
    with pytest.raises(exceptions.NotFound):
        jobs.get_job(name=job.name)


def test_answer_echoes_what_was_sent_and_fills_only_what_was_not(rest: httpx.Client) -> None:
    sent = body(env=[{"name": "B", "value": "1"}, {"name": "A"}], args=["x"], timeout="3600s", maxRetries=0)
    sent |= {"labels": {"goog-pulumi-provisioned": "true"}}
    sent["template"]["template"]["vpcAccess"] = {
        "egress": "PRIVATE_RANGES_ONLY",
        "networkInterfaces": [{"network": "n"}],
    }
    made = rest.post("/jobs?jobId=echo", json=sent).json()
    assert made["done"] is True
    got = rest.get("/jobs/echo").json()
    task, sent_task = got["template"]["template"], sent["template"]["template"]
    assert {key: task[key] for key in sent_task} == sent_task
    assert got["labels"] == sent["labels"]
    assert got["template"]["taskCount"] == 1
    assert "parallelism" not in got["template"]
    assert got["launchStage"] == "GA"
    assert "client" not in got
    assert (got["generation"], got["observedGeneration"]) == ("1", "1")  # strings: the provider insists
    minimal = rest.post("/jobs?jobId=echo2", json={"template": {"template": {"containers": [{"image": "x.test/i:1"}]}}})
    filled = minimal.json()["response"]["template"]["template"]
    assert filled["containers"][0]["resources"]["limits"] == {"cpu": "1000m", "memory": "512Mi"}
    assert (filled["maxRetries"], filled["timeout"]) == (3, "600s")


def test_patch_replaces_the_whole_job(rest: httpx.Client) -> None:
    rest.post("/jobs?jobId=patched", json=body(args=["a"]) | {"labels": {"a": "b"}})
    answer = rest.patch("/jobs/patched", json=body(resources={"limits": {"cpu": "4", "memory": "8Gi"}}))
    job = answer.json()["response"]
    assert "args" not in job["template"]["template"]["containers"][0]
    assert "labels" not in job
    assert job["generation"] == "2"
    assert rest.patch("/jobs/absent", json=body()).status_code == 404
    assert rest.patch("/jobs/absent?allowMissing=true", json=body()).json()["response"]["name"].endswith("/absent")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resources": {"limits": {"cpu": "2", "memory": "256Mi"}}}, "Total memory < 512 Mi is not supported"),
        ({"resources": {"limits": {"cpu": "1", "memory": "8Gi"}}}, "must be between 512Mi and 4096Mi, got 8192Mi"),
        ({"resources": {"limits": {"cpu": "8", "memory": "2Gi"}}}, "must be between 4096Mi and 32768Mi, got 2048Mi"),
        ({"resources": {"limits": {"cpu": "3.7", "memory": "4Gi"}}}, "Must be one of 1, 2, 4, 6, 8, got 3.7"),
        ({"resources": {"limits": {"cpu": "0.5", "memory": "512Mi"}}}, "Total cpu < 1"),
        ({"resources": {"limits": {"cpu": "1", "memory": "banana"}}}, "Invalid value specified for memory: 'banana'"),
        ({"resources": {"limits": {"disk": "1"}}}, "only cpu, memory and nvidia.com/gpu"),
        ({"taskCount": 10_001}, "template.task_count: must be between 1 and 10000, got 10001"),
        ({"taskCount": 2, "parallelism": 3}, "template.parallelism: must be between 0 and task_count (2), got 3"),
        ({"maxRetries": 11}, "max_retries: must be between 0 and 10, got 11"),
        ({"timeout": "604801s"}, "timeout: must be between 1s and 604800s, got 604801s"),
        ({"image": ""}, "containers[0].image: must be set"),
        ({"ports": [{"containerPort": 80}]}, "ports: are not supported for jobs"),
        ({"env": [{"name": "A"}, {"name": "A"}]}, "env[1].name: A is given twice"),
        ({"env": [{"name": "CLOUD_RUN_JOB", "value": "x"}]}, "CLOUD_RUN_JOB is reserved"),
        ({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, "no volume is named 'v'"),
        ({"vpcAccess": {"connector": "c", "networkInterfaces": [{"network": "n"}]}}, "exclude each other"),
        ({"nodeSelector": {"accelerator": "nvidia-l4"}}, "needs a limit of nvidia.com/gpu"),
    ],
)  # fmt: skip
def test_shape_that_cloud_run_refuses_is_refused_by_name(
    rest: httpx.Client, changes: dict[str, Any], said: str
) -> None:
    assert said in refusal(rest, body(**changes))


def test_gpu_needs_its_shape_region_and_no_redundancy(rest: httpx.Client, cloud: LocalCloud) -> None:
    limits = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
    job = body(resources={"limits": limits}, nodeSelector={"accelerator": "nvidia-l4"}, gpuZonalRedundancyDisabled=True)
    assert rest.post("/jobs?jobId=gpu&validateOnly=true", json=job).status_code == 200
    elsewhere = f"{cloud.url('run')}/v2/projects/demo-project/locations/europe-west2/jobs?jobId=gpu&validateOnly=true"
    assert "not in europe-west2" in httpx.post(elsewhere, json=job).json()["error"]["message"]
    job["template"]["template"].pop("gpuZonalRedundancyDisabled")
    limits["memory"] = "8Gi"
    message = refusal(rest, job)
    assert "must be true for jobs with a GPU" in message
    assert "at least 4 CPU and 16384Mi" in message


@pytest.mark.parametrize("name", ["Bad_Name_", "1a", "a" * 50, "a-", ""])
def test_job_name_that_cloud_run_refuses(rest: httpx.Client, name: str) -> None:
    assert "job_id" in refusal(rest, body(), name)


def test_unknown_field_and_wrong_enum_are_refused(rest: httpx.Client) -> None:
    assert 'Unknown name "tempalte"' in refusal(rest, {"tempalte": {}})
    job = body()
    job["template"]["template"]["executionEnvironment"] = "GEN2"
    assert "GEN2" in refusal(rest, job)


def test_image_that_is_not_in_the_registry_leaves_a_job_that_is_not_ready(
    rest: httpx.Client, cloud: LocalCloud
) -> None:
    for number, host in enumerate((f"127.0.0.1:{cloud.ports['registry']}", "europe-west1-docker.pkg.dev")):
        image = f"{host}/demo-project/repo/none@sha256:{'0' * 64}"
        made = rest.post(f"/jobs?jobId=noimage{number}", json=body(image=image)).json()
        assert made["error"] == {"code": 5, "message": f"Image '{image}' not found."}
        ready = rest.get(f"/jobs/noimage{number}").json()["terminalCondition"]
        assert (ready["state"], ready["reason"]) == ("CONDITION_FAILED", "CONTAINER_MISSING")


def test_validate_only_changes_nothing(rest: httpx.Client) -> None:
    assert rest.post("/jobs?jobId=dry&validateOnly=true", json=body()).json()["response"]["name"].endswith("/jobs/dry")
    assert rest.get("/jobs/dry").status_code == 404


def test_missing_permission_is_named(rest: httpx.Client, cloud: LocalCloud) -> None:
    rest.post("/jobs?jobId=guarded", json=body())
    nobody = {"Authorization": f"Bearer {cloud.token('user:nobody@example.com')}"}

    def denied(answer: httpx.Response) -> str:
        assert answer.status_code == 403
        error = answer.json()["error"]
        assert error["status"] == "PERMISSION_DENIED"
        return str(error["message"])

    assert "'run.jobs.get' denied on resource" in denied(rest.get("/jobs/guarded", headers=nobody))
    assert "'run.jobs.create'" in denied(rest.post("/jobs?jobId=x", json=body(), headers=nobody))
    assert "'run.jobs.run'" in denied(rest.post("/jobs/guarded:run", json={}, headers=nobody))
    assert "'run.executions.list'" in denied(rest.get("/jobs/guarded/executions", headers=nobody))

    policy = {"bindings": [{"role": "roles/run.invoker", "members": ["user:nobody@example.com"]}]}
    assert rest.post("/jobs/guarded:setIamPolicy", json={"policy": policy}).status_code == 200
    overrides = {"overrides": {"taskCount": 1}}
    message = denied(rest.post("/jobs/guarded:run", json=overrides, headers=nobody))
    assert message == (
        f"Permission 'run.jobs.runWithOverrides' denied on resource '{PARENT}/jobs/guarded' (or resource may not exist)."
    )
    asked = rest.post(
        "/jobs/guarded:testIamPermissions", json={"permissions": ["run.jobs.run", "run.jobs.get"]}, headers=nobody
    )
    assert asked.json() == {"permissions": ["run.jobs.run"]}


def test_creator_must_be_able_to_act_as_an_account_that_exists(rest: httpx.Client, cloud: LocalCloud) -> None:
    missing = "none@demo-project.iam.gserviceaccount.com"
    answer = rest.post("/jobs?jobId=acting", json=body(serviceAccount=missing))
    assert answer.status_code == 403
    said = f"Permission 'iam.serviceaccounts.actAs' denied on service account {missing} (or it may not exist)."
    assert answer.json()["error"]["message"] == said

    developer = "user:developer@example.com"
    policy_url = f"{cloud.url('resourcemanager')}/v1/projects/demo-project"
    policy = httpx.post(f"{policy_url}:getIamPolicy", json={}).json()
    policy["bindings"].append({"role": "roles/run.developer", "members": [developer]})
    assert httpx.post(f"{policy_url}:setIamPolicy", json={"policy": policy}).status_code == 200
    headers = {"Authorization": f"Bearer {cloud.token(developer)}"}
    refused = rest.post("/jobs?jobId=acting", json=body(), headers=headers)
    assert refused.status_code == 403
    assert "actAs" in refused.json()["error"]["message"]


def test_overrides_must_fit_the_job(rest: httpx.Client) -> None:
    rest.post("/jobs?jobId=fits", json=body())

    def said(**overrides: Any) -> str:
        answer = rest.post("/jobs/fits:run", json={"overrides": overrides, "validateOnly": True})
        assert answer.status_code == 400, answer.text
        return str(answer.json()["error"]["message"])

    assert "no container named 'other'" in said(containerOverrides=[{"name": "other", "args": ["x"]}])
    assert "timeout" in said(timeout="0s")
    assert "exclude each other" in said(containerOverrides=[{"args": ["x"], "clearArgs": True}])
    assert "reserved" in said(containerOverrides=[{"env": [{"name": "CLOUD_RUN_JOB", "value": "x"}]}])
    assert rest.post("/jobs/fits:run", json={"etag": '"no"'}).status_code == 409
    assert rest.post("/jobs/none:run", json={}).status_code == 404


def test_list_comes_in_pages(rest: httpx.Client) -> None:
    for number in range(3):
        rest.post(f"/jobs?jobId=page{number}", json=body())
    first = rest.get("/jobs?pageSize=2").json()
    assert len(first["jobs"]) == 2
    second = rest.get("/jobs", params={"pageToken": first["nextPageToken"], "pageSize": 1000}).json()
    names = [job["name"] for job in first["jobs"] + second["jobs"]]
    assert len(names) == len(set(names))
    assert {f"{PARENT}/jobs/page{number}" for number in range(3)} <= set(names)


def test_v1_is_a_view_of_the_same_jobs_by_the_region_of_the_host_name(rest: httpx.Client, cloud: LocalCloud) -> None:
    rest.post("/jobs?jobId=knative", json=body(env=[{"name": "A", "value": "1"}], timeout="60s", maxRetries=0))
    url = f"{cloud.url('run')}/apis/run.googleapis.com/v1/namespaces/demo-project/jobs"
    job = httpx.get(f"{url}/knative", headers={"Host": "europe-west1-run.emulator"}).json()
    spec = job["spec"]["template"]["spec"]["template"]["spec"]
    assert spec["containers"][0]["env"] == [{"name": "A", "value": "1"}]
    assert (spec["timeoutSeconds"], spec["maxRetries"]) == ("60", 0)
    assert job["status"]["conditions"][0]["status"] == "True"
    assert httpx.get(f"{url}/knative", headers={"Host": "europe-west2-run.emulator"}).status_code == 404
    everywhere = httpx.get(url, headers={"Host": "run.emulator"}).json()["items"]
    assert "knative" in [item["metadata"]["name"] for item in everywhere]

    job["spec"]["template"]["spec"]["template"]["spec"]["timeoutSeconds"] = "90"
    replaced = httpx.put(f"{url}/knative", json=job, headers={"Host": "europe-west1-run.emulator"})
    assert replaced.status_code == 200, replaced.text
    task = rest.get("/jobs/knative").json()["template"]["template"]
    assert (task["timeout"], task["maxRetries"]) == ("90s", 0)


def test_port_is_a_proxy_to_the_other_apis_of_this_cloud_only(cloud: LocalCloud) -> None:
    for host in ("cloudresourcemanager.googleapis.com", f"127.0.0.1:{cloud.ports['resourcemanager']}"):
        project = httpx.get(f"{cloud.url('run')}/v1/projects/demo-project", headers={"Host": host}).json()
        assert project["projectNumber"] == "123456789012"
    assert httpx.get(f"{cloud.url('run')}/v1/x", headers={"Host": "example.com"}).status_code == 404


def test_delivery_of_a_run_can_be_doubled(rest: httpx.Client, cloud: LocalCloud) -> None:
    image = f"europe-west1-docker.pkg.dev/demo-project/repo/none@sha256:{'2' * 64}"
    rest.post("/jobs?jobId=doubled", json=body(image=image))
    cloud.control("PUT", "/faults", {"double_delivery_rate": 1.0})
    try:
        assert rest.post("/jobs/doubled:run", json={}).status_code == 200
    finally:
        cloud.control("PUT", "/faults", {"double_delivery_rate": 0.0})
    assert len(rest.get("/jobs/doubled/executions").json()["executions"]) == 2
    assert rest.get("/jobs/doubled").json()["executionCount"] == 2
