"""The two multipart forms of the API, read as streams: multipart/related uploads and multipart/mixed batches.

Google's own clients separate lines with CRLF (requests, Go, C++) or with a bare LF (Python's email package); both are read.
"""

import re
from collections.abc import AsyncIterator

from localcloud.storage.problems import bad

MAX_HEADER_BYTES = 64 * 1024
MAX_METADATA_BYTES = 1024 * 1024


def boundary_of(content_type: str) -> bytes:
    """Raises ApiError 400 for a type without a boundary."""
    found = re.search(r"boundary=(?:\"([^\"]+)\"|'([^']+)'|([^;\s]+))", content_type)
    if found is None:
        raise bad("Missing end boundary in multipart body.")
    return next(group for group in found.groups() if group).encode("latin-1")


def parse_headers(block: bytes) -> dict[str, str]:
    """Names in lower case."""
    lines = block.replace(b"\r\n", b"\n").decode("utf-8", "replace").split("\n")
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


class Parts:
    """Parts of a multipart body one after the other; holds one chunk of the connection and a boundary, no more."""

    def __init__(self, chunks: AsyncIterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        self._mark = b"--" + boundary
        self._buffer = bytearray()
        self._newline = b"\r\n"

    async def _more(self) -> bool:
        async for chunk in self._chunks:
            if chunk:
                self._buffer += chunk
                return True
        return False

    async def _until(self, mark: bytes, limit: int) -> bytes:
        """Bytes before `mark`, which is taken off too."""
        start = 0
        while (at := self._buffer.find(mark, start)) < 0:
            if len(self._buffer) > limit:
                raise bad(f"A part of the multipart body exceeds {limit} bytes.")
            start = max(0, len(self._buffer) - len(mark))
            if not await self._more():
                raise bad("Missing end boundary in multipart body.")
        taken = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return taken

    async def begin(self) -> None:
        """Skips to the first boundary and learns how lines end."""
        await self._until(self._mark, MAX_HEADER_BYTES)
        rest = await self._until(b"\n", MAX_HEADER_BYTES)
        self._newline = b"\r\n" if rest.endswith(b"\r") else b"\n"

    async def headers(self) -> dict[str, str]:
        """Header block of the part that follows."""
        if self._buffer[: len(self._newline)] == self._newline:  # a part without headers
            del self._buffer[: len(self._newline)]
            return {}
        return parse_headers(await self._until(self._newline * 2, MAX_HEADER_BYTES))

    async def body(self, limit: int = MAX_METADATA_BYTES) -> tuple[bytes, bool]:
        """A small part whole, and whether another follows."""
        taken = await self._until(self._newline + self._mark, limit)
        end = await self._until(b"\n", MAX_HEADER_BYTES) if await self._has_line() else bytes(self._buffer)
        return taken, not end.startswith(b"--")

    async def _has_line(self) -> bool:
        """Whether a line end follows; the very last boundary may come without one."""
        while b"\n" not in self._buffer:
            if not await self._more():
                return False
        return True

    async def stream(self) -> AsyncIterator[bytes]:
        """The part that follows, up to its boundary, in pieces. Raises ApiError 400 if the boundary never comes."""
        mark = self._newline + self._mark
        while True:
            at = self._buffer.find(mark)
            if at >= 0:
                if at:
                    yield bytes(self._buffer[:at])
                self._buffer.clear()
                while await self._more():  # the final boundary and whatever follows it
                    self._buffer.clear()
                return
            safe = len(self._buffer) - len(mark)
            if safe > 0:
                piece = bytes(self._buffer[:safe])
                del self._buffer[:safe]
                yield piece
            if not await self._more():
                raise bad("Missing end boundary in multipart body.")
