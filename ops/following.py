"""Following a run on a terminal: its log as it comes, its state in the last line."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ops.errors import OpsError
from ops.lifecycle import is_known, names_of
from ops.platforms import LogLine
from ops.runs import Judgement, Run
from ops.targets import Target
from workloads.common.contract import RunState
from workloads.heavy_runner.contract import Status

_LAST_LOOK_S = 15.0


@dataclass
class LogFollower:
    """Reads the log of a run in a thread of its own until it is told that the run has ended."""

    on_line: Callable[[LogLine], None]
    on_trouble: Callable[[str], None]
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self, run: Run, target: Target) -> None:
        """Begin with the first line."""
        if self._thread is None and is_known(run):
            self._thread = threading.Thread(target=self._read, args=(run, target), daemon=True)
            self._thread.start()

    def _read(self, run: Run, target: Target) -> None:
        try:
            for line in target.platform.logs(names_of(run), follow=self._again):
                self.on_line(line)
        except OpsError as exc:
            self.on_trouble(f"the log cannot be followed: {exc}")

    def _again(self, idle_s: float) -> bool:
        return not self._ended.wait(idle_s)

    def finish(self) -> None:
        """Read what is left, for some seconds at most."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_LAST_LOOK_S)


@contextmanager
def following(follower: LogFollower) -> Iterator[LogFollower]:
    """Finish the follower whatever happens."""
    try:
        yield follower
    finally:
        follower.finish()


def summary(run: Run, judgement: Judgement) -> str:
    """Return the state of a run in a few words: `RUNNING script, 340 of 8,192 MiB`."""
    status = run.status
    parts = [judgement.detail] if judgement.detail else []
    if isinstance(status, Status) and judgement.state == RunState.RUNNING:
        if status.bytes_total:
            parts.append(f"{status.bytes_done >> 20:,} of {status.bytes_total >> 20:,} MiB moved")
        if status.memory_mib:
            limit = f" of {status.memory_limit_mib:,}" if status.memory_limit_mib else ""
            parts.append(f"{status.memory_mib:,}{limit} MiB of memory")
    return f"{judgement.state} {', '.join(parts)}".strip()
