"""Tasks as plain processes, where no Docker engine can be had: for looking, not for tests.

The code of the image's digest runs with this project's interpreter and packages, as the user of the local cloud. Memory is
sampled over the process tree, not limited by the kernel; CPUs are not limited; the file system is the host's.
"""

import asyncio
import contextlib
import os
import posixpath
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from json import loads
from pathlib import Path
from typing import Any, Literal

import psutil

from localcloud.runtime.base import (
    Batch,
    Exit,
    Found,
    Granted,
    HostLimits,
    StartProblem,
    TaskSpec,
)
from localcloud.runtime.grants import clamp
from localcloud.runtime.keeper import alive, write
from localcloud.runtime.lines import Output
from localcloud.runtime.process_image import Auth, Images, Unpacked

_POLL_S = 0.1
_START_S = 30.0


def _in_its_own_tmp(value: str, folder: Path) -> str:
    """A path below /tmp, which a container has to itself and processes would share, below the task's own folder."""
    return f"{folder}{value}" if value == "/tmp" or value.startswith("/tmp/") else value  # noqa: S108  # the container's


class ProcessRuntime:
    """Each task is a folder with a keeper process (see keeper.py) that outlives this one.

    Args:
        folder: for images and tasks.
        env: variables of this machine for every task, such as PATH; the image's PATH means nothing here.
    """

    name: Literal["process"] = "process"
    has_gpu = False

    def __init__(self, folder: Path, limits: HostLimits, auth: Auth | None, env: Mapping[str, str]):
        self._runs, self._limits, self._env = folder / "runs", limits, dict(env)
        self._images = Images(folder / "images", auth)

    async def open(self) -> None:
        self._runs.mkdir(parents=True, exist_ok=True)

    async def close(self) -> None:
        """Nothing is open."""

    def grant(self, memory_mib: int, cpus: float) -> Granted:
        return clamp(self._limits, psutil.virtual_memory().total >> 20, float(os.cpu_count() or 1), memory_mib, cpus)

    async def prepare(self, image: str) -> None:
        await self._images.get(image)

    async def start(self, spec: TaskSpec) -> str:
        folder, image = self._runs / spec.key, await self._images.get(spec.image)
        if (folder / "started.json").exists() or (folder / "exit.json").exists():
            return spec.key
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copytree(image.root, folder / "root", symlinks=True)
        (folder / "tmp").mkdir()
        (folder / "output").touch()
        write(folder / "spec.json", self._spec(spec, image, folder))
        with (folder / "keeper.log").open("wb") as log:
            subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "localcloud.runtime.keeper", str(folder)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                start_new_session=True, cwd=Path(__file__).resolve().parents[2],
            )  # fmt: skip
        await self._until_started(folder)
        return spec.key

    async def _until_started(self, folder: Path) -> None:
        for _ in range(int(_START_S / _POLL_S)):
            if (folder / "started.json").exists():
                return
            if (folder / "exit.json").exists():
                error = loads((folder / "exit.json").read_text())["error"]
                shutil.rmtree(folder, ignore_errors=True)
                raise StartProblem(error)
            await asyncio.sleep(_POLL_S)
        raise StartProblem(f"its keeper did not start: {(folder / 'keeper.log').read_text().strip()[-500:]}")

    def _spec(self, spec: TaskSpec, image: Unpacked, folder: Path) -> dict[str, Any]:
        config = image.config
        command = list(spec.command) or list(config.get("Entrypoint") or [])
        args = list(spec.args) or ([] if spec.command else list(config.get("Cmd") or []))
        argv = command + args
        if not argv:
            raise StartProblem("the image has neither entrypoint nor command")
        if posixpath.basename(argv[0]).startswith("python"):
            argv[0] = sys.executable
        workdir = (folder / "root").joinpath((spec.working_dir or config.get("WorkingDir") or "/").lstrip("/"))
        workdir.mkdir(parents=True, exist_ok=True)
        built = dict(entry.split("=", 1) for entry in config.get("Env") or [] if not entry.startswith("PATH="))
        env = {"PATH": os.defpath} | built | self._env | {"HOME": str(folder / "tmp"), "TMPDIR": str(folder / "tmp")}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(workdir), self._env.get("PYTHONPATH", ""))))
        memory = self.grant(spec.memory_mib, spec.cpus).memory_mib
        gpu = {"LONGHAUL_NO_GPU": "1"} if spec.gpus else {}
        own = {name: _in_its_own_tmp(value, folder) for name, value in spec.env.items()}
        return {"argv": argv, "cwd": str(workdir), "env": env | own | gpu, "memory_mib": memory}

    def _read(self, run_id: str, name: str) -> dict[str, Any] | None:
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, Any] = loads((self._runs / run_id / name).read_text())
            return found
        return None

    async def wait(self, run_id: str) -> Exit | None:
        while True:
            if ended := self._read(run_id, "exit.json"):
                return Exit(code=ended["code"], oom=ended["oom"], error=ended["error"])
            started = self._read(run_id, "started.json")
            if started is None:
                return None
            if not alive(started["keeper"]) and not self._read(run_id, "exit.json"):
                await self.signal(run_id, "KILL")
                return Exit(code=None, error="the process that kept it was killed")
            await asyncio.sleep(_POLL_S)

    async def logs(self, run_id: str, since: str) -> AsyncIterator[Batch]:
        output = Output(since)
        with contextlib.suppress(FileNotFoundError), (self._runs / run_id / "output").open("rb") as file:
            while True:
                over = self._read(run_id, "exit.json") is not None or not self._running(run_id)
                while data := file.read(1 << 20):
                    if lines := output.stored(data):
                        yield Batch(lines, output.cursor)
                if over:
                    break
                await asyncio.sleep(_POLL_S)
        if lines := output.finish():
            yield Batch(lines, output.cursor)

    def _running(self, run_id: str) -> bool:
        started = self._read(run_id, "started.json")
        return started is not None and alive(started["keeper"])

    async def signal(self, run_id: str, name: Literal["TERM", "KILL"]) -> None:
        started = self._read(run_id, "started.json")
        if started is None or not alive(started):
            return
        with contextlib.suppress(ProcessLookupError):
            if name == "KILL":
                os.killpg(started["pid"], signal.SIGKILL)
            else:
                os.kill(started["pid"], signal.SIGTERM)

    async def remove(self, run_id: str) -> None:
        await self.signal(run_id, "KILL")
        for _ in range(50):
            if not self._running(run_id):
                break
            await asyncio.sleep(_POLL_S)
        await asyncio.to_thread(shutil.rmtree, self._runs / run_id, ignore_errors=True)

    async def found(self) -> list[Found]:
        keys = [folder.name for folder in self._runs.iterdir()] if self._runs.is_dir() else []
        return [Found(key=key, run_id=key, running=self._running(key)) for key in keys]
