"""What a fan-out needs, and how one ended: its tasks, the gathered files, its price."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ops.fanout import Request, missing
from ops.fanout_jobs import FanoutWorkflow, StageView
from ops.lifecycle import is_known, names_of
from ops.outputs import Fanout, Stage
from ops.prices import Prices
from ops.runs import Run
from ops.targets import Target
from workloads.batch_fanout.contract import CURVES, PAGE_HTML, TABLE
from workloads.common.contract import ExitCode, RunState

OUTPUTS = "outputs/"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would take."""

    arguments: dict[str, Any]
    jobs: list[dict[str, Any]]
    """Stage, tasks, tasks at once, and the shape of one."""
    cpus_at_once: float
    """vCPU that the project's quota has to allow."""
    task_seconds: float
    usd: float
    """List price of stage B, US dollars, if each task takes `task_seconds`."""


def plan(request: Request, system: Fanout, *, task_seconds: float, prices: Prices) -> Plan:
    """Return what a run would take, without asking the platform anything."""
    parallelism = min(request.max_parallelism or system.max_parallelism, max(request.count, 1))
    jobs = []
    for stage in ("a", "b", "c"):
        shape = system.stages.get(stage) or Stage()
        tasks, at_once = (request.count, parallelism) if stage == "b" else (1, 1)
        jobs.append({"stage": stage, "tasks": tasks, "parallelism": at_once, **shape.model_dump()})
    shape = system.stages.get("b") or Stage()
    cpu, memory_gib = shape.cpu_milli / 1_000, shape.memory_mib / 1_024
    return Plan(
        arguments=request.arguments(),
        jobs=jobs,
        cpus_at_once=cpu * parallelism,
        task_seconds=task_seconds,
        usd=round(prices.batch_usd(cpu=cpu, memory_gib=memory_gib, seconds=task_seconds, tasks=request.count), 6),
    )


@dataclass(frozen=True, kw_only=True)
class FanoutResult:
    """How a run ended."""

    run_id: str
    state: str
    message: str
    inputs: int
    """Inputs of the manifest; 0 if there is none."""
    missing: int
    """Inputs without a result."""
    output_uri: str
    stages: list[dict[str, Any]] = field(default_factory=list)
    """The Batch jobs of the last execution."""
    usd_at_most: float = 0.0
    """List price of the last execution if all machines had run as long as their job, US dollars."""
    folder: str = ""
    files: list[str] = field(default_factory=list)
    chart: str = ""
    page: str = ""
    table: str = ""

    @property
    def exit_code(self) -> ExitCode:
        """What a command that waited for the run ends with."""
        return ExitCode.DONE if self.state == RunState.SUCCEEDED else ExitCode.RETRY


def result_of(
    run: Run, state: str, target: Target, system: Fanout, prices: Prices, folder: Path, files: Sequence[Path]
) -> FanoutResult:
    """Return how a run ended; `files` are what was downloaded into `folder`. Raises OpsError: the bucket refuses."""
    stages: list[StageView] = []
    if is_known(run) and isinstance(target.platform, FanoutWorkflow):
        stages = target.platform.stages(names_of(run))
    has_manifest = run.files.read(f"{run.prefix}inputs/manifest.json") is not None
    inputs, lacking = 0, 0
    if has_manifest:
        manifest, indices = missing(run)
        inputs, lacking = manifest.count, len(indices)
    by_name = {path.name: str(path) for path in files}
    return FanoutResult(
        run_id=run.run_id,
        state=state,
        message=_message(run) if state != RunState.SUCCEEDED else "",
        inputs=inputs,
        missing=lacking,
        output_uri=run.index.output_uri,
        stages=[asdict(stage) for stage in stages],
        usd_at_most=round(sum(_usd(stage, system, prices) for stage in stages), 6),
        folder=str(folder),
        files=sorted(by_name),
        chart=by_name.get(CURVES, ""),
        page=by_name.get(PAGE_HTML, ""),
        table=next((path for name, path in by_name.items() if name.startswith(f"{TABLE}.")), ""),
    )


def _usd(stage: StageView, system: Fanout, prices: Prices) -> float:
    shape = system.stages.get(stage.stage[0]) or Stage()
    return prices.batch_usd(
        cpu=shape.cpu_milli / 1_000,
        memory_gib=shape.memory_mib / 1_024,
        seconds=stage.seconds,
        tasks=stage.parallelism,
    )


def _message(run: Run) -> str:
    held = run.files.read(f"{run.prefix}run_metadata.json")
    if held is None:
        return ""
    details = json.loads(held.data).get("details") or {}
    error = details.get("error") or {}
    first = ((error.get("report") or {}).get("first") or []) if isinstance(error, dict) else []
    said = str(error.get("message", "") if isinstance(error, dict) else error) or str(details.get("message", ""))
    return " ".join([said, *(f"task {one['task']}: {one['why']}" for one in first[:3])]).strip()
