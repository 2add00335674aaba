"""Tasks in real containers."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import run_support

from localcloud.runtime.attempt import Limits, Outcome, follow
from localcloud.runtime.base import Batch, HostLimits, ImageProblem, LogLine, StartProblem, TaskSpec, Volume
from localcloud.runtime.docker import DockerRuntime

pytestmark = [pytest.mark.container]
no_containers_left, task_image = run_support.no_containers_left, run_support.task_image
LIMITS = HostLimits(memory_ceiling_mib=1024)


class Bench:
    """A runtime, and what one task does on it."""

    def __init__(self, runtime: DockerRuntime, image: str):
        self.runtime, self.image, self.lines, self.stops = runtime, image, list[LogLine](), list[str]()

    def spec(self, *args: str, key: str = "a", memory_mib: int = 128, **more: object) -> TaskSpec:
        return TaskSpec(key=key, image=self.image, args=args, memory_mib=memory_mib, cpus=1, **more)  # type: ignore[arg-type]  # fields by name

    async def sink(self, batch: Batch) -> None:
        self.lines += batch.lines

    async def on_stop(self, why: str) -> None:
        self.stops.append(why)

    async def run(
        self, spec: TaskSpec, timeout_s: float = 60, grace_s: float = 10, cancel: asyncio.Event | None = None
    ) -> Outcome:
        run_id = await self.runtime.start(spec)
        limits = Limits(deadline=time.time() + timeout_s, cancel=cancel or asyncio.Event(), grace_s=grace_s)
        try:
            return await follow(self.runtime, run_id, limits, sink=self.sink, on_stop=self.on_stop)
        finally:
            await self.runtime.remove(run_id)

    @property
    def text(self) -> list[str]:
        return [line.data.decode() for line in self.lines]


@pytest.fixture
def bench(
    no_containers_left: str, task_image: str, tmp_path: Path
) -> Callable[[Callable[[Bench], Awaitable[None]]], None]:
    def play(scene: Callable[[Bench], Awaitable[None]]) -> None:
        async def whole() -> None:
            runtime = DockerRuntime(os.environ["DOCKER_HOST"], no_containers_left, tmp_path, LIMITS)
            await runtime.open()
            try:
                await scene(Bench(runtime, task_image))
            finally:
                await runtime.close()

        asyncio.run(whole())

    return play


Play = Callable[[Callable[[Bench], Awaitable[None]]], None]


def test_output_comes_by_stream_and_exit_code_as_it_was(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        end = await b.run(b.spec("exit", "7"))
        assert (end.kind, end.code) == ("exited", 7)
        assert {(line.stream, line.data) for line in b.lines} == {("stdout", b"going"), ("stderr", b"trouble")}

    bench(scene)


def test_task_is_process_one_with_its_environment(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        end = await b.run(b.spec("env", env={"CLOUD_RUN_TASK_INDEX": "3", "ODD": "a=b \n c"}))
        assert end.succeeded
        assert '"pid": 1' in b.text[0]
        assert '"CLOUD_RUN_TASK_INDEX": "3"' in b.text[0]
        assert '"ODD": "a=b \\n c"' in b.text[0]

    bench(scene)


def test_memory_limit_ends_as_oom_whether_reached_by_heap_or_by_files(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        assert (await b.run(b.spec("memory"))).kind == "oom"
        assert (await b.run(b.spec("file", "/tmp/big", "400", key="b"))).kind == "oom"
        assert (await b.run(b.spec("file", "big", "400", key="c"))).kind == "oom"  # WORKDIR, which holds the code
        assert (await b.run(b.spec("file", "/tmp/small", "40", key="d"))).succeeded

    bench(scene)


def test_usual_places_can_be_written_to_and_the_code_in_workdir_is_seen(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        assert (await b.run(b.spec("where"))).succeeded
        assert b.text == ["/app ['task.py'] True", "all writable"]

    bench(scene)


def test_root_file_system_is_read_only(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        assert (await b.run(b.spec("file", "/etc/x", "1"))).code == 1
        assert any("Read-only file system" in line for line in b.text)

    bench(scene)


def test_volume_in_memory_counts_and_disk_volume_does_not(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        memory, disk = Volume(path="/m", size_mib=50), Volume(path="/d", medium="disk")
        assert (await b.run(b.spec("file", "/d/x", "300", volumes=[memory, disk]))).succeeded
        assert (await b.run(b.spec("file", "/m/x", "60", key="b", volumes=[memory, disk]))).code == 1  # no space

    bench(scene)


def test_timeout_sends_sigterm_first(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        end = await b.run(b.spec("term"), timeout_s=1)
        assert (end.kind, end.code) == ("timeout", 3)
        assert b.text[-1] == "asked to stop"
        assert b.stops == ["timeout"]

    bench(scene)


def test_task_that_ignores_sigterm_is_killed_after_the_grace(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        end = await b.run(b.spec("stubborn"), timeout_s=1, grace_s=1)
        assert (end.kind, end.code, end.signal) == ("timeout", None, 9)

    bench(scene)


def test_cancel_stops_a_running_task(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        cancel = asyncio.Event()
        asyncio.get_running_loop().call_later(0.5, cancel.set)
        assert (await b.run(b.spec("sleep", "60"), cancel=cancel, grace_s=0.5)).kind == "cancelled"

    bench(scene)


def test_container_killed_from_outside_is_no_oom(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        run_id = await b.runtime.start(b.spec("sleep", "60"))
        await b.runtime.signal(run_id, "KILL")
        limits = Limits(deadline=time.time() + 30, cancel=asyncio.Event())
        end = await follow(b.runtime, run_id, limits, sink=b.sink, on_stop=b.on_stop)
        await b.runtime.remove(run_id)
        assert (end.kind, end.code) == ("exited", 137)

    bench(scene)


def test_missing_image_and_missing_program_are_told_apart(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        with pytest.raises(ImageProblem, match=r"127\.0\.0\.1:9/p/r/i"):
            await b.runtime.prepare("127.0.0.1:9/p/r/i@sha256:" + "0" * 64)
        with pytest.raises(StartProblem, match="no-such-program"):
            await b.runtime.start(b.spec(command=["no-such-program"]))
        assert await b.runtime.found() == []

    bench(scene)


def test_running_and_ended_tasks_are_found_again_and_logs_go_on_after_the_cursor(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        running = await b.runtime.start(b.spec("tick", "6", "0.3", key="slow"))
        seen = await _first(b.runtime.logs(running, ""))  # attached; what follows is read as after a restart
        assert await b.runtime.start(b.spec("tick", "6", "0.3", key="slow")) == running
        ended = await b.runtime.start(b.spec("exit", "4", key="quick"))
        await b.runtime.wait(ended)
        assert {(found.key, found.running) for found in await b.runtime.found()} == {("slow", True), ("quick", False)}
        limits = Limits(deadline=time.time() + 30, cancel=asyncio.Event())
        end = await follow(b.runtime, running, limits, since=seen.cursor, sink=b.sink, on_stop=b.on_stop)
        assert end.succeeded
        assert [line.data for line in seen.lines] + [line.data for line in b.lines] == [
            b"tick %d" % n for n in range(6)
        ]
        assert (await b.runtime.wait(ended)).code == 4  # type: ignore[union-attr]  # it is there
        await b.runtime.remove(running)
        await b.runtime.remove(ended)
        assert await b.runtime.wait(ended) is None

    bench(scene)


async def _first(batches: AsyncIterator[Batch]) -> Batch:
    async for batch in batches:
        return batch
    raise AssertionError("no output")


def test_long_lines_are_cut_and_whole_output_is_read_whatever_its_size(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        assert (await b.run(b.spec("long", "700000"))).succeeded
        assert [len(line.data) for line in b.lines] == [262144, 262144, 175712]
        count = 0

        async def slow(batch: Batch) -> None:
            nonlocal count
            count += len(batch.lines)
            await asyncio.sleep(0.001)  # the task is held back meanwhile, and no line is lost

        b.sink = slow  # type: ignore[method-assign]  # counts instead of keeping
        assert (await b.run(b.spec("flood", "20", key="b"))).succeeded
        assert count == 200_001

    bench(scene)


def test_what_the_host_lacks_is_clamped_and_said(bench: Play) -> None:
    async def scene(b: Bench) -> None:
        granted = b.runtime.grant(32768, 1)
        assert granted.memory_mib == 1024
        assert granted.note == "memory 32768 MiB clamped to 1024 MiB"
        assert b.runtime.grant(512, 1).note == ""

    bench(scene)
