"""Settings of the heavy runner."""

from dataclasses import dataclass, field

from settings.checks import between
from workloads.heavy_runner.contract import DEFAULT_SCRIPT_TIMEOUT_S, HeavyRunnerEnv

SET_BY_STACK = frozenset({"bucket", "cpu", "image", "memory_mib", "script_timeout_s", "task_timeout_s"})
"""Fields of HeavyRunnerEnv that have a key of their own or follow from resources."""


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """What the container on the operator's own machine takes instead of the job."""

    max_bytes: int = 50_000_000
    """A table of this size goes to the job, bytes. Default 50 MB."""
    max_rows: int = 50_000
    """A table of so many rows goes to the job. Default 50,000."""
    memory_gib: float = 8
    """Memory of the container, GiB (0.5 to 512); clamped to what the machine has. Default 8."""

    def __post_init__(self) -> None:
        between("max_bytes", self.max_bytes, 0, 10**15, "bytes")
        between("max_rows", self.max_rows, 0, 10**12, "rows")
        between("memory_gib", self.memory_gib, 0.5, 512, "GiB")


@dataclass(frozen=True, kw_only=True)
class HeavyRunner:
    """The heavy runner's job."""

    cpu: int = 8
    """vCPU (1, 2, 4, 6 or 8). Default 8."""
    memory_gib: float = 32
    """Memory, GiB; 32 needs 8 vCPU. Default 32."""
    task_timeout_s: int = 1_800
    """Limit on the task, seconds (120 to 604,800). Default 1,800."""
    script_timeout_s: int = DEFAULT_SCRIPT_TIMEOUT_S
    """Limit on the script, seconds (60 to 7,200, and 60 less than `task_timeout_s`). Default 1,740."""
    max_retries: int = 0
    """Retries of a task that failed (0 to 10). Default 0."""
    sandbox: Sandbox = field(default_factory=Sandbox)
    env: HeavyRunnerEnv = field(default_factory=HeavyRunnerEnv)
    """What else the container is told; the fields that the stack knows itself are refused here."""

    def __post_init__(self) -> None:
        HeavyRunnerEnv(script_timeout_s=self.script_timeout_s, task_timeout_s=self.task_timeout_s)
        between("script_timeout_s", self.script_timeout_s, 60, self.task_timeout_s - 60, "s")
