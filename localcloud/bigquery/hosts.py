"""Where the engine runs: a container, or a process in an environment of its own."""

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from localcloud.bigquery import image
from localcloud.bigquery.settings import BigQuerySettings
from localcloud.runtime import keeper
from localcloud.runtime.base import RuntimeUnavailable
from localcloud.runtime.engine import Engine, EngineError

PYTHON = "python3.13"
EXTENSIONS = ("icu", "json", "ducklake", "httpfs", "spatial")
REMOVAL_TRIES = 50
LABEL = "localcloud.bigquery"
"""Of the container: the id of the state folder. Not the label of a job's tasks, which the runtime would take up."""


class EngineMissing(Exception):
    """The engine cannot be run here; the text says why and what to do."""


class Host(Protocol):
    async def prepared(self) -> bool:
        """Whether `start` can begin at once."""

    async def prepare(self) -> None:
        """Makes what the engine needs. Raises EngineMissing."""

    async def start(self, env: dict[str, str], data: Path) -> dict[str, Any]:
        """What to recognise it by later. Raises EngineMissing."""

    async def alive(self, run: dict[str, Any]) -> bool: ...

    async def stop(self, run: dict[str, Any]) -> None: ...

    async def close(self) -> None: ...


class Container:
    """On the host's network, as the account of the local cloud, with a limit on its memory."""

    def __init__(self, host: str, state: Path, settings: BigQuerySettings) -> None:
        self._engine = Engine(host)
        self._settings = settings
        self._state = hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:12]
        self._tag = image.tag(settings.base_image)

    async def open(self) -> None:
        """Raises RuntimeUnavailable."""
        try:
            info = await self._engine.call("GET", "/info")
        except EngineError as problem:
            raise RuntimeUnavailable(str(problem)) from problem
        ceiling = (int(info["MemTotal"]) >> 20) * 3 // 4
        self._memory_mib = min(self._settings.memory_mib, ceiling)

    async def prepared(self) -> bool:
        return await self._engine.image(self._tag) is not None

    async def prepare(self) -> None:
        try:
            await image.build(self._engine, self._settings.base_image)
        except (EngineError, RuntimeUnavailable) as problem:
            raise EngineMissing(f"its image cannot be built: {problem}") from problem

    async def start(self, env: dict[str, str], data: Path) -> dict[str, Any]:
        name = f"localcloud-{self._state}-bigquery"
        await self.stop({"id": name})
        memory = self._memory_mib << 20
        body = {
            "Image": self._tag,
            "User": f"{os.getuid()}:{os.getgid()}",
            "Env": [f"{key}={value}" for key, value in (env | {"LOCALCLOUD_DATA": "/data"}).items()],
            "Labels": {LABEL: self._state},
            "HostConfig": {
                "NetworkMode": "host",
                "Memory": memory,
                "MemorySwap": memory,
                "PidsLimit": 1024,
                "ReadonlyRootfs": True,
                "Tmpfs": {"/tmp": "rw,nosuid,nodev,size=1g"},  # noqa: S108 - inside the container
                "Mounts": [{"Type": "bind", "Source": str(data), "Target": "/data"}],
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "AutoRemove": True,
            },
        }
        try:
            made = await self._engine.call("POST", "/containers/create", body, name=name)
            await self._engine.call("POST", f"/containers/{made['Id']}/start")
        except (EngineError, RuntimeUnavailable) as problem:
            raise EngineMissing(f"its container cannot be started: {problem}") from problem
        return {"id": made["Id"], "image": self._tag}

    async def alive(self, run: dict[str, Any]) -> bool:
        if run.get("image") != self._tag:
            return False
        try:
            held = await self._engine.call("GET", f"/containers/{run['id']}/json")
        except EngineError:
            return False
        return bool(held["State"]["Running"])

    async def stop(self, run: dict[str, Any]) -> None:
        """SIGTERM, and after 10 s SIGKILL."""
        for verb, path, query in (("POST", "/stop", {"t": "10"}), ("DELETE", "", {"force": "true"})):
            try:
                await self._engine.call(verb, f"/containers/{run['id']}{path}", wait=True, **query)
            except EngineError as problem:
                if problem.status not in (304, 404, 409):
                    raise
        # it removes itself, which ends a moment later; until then its name is taken
        for _ in range(REMOVAL_TRIES):
            if not await self._exists(run["id"]):
                return
            await asyncio.sleep(0.1)

    async def _exists(self, container: str) -> bool:
        try:
            await self._engine.call("GET", f"/containers/{container}/json")
        except EngineError as problem:
            return problem.status != 404
        return True

    async def close(self) -> None:
        await self._engine.close()


@dataclass
class Process:
    """In a virtual environment of Python 3.13; for machines without a Docker engine. Its memory has no limit."""

    settings: BigQuerySettings
    why: str = "there is no Docker engine"
    """Why it is not a container."""

    @property
    def _folder(self) -> Path:
        return self.settings.cache_folder / f"bigquery-{image.digest()}"

    async def prepared(self) -> bool:
        return (self._folder / "ready").exists()

    async def prepare(self) -> None:
        python = shutil.which(PYTHON)
        if python is None or not await _works([python, "-c", "import venv, ensurepip"]):
            raise EngineMissing(f"{self.why}, and no {PYTHON} with venv either; install one of the two")
        folder = self._folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        own = folder / "venv" / "bin" / "python"
        extensions = f"from duckdb_extensions import import_extension as i; [i(name) for name in {EXTENSIONS!r}]"
        pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-deps"]
        requirements = ["-r", str(image.HERE / "requirements.txt")]
        for argv in (
            [python, "-m", "venv", str(folder / "venv")],
            [str(own), *pip, *requirements],
            [str(own), "-c", extensions],
        ):
            await _run(argv, folder)
        (folder / "ready").touch()

    async def start(self, env: dict[str, str], data: Path) -> dict[str, Any]:
        argv = [str(self._folder / "venv" / "bin" / "python"), str(image.HERE / "inside.py")]
        task = subprocess.Popen(  # noqa: S603 - our own program
            argv,
            env=self._environ() | env | {"LOCALCLOUD_DATA": str(data)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return keeper.identity(task.pid)

    def _environ(self) -> dict[str, str]:
        return {"PATH": os.defpath, "HOME": str(self._folder)}

    async def alive(self, run: dict[str, Any]) -> bool:
        return "pid" in run and keeper.alive(run)

    async def stop(self, run: dict[str, Any]) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for _ in range(100):
                if not await self.alive(run):
                    return
                os.kill(run["pid"], number)
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        """Nothing is open."""


async def _works(argv: list[str]) -> bool:
    null = asyncio.subprocess.DEVNULL
    task = await asyncio.create_subprocess_exec(*argv, stdin=null, stdout=null, stderr=null)
    return await task.wait() == 0


async def _run(argv: list[str], home: Path) -> None:
    task = await asyncio.create_subprocess_exec(
        *argv, env={**os.environ, "HOME": str(home)}, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await task.communicate()
    if task.returncode:
        words = output.decode("utf-8", "replace").strip().splitlines()[-3:]
        raise EngineMissing(f"its environment cannot be made: {' '.join(words)}")
