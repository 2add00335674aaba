"""Runs the script and everything it starts, watches memory and time, and leaves nothing behind."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from workloads.common.memory import MIB, Memory, descendants
from workloads.common.storage import Stop
from workloads.heavy_runner.capture import Capture

PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36

TERM_GRACE_S = 5.0
"""Time between SIGTERM and SIGKILL for a script past its timeout, seconds."""
STOP_GRACE_S = 1.5
"""The same when the platform itself is stopping us: it leaves 10 s for everything."""
SWEEP_S = 10.0
"""Longest time to end what the script left running, seconds."""
MAX_SAMPLE_S = 0.05
MIN_SAMPLE_S = 0.005
MAX_LOOK_S = 0.1
FILL_RATE = 4 << 30
"""Bytes a second that a script may fill memory with at most: decides how soon to look again."""


class End(StrEnum):
    """Why the script is no longer running."""

    EXITED = "exited"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """What holds the script."""

    uid: int
    """User it runs as; 0 means that the supervisor's own user is kept, which is a reduced sandbox."""
    max_processes: int
    max_file_bytes: int

    @property
    def reduced(self) -> bool:
        return not self.uid


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the script ended."""

    end: End
    exit_code: int
    """Negative: the signal that ended it."""
    seconds: float
    peak_bytes: int
    """Most memory seen in use in the container."""
    oom_kills: int
    """Processes the kernel ended because of the container's memory."""
    leftovers: int
    """Processes that were still there when the script itself had ended."""


class LaunchError(Exception):
    """The sandbox could not be set up, so the script was not started."""


def become_reaper(*, guard: bool) -> None:
    """Orphans of the script become our children; with `guard`, processes of our own user cannot look into us."""
    libc = ctypes.CDLL(None, use_errno=True)
    options = [(PR_SET_CHILD_SUBREAPER, 1)]
    if guard:
        options.append((PR_SET_DUMPABLE, 0))
    for option, value in options:
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {option} was refused")


class ScriptProcess:
    """One run of one script. Create, `run` once, from the main thread."""

    def __init__(
        self,
        *,
        sandbox: Sandbox,
        capture: Capture,
        memory: Memory,
        reserve_bytes: int,
        stop: Stop,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sandbox = sandbox
        self._capture = capture
        self._memory = memory
        self._ceiling = None if memory.limit is None else max(0, memory.limit - reserve_bytes)
        self._stop = stop
        self._clock = clock
        self._peak = 0
        self._used = 0
        self._look_s = 0.0
        self._status: int | None = None

    @property
    def used_mib(self) -> int:
        return self._used // MIB

    @property
    def peak_mib(self) -> int:
        return self._peak // MIB

    def run(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float) -> Outcome:
        """Start `command`, wait for its end or end it; raises LaunchError if it could not be started."""
        started = self._clock()
        kills = self._memory.read().oom_kills
        child = self._launch(command, cwd, env)
        pumps = [
            threading.Thread(target=self._pump, args=(name, pipe.fileno()), daemon=True, name=f"pump-{name}")
            for name, pipe in (("stdout", child.stdout), ("stderr", child.stderr))
            if pipe is not None
        ]
        for pump in pumps:
            pump.start()
        end = self._watch(child.pid, started + timeout_s)
        seconds = self._clock() - started
        leftovers = self._sweep(child.pid)
        for pump in pumps:
            pump.join(timeout=SWEEP_S)
        self._capture.close()
        kills = self._memory.read().oom_kills - kills
        if kills and self._memory.limit:
            self._peak = self._memory.limit  # it was reached between two looks
        status = self._status or 0
        child.returncode = os.waitstatus_to_exitcode(status)
        return Outcome(
            end=end,
            exit_code=child.returncode,
            seconds=seconds,
            peak_bytes=self._peak,
            oom_kills=kills,
            leftovers=leftovers,
        )

    def _launch(self, command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        report, report_end = os.pipe()
        settings = {
            "uid": self._sandbox.uid,
            "max_processes": self._sandbox.max_processes,
            "max_file_bytes": self._sandbox.max_file_bytes,
            "report": report_end,
        }
        launcher = str(Path(__file__).with_name("launch.py"))
        try:
            child = subprocess.Popen(  # noqa: S603  # the runner's own launcher, no shell
                [sys.executable, "-I", "-S", launcher, json.dumps(settings), *command],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=(report_end,),
            )
        except OSError as error:
            os.close(report)
            raise LaunchError(str(error)) from error
        finally:
            os.close(report_end)
        with os.fdopen(report, "rb") as pipe:
            problem = pipe.read(2_000)  # ends when the launcher has become the script
        if problem:
            child.communicate()
            raise LaunchError(problem.decode(errors="replace"))
        return child

    def _pump(self, stream: str, pipe: int) -> None:
        while data := os.read(pipe, 1 << 16):
            self._capture.feed(stream, data)

    def _watch(self, pid: int, deadline: float) -> End:
        """Until the script has ended, whoever ended it."""
        pause = MIN_SAMPLE_S
        while True:
            self._reap(pid)
            if self._status is not None:
                self._sample()
                return End.EXITED
            if self._stop.is_set():
                self._end(pid, STOP_GRACE_S)
                return End.STOPPED
            if self._sample():
                _signal_group(pid, signal.SIGKILL)
                self._end(pid, 0)
                return End.MEMORY
            if self._clock() >= deadline:
                self._end(pid, TERM_GRACE_S)
                return End.TIMEOUT
            pause = min(pause * 1.5, MAX_SAMPLE_S, max(self._headroom() / FILL_RATE, MIN_SAMPLE_S))
            # where a look is dear (a large process tree without a control group) it takes at most a tenth of the time
            time.sleep(max(pause, 10 * self._look_s))

    def _sample(self) -> bool:
        """Look at the memory; true if the script must end because of it."""
        began = self._clock()
        self._used = self._memory.read().used
        self._look_s = min(self._clock() - began, MAX_LOOK_S)
        self._peak = max(self._peak, self._used)
        return self._ceiling is not None and self._used >= self._ceiling

    def _headroom(self) -> float:
        return float("inf") if self._ceiling is None else float(self._ceiling - self._used)

    def _end(self, pid: int, grace_s: float) -> None:
        """SIGTERM to the script's group, SIGKILL after the grace; returns once the script itself has ended."""
        if grace_s:
            _signal_group(pid, signal.SIGTERM)
        until = self._clock() + grace_s
        while self._status is None and self._clock() < until and not self._sample():
            time.sleep(MAX_SAMPLE_S)
            self._reap(pid)
        _signal_group(pid, signal.SIGKILL)
        until = self._clock() + SWEEP_S
        while self._status is None and self._clock() < until:
            time.sleep(MIN_SAMPLE_S)
            self._reap(pid)

    def _reap(self, pid: int) -> None:
        """Collect every ended child: as the reaper of orphans we would otherwise gather zombies."""
        while True:
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not ended:
                return
            if ended == pid:
                self._status = status

    def _sweep(self, pid: int) -> int:
        """End whatever the script left running, in whatever session; gives how many processes that were."""
        found: set[int] = set()
        until = self._clock() + SWEEP_S
        turns = 0
        while below := descendants(os.getpid()):
            self._reap(pid)
            alive = {one for one in below if not _is_zombie(one)}
            found |= alive
            # First stop them all, so that none can start another while the rest is being ended.
            for wanted in (signal.SIGSTOP, signal.SIGKILL):
                for one in alive:
                    _signal_one(one, wanted)
            turns += 1
            if turns > 3 and self._sandbox.uid and os.getpid() == 1:
                self._end_user()
            if self._clock() >= until:
                break
            time.sleep(MIN_SAMPLE_S)
        return len(found - {pid})

    def _end_user(self) -> None:
        """Every process of the script's user at once: what outruns one signal after another does not outrun this."""
        uid = self._sandbox.uid
        code = f"import os; os.setresuid({uid}, {uid}, {uid}); os.kill(-1, 9)"
        subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False, timeout=SWEEP_S)  # noqa: S603  # own code


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # it has ended; or it is a group of another user's making, which the sweep finds one by one


def _signal_one(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # it has ended, or its number belongs to somebody else by now


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
