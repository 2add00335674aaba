"""Cut a task's output into lines: Docker's frames, partial lines, lines longer than a log entry may be."""

import struct
from collections.abc import Iterator
from typing import Literal

from localcloud.runtime.base import MAX_LOG_LINE_BYTES, LogLine

_HEADER = struct.Struct(">BxxxL")
_STREAMS: dict[int, Literal["stdout", "stderr"]] = {1: "stdout", 2: "stderr"}


class Frames:
    """Split the engine's multiplexed log stream (attach format, with timestamps) into lines.

    The engine stores a long line in pieces of 16 KiB, each with a time of its own; only the last ends in a newline.
    https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach (2026-08)
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._joiners = {stream: Joiner(stream) for stream in _STREAMS.values()}

    def feed(self, data: bytes) -> list[LogLine]:
        """Take bytes as they came; return the lines completed by them."""
        buffer = self._buffer
        buffer += data
        at, lines = 0, list[LogLine]()
        while len(buffer) - at >= _HEADER.size:
            kind, size = _HEADER.unpack_from(buffer, at)
            end = at + _HEADER.size + size
            if len(buffer) < end:
                break
            cursor, _, text = bytes(buffer[at + _HEADER.size : end]).partition(b" ")
            lines += self._joiners[_STREAMS.get(kind, "stdout")].add(cursor.decode("ascii", "replace"), text)
            at = end
        del buffer[:at]
        return lines

    def finish(self) -> list[LogLine]:
        """Return lines whose newline never came."""
        return [line for joiner in self._joiners.values() for line in joiner.finish()]


class Joiner:
    """Join pieces into lines of one stream; a line over the limit is cut into several."""

    def __init__(self, stream: Literal["stdout", "stderr"], limit: int = MAX_LOG_LINE_BYTES):
        self._stream, self._limit = stream, limit
        self._parts, self._cursor = bytearray(), ""

    def add(self, cursor: str, text: bytes) -> Iterator[LogLine]:
        self._cursor = cursor
        self._parts += text
        while (newline := self._parts.find(b"\n")) >= 0 or len(self._parts) >= self._limit:
            if 0 <= newline <= self._limit:
                yield self._take(newline, 1)
            else:
                yield self._take(self._boundary(), 0)

    def finish(self) -> Iterator[LogLine]:
        if self._parts:
            yield self._take(len(self._parts), 0)

    def _boundary(self) -> int:
        size = self._limit
        while size > self._limit - 4 and size < len(self._parts) and self._parts[size] & 0xC0 == 0x80:
            size -= 1  # never cut within a UTF-8 character
        return size

    def _take(self, size: int, skip: int) -> LogLine:
        line = LogLine(self._stream, self._cursor, bytes(self._parts[:size]).removesuffix(b"\r"))
        del self._parts[: size + skip]
        return line
