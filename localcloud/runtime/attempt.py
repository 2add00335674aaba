"""One attempt of a task from start to end: follow its output, hold its time limit, stop it, say how it ended."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from localcloud.runtime.base import Batch, Exit, Runtime, RuntimeUnavailable

GRACE_S = 10.0
"""From SIGTERM to SIGKILL. https://cloud.google.com/run/docs/container-contract (2026-08)."""
LOG_DRAIN_S = 120.0
"""How long output is still read after the task has ended; more can only be left if the engine hangs."""

Sink = Callable[[Batch], Awaitable[None]]
"""Takes lines; the runtime is not read further until it returns."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended."""

    kind: Literal["exited", "oom", "timeout", "cancelled", "lost"]
    code: int | None = None
    signal: int | None = None
    error: str = ""

    @property
    def succeeded(self) -> bool:
        return self.kind == "exited" and self.code == 0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When an attempt is stopped from outside."""

    deadline: float
    """Seconds since the epoch."""
    cancel: asyncio.Event
    """Set by whoever cancels it."""
    grace_s: float = GRACE_S


async def follow(
    runtime: Runtime,
    run_id: str,
    limits: Limits,
    *,
    since: str = "",
    sink: Sink,
    on_stop: Callable[[str], Awaitable[None]],
    now: Callable[[], float] = time.time,
) -> Outcome:
    """Follow a started attempt until it has ended and its output is read.

    Args:
        since: cursor of the last line already taken.
        sink: takes the output.
        on_stop: told "timeout" or "cancelled" just before SIGTERM.
        now: wall clock, seconds since the epoch.
    """
    pump = asyncio.create_task(_pump(runtime, run_id, since, sink))
    waiting = asyncio.create_task(runtime.wait(run_id))
    try:
        stopped = await _until_stop(waiting, limits, now)
        if stopped:
            await on_stop(stopped)
            await _stop(runtime, run_id, waiting, limits.grace_s)
        end = await waiting
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pump), LOG_DRAIN_S)
    finally:
        for task in (pump, waiting):
            task.cancel()
        await asyncio.gather(pump, waiting, return_exceptions=True)
    return _outcome(end, stopped)


async def _pump(runtime: Runtime, run_id: str, since: str, sink: Sink) -> None:
    while True:
        try:
            async for batch in runtime.logs(run_id, since):
                await sink(batch)
                since = batch.cursor
        except RuntimeUnavailable:
            await asyncio.sleep(1)  # the engine restarts; go on after the last line taken
        else:
            return


async def _until_stop(
    waiting: "asyncio.Task[Exit | None]", limits: Limits, now: Callable[[], float]
) -> Literal["", "timeout", "cancelled"]:
    cancelled = asyncio.create_task(limits.cancel.wait())
    try:
        left = max(limits.deadline - now(), 0)
        await asyncio.wait({waiting, cancelled}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
    finally:
        cancelled.cancel()
    if waiting.done():
        return ""
    return "cancelled" if limits.cancel.is_set() else "timeout"


async def _stop(runtime: Runtime, run_id: str, waiting: "asyncio.Task[Exit | None]", grace_s: float) -> None:
    await runtime.signal(run_id, "TERM")
    await asyncio.wait({waiting}, timeout=grace_s)
    while not waiting.done():
        await runtime.signal(run_id, "KILL")
        await asyncio.wait({waiting}, timeout=2)


def _outcome(end: Exit | None, stopped: Literal["", "timeout", "cancelled"]) -> Outcome:
    if end is None:
        kind: Literal["timeout", "cancelled", "lost"] = stopped or "lost"
        return Outcome(kind=kind, error="the container is gone without a trace of how it ended")
    code, signal = (None, end.signal) if end.signal and stopped else (end.code, None)
    if stopped:
        return Outcome(kind=stopped, code=code, signal=signal, error=end.error)
    if end.oom and end.code != 0:
        return Outcome(kind="oom", code=end.code, signal=end.signal, error=end.error)
    if end.code is None:
        return Outcome(kind="lost", error=end.error or "its exit code could not be had")
    return Outcome(kind="exited", code=end.code, signal=end.signal, error=end.error)
