"""`gcloud secrets`, `gcloud batch` and `gcloud workflows` against the local cloud, by their documented properties only."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import run_support
from batch_support import PROJECT, Batch

from localcloud.testing import LocalCloud

pytestmark = [pytest.mark.container]
task_image = run_support.task_image


@pytest.fixture
def gcloud(cloud: LocalCloud, tmp_path: Path) -> Callable[..., str]:
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed")
    env = os.environ | {
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": PROJECT,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_WORKFLOWS_LOCATION": "europe-west1",
        "CLOUDSDK_BATCH_LOCATION": "europe-west1",
        **{
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name.upper()}": f"{cloud.url(name)}/"
            for name in ("secretmanager", "batch", "workflows", "workflowexecutions", "serviceusage")
        },
    }

    def call(*words: str, given: str = "", rc: int = 0) -> str:
        done = subprocess.run(["gcloud", *words], env=env, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == rc, done.stdout + done.stderr
        return done.stdout + done.stderr

    return call


def test_gcloud_makes_and_reads_secrets(gcloud: Callable[..., str]) -> None:
    name = f"gcloud-{os.getpid()}"
    gcloud("secrets", "create", name, "--data-file=-", given="hush")
    gcloud("secrets", "versions", "add", name, "--data-file=-", given="hush hush")
    assert gcloud("secrets", "versions", "access", "latest", f"--secret={name}") == "hush hush"
    assert name in gcloud("secrets", "list")
    gcloud("secrets", "delete", name)


def test_gcloud_submits_lists_and_describes_batch_jobs(
    gcloud: Callable[..., str], cloud: LocalCloud, task_image: str, tmp_path: Path
) -> None:
    name, config = f"gcloud-{os.getpid()}", tmp_path / "job.json"
    container = {"imageUri": task_image, "commands": ["exit", "0"]}
    spec = {"runnables": [{"container": container}], "computeResource": {"cpuMilli": 500, "memoryMib": 256}}
    config.write_text(json.dumps({"taskGroups": [{"taskSpec": spec, "taskCount": 2}]}))
    gcloud("batch", "jobs", "submit", name, f"--config={config}", "--location=europe-west1")
    Batch(cloud, task_image).until(f"projects/{PROJECT}/locations/europe-west1/jobs/{name}", "SUCCEEDED")
    assert name in gcloud("batch", "jobs", "list", "--location=europe-west1")
    assert "state: SUCCEEDED" in gcloud("batch", "jobs", "describe", name, "--location=europe-west1")
    tasks = gcloud("batch", "tasks", "list", f"--job={name}", "--location=europe-west1", "--format=value(status.state)")
    assert tasks.split() == ["SUCCEEDED", "SUCCEEDED"]


def test_gcloud_deploys_and_runs_workflows(gcloud: Callable[..., str], tmp_path: Path) -> None:
    name, source = f"gcloud-{os.getpid()}", tmp_path / "wf.yaml"
    source.write_text("main:\n  params: [args]\n  steps:\n  - r: {return: '${args.n + 1}'}\n")
    assert "state: ACTIVE" in gcloud("workflows", "deploy", name, f"--source={source}")
    assert "result: '42'" in gcloud("workflows", "run", name, '--data={"n": 41}')
    execution = gcloud("workflows", "execute", name, '--data={"n": 1}', "--format=value(name)").split()[0]
    assert "state: SUCCEEDED" in gcloud("workflows", "executions", "wait", execution)
    source.write_text("- a: {next: nowhere}\n")
    assert "main.yaml:1: parse error" in gcloud("workflows", "deploy", name, f"--source={source}", rc=1)
