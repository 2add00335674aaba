"""What a run that has ended left behind, as one object."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ops.prices import Prices
from ops.router import Place
from ops.runs import Run, moment
from ops.targets import Target
from workloads.common.contract import ExitCode, RunState
from workloads.heavy_runner.contract import ERROR, METRICS, ErrorCode, ErrorReport

DEFAULT_CPU, DEFAULT_MEMORY_GIB = 8.0, 32.0
"""Shape of the default job: what a sandboxed run is compared with."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a run ended."""

    run_id: str
    state: str
    place: str
    seconds: float
    """From the container's first status to its last, seconds; 0 if it never started."""
    peak_memory_mib: int
    memory_limit_mib: int
    cost_usd: float
    """List price of the time on the job, US dollars; what it would have been there for a run in the sandbox."""
    output_uri: str
    folder: str
    files: list[str]
    metrics: dict[str, Any] | None
    error: dict[str, Any] | None

    @property
    def exit_code(self) -> ExitCode:
        """What a command that waited for the run ends with."""
        if self.state == RunState.SUCCEEDED:
            return ExitCode.DONE
        codes = {code.value: code.exit_code for code in ErrorCode}
        return codes.get((self.error or {}).get("code", ""), ExitCode.RETRY)


def seconds_of(run: Run) -> float:
    """Return how long the container of a run was at work, seconds."""
    status = run.status
    if status is None or not status.started_at or not (status.ended_at or status.heartbeat_at):
        return 0.0
    return max((moment(status.ended_at or status.heartbeat_at) - moment(status.started_at)).total_seconds(), 0.0)


def result_of(run: Run, target: Target, folder: Path, files: list[Path], prices: Prices) -> Result:
    """Put together what the downloaded `files` below `folder` and the status say."""
    status, state = run.status, run.status.state if run.status else run.index.state
    if run.index.state == RunState.CANCELLED:
        state = RunState.CANCELLED
    error = _document(folder / ERROR)
    # the sandbox itself costs nothing; what is told is the price of the same time on the default job
    held = (target.cpu, target.memory_gib)
    cpu, memory_gib = (DEFAULT_CPU, DEFAULT_MEMORY_GIB) if target.place == Place.SANDBOX else held
    return Result(
        run_id=run.run_id,
        state=str(state),
        place=target.place,
        seconds=round(seconds_of(run), 1),
        peak_memory_mib=status.peak_memory_mib if status else 0,
        memory_limit_mib=getattr(status, "memory_limit_mib", 0),
        cost_usd=round(prices.job_usd(cpu=cpu, memory_gib=memory_gib, seconds=seconds_of(run)), 6),
        output_uri=run.index.output_uri,
        folder=str(folder),
        files=sorted(str(path.relative_to(folder.resolve())) for path in files),
        metrics=_document(folder / METRICS),
        error=asdict(ErrorReport(**_known(error))) if error else None,
    )


def _document(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else {"value": found}


def _known(error: dict[str, Any]) -> dict[str, Any]:
    empty = {"code": "", "message": "", "hint": ""}
    return {**empty, **{name: value for name, value in error.items() if name in ErrorReport.__dataclass_fields__}}
