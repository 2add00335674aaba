"""The local cloud dies in the middle of a run, or is stopped: what becomes of the tasks."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import run_support

from localcloud.testing import LocalCloud

pytestmark = [pytest.mark.container]
task_image = run_support.task_image

PROJECT = "demo-project"
JOBS = f"/v2/projects/{PROJECT}/locations/europe-west1/jobs"
APIS = ("control", "run", "iam", "resourcemanager", "logging")


class Broken:
    """A local cloud that is started and killed at will."""

    def __init__(self, state: Path, image: str):
        projects = [{"project_id": PROJECT, "services_enabled": "all"}]
        self.cloud = LocalCloud(
            state, {"projects": projects, "ports": dict.fromkeys(APIS, 0), "runtime": {"termination_grace_s": 1}}
        )
        self.image, self.engine = image, run_support.Engine()
        self.owner = hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:10]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = httpx.request(method, f"{self.cloud.url('run')}{path}", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def start(self, *args: str, **task: Any) -> str:
        """Create a job, run it, wait until its first line of output is stored, and return the execution's path."""
        container = {"image": self.image, "args": args}
        body = {"template": {"template": {"maxRetries": 0, "containers": [container]} | task}}
        self.call("POST", f"{JOBS}?jobId=broken", body)
        execution = f"/v2/{self.call('POST', f'{JOBS}/broken:run', {})['metadata']['name']}"
        self.until(self.lines)
        return execution

    def lines(self) -> list[str]:
        """Return the output that is stored."""
        log = f'logName="projects/{PROJECT}/logs/run.googleapis.com%2Fstdout"'
        body = {"resourceNames": [f"projects/{PROJECT}"], "filter": log, "orderBy": "timestamp asc"}
        found = httpx.post(f"{self.cloud.url('logging')}/v2/entries:list", json=body).json()
        return [entry["textPayload"] for entry in found.get("entries", [])]

    def until(self, check: Callable[[], Any]) -> Any:
        return run_support.eventually(check)

    def ended(self, execution: str) -> dict[str, Any]:
        """Wait for the end of an execution and return its Completed condition."""
        done = self.until(lambda: (found := self.call("GET", execution)).get("completionTime") and found)
        found: dict[str, Any] = next(item for item in done["conditions"] if item["type"] == "Completed")
        return found

    def containers(self) -> list[str]:
        return self.engine.containers(self.owner)


@pytest.fixture
def broken(tmp_path: Path, task_image: str) -> Iterator[Broken]:
    made = Broken(tmp_path / "state", task_image)
    made.cloud.start()
    yield made
    made.cloud.stop()
    left = made.containers()
    for container in left:
        made.engine.remove(container)
    assert left == []
    assert not Path(f"/dev/shm/localcloud-{made.owner}").exists()


def test_running_task_is_taken_up_again_and_no_line_is_lost_or_doubled(broken: Broken) -> None:
    execution = broken.start("tick", "12", "0.3")
    broken.cloud.kill()
    assert len(broken.containers()) == 1
    broken.cloud.start()
    assert broken.ended(execution)["state"] == "CONDITION_SUCCEEDED"
    assert broken.lines() == [f"tick {number}" for number in range(12)]
    operations = broken.call("GET", f"/v2/projects/{PROJECT}/locations/europe-west1/operations")["operations"]
    assert all(operation["done"] for operation in operations)


def test_task_that_ended_meanwhile_is_settled_by_its_exit_code(broken: Broken) -> None:
    execution = broken.start("late", "1", "7")
    broken.cloud.kill()
    [container] = broken.containers()
    broken.until(lambda: broken.engine.call("GET", f"/containers/{container}/json")["State"]["Status"] == "exited")
    broken.cloud.start()
    assert broken.ended(execution)["executionReason"] == "NON_ZERO_EXIT_CODE"
    [task] = broken.call("GET", f"{execution}/tasks")["tasks"]
    assert task["lastAttemptResult"]["exitCode"] == 7
    assert broken.lines() == ["waiting", "over"]


def test_deadline_holds_across_the_restart(broken: Broken) -> None:
    execution = broken.start("sleep", "600", timeout="3s")
    broken.cloud.kill()
    broken.cloud.start()
    assert broken.ended(execution)["message"].endswith("The configured timeout was reached.")


def test_task_whose_container_is_gone_fails_with_the_reason(broken: Broken) -> None:
    execution = broken.start("sleep", "600")
    broken.cloud.kill()
    [container] = broken.containers()
    broken.engine.remove(container)
    broken.cloud.start()
    assert "The container was lost" in broken.ended(execution)["message"]


def test_stopping_in_order_cancels_what_runs_and_leaves_nothing(broken: Broken) -> None:
    execution = broken.start("farewell", f"{broken.cloud.url('run')}{JOBS}")
    broken.cloud.stop()
    assert broken.containers() == []
    broken.cloud.start()
    assert broken.ended(execution)["executionReason"] == "CANCELLED"
    assert broken.lines()[-1] == "farewell 200"  # the APIs still answered


def test_stopping_in_order_can_also_leave_tasks_running(broken: Broken) -> None:
    broken.cloud.stop()
    broken.cloud.config["extra"] = {"run": {"on_stop": "keep"}}
    broken.cloud.start()
    execution = broken.start("tick", "10", "0.3")
    broken.cloud.stop()
    assert len(broken.containers()) == 1
    broken.cloud.start()
    assert broken.ended(execution)["state"] == "CONDITION_SUCCEEDED"
    assert len(broken.lines()) == 10


def test_reset_removes_what_runs(broken: Broken) -> None:
    broken.start("sleep", "600")
    broken.cloud.control("POST", "/reset")
    assert broken.containers() == []
    assert "jobs" not in broken.call("GET", JOBS)
