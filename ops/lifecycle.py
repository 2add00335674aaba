"""Seeing a run through: look, wait, cancel, settle its end, fetch what it left."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ops import runs
from ops.errors import BadRequest, OpsError
from ops.platforms import Phase, View
from ops.reap import Reaped, reap
from ops.runs import Judgement, Run
from ops.systems import system_of
from ops.targets import PARALLEL, Bars, Target, no_bars
from workloads.common.contract import RunState

POLL_S = 2.0
"""Pause between two looks at the status object."""

_PLATFORM_EVERY = 3


def look(run: Run, target: Target, *, platform: bool = True) -> tuple[Run, Judgement]:
    """Return the run as it is now and what state it is in; `platform`: ask it too where the objects leave it open."""
    run = runs.refresh(run)
    view = view_of(run, target) if platform else None
    if view is not None and view.phase.has_ended and run.asks_platform:
        # the container may have written its end between the two looks
        run = runs.refresh(run)
    return run, runs.judge(run, view, datetime.now(UTC))


def view_of(run: Run, target: Target) -> View | None:
    """Return what the platform says, None where the objects say it all or the platform has no name for it."""
    if not run.asks_platform or not is_known(run):
        return None
    return target.platform.view(names_of(run))


def is_known(run: Run) -> bool:
    """Whether the index holds a name that the platform knows the run by."""
    return any(name in run.index.platform for name in ("execution", "container", "pid"))


def names_of(run: Run) -> dict[str, str]:
    """Return the platform's names of the run."""
    return {name: str(value) for name, value in run.index.platform.items()}


def wait(
    run: Run,
    target: Target,
    *,
    on_look: Callable[[Run, Judgement], None] = lambda _run, _judgement: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Run:
    """Wait for the end of a run and return it; what its container could not write down is written from the platform."""
    turn = 0
    while True:
        run, judgement = look(run, target, platform=turn % _PLATFORM_EVERY == _PLATFORM_EVERY - 1)
        on_look(run, judgement)
        ended = judgement.state.is_final and judgement.state != RunState.LOST
        if ended or (judgement.state == RunState.LOST and not judgement.recorded and not is_known(run)):
            return settle(run, target)
        turn += 1
        sleep(POLL_S)


def settle(run: Run, target: Target) -> Run:
    """Write down whatever is missing of a run's end and return the run as it is then."""
    reap_now(run, target)
    if is_known(run):
        target.platform.tidy(names_of(run))
    return runs.again(run)


def reap_now(run: Run, target: Target) -> Reaped:
    """Write down what is missing of a run's end, from what the platform says now."""
    run = found(run, target)
    view = view_of(run, target)
    if view is not None and view.phase.has_ended and not system_of(run.index).has_status:
        # a workflow that was cancelled or failed leaves its jobs running
        target.platform.cancel(names_of(run))
    return reap(run, view, datetime.now(UTC))


def found(run: Run, target: Target) -> Run:
    """Return the run with the platform's names, asked for by its token if its starter did not live to write them."""
    if is_known(run) or not run.asks_platform:
        return run
    names = target.platform.find(run.index.start_token)
    return run if names is None else replace(run, index=replace(run.index, platform={**run.index.platform, **names}))


def cancel(run: Run, target: Target, *, within_s: float = 60, sleep: Callable[[float], None] = time.sleep) -> Run:
    """Cancel a run and return it in its final state: CANCELLED, or what it reached before.

    Raises BadRequest: it has ended. OpsError: it does not end within `within_s` seconds.
    """
    run, judgement = look(found(run, target), target)
    if judgement.state.is_final and judgement.state != RunState.LOST:
        raise BadRequest(f"run {run.run_id} has ended: {judgement.state}")
    if not is_known(run):
        raise BadRequest(f"run {run.run_id} has not reached the platform yet", "try again in a moment")
    target.platform.cancel(names_of(run))
    deadline = time.monotonic() + within_s
    while not (view := target.platform.view(names_of(run))).phase.has_ended:
        if time.monotonic() > deadline:
            raise OpsError(f"run {run.run_id} is still ending after {within_s:.0f} s", "longhaul status shows its end")
        sleep(POLL_S / 2)
    run = runs.refresh(run)
    if view.phase != Phase.SUCCEEDED:
        view = replace(view, phase=Phase.CANCELLED)
    reap(run, view, datetime.now(UTC))
    target.platform.tidy(names_of(run))
    return runs.again(run)


def download(run: Run, folder: Path, bars: Bars = no_bars, *, below: str = "") -> list[Path]:
    """Fetch everything the run left behind, or what lies `below` in it, into `folder` and return the files.

    Raises OpsError.
    """
    prefix, top = run.prefix + below, folder.resolve()
    listed = [info for info in run.files.list(prefix) if not info.name.endswith("/")]
    targets = [(info, top / info.name.removeprefix(prefix)) for info in listed]
    if outside := [info.name for info, path in targets if not path.resolve().is_relative_to(top)]:
        raise OpsError(f"outputs with names that lead out of {folder}: {', '.join(outside[:3])}")
    jobs = [(info.name, path, bars(path.name, info.size)) for info, path in targets]
    with ThreadPoolExecutor(PARALLEL) as pool:
        for done in [pool.submit(run.files.download, *job) for job in jobs]:
            done.result()
    return [path for _, path in targets]
