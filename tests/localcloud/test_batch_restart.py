"""The local cloud dies in the middle of a job, or is stopped: what becomes of its tasks."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import run_support
from batch_support import PROJECT, Batch, counts

from localcloud.testing import LocalCloud

pytestmark = [pytest.mark.container]
task_image = run_support.task_image
APIS = ("control", "run", "iam", "resourcemanager", "logging", "batch")
TICKS = "import time\nfor n in range(8): print('tick', n, flush=True); time.sleep(0.3)"


class Broken:
    """A local cloud that is started and killed at will."""

    def __init__(self, state: Path, image: str) -> None:
        projects = [{"project_id": PROJECT, "services_enabled": "all"}]
        config = {"projects": projects, "ports": dict.fromkeys(APIS, 0), "runtime": {"termination_grace_s": 0.3}}
        self.cloud = LocalCloud(state, config)
        self.cloud.start()
        self.batch, self.engine = Batch(self.cloud, image), run_support.Engine()
        self.owner = hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:10]

    def containers(self) -> list[str]:
        return self.engine.containers(self.owner)


@pytest.fixture
def broken(tmp_path: Path, task_image: str) -> Iterator[Broken]:
    made = Broken(tmp_path / "state", task_image)
    yield made
    made.cloud.stop()
    left = made.containers()
    for container in left:
        made.engine.remove(container)
    assert left == []


def test_running_tasks_are_taken_up_again_and_no_line_is_lost_or_doubled(broken: Broken) -> None:
    batch = broken.batch
    job = batch.job(batch.python(TICKS), batch.python("print('second')"), group={"task_count": 3, "parallelism": 2})
    name = batch.submit(job)
    run_support.eventually(lambda: len(batch.lines(batch.client.get_job(name=name))) >= 2)
    broken.cloud.kill()
    assert len(broken.containers()) == 2
    broken.cloud.start()
    ended = batch.until(name, "SUCCEEDED")
    assert counts(ended) == {"SUCCEEDED": 3}
    lines = [(entry["labels"]["task_id"], entry["textPayload"]) for entry in batch.lines(ended)]
    assert len(lines) == len(set(lines)) == 27
    assert [len(batch.task(ended, index).status.status_events) for index in range(3)] == [2, 2, 2]


def test_lost_container_is_exit_code_50002_and_is_retried_by_policy(broken: Broken) -> None:
    batch = broken.batch
    retry = [{"action": "RETRY_TASK", "action_condition": {"exit_codes": [50002]}}]
    job = batch.job(batch.python(TICKS), max_retry_count=1, lifecycle_policies=retry)
    name = batch.submit(job)
    run_support.eventually(lambda: batch.lines(batch.client.get_job(name=name)))
    broken.cloud.kill()
    for container in broken.containers():
        broken.engine.remove(container)
    broken.cloud.start()
    task = batch.task(batch.until(name, "SUCCEEDED"))
    ends = [event.task_execution.exit_code for event in task.status.status_events if event.task_state.name == "FAILED"]
    assert ends == [50002]


def test_cancelled_job_is_not_resumed_and_stopping_in_order_leaves_nothing(broken: Broken) -> None:
    batch = broken.batch
    name = batch.submit(
        batch.job(batch.python("import time; time.sleep(60)"), group={"task_count": 2, "parallelism": 1})
    )
    run_support.eventually(broken.containers)
    broken.cloud.stop()
    assert broken.containers() == []
    broken.cloud.start()
    assert counts(batch.until(name, "CANCELLED")) == {"FAILED": 1, "UNEXECUTED": 1}
