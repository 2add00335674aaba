"""Processes that write a checkpoint anew where it is not aligned with the key. Standard library only.

The Arrow library lives in those processes alone; they are started when the first such checkpoint is met.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType


class RecodeError(RuntimeError):
    """A checkpoint could not be aligned; the message names the table and why."""


def aligned(path: Path) -> Path:
    """Return where the aligned form of the checkpoint `path` is written."""
    return path.with_name(path.name + ".aligned")


def partial_of(path: Path) -> Path:
    """Return the name `path` has while it is written (see `checkpoint.write`)."""
    return path.with_name(path.name + ".partial")


@dataclass(frozen=True)
class Recoded:
    """One aligned checkpoint."""

    table: str
    path: Path
    """The new file; the checkpoint itself if its rows were in order and only their encoding differs."""
    counts: dict[str, int]
    """Rows that were missing, duplicate, extra, …"""


class RecodePool:
    """At most `workers` processes; a new file is begun only when one that is ready has been taken."""

    def __init__(self, key_file: Path, key: str, policies: Mapping[str, str], workers: int):
        self._arguments = [str(os.getpid()), str(key_file), key, json.dumps(dict(policies))]
        self._limit = workers
        self._waiting: deque[tuple[str, Path]] = deque()
        self._idle: list[subprocess.Popen[str]] = []
        self._all: list[subprocess.Popen[str]] = []
        self._results: queue.Queue[Recoded | RecodeError] = queue.Queue()
        self._busy = 0

    def __enter__(self) -> "RecodePool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._all:
            if kind is not None:
                process.kill()
            if process.stdin:
                process.stdin.close()
            process.wait()

    def submit(self, table: str, path: Path) -> None:
        """Queue the checkpoint `path` of `table`."""
        self._waiting.append((table, path))
        self._feed()

    def ready(self) -> Iterator[Recoded]:
        """Yield what is finished, without waiting."""
        while not self._results.empty():
            yield self._take()

    def rest(self) -> Iterator[Recoded]:
        """Yield everything else that was submitted, waiting for it."""
        while self._busy or self._waiting or not self._results.empty():
            yield self._take()

    def _take(self) -> Recoded:
        found = self._results.get()
        self._busy -= 1
        self._feed()
        if isinstance(found, RecodeError):
            raise found
        return found

    def _feed(self) -> None:
        while self._waiting and self._busy < self._limit:
            table, path = self._waiting.popleft()
            self._busy += 1
            process = self._idle.pop() if self._idle else self._start()
            threading.Thread(target=self._work, args=(process, table, path), daemon=True).start()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "workloads.feature_pipeline.recode", *self._arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own module)
        self._all.append(process)
        return process

    def _work(self, process: subprocess.Popen[str], table: str, path: Path) -> None:
        """Hand one file to `process` and wait for its answer."""
        target = aligned(path)
        request, reply = process.stdin, process.stdout
        if request is None or reply is None:
            raise TypeError("a recoding process is started with pipes")
        try:
            request.write(json.dumps({"path": str(path), "target": str(target)}) + "\n")
            request.flush()
            answer = reply.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            code = process.wait()
            why = "killed, probably for want of memory" if code == -9 else f"ended with {code}"
            self._results.put(RecodeError(f"table {table}: the process that aligns it was {why}"))
            return
        found = json.loads(answer)
        self._idle.append(process)
        if "error" in found:
            self._results.put(RecodeError(f"table {table}: {found['error']}"))
        else:
            self._results.put(Recoded(table, Path(found["path"]), found["counts"]))
