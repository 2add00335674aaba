"""The fan-out's workflow and containers in the local cloud, with exactly the grants that the component declares."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Recorder, run, start
from heavy_support import BASE_IMAGE, find_engine
from heavy_support import Engine as Docker
from run_support import Engine

from components.batch_fanout import BatchFanout
from localcloud.testing import LocalCloud, local_cloud
from workloads.batch_fanout.contract import IndexMap, batch_job_id
from workloads.common.contract import Endpoints

PROJECT, REGION = "test-project", "europe-west1"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
ROOT = Path(__file__).resolve().parents[2]
TAG = "longhaul-test/batch-fanout:latest"
SMALL = {"cpu_milli": 1_000, "memory_mib": 1_024, "max_retries": 1}

pytestmark = [pytest.mark.system, pytest.mark.container]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    config = {
        "projects": [{"project_id": PROJECT, "number": 123456789012, "services_enabled": "all"}],
        "runtime": {"termination_grace_s": 1.0},
    }
    with local_cloud(tmp_path_factory.mktemp("fanout") / "state", config) as running:
        yield running


def call(cloud: LocalCloud, api: str, method: str, path: str, body: Any = None, **query: str) -> Any:
    answer = httpx.request(method, f"{cloud.url(api)}{path}", json=body, params=query, timeout=60)
    assert answer.status_code < 300, f"{method} {path}: {answer.text}"
    return answer.json() if answer.content else {}


@pytest.fixture(scope="module")
def image(cloud: LocalCloud) -> str:
    docker = find_engine()
    known = docker("image", "inspect", BASE_IMAGE, check=False).returncode == 0
    base = ["--build-arg", f"BASE_IMAGE={BASE_IMAGE}"] if known else []
    dockerfile = str(ROOT / "workloads" / "batch_fanout.Dockerfile")
    arguments = ["build", "--network", "host", *base, "-f", dockerfile, "-t", TAG, str(ROOT / "workloads")]
    built = any(
        Docker(program)(*arguments, timeout=900, check=False).returncode == 0
        for program in dict.fromkeys([docker.program, "/usr/bin/docker"])
    )
    assert built
    call(cloud, "artifactregistry", "POST", f"/v1/{PARENT}/repositories", {"format": "DOCKER"}, repositoryId="images")
    host = cloud.url("registry").removeprefix("http://")
    name = f"{host}/{PROJECT}/images/batch-fanout"
    token = cloud.token("user:deployer@longhaul.local")
    member = {"role": "roles/artifactregistry.writer", "members": ["user:deployer@longhaul.local"]}
    repository = f"/v1/{PARENT}/repositories/images"
    call(cloud, "artifactregistry", "POST", f"{repository}:setIamPolicy", {"policy": {"bindings": [member]}})
    return f"{name}@{Engine().push(TAG, f'{name}:test', token)}"


@pytest.fixture(scope="module")
def workflow(cloud: LocalCloud, image: str) -> str:
    """The component, deployed by its declarations; the name of the workflow."""
    for account in ("fanout-tasks", "fanout-flow"):
        call(cloud, "iam", "POST", f"/v1/projects/{PROJECT}/serviceAccounts", {"accountId": account})
    for bucket in ("data", "runs"):
        access = {"name": bucket, "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}}
        call(cloud, "storage", "POST", "/storage/v1/b", access, project=PROJECT)
    recorder = start()
    endpoints = Endpoints(storage=cloud.url("storage"), secret_manager=cloud.url("secretmanager"))
    args: Any = {
        "image": image, "project": PROJECT, "location": REGION, "account_id": "fanout-tasks", "bucket": "data",
        "workflow_account_id": "fanout-flow", "index_bucket": "runs", "repository_id": "images", "spot": True,
        "env": endpoints.to_env(), "stage_a": SMALL, "stage_b": SMALL, "stage_c": SMALL, "poll_s": 1,
    }  # fmt: skip
    run(lambda: BatchFanout("fan", args))
    grant(cloud, recorder)
    declared = recorder.resources["fan-workflow"]
    body = {
        "sourceContents": declared["sourceContents"],
        "userEnvVars": declared["userEnvVars"],
        "serviceAccount": f"projects/{PROJECT}/serviceAccounts/fanout-flow@{PROJECT}.iam.gserviceaccount.com",
    }
    call(cloud, "workflows", "POST", f"/v1/{PARENT}/workflows", body, workflowId="fan")
    return f"{PARENT}/workflows/fan"


def grant(cloud: LocalCloud, recorder: Recorder) -> None:
    """Every grant that was declared, where it was declared."""
    policies: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for found in recorder.resources.values():
        if "member" not in found:
            continue
        binding = {"role": found["role"], "members": [found["member"]]}
        if "condition" in found:
            binding["condition"] = found["condition"]
        policies[place(found)].append(binding)
    for (api, verb, path), bindings in policies.items():
        get = path.replace(":setIamPolicy", ":getIamPolicy")
        old = call(cloud, api, "GET" if verb == "PUT" or api == "artifactregistry" else "POST", get)
        policy = {"bindings": [*old.get("bindings", []), *bindings], "version": 3, "etag": old.get("etag", "")}
        call(cloud, api, verb, path, policy if verb == "PUT" else {"policy": policy})


def place(found: Mapping[str, Any]) -> tuple[str, str, str]:
    if "bucket" in found:
        return "storage", "PUT", f"/storage/v1/b/{found['bucket']}/iam"
    if "serviceAccountId" in found:
        email = f"fanout-tasks@{PROJECT}.iam.gserviceaccount.com"
        return "iam", "POST", f"/v1/projects/{PROJECT}/serviceAccounts/{email}:setIamPolicy"
    if "repository" in found:
        return "artifactregistry", "POST", f"/v1/{PARENT}/repositories/{found['repository']}:setIamPolicy"
    return "resourcemanager", "POST", f"/v1/projects/{PROJECT}:setIamPolicy"


def execute(cloud: LocalCloud, workflow: str, argument: Any, timeout_s: float = 240) -> Any:
    """The execution at its end."""
    made = call(cloud, "workflowexecutions", "POST", f"/v1/{workflow}/executions", {"argument": json.dumps(argument)})
    until = time.monotonic() + timeout_s
    while True:
        found = call(cloud, "workflowexecutions", "GET", f"/v1/{made['name']}")
        if found["state"] not in ("ACTIVE", "QUEUED"):
            return found
        assert time.monotonic() < until, found
        time.sleep(0.3)


def read(cloud: LocalCloud, bucket: str, name: str) -> Any:
    path = f"/storage/v1/b/{bucket}/o/{name.replace('/', '%2F')}"
    return httpx.get(f"{cloud.url('storage')}{path}", params={"alt": "media"}).raise_for_status().json()


def test_a_run_a_failure_and_a_rerun_of_what_failed(cloud: LocalCloud, workflow: str) -> None:
    ended = execute(cloud, workflow, {"count": 3, "seed": 1, "sim_id": "flu"})
    assert ended["state"] == "SUCCEEDED", ended
    outcome = json.loads(ended["result"])
    execution = ended["name"].rpartition("/")[2]
    root = f"fanout/flu/{execution}/"
    assert (outcome["tasks"], outcome["root"]) == (3, f"gs://data/{root}")
    assert outcome["jobs"]["b"] == f"{PARENT}/jobs/{batch_job_id(execution, 'b')}"
    first = read(cloud, "data", f"{root}outputs/gather.json")
    assert (first["found"], first["missing"]) == (3, [])
    assert read(cloud, "data", f"{root}run_metadata.json")["state"] == "SUCCEEDED"
    assert read(cloud, "runs", f"runs/fanout/{execution}.json")["state"] == "SUCCEEDED"

    # one result goes missing: a second execution makes that one again and gathers the same
    gone = f"/storage/v1/b/data/o/{root}results/result_0001.pkl".replace(
        f"{root}results/", f"{root}results/".replace("/", "%2F")
    )
    call(cloud, "storage", "DELETE", gone)
    name = f"{root}maps/again.json"
    httpx.post(
        f"{cloud.url('storage')}/upload/storage/v1/b/data/o",
        params={"uploadType": "media", "name": name},
        content=IndexMap.of([1]).to_json(),
    ).raise_for_status()
    again = execute(cloud, workflow, {"run_id": execution, "sim_id": "flu", "indexMap": name, "taskCount": 1})
    assert again["state"] == "SUCCEEDED", again
    second = read(cloud, "data", f"{root}outputs/gather.json")
    assert {**second} == first


def test_a_refused_run_names_the_stage_the_task_and_the_exit_code(cloud: LocalCloud, workflow: str) -> None:
    ended = execute(cloud, workflow, {"count": 2, "seed": 1, "sim_id": "flu", "githubForecastRepo": "no repository"})
    assert ended["state"] == "FAILED"
    error = json.loads(ended["error"]["payload"])
    assert (error["stage"], error["report"]["failed"]) == ("a", 1)
    assert error["report"]["first"][0]["exit_code"] == 2
    execution = ended["name"].rpartition("/")[2]
    assert read(cloud, "data", f"fanout/flu/{execution}/run_metadata.json")["state"] == "FAILED"
