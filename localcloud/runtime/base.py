"""What every runtime offers: prepare an image, start one attempt of a task, follow it, stop it, find it again.

A runtime knows nothing of jobs or executions. It is given a `TaskSpec` and hands back exit states and log lines.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

LABEL_STATE = "localcloud.state"
"""Label that every object of a runtime carries: the id of the state folder it belongs to."""

LABEL_KEY = "localcloud.key"
"""Label with the attempt's key."""

MAX_LOG_LINE_BYTES = 256 * 1024
"""Largest log entry of Cloud Logging, bytes. https://cloud.google.com/logging/quotas (2026-08)."""


@dataclass(frozen=True, kw_only=True)
class HostLimits:
    """Limits of the machine's owner; what a job asks for beyond them is clamped, and said."""

    memory_ceiling_mib: int = 0
    """Most memory of one task, MiB; 0 = seven eighths of what the host has."""
    cpu_ceiling: float = 0.0
    """Most CPUs of one task; 0 = all the host has."""
    pids_limit: int = 4096
    """Most processes and threads of one task."""
    seed_limit_mib: int = 64
    """Largest directory of an image that is copied so that the task may write into it, MiB."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """An empty directory of one task."""

    path: str
    """Absolute path in the container."""
    medium: Literal["memory", "disk"] = "memory"
    size_mib: int = 0
    """Limit, MiB; 0 = the task's memory."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One attempt of one task."""

    key: str
    """Unique name, [a-z0-9-]: the same key is never started twice."""
    image: str
    """Reference that this runtime can pull, NAME@sha256:DIGEST or NAME:TAG."""
    command: Sequence[str] = ()
    """Replaces the image's entrypoint if not empty."""
    args: Sequence[str] = ()
    """Replaces the image's command if not empty."""
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""
    memory_mib: int
    cpus: float
    gpus: int = 0
    volumes: Sequence[Volume] = ()


@dataclass(frozen=True, kw_only=True)
class Granted:
    """What a task gets of what it asked for."""

    memory_mib: int
    cpus: float
    note: str = ""
    """Says what was clamped; empty if nothing was."""


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How an attempt ended."""

    code: int | None
    """Exit code; None if it could not be had."""
    oom: bool = False
    """The memory limit was reached and a process was killed for it."""
    error: str = ""
    """Why the runtime itself failed, if it did."""

    @property
    def signal(self) -> int | None:
        """The signal that ended it, from a code above 128."""
        return self.code - 128 if self.code is not None and 128 < self.code < 160 else None


@dataclass(frozen=True, kw_only=True)
class Found:
    """An attempt that was started by an earlier process of the same state folder."""

    key: str
    run_id: str
    running: bool


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a task's output, at most `MAX_LOG_LINE_BYTES` long."""

    stream: Literal["stdout", "stderr"]
    time: str
    """When it came, RFC 3339."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines that came together."""

    lines: list[LogLine]
    cursor: str
    """Where to go on after a restart so that no line is lost or taken twice; only the runtime can read it."""


class ImageProblem(Exception):
    """The image cannot be had or used."""

    def __init__(self, image: str, reason: Literal["missing", "denied", "unusable"], detail: str):
        super().__init__(f"image {image}: {detail}")
        self.image, self.reason, self.detail = image, reason, detail


class StartProblem(Exception):
    """The container could not be started, for a reason that lies in the job."""


class RuntimeUnavailable(Exception):
    """The engine does not answer."""


class Runtime(Protocol):
    """One way to run tasks. All methods are for the event loop's thread."""

    @property
    def name(self) -> Literal["container", "process"]:
        """Goes into every execution."""

    @property
    def has_gpu(self) -> bool:
        """Tasks that ask for a GPU get one; else they get LONGHAUL_NO_GPU=1."""

    async def open(self) -> None:
        """Connect. Raises RuntimeUnavailable."""

    async def close(self) -> None:
        """Disconnect; running tasks go on."""

    def grant(self, memory_mib: int, cpus: float) -> Granted:
        """Clamp to the host and to the settings."""

    async def prepare(self, image: str) -> None:
        """Have the image here. Raises ImageProblem."""

    async def start(self, spec: TaskSpec) -> str:
        """Start and return the run id. Raises ImageProblem, StartProblem, RuntimeUnavailable."""

    async def wait(self, run_id: str) -> Exit | None:
        """Wait for the end; None if there is no such run (any more)."""

    def logs(self, run_id: str, since: str) -> AsyncIterator[Batch]:
        """Output after the cursor `since` (all if empty) until the run has ended. A slow reader slows the task down."""

    async def signal(self, run_id: str, name: Literal["TERM", "KILL"]) -> None:
        """Send a signal to the task; nothing happens if it has ended."""

    async def remove(self, run_id: str) -> None:
        """Remove what is left of an ended run; kills it first if it has not ended."""

    async def found(self) -> list[Found]:
        """All runs of this state folder."""
