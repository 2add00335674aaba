"""Tasks as processes, where there is no Docker engine."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import run_support

from localcloud.plugins.docker.builder import Build
from localcloud.plugins.docker.process_image import pack, push
from localcloud.runtime.attempt import Limits, Outcome, follow
from localcloud.runtime.base import Batch, HostLimits, ImageProblem, StartProblem, TaskSpec
from localcloud.runtime.process import ProcessRuntime
from localcloud.testing import local_cloud

DIGEST = "sha256:" + "a" * 64
IMAGE = f"127.0.0.1:1/p/r/i@{DIGEST}"


class Bench:
    """A runtime that holds one unpacked image, and what a task does on it."""

    def __init__(self, folder: Path):
        root = folder / "images" / DIGEST.replace(":", "-")
        (root / "root" / "app").mkdir(parents=True, exist_ok=True)
        (root / "root" / "app" / "task.py").write_text(run_support.TASK)
        config = {"Entrypoint": ["python3", "-u", "task.py"], "WorkingDir": "/app", "Env": ["PATH=/none", "BUILT=yes"]}
        (root / "config.json").write_text(json.dumps(config))
        self.runtime = ProcessRuntime(folder, HostLimits(memory_ceiling_mib=512), None, {"PATH": os.environ["PATH"]})
        self.text: list[str] = []

    def spec(self, *args: str, key: str = "a", memory_mib: int = 256, **env: str) -> TaskSpec:
        return TaskSpec(key=key, image=IMAGE, args=args, env=env, memory_mib=memory_mib, cpus=1)

    async def sink(self, batch: Batch) -> None:
        self.text += [line.data.decode() for line in batch.lines]

    async def on_stop(self, why: str) -> None:
        """Nothing to be told."""

    async def follow(self, run_id: str, timeout_s: float = 60, since: str = "") -> Outcome:
        limits = Limits(deadline=time.time() + timeout_s, cancel=asyncio.Event(), grace_s=1)
        try:
            return await follow(self.runtime, run_id, limits, since=since, sink=self.sink, on_stop=self.on_stop)
        finally:
            await self.runtime.remove(run_id)

    async def run(self, spec: TaskSpec, timeout_s: float = 60) -> Outcome:
        return await self.follow(await self.runtime.start(spec), timeout_s)


Play = Callable[[Callable[[Bench], Awaitable[None]]], None]


@pytest.fixture
def bench(tmp_path: Path) -> Play:
    def play(scene: Callable[[Bench], Awaitable[None]]) -> None:
        async def whole() -> None:
            made = Bench(tmp_path)
            await made.runtime.open()
            await scene(made)
            assert await made.runtime.found() == []

        asyncio.run(whole())

    return play


def test_code_of_the_digest_runs_with_its_environment(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        assert (await b.run(b.spec("env", CLOUD_RUN_TASK_INDEX="2"))).succeeded
        env = json.loads(b.text[0])["env"]
        assert (env["BUILT"], env["CLOUD_RUN_TASK_INDEX"], env["PATH"]) == ("yes", "2", os.environ["PATH"])
        assert (await b.run(b.spec("exit", "5"))).code == 5
        assert sorted(b.text[1:]) == ["going", "trouble"]

    bench(scene)


def test_tmp_is_each_task_s_own(bench: Play, tmp_path: Path) -> None:
    async def scene(b: Bench) -> None:
        for key in ("a", "b"):
            assert (
                await b.run(b.spec("env", key=key, WORK="/tmp/run", OTHER="/tmpfs", URL="http://h/tmp/x"))
            ).succeeded
        first, second = (json.loads(text)["env"] for text in b.text)
        assert first["WORK"] == f"{first['TMPDIR']}/run" != second["WORK"]
        assert Path(first["WORK"]).is_relative_to(tmp_path)
        assert (first["OTHER"], first["URL"]) == ("/tmpfs", "http://h/tmp/x")

    bench(scene)


def test_memory_over_the_limit_ends_as_oom(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        end = await b.run(b.spec("memory", memory_mib=100))
        assert (end.kind, end.signal) == ("oom", 9)

    bench(scene)


def test_timeout_sends_sigterm_and_then_kills(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        end = await b.run(b.spec("term"), timeout_s=2)
        assert (end.kind, end.code, b.text[-1]) == ("timeout", 3, "asked to stop")
        end = await b.run(b.spec("stubborn"), timeout_s=1)
        assert (end.kind, end.signal) == ("timeout", 9)

    bench(scene)


def test_task_is_found_again_with_its_output(bench: Play, tmp_path: Path) -> None:
    async def scene(b: Bench) -> None:
        run_id = await b.runtime.start(b.spec("tick", "8", "0.2"))
        batch = await anext(aiter(b.runtime.logs(run_id, "")))
        later = Bench(tmp_path)  # as after a restart
        [found] = await later.runtime.found()
        assert (found.key, found.running) == ("a", True)
        assert (await later.follow(found.run_id, since=batch.cursor)).succeeded
        seen = [line.data.decode() for line in batch.lines] + later.text
        assert seen == [f"tick {number}" for number in range(8)]

    bench(scene)


def test_task_whose_keeper_is_killed_ends_as_lost(bench: Play, tmp_path: Path) -> None:
    async def scene(b: Bench) -> None:
        run_id = await b.runtime.start(b.spec("sleep", "60"))
        started = json.loads((tmp_path / "runs" / run_id / "started.json").read_text())
        os.kill(started["keeper"]["pid"], signal.SIGKILL)
        assert (await b.follow(run_id)).kind == "lost"

    bench(scene)


def test_what_cannot_run_as_a_process_is_said(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        with pytest.raises(StartProblem, match="no-such-program"):
            await b.runtime.start(TaskSpec(key="x", image=IMAGE, command=["no-such-program"], memory_mib=64, cpus=1))
        with pytest.raises(ImageProblem, match="must be named by its digest"):
            await b.runtime.prepare("127.0.0.1:1/p/r/i:latest")

    bench(scene)


def test_job_runs_without_an_engine_and_its_execution_says_so(tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "task.py").write_text(run_support.TASK)
    (context / "Dockerfile").write_text(
        'FROM scratch\nWORKDIR /app\nCOPY task.py /app/\nENTRYPOINT ["python3", "task.py"]\n'
    )
    projects = [{"project_id": "demo-project", "services_enabled": "all"}]
    apis = ("control", "run", "iam", "resourcemanager", "logging", "registry", "artifactregistry")
    config: dict[str, Any] = {"projects": projects, "ports": dict.fromkeys(apis, 0), "runtime": {"mode": "processes"}}
    with local_cloud(tmp_path / "state", config) as cloud:
        parent = "projects/demo-project/locations/europe-west1"
        repository = {"format": "DOCKER"}
        made = httpx.post(
            f"{cloud.url('artifactregistry')}/v1/{parent}/repositories?repositoryId=repo", json=repository
        )
        assert made.status_code == 200, made.text
        name = f"127.0.0.1:{cloud.ports['registry']}/demo-project/repo/task"
        build = Build(image=name, context=context, dockerfile=context / "Dockerfile", args={}, target="", platform="")
        digest = push(pack(build), name, None, lambda: None)
        container = {"image": f"{name}@{digest}", "args": ["exit", "3"]}
        jobs = f"{cloud.url('run')}/v2/{parent}/jobs"
        body = {"template": {"template": {"maxRetries": 0, "containers": [container]}}}
        assert httpx.post(f"{jobs}?jobId=process", json=body).json()["done"]
        execution = f"{cloud.url('run')}/v2/{httpx.post(f'{jobs}/process:run', json={}).json()['metadata']['name']}"
        run_support.eventually(lambda: httpx.get(execution).json().get("completionTime"))
        ended = httpx.get(execution).json()
        assert ended["annotations"]["localcloud/runtime"] == "process"
        assert ended["failedCount"] == 1
        assert httpx.get(f"{execution}/tasks").json()["tasks"][0]["lastAttemptResult"]["exitCode"] == 3
        assert any("runs as a process" in item.get("message", "") for item in ended["conditions"])
