"""Batch jobs of the test image, by Google's own client."""

import time
from typing import Any

import httpx
from google.auth.credentials import AnonymousCredentials
from google.cloud import batch_v1
from google.oauth2.credentials import Credentials

from localcloud.testing import LocalCloud

PROJECT = "demo-project"
PARENT = f"projects/{PROJECT}/locations/europe-west1"
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


class Batch:
    def __init__(self, cloud: LocalCloud, image: str, member: str = "") -> None:
        self.cloud, self.image = cloud, image
        credentials: Any = Credentials(token=cloud.token(member)) if member else AnonymousCredentials()
        self.client: Any = batch_v1.BatchServiceClient(
            credentials=credentials, transport="rest", client_options={"api_endpoint": cloud.url("batch")}
        )

    def python(self, code: str, **runnable: Any) -> dict[str, Any]:
        """A runnable that executes a line of Python."""
        return {"container": {"image_uri": self.image, "entrypoint": "python3", "commands": ["-c", code]}} | runnable

    def job(self, *runnables: dict[str, Any], group: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
        compute = {"cpu_milli": 500, "memory_mib": 256}
        task = {"runnables": list(runnables), "compute_resource": compute} | spec
        logs = {"destination": "CLOUD_LOGGING"}
        return {"task_groups": [{"task_spec": task} | (group or {})], "logs_policy": logs}

    def submit(self, job: dict[str, Any], job_id: str = "", **more: Any) -> str:
        request = {"parent": PARENT, "job": batch_v1.Job(job), "job_id": job_id} | more
        return str(self.client.create_job(request).name)

    def state(self, name: str) -> str:
        return str(self.client.get_job(name=name).status.state.name)

    def until(self, name: str, *states: str, timeout_s: float = 60) -> Any:
        """The job, once it is in one of the states."""
        deadline = time.monotonic() + timeout_s
        while (job := self.client.get_job(name=name)).status.state.name not in states:
            assert time.monotonic() < deadline, job
            time.sleep(0.1)
        return job

    def run(self, *runnables: dict[str, Any], **more: Any) -> Any:
        """The job after its end."""
        return self.until(self.submit(self.job(*runnables, **more)), *ENDED)

    def task(self, job: Any, index: int = 0) -> Any:
        return self.client.get_task(name=f"{job.name}/taskGroups/group0/tasks/{index}")

    def lines(self, job: Any, log: str = "batch_task_logs") -> list[dict[str, Any]]:
        wanted = f'logName="projects/{PROJECT}/logs/{log}" AND labels.job_uid="{job.uid}"'
        body = {
            "resourceNames": [f"projects/{PROJECT}"],
            "filter": wanted,
            "orderBy": "timestamp asc",
            "pageSize": 1000,
        }
        found = httpx.post(f"{self.cloud.url('logging')}/v2/entries:list", json=body).json()
        entries: list[dict[str, Any]] = found.get("entries", [])
        return entries


def counts(job: Any) -> dict[str, int]:
    return dict(job.status.task_groups["group0"].counts)
