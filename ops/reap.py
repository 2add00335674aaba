"""Writing down how a run ended, from what the platform says, when its container could not."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from ops.platforms import Phase, View
from ops.runs import Judgement, Run, judge, moment, write_index
from ops.store import Conflict
from ops.systems import HEAVY, STATUS, End, RunStatus, System, system_of
from workloads.common.contract import RUN_METADATA, RunRecord, RunState
from workloads.heavy_runner.contract import ErrorCode

SIGKILL = 9

_NEVER_STARTED = frozenset(
    {
        "CONTAINER_MISSING",
        "CONTAINER_PERMISSION_DENIED",
        "CONTAINER_IMAGE_UNAUTHORIZED",
        "CONTAINER_IMAGE_AUTHORIZATION_CHECK_FAILED",
        "SECRETS_ACCESS_CHECK_FAILED",
        "ENCRYPTION_KEY_PERMISSION_DENIED",
        "ENCRYPTION_KEY_CHECK_FAILED",
        "VPC_NETWORK_NOT_FOUND",
    }
)
"""Reasons of Condition.CommonReason for a container that was not to be had
(https://cloud.google.com/run/docs/reference/rest/v2/Condition, read 2026-08-21)."""


class Verdict(NamedTuple):
    """Why a run ended, in the contract's words."""

    code: ErrorCode
    """The codes of these ends are the same in every system."""
    message: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class Reaped:
    """What reaping one run did."""

    run_id: str
    state: RunState
    wrote: bool
    detail: str = ""


def verdict(view: View, *, seen: bool, system: System = HEAVY) -> Verdict:
    """Return the contract's code for an end that the platform tells of.

    `seen`: the container had written at least one status. `system`: whose hints are given.
    """
    found = _verdict(view, seen=seen)
    return found._replace(hint=system.hints.get(found.code, found.hint))


def _verdict(view: View, *, seen: bool) -> Verdict:
    said = f": {view.message}" if view.message else ""
    killed = view.signal == SIGKILL or view.exit_code == 128 + SIGKILL
    if view.phase == Phase.CANCELLED:
        return Verdict(ErrorCode.CANCELLED, f"the execution was cancelled{said}", "start it again when it is wanted")
    if view.out_of_memory:
        hint = "give the job more memory"
        return Verdict(ErrorCode.OUT_OF_MEMORY, f"the container exceeded its memory{said}", hint)
    if "timeout" in view.message.lower() or "timed out" in view.message.lower():
        hint = "give the task more time"
        return Verdict(ErrorCode.TASK_TIMEOUT, f"the platform ended the task at its timeout{said}", hint)
    if view.reason in _NEVER_STARTED or (not seen and view.start is None):
        hint = "look at the image and the job's identity: longhaul doctor"
        return Verdict(ErrorCode.NOT_STARTED, f"the container never started ({view.reason or 'no reason'}){said}", hint)
    if killed:
        hint = "a kill from outside or a burst of memory; look at the peak of the run and run it again"
        return Verdict(ErrorCode.LOST, f"the container was killed (signal 9){said}", hint)
    return Verdict(ErrorCode.LOST, f"the container ended without a final state{said}", "longhaul logs shows its end")


def reap(run: Run, view: View | None, now: datetime) -> Reaped:
    """Write what is missing of a run's end: status, error and record in its outputs, and the state in its index.

    A run whose container may still be at work is left alone. Raises OpsError: the store refuses.
    """
    judgement = judge(run, view, now)
    if not system_of(run.index).has_status:
        return _reap_by_platform(run, judgement, view, now)
    if not judgement.state.is_final or (judgement.state == RunState.LOST and not _nobody_left(run, view)):
        return Reaped(run_id=run.run_id, state=judgement.state, wrote=False, detail=judgement.detail)
    try:
        if run.status is None or not RunState(run.status.state).is_final:
            ended = view or View(phase=Phase.GONE, message="it has no execution")
            run = _write_end(run, ended, now)
            judgement = replace(judgement, detail=run.status.message if run.status else "")
        elif run.index.state == judgement.state:
            return Reaped(run_id=run.run_id, state=judgement.state, wrote=False, detail=judgement.detail)
        final = RunState.FAILED if judgement.state == RunState.LOST else judgement.state
        write_index(run, final)
    except Conflict:
        return Reaped(run_id=run.run_id, state=judgement.state, wrote=False, detail="its container wrote meanwhile")
    return Reaped(run_id=run.run_id, state=final, wrote=True, detail=judgement.detail)


def _reap_by_platform(run: Run, judgement: Judgement, view: View | None, now: datetime) -> Reaped:
    """The same for a run without a status object: its record, and the state in its index."""
    told = view is not None and view.phase.has_ended
    final = RunState(run.index.state).is_final
    if final or not (told or (judgement.state == RunState.LOST and _nobody_left(run, view))):
        return Reaped(run_id=run.run_id, state=judgement.state, wrote=False, detail=judgement.detail)
    state = RunState.FAILED if judgement.state == RunState.LOST else judgement.state
    ended = view or View(phase=Phase.GONE, message="it has no execution")
    at = (ended.end or now).isoformat()
    try:
        write_index(run, state)
    except Conflict:
        return Reaped(run_id=run.run_id, state=judgement.state, wrote=False, detail="its workflow wrote meanwhile")
    record = RunRecord(
        system=run.index.system,
        run_id=run.run_id,
        state=state,
        start=run.index.started_at,
        end=at,
        image="",
        arguments={},
        started_by=run.index.started_by,
        execution=str(run.index.platform.get("execution", "")),
        details={"written_by": "longhaul reap", "reason": ended.reason, "message": ended.message},
    )
    run.files.write(run.prefix + RUN_METADATA, record.to_json())
    return Reaped(run_id=run.run_id, state=state, wrote=True, detail=judgement.detail)


def _nobody_left(run: Run, view: View | None) -> bool:
    # LOST with a view is a container that the platform believes in; without one it was never started
    return view is None and not run.index.platform


def _write_end(run: Run, view: View, now: datetime) -> Run:
    system = system_of(run.index)
    code, message, hint = verdict(view, seen=run.status is not None, system=system)
    at = (view.end or now).isoformat()
    status, documents = system.ended(run.index, run.status, End(code=code, message=message, hint=hint, at=at))
    # the status first: a container that is alive after all makes this write fail, and nothing else is touched
    generation = run.files.write(run.prefix + STATUS, status.to_json(), generation=run.status_generation)
    for name, data in documents.items():
        run.files.write(run.prefix + name, data)
    record = _record(run, status, view, at)
    if run.files.read(run.prefix + RUN_METADATA) is None:
        run.files.write(run.prefix + RUN_METADATA, record.to_json())
    return replace(run, status=status, status_generation=generation)


def _record(run: Run, status: RunStatus, view: View, at: str) -> RunRecord:
    start = view.start or moment(status.started_at or run.index.started_at)
    return RunRecord(
        system=run.index.system,
        run_id=run.run_id,
        state=status.state,
        start=start.isoformat(),
        end=at,
        image="",
        arguments={},
        started_by=run.index.started_by,
        execution=str(run.index.platform.get("execution", "")),
        counts={"peak_memory_mib": status.peak_memory_mib},
        runtime=str(run.index.platform.get("runtime", "container")),
        details={"written_by": "longhaul reap", "reason": view.reason, "message": view.message},
    )
