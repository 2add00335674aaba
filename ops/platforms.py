"""What starts, watches and stops a container: the same few verbs for a Cloud Run job and for the sandbox."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Phase(StrEnum):
    """How far the platform has got with a run."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    GONE = "gone"
    """The platform does not know it (any more)."""

    @property
    def has_ended(self) -> bool:
        return self not in (Phase.PENDING, Phase.RUNNING)


@dataclass(frozen=True, kw_only=True)
class View:
    """What the platform says about a run."""

    phase: Phase
    reason: str = ""
    """The platform's own word: CONTAINER_MISSING, NON_ZERO_EXIT_CODE, …"""
    message: str = ""
    exit_code: int | None = None
    signal: int = 0
    """Signal that ended the container; 0 if none did."""
    out_of_memory: bool = False
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of a run's log."""

    time: str
    severity: str
    message: str
    task: int = 0


class Platform(Protocol):
    """Where the container of a run lives. `names` is what a run index holds of it under `platform`."""

    runtime: str
    """`cloud-run`, `container` or `process`."""

    def start(self, run_id: str, token: str, env: Mapping[str, str]) -> dict[str, str]:
        """Start the container with these variables added and return its names. Raises OpsError."""

    def find(self, token: str) -> dict[str, str] | None:
        """Return the names of the run started with `token`, for a starter that did not live to write them down."""

    def view(self, names: Mapping[str, str]) -> View:
        """Return what the platform says now."""

    def cancel(self, names: Mapping[str, str]) -> None:
        """Ask for the end of the run; it ends some seconds later."""

    def logs(self, names: Mapping[str, str], *, follow: "Follow | None" = None) -> Iterator[LogLine]:
        """Yield the log, oldest first; with `follow`, until that says stop."""

    def tidy(self, names: Mapping[str, str]) -> None:
        """Remove from this machine what a run that has ended left behind; the platform's own records stay."""


class Follow(Protocol):
    """Asked by a follower between two looks."""

    def __call__(self, idle_s: float) -> bool:
        """Wait up to `idle_s` seconds; return whether to look again."""
