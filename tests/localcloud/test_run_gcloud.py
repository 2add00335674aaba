"""`gcloud run jobs` against the local cloud, by its documented properties only."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import run_support

from localcloud.testing import LocalCloud

pytestmark = [pytest.mark.container]
task_image = run_support.task_image
PROJECT = "demo-project"


@pytest.fixture
def gcloud(cloud: LocalCloud, tmp_path: Path) -> Callable[..., str]:
    if subprocess.run(["which", "gcloud"], capture_output=True, check=False).returncode:
        pytest.skip("gcloud is not installed")
    env = os.environ | {
        "CLOUDSDK_CONFIG": str(tmp_path),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": PROJECT,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_RUN_REGION": "europe-west1",
        "CLOUDSDK_PROXY_TYPE": "http",
        "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
        "CLOUDSDK_PROXY_PORT": str(cloud.ports["run"]),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": "http://run.emulator/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": "http://logging.emulator/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE": "http://serviceusage.emulator/",
    }

    def call(*words: str, rc: int = 0) -> str:
        done = subprocess.run(["gcloud", "run", "jobs", *words], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == rc, done.stdout + done.stderr
        return done.stdout + done.stderr

    return call


def test_gcloud_lists_describes_executes_cancels_and_reads_logs(
    cloud: LocalCloud, task_image: str, gcloud: Callable[..., str]
) -> None:
    name = f"gcloud-{os.getpid()}"
    container = {"image": task_image, "args": ["exit", "1"]}
    url = f"{cloud.url('run')}/v2/projects/{PROJECT}/locations/europe-west1/jobs"
    body = {"template": {"template": {"maxRetries": 0, "containers": [container]}}}
    assert httpx.post(f"{url}?jobId={name}", json=body).status_code == 200
    assert name in gcloud("list")
    assert "Args:          exit 1" in gcloud("describe", name)
    said = gcloud("execute", name, "--wait", "--args=lines,from-gcloud", "--update-env-vars=A=1", "--task-timeout=60s")
    assert "has successfully completed" in said
    assert "The execution failed" in gcloud("execute", name, "--wait", rc=1)
    listed = gcloud(
        "executions", "list", f"--job={name}", "--format=value(metadata.name,status.succeededCount)"
    ).split()
    assert len(listed) == 3  # the failed one has no succeededCount
    assert "failed with message: The container exited with an error." in gcloud("executions", "describe", listed[0])
    assert "from-gcloud" in gcloud("logs", "read", name)
    gcloud("execute", name, "--async", "--args=term")
    running = gcloud("executions", "list", f"--job={name}", "--format=value(metadata.name)").split()[0]
    assert "Cancelled execution" in gcloud("executions", "cancel", running)


def test_gcloud_deploys_updates_and_deletes(task_image: str, gcloud: Callable[..., str]) -> None:
    gcloud("deploy", "deployed", f"--image={task_image}", "--tasks=2", "--max-retries=1", "--task-timeout=5m")
    assert "Tasks:           2" in gcloud("describe", "deployed")
    gcloud("update", "deployed", "--memory=1Gi", "--update-env-vars=X=1")
    described = gcloud("describe", "deployed")
    assert "Memory:        1Gi" in described
    assert "Task Timeout:    5m" in described
    member = "--member=user:a@example.com"
    gcloud("add-iam-policy-binding", "deployed", member, "--role=roles/run.invoker")
    assert "roles/run.invoker" in gcloud("get-iam-policy", "deployed")
    gcloud("delete", "deployed")
    assert "deployed" not in gcloud("list", "--format=value(metadata.name)").split()
