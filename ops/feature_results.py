"""How the pairs of a batch ended: each with its validation, time and price, and the checklist of a deployment."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops import costs
from ops.features import Batch, Slot
from ops.outputs import Features
from ops.prices import Prices
from ops.runs import Run
from ops.systems import FEATURES
from ops.targets import Target
from workloads.common.contract import RUN_METADATA, ExitCode, RunState
from workloads.feature_pipeline.contract import (
    REPORT_PAGE,
    ErrorCode,
    Status,
    training_object,
)

SLOW = "less than half of the expected"
"""What the container's warning about the rate says."""


@dataclass(frozen=True, kw_only=True)
class PairResult:
    """How one pair ended."""

    pair: str
    run_id: str
    state: str
    """A state of the run, or WAITING: it was never started."""
    error_code: str = ""
    message: str = ""
    hint: str = ""
    seconds: float = 0.0
    """From the container's first status to its last, seconds."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    usd: float = 0.0
    """List price of the time on the job, US dollars; that of delayed executions for one."""
    usd_delayed: float = 0.0
    delayed: bool = False
    peak_memory_mib: int = 0
    tables: int = 0
    tables_reused: int = 0
    """Tables that an earlier run of the pair had extracted."""
    tables_per_minute: float = 0.0
    rows: int = 0
    columns: int = 0
    bytes: int = 0
    checks: Mapping[str, bool] = field(default_factory=dict)
    """The validation's checks, and whether each passed."""
    warnings: Sequence[str] = ()
    image: str = ""
    cpus: float = 0.0
    """CPUs that the container had."""
    training_uri: str = ""
    report_uri: str = ""

    @property
    def exit_code(self) -> ExitCode:
        """What a command that ran this pair alone ends with."""
        if self.state == RunState.SUCCEEDED:
            return ExitCode.DONE
        return FEATURES.exit_code(self.error_code)

    @property
    def validation(self) -> str:
        """The validation in a word or two: `12 of 12`, or what failed."""
        if not self.checks:
            return "-"
        failed = [name for name, passed in self.checks.items() if not passed]
        passed = f"{len(self.checks) - len(failed)} of {len(self.checks)}"
        return f"{passed}, not: {', '.join(failed)}" if failed else passed


def worst(results: Sequence[PairResult]) -> ExitCode:
    """Return what the command ends with: 2 if a retry of any pair is useless, 1 if it may help, 0 if all succeeded."""
    return max((result.exit_code for result in results), default=ExitCode.DONE)


def result_of(slot: Slot, target: Target, prices: Prices) -> PairResult:
    """Return how a pair of a batch ended, or how far it is. Raises OpsError: the bucket refuses."""
    if slot.refused is not None:
        code = ErrorCode.NOT_STARTED
        run_id = slot.run.run_id if slot.run else ""
        return PairResult(
            pair=slot.pair,
            run_id=run_id,
            state=slot.state,
            error_code=code,
            message=str(slot.refused),
            hint=slot.refused.remedy,
        )
    if slot.run is None:
        return PairResult(pair=slot.pair, run_id="", state=slot.state)
    return _of_run(slot.run, str(slot.state), slot.pair, target, prices)


def of_run(run: Run, state: str, target: Target, prices: Prices) -> PairResult:
    """Return how a run of the pipeline ended, or how far it is. Raises OpsError: the bucket refuses."""
    pair = run.status.pair if isinstance(run.status, Status) else str(run.index.platform.get("pair", ""))
    return _of_run(run, state, pair, target, prices)


def _of_run(run: Run, state: str, pair: str, target: Target, prices: Prices) -> PairResult:
    status = run.status if isinstance(run.status, Status) else Status(state=state, pair=pair, run_id=run.run_id)
    record = _record(run)
    counts, details = _map(record, "counts"), _map(record, "details")
    price = costs.of_run(run, target, prices)
    training = _map(details, "training_file")
    return PairResult(
        pair=pair,
        run_id=run.run_id,
        state=state,
        error_code=status.error_code,
        message=status.message if status.error_code else "",
        hint=status.hint,
        seconds=round(price.seconds, 1),
        stage_seconds=dict(status.stage_seconds) | _map(details, "stage_seconds"),
        usd=round(price.usd, 6),
        usd_delayed=round(price.usd_delayed, 6),
        delayed=price.delayed,
        peak_memory_mib=status.peak_memory_mib,
        tables=int(counts.get("tables") or status.tables_total),
        tables_reused=int(counts.get("tables_reused") or 0),
        tables_per_minute=round(status.tables_per_minute, 1),
        rows=int(counts.get("rows") or 0),
        columns=int(counts.get("columns") or 0),
        bytes=int(training.get("bytes") or counts.get("bytes") or 0),
        checks=dict(status.checks) or _map(details, "checks"),
        warnings=list(status.warnings),
        image=str(record.get("image", "")),
        cpus=float(_map(details, "resources").get("cpus") or 0),
        training_uri=str(training.get("uri", "")),
        report_uri=f"{run.index.output_uri.rstrip('/')}/{REPORT_PAGE}" if status.checks else "",
    )


def _record(run: Run) -> dict[str, Any]:
    held = run.files.read(run.prefix + RUN_METADATA)
    try:
        found = json.loads(held.data) if held else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _map(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line of the checklist."""

    text: str
    ok: bool | None
    """None: these runs do not tell."""
    detail: str = ""

    def __str__(self) -> str:
        mark = {True: "x", False: " ", None: "-"}[self.ok]
        return f"[{mark}] {self.text}" + (f": {self.detail}" if self.detail else "")


def checklist(batch: Batch, system: Features, results: Sequence[PairResult], *, is_local: bool = False) -> list[Item]:
    """Return what a deployment is checked for, by what these runs have shown. Raises OpsError: the bucket refuses.

    `is_local`: in a local cloud, which gives a container no more CPUs than the machine has.
    """
    done = [result for result in results if result.state == RunState.SUCCEEDED]
    ran = [result for result in results if result.image]
    denied = [result.pair for result in results if result.error_code == ErrorCode.PERMISSION_DENIED]
    known = {slot.pair for slot in batch.slots if slot.run and "execution" in slot.run.index.platform}
    built = all(result.image == system.image for result in ran) if ran else None
    return [
        Item(text="container image built, named by its digest", ok="@sha256:" in system.image, detail=system.image),
        Item(text="image pushed, and run by the job", ok=built, detail=_count(ran, results, "ran it")),
        Item(
            text="service account has the permissions it needs",
            ok=False if denied else (True if done else None),
            detail=f"{system.service_account}{', refused to ' + ', '.join(denied) if denied else ''}",
        ),
        Item(text="Cloud Run job created", ok=bool(known) or None, detail=system.job_id),
        Item(text="executions complete", ok=len(done) == len(results), detail=_count(done, results, "succeeded")),
        *_files(batch, done),
        _checked("rows and columns as the settings demand", ("rows", "columns"), done, _dimensions(done)),
        _checked("all target horizons present", ("horizons",), done),
        Item(text="an encoder for each CPU", ok=_cpus(done, 1 if is_local else system.cpu), detail=_seen(done, system)),
        Item(text="extraction at the expected rate", ok=_rate(done), detail=_rates(done)),
    ]


def _count(some: Sequence[object], all_: Sequence[object], did: str) -> str:
    return f"{len(some)} of {len(all_)} {did}"


def _files(batch: Batch, done: Sequence[PairResult]) -> list[Item]:
    store = batch.target.outputs or batch.target.store
    held = {info.name: info.size for info in store.list("training_")}
    there = [result for result in done if training_object(result.pair) in held]
    same = [result for result in there if held[training_object(result.pair)] == result.bytes]
    sizes = ", ".join(f"{result.pair} {held[training_object(result.pair)] / 1e6:,.1f} MB" for result in there[:4])
    more = ", …" if len(there) > 4 else ""
    return [
        Item(
            text="training files in the output bucket",
            ok=len(there) == len(done) if done else None,
            detail=f"{store.uri}, {_count(there, done, 'there')}" if done else store.uri,
        ),
        Item(
            text="each of the size and checksum that was uploaded",
            ok=len(same) == len(done) if done else None,
            detail=sizes + more,
        ),
    ]


def _checked(text: str, names: Sequence[str], done: Sequence[PairResult], detail: str = "") -> Item:
    if not done or not all(name in result.checks for result in done for name in names):
        return Item(text=text, ok=None, detail=detail)
    return Item(text=text, ok=all(result.checks[name] for result in done for name in names), detail=detail)


def _dimensions(done: Sequence[PairResult]) -> str:
    if not done:
        return ""
    rows, columns = [result.rows for result in done], [result.columns for result in done]
    return f"{_range(rows)} rows x {_range(columns)} columns"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.0f}" if f"{low:.0f}" == f"{high:.0f}" else f"{low:,.0f} to {high:,.0f}"


def _cpus(done: Sequence[PairResult], least: float) -> bool | None:
    return all(result.cpus >= least for result in done) if done else None


def _seen(done: Sequence[PairResult], system: Features) -> str:
    if not done:
        return ""
    return f"{_range([result.cpus for result in done])} of the job's {system.cpu:g} CPUs"


def _rate(done: Sequence[PairResult]) -> bool | None:
    if not any(result.tables_per_minute for result in done):
        return None
    return not any(SLOW in warning for result in done for warning in result.warnings)


def _rates(done: Sequence[PairResult]) -> str:
    if not done:
        return ""
    rates = [result.tables_per_minute for result in done if result.tables_per_minute]
    return f"{_range(rates)} tables a minute" if rates else "all tables were there already"
