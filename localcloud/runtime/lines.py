"""Cut a task's output into lines: the engine's frames, lines that come in pieces, lines longer than an entry may be."""

import struct
from typing import Literal

from localcloud.runtime.base import MAX_LOG_LINE_BYTES, LogLine

_HEADER = struct.Struct(">BxxxL")

Stream = Literal["stdout", "stderr"]
_STREAMS: dict[int, Stream] = {1: "stdout", 2: "stderr"}


class Demux:
    """Split the engine's multiplexed stream into frames.

    https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach (2026-08)
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[Stream, bytes]]:
        """Take bytes as they came; return the frames completed by them."""
        buffer, at, frames = self._buffer, 0, list[tuple[Stream, bytes]]()
        buffer += data
        while len(buffer) - at >= _HEADER.size:
            kind, size = _HEADER.unpack_from(buffer, at)
            end = at + _HEADER.size + size
            if len(buffer) < end:
                break
            frames.append((_STREAMS.get(kind, "stdout"), bytes(buffer[at + _HEADER.size : end])))
            at = end
        del buffer[:at]
        return frames


class Splitter:
    """Join what comes of one stream into lines; a line over the limit is cut into several.

    Args:
        taken: bytes of the stream that were taken before.
        skip: how many of those come again at the beginning.
    """

    def __init__(self, stream: Stream, taken: int = 0, skip: int = 0, limit: int = MAX_LOG_LINE_BYTES):
        self._stream, self._skip, self._limit = stream, skip, limit
        self._rest = b""
        self.taken = taken
        """Bytes of the stream that lie in lines already returned."""

    def add(self, time: str, data: bytes) -> list[LogLine]:
        """Take more of the stream, and return the lines completed by it."""
        if self._skip:
            passed = min(self._skip, len(data))
            self._skip -= passed
            data = data[passed:]
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines = [piece for line in whole for piece in self._pieces(time, line)]
        self.taken += sum(len(line) + 1 for line in whole)
        while len(self._rest) >= self._limit:
            size = self._boundary(self._rest)
            lines.append(self._line(time, self._rest[:size]))
            self._rest = self._rest[size:]
            self.taken += size
        return lines

    def finish(self, time: str) -> list[LogLine]:
        """Return a last line whose newline never came."""
        rest, self._rest = self._rest, b""
        self.taken += len(rest)
        return [self._line(time, rest)] if rest else []

    def _pieces(self, time: str, line: bytes) -> list[LogLine]:
        pieces = []
        while len(line) > self._limit:
            size = self._boundary(line)
            pieces.append(self._line(time, line[:size]))
            line = line[size:]
        return [*pieces, self._line(time, line)]

    def _boundary(self, line: bytes) -> int:
        size = self._limit
        while size > self._limit - 4 and size < len(line) and line[size] & 0xC0 == 0x80:
            size -= 1  # never cut within a UTF-8 character
        return size

    def _line(self, time: str, data: bytes) -> LogLine:
        return LogLine(self._stream, time, data.removesuffix(b"\r"))


class Output:
    """The output of one task: frames in, lines and a cursor out.

    Args:
        cursor: where to go on; empty = the beginning.
        by_time: what comes begins about there, instead of at the beginning of the output.
    """

    def __init__(self, cursor: str = "", *, by_time: bool = False):
        out, err, self._last = _read_cursor(cursor)
        self._after = self._last if by_time else ""
        self._demux = Demux()
        self._splitters: dict[Stream, Splitter] = {
            "stdout": Splitter("stdout", out, 0 if by_time else out),
            "stderr": Splitter("stderr", err, 0 if by_time else err),
        }

    @property
    def cursor(self) -> str:
        """What to give to take up again behind the lines returned so far."""
        return f"{self._splitters['stdout'].taken} {self._splitters['stderr'].taken} {self._last}"

    def live(self, data: bytes, time: str) -> list[LogLine]:
        """Take what an attached stream gave at `time`."""
        self._last = time
        return [line for stream, part in self._demux.feed(data) for line in self._splitters[stream].add(time, part)]

    def stored(self, data: bytes) -> list[LogLine]:
        """Take what the engine's log gave: every frame begins with its time."""
        lines = list[LogLine]()
        for stream, frame in self._demux.feed(data):
            time, _, part = frame.partition(b" ")
            moment = time.decode("ascii", "replace")
            if moment <= self._after:
                continue
            self._last = moment
            lines += self._splitters[stream].add(moment, part)
        return lines

    def finish(self) -> list[LogLine]:
        """Return lines whose newline never came."""
        return [line for splitter in self._splitters.values() for line in splitter.finish(self._last)]


def _read_cursor(cursor: str) -> tuple[int, int, str]:
    if not cursor:
        return 0, 0, ""
    out, err, time = cursor.split(" ")
    return int(out), int(err), time


def bytes_before(cursor: str) -> int:
    """Return how much output lies before a cursor."""
    out, err, _ = _read_cursor(cursor)
    return out + err


def time_of(cursor: str) -> str:
    """Return the time of the last line before a cursor, empty if there is none."""
    return _read_cursor(cursor)[2]
