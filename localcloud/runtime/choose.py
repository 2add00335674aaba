"""Which runtime: containers if an engine answers, else processes, as far as the settings allow."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from localcloud.runtime.base import (
    Batch,
    Exit,
    Found,
    Granted,
    HostLimits,
    Runtime,
    RuntimeUnavailable,
    TaskSpec,
)
from localcloud.runtime.docker import Auth, DockerRuntime
from localcloud.runtime.process import ProcessRuntime
from localcloud.settings import RuntimeSettings

DEFAULT_HOST = "unix:///var/run/docker.sock"


class Unavailable:
    """Stands for a runtime that cannot be had; every use says why."""

    name: Literal["container"] = "container"
    has_gpu = False

    def __init__(self, reason: str):
        self.reason = reason

    async def open(self) -> None:
        raise RuntimeUnavailable(self.reason)

    async def close(self) -> None:
        """Nothing is open."""

    def grant(self, memory_mib: int, cpus: float) -> Granted:
        return Granted(memory_mib=memory_mib, cpus=cpus)

    async def prepare(self, image: str) -> None:
        raise RuntimeUnavailable(self.reason)

    async def start(self, spec: TaskSpec) -> str:
        raise RuntimeUnavailable(self.reason)

    async def wait(self, run_id: str) -> Exit | None:
        raise RuntimeUnavailable(self.reason)

    async def logs(self, run_id: str, since: str) -> AsyncIterator[Batch]:
        raise RuntimeUnavailable(self.reason)
        yield Batch([], "")

    async def signal(self, run_id: str, name: Literal["TERM", "KILL"]) -> None:
        raise RuntimeUnavailable(self.reason)

    async def remove(self, run_id: str) -> None:
        raise RuntimeUnavailable(self.reason)

    async def found(self) -> list[Found]:
        return []


async def choose(settings: RuntimeSettings, state: str, folder: Path, auth: Auth) -> Runtime:
    """Open a runtime.

    Args:
        state: id of the state folder.
        folder: for what the runtime keeps.
        auth: registry login.

    Returns:
        A runtime that is open, or `Unavailable`.
    """
    limits = HostLimits(memory_ceiling_mib=settings.max_memory_mib, cpu_ceiling=settings.max_cpus)
    if settings.mode in ("auto", "containers"):
        host = settings.docker_host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        try:
            runtime = DockerRuntime(host, state, folder, limits, auth)
            await runtime.open()
        except (RuntimeUnavailable, ValueError) as problem:
            if settings.mode == "containers":
                return Unavailable(str(problem))
        else:
            return runtime
    fallback = ProcessRuntime(folder, limits, auth, settings.process_env)
    await fallback.open()
    return fallback
