"""Copying byte ranges between files without taking them through this process. Standard library only."""

import errno
import os
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

_BLOCK = 1 << 20
_UNSUPPORTED = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""What copy_file_range answers where the kernel, a sandbox (gVisor) or the file system does not have it."""

Range = tuple[int, int]
"""(first byte, number of bytes)."""


class ShortCopyError(OSError):
    """The source ended before the range did: the file was cut while it was read."""


def joined(ranges: Sequence[Range]) -> list[Range]:
    """Return `ranges` with neighbours that touch put together, in the same order."""
    out: list[Range] = []
    for start, size in ranges:
        if out and sum(out[-1]) == start:
            out[-1] = (out[-1][0], out[-1][1] + size)
        elif size:
            out.append((start, size))
    return out


def copy_ranges(source: int, target: int, ranges: Sequence[Range], position: int) -> int:
    """Write `ranges` of the file `source` one after the other into `target` at `position`; return the end.

    Raises:
        ShortCopyError: `source` is shorter than its ranges say.
        OSError: reading or writing failed (no space, for example).
    """
    for start, size in ranges:
        position = _copy(source, target, start, size, position)
    return position


def _copy(source: int, target: int, start: int, size: int, position: int) -> int:
    end = position + size
    try:
        while position < end:
            done = os.copy_file_range(source, target, end - position, start, position)
            if not done:
                break  # at the end of the source, or a file system that answers 0: the plain way decides which
            start, position = start + done, position + done
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    while position < end:
        block = os.pread(source, min(_BLOCK, end - position), start)
        if not block:
            raise ShortCopyError(
                errno.EIO, f"{end - position} bytes are missing at byte {start}: the file was cut short"
            )
        written = os.pwrite(target, block, position)
        start, position = start + written, position + written
    return position


class Copier:
    """A thread that copies into one file, one table after the other, while the caller parses the next footers.

    One thread, so that with consume the scratch space never holds more than one table twice.
    """

    _DEPTH = 4

    def __init__(self, target: int):
        self._target = target
        self._jobs: queue.Queue[tuple[Path, Sequence[Range], int, Callable[[], None]] | None] = queue.Queue(self._DEPTH)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="copier")

    def __enter__(self) -> "Copier":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self._error = self._error or value  # whatever is still queued is dropped
            self._jobs.put(None)
            self._thread.join()

    def submit(self, path: Path, ranges: Sequence[Range], position: int, then: Callable[[], None]) -> None:
        """Queue the copy of `ranges` of `path` to `position`; `then` runs in the thread once they are there.

        Raises what an earlier copy raised.
        """
        self._raise()
        self._jobs.put((path, ranges, position, then))

    def finish(self) -> None:
        """Wait for everything queued. Raises what a copy raised."""
        self._jobs.put(None)
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while job := self._jobs.get():
            if self._error is not None:
                continue  # keep emptying the queue: submit() must not block for ever
            path, ranges, position, then = job
            try:
                source = os.open(path, os.O_RDONLY)
                try:
                    copy_ranges(source, self._target, ranges, position)
                finally:
                    os.close(source)
                then()
            except BaseException as error:  # handed to the caller's thread by submit() or finish()
                self._error = error
