"""A command in a process of its own: wall time, CPU and peak memory of all it starts, under a memory limit."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workloads.common.memory import descendants

POLL_S = 0.01
_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Outcome:
    """What one command took."""

    code: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    """Resident memory of the whole process tree at its highest, as sampled every 10 ms."""
    stdout: str
    stderr: str

    @property
    def killed(self) -> bool:
        """Ended by the kernel for want of memory, most likely."""
        return self.code in (-9, 137)


def run(command: Sequence[str], *, stdin: str = "", group: Path | None = None, files: Path | None = None) -> Outcome:
    """Run `command` in the control group `group`. With `files` the peak includes what lies in that folder."""
    enter = None
    if group is not None:
        members = group / "cgroup.procs"

        def enter() -> None:
            members.write_text(str(os.getpid()))

    with (
        tempfile.TemporaryFile("w+") as given,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        given.write(stdin)
        given.seek(0)
        began, before = time.monotonic(), os.times()
        process = subprocess.Popen(
            command, stdin=given, stdout=out, stderr=err, preexec_fn=enter
        )  # no threads yet; our own commands
        peak = _Peak(process.pid, files)
        code = process.wait()
        wall, after = time.monotonic() - began, os.times()
        peak.stop()
        out.seek(0)
        err.seek(0)
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return Outcome(code, wall, cpu, peak.bytes, out.read(), err.read())


class _Peak:
    """Samples the resident memory of a process and all below it."""

    def __init__(self, pid: int, files: Path | None) -> None:
        self.bytes = 0
        self._pid, self._files = pid, files
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            pids = {self._pid, *descendants(self._pid)}
            size = sum(_resident(pid) for pid in pids)
            if self._files is not None:
                size += sum(entry.stat().st_blocks * 512 for entry in _listed(self._files))
            self.bytes = max(self.bytes, size)
            if self._done.wait(POLL_S):
                return


def _listed(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in os.scandir(folder):
        try:
            entry.stat()
        except FileNotFoundError:
            continue  # consumed at this moment
        yield entry


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0  # has just ended


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path | None]:
    """A control group with this memory limit, of version 1 or 2; None where none can be made."""
    name = f"longhaul-bench-{os.getpid()}-{time.monotonic_ns()}"
    for root, limit in ((_V1, "memory.limit_in_bytes"), (_V2, "memory.max")):
        folder = root / name
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit).write_text(str(limit_bytes))
        except OSError:
            folder.rmdir()
            continue
        try:
            yield folder
        finally:
            _remove(folder)
        return
    yield None


def _remove(folder: Path) -> None:
    for _ in range(100):
        try:
            folder.rmdir()
            return
        except OSError:  # its last process is still being taken down
            time.sleep(0.05)
