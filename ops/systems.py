"""What the commands must know of each system to follow a run of it: its status, its codes, how an end is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from ops.errors import BadRequest
from workloads.batch_fanout import contract as fanout
from workloads.common.contract import ExitCode, RunIndex, RunState
from workloads.feature_pipeline import contract as features
from workloads.heavy_runner import contract as heavy

STATUS = heavy.STATUS
"""Name of the status object below a run's outputs, the same for every system."""


class RunStatus(Protocol):
    """What every system's `status.json` says."""

    @property
    def state(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def started_at(self) -> str: ...
    @property
    def heartbeat_at(self) -> str: ...
    @property
    def ended_at(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def error_code(self) -> str: ...
    @property
    def peak_memory_mib(self) -> int: ...
    def to_json(self) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class End:
    """How a run ended, in the contract's words."""

    code: str
    message: str
    hint: str
    at: str
    """RFC 3339."""


class System(Protocol):
    """One system."""

    @property
    def name(self) -> str:
        """Name in the run index."""

    @property
    def has_status(self) -> bool:
        """Whether a run writes a status object; of one that does not, index and platform tell the state."""

    @property
    def hints(self) -> Mapping[str, str]:
        """Error code -> what to do about it, for ends that the platform tells of."""

    def read(self, data: bytes) -> RunStatus:
        """A status object. Raises ValueError."""

    def doing(self, status: RunStatus) -> str:
        """What a RUNNING run is doing, in a word or two."""

    def exit_code(self, code: str) -> ExitCode:
        """What a command that waited for a run ends with if that ended in this error code."""

    def ended(self, index: RunIndex, status: RunStatus | None, end: End) -> tuple[RunStatus, Mapping[str, bytes]]:
        """The final status for a container that could not write its own, and what else lies beside it then."""


@dataclass(frozen=True)
class _Heavy:
    name: str = heavy.SYSTEM
    has_status: bool = True
    hints: Mapping[str, str] = field(
        default_factory=lambda: {
            heavy.ErrorCode.OUT_OF_MEMORY: "read the table in parts, use smaller types, or give the job more memory",
            heavy.ErrorCode.TASK_TIMEOUT: "ask for less work (--safe-mode) or give the task more time",
        }
    )

    def read(self, data: bytes) -> RunStatus:
        return heavy.Status.from_json(data)

    def doing(self, status: RunStatus) -> str:
        return status.phase if isinstance(status, heavy.Status) else ""

    def exit_code(self, code: str) -> ExitCode:
        return {one.value: one.exit_code for one in heavy.ErrorCode}.get(code, ExitCode.RETRY)

    def ended(self, index: RunIndex, status: RunStatus | None, end: End) -> tuple[RunStatus, Mapping[str, bytes]]:
        held = heavy.Status(state=RunState.RUNNING, run_id=index.run_id, output_uri=index.output_uri)
        held = status if isinstance(status, heavy.Status) else held
        final, error = heavy.end_by_platform(held, heavy.ErrorCode(end.code), end.message, end.hint, end.at)
        return final, {heavy.ERROR: error.to_json()}


@dataclass(frozen=True)
class _Features:
    name: str = features.SYSTEM
    has_status: bool = True
    hints: Mapping[str, str] = field(
        default_factory=lambda: {
            features.ErrorCode.OUT_OF_MEMORY: (
                "start the pair again, it goes on where it stood; if it happens again, give the job more memory, or its "
                "scratch a disk"
            ),
            features.ErrorCode.TASK_TIMEOUT: "start the pair again, it goes on where it stood",
            features.ErrorCode.LOST: "start the pair again, it goes on where it stood; longhaul logs shows its end",
        }
    )

    def read(self, data: bytes) -> RunStatus:
        return features.Status.from_json(data)

    def doing(self, status: RunStatus) -> str:
        if not isinstance(status, features.Status):
            return ""
        tables = f" {status.tables_done} of {status.tables_total} tables" if status.stage == "extract" else ""
        return f"{status.pair} {status.stage}{tables if status.tables_total else ''}"

    def exit_code(self, code: str) -> ExitCode:
        return {one.value: one.exit_code for one in features.ErrorCode}.get(code, ExitCode.RETRY)

    def ended(self, index: RunIndex, status: RunStatus | None, end: End) -> tuple[RunStatus, Mapping[str, bytes]]:
        held = features.Status(state=RunState.RUNNING, pair=pair_of(index), run_id=index.run_id)
        held = status if isinstance(status, features.Status) else held
        final = replace(
            held, state=RunState.FAILED, ended_at=end.at, error_code=end.code, message=end.message, hint=end.hint
        )
        return final, {}


@dataclass(frozen=True)
class _Fanout:
    name: str = fanout.SYSTEM
    has_status: bool = False
    hints: Mapping[str, str] = field(default_factory=dict)

    def read(self, data: bytes) -> RunStatus:
        raise ValueError("a fan-out has no status object")

    def doing(self, status: RunStatus) -> str:
        return ""

    def exit_code(self, code: str) -> ExitCode:
        return ExitCode.BAD_REQUEST if code == "BadRequest" else ExitCode.RETRY

    def ended(self, index: RunIndex, status: RunStatus | None, end: End) -> tuple[RunStatus, Mapping[str, bytes]]:
        raise ValueError(f"run {index.run_id} of a fan-out has no status object")


def pair_of(index: RunIndex) -> str:
    """Currency pair of a run of the feature pipeline: its records lie in a folder named by it."""
    parts = index.output_uri.rstrip("/").rsplit("/", 2)
    return str(index.platform.get("pair") or (parts[-2] if len(parts) > 2 else ""))


HEAVY: System = _Heavy()
FEATURES: System = _Features()
FANOUT: System = _Fanout()
SYSTEMS: Mapping[str, System] = {system.name: system for system in (HEAVY, FEATURES, FANOUT)}


def system_of(index: RunIndex) -> System:
    """The system that a run belongs to. Raises BadRequest: this command knows none of that name."""
    if index.system not in SYSTEMS:
        raise BadRequest(f"run {index.run_id} is of system {index.system!r}", f"known are {', '.join(SYSTEMS)}")
    return SYSTEMS[index.system]
