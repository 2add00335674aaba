"""The script's output: live, line by line, and kept as head and tail, within fixed bounds whatever it prints."""

import threading
from collections import deque
from collections.abc import Callable

from workloads.common.logs import Log, Severity

MAX_LINE_BYTES = 64 << 10
"""A line longer than this is passed on in pieces, so that an endless one is never held."""

MAX_PIECES_OF_LINE = 4
"""Pieces of one line that are passed on live; the rest of it only goes to the execution log."""

QUIET_NOTE_S = 30.0
"""Once the live budget is spent, one record this often says how much was printed since, seconds."""


class Capture:
    """Takes bytes of both streams from any thread."""

    def __init__(
        self, log: Log, *, head_bytes: int, tail_bytes: int, live_bytes: int, clock: Callable[[], float]
    ) -> None:
        self._log = log
        self._head_bytes, self._tail_bytes, self._live_left = head_bytes, tail_bytes, live_bytes
        self._live_bytes = live_bytes
        self._clock = clock
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._total = 0
        self._lines = 0
        self._pending: dict[str, bytes] = {}
        self._pieces: dict[str, int] = {}
        self._noted_at = 0.0
        self._lock = threading.Lock()

    @property
    def total_bytes(self) -> int:
        return self._total

    @property
    def lines(self) -> int:
        return self._lines

    @property
    def cut_bytes(self) -> int:
        """Bytes that are in neither head nor tail."""
        return self._total - len(self._head) - self._tail_size

    def feed(self, stream: str, data: bytes) -> None:
        """Take what one read of `stream` (`stdout` or `stderr`) gave."""
        with self._lock:
            pending = self._pending.get(stream, b"") + data
            cut = pending.rfind(b"\n") + 1
            if not cut and len(pending) >= MAX_LINE_BYTES:
                cut = len(pending)
            self._pending[stream] = pending[cut:]
            if cut:
                self._take(stream, pending[:cut])

    def close(self) -> None:
        """The streams have ended: what is left is a last line without a line feed."""
        with self._lock:
            for stream, rest in self._pending.items():
                if rest:
                    self._take(stream, rest)
            self._pending.clear()
            if self._live_left <= 0:
                self._note_quiet()

    def text(self) -> bytes:
        """The execution log: all of it, or head and tail with the cut named between them."""
        with self._lock:
            tail = b"".join(self._tail)
            cut = self._total - len(self._head) - len(tail)
            if not cut:
                return bytes(self._head) + tail
            mark = f"\n[longhaul: {cut:,} bytes of {self._total:,} are not kept here]\n"
            return bytes(self._head) + mark.encode() + tail

    def last_lines(self, count: int, max_chars: int = 500) -> list[str]:
        """The last lines, oldest first, each cut to `max_chars`."""
        with self._lock:
            head = b"" if self.cut_bytes else bytes(self._head[-MAX_LINE_BYTES:])  # never join lines across the cut
            end = (head + b"".join(self._tail))[-4 * MAX_LINE_BYTES :]
        return [line[:max_chars] for line in end.decode(errors="replace").splitlines()[-count:]]

    def _take(self, stream: str, data: bytes) -> None:
        self._keep(data)
        self._lines += data.count(b"\n")
        if self._live_left > 0:
            self._pass_on(stream, data)
        elif self._clock() - self._noted_at >= QUIET_NOTE_S:
            self._note_quiet()

    def _keep(self, data: bytes) -> None:
        self._total += len(data)
        room = self._head_bytes - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if not data:
            return
        self._tail.append(data)
        self._tail_size += len(data)
        while self._tail_size > self._tail_bytes:
            first = self._tail.popleft()
            excess = self._tail_size - self._tail_bytes
            if excess < len(first):
                self._tail.appendleft(first[excess:])
                self._tail_size -= excess
            else:
                self._tail_size -= len(first)

    def _pass_on(self, stream: str, data: bytes) -> None:
        lines = data[: self._live_left].decode(errors="replace").split("\n")
        if not lines[-1]:
            lines.pop()
        if not data.endswith(b"\n") and len(data) >= MAX_LINE_BYTES:
            self._pieces[stream] = self._pieces.get(stream, 0) + 1
        else:
            self._pieces[stream] = 0
        if self._pieces[stream] <= MAX_PIECES_OF_LINE:
            severity: Severity = "INFO" if stream == "stdout" else "WARNING"
            self._log.relay(lines, source="script", severity=severity, stream=stream)
        self._live_left -= len(data)
        if self._live_left <= 0:
            self._noted_at = self._clock()
            self._log.warning(
                f"the script printed {self._live_bytes:,} bytes: its further lines are not passed on live; "
                "the execution log keeps the first and the last of them"
            )

    def _note_quiet(self) -> None:
        self._noted_at = self._clock()
        self._log.info("the script goes on printing", printed_bytes=self._total, printed_lines=self._lines)
