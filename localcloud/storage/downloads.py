"""Object bytes to a client: whole, by range, or unpacked where it cannot take gzip.

https://cloud.google.com/storage/docs/transcoding, RFC 9110 section 14 (2026-11)
"""

import asyncio
import os
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from localcloud.errors import ApiError
from localcloud.storage import records
from localcloud.storage.blobs import Blobs
from localcloud.storage.catalogue import Record
from localcloud.storage.problems import no_object

RANGE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)")
INFLATE_BYTES = 1 << 20
WATCHED_BYTES = 8 << 20
"""From this size on, a client that hangs up ends the reading at once."""


class BlobResponse(Response):
    """Sends part of a blob, or all of it unpacked, and never holds more than two pieces. Closes `fd`."""

    def __init__(
        self,
        blobs: Blobs,
        fd: int,
        start: int,
        length: int,
        *,
        status: int,
        headers: dict[str, str],
        unpack: bool = False,
    ) -> None:
        self._blobs = blobs
        self._fd = fd
        self._start = start
        self._length = length
        self._unpack = unpack
        super().__init__(status_code=status, headers=headers)
        del self.headers["content-length"]
        if not unpack:
            self.headers["content-length"] = str(length)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                await self._send_pieces(receive, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            os.close(self._fd)

    async def _send_pieces(self, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_disconnected(receive)) if self._length > WATCHED_BYTES else None
        try:
            async with aclosing(self._blobs.read(self._fd, self._start, self._length)) as pieces:
                async for piece in self._inflate(pieces) if self._unpack else pieces:
                    if gone is not None and gone.done():
                        return
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            if gone is not None:
                gone.cancel()

    async def _inflate(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        inflater = zlib.decompressobj(wbits=31)
        async for piece in pieces:
            rest = piece
            while rest and not inflater.eof:
                plain = await self._blobs.work(partial(inflater.decompress, rest, INFLATE_BYTES))
                rest = inflater.unconsumed_tail
                if plain:
                    yield plain
        if tail := inflater.flush():
            yield tail


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def serve(
    blobs: Blobs, request: Request, record: Record, *, xml: bool, extra: dict[str, str] | None = None
) -> Response:
    """The answer with the bytes of `record`, by the request's Range and Accept-Encoding. Raises ApiError 416."""
    headers = {**records.media_headers(record, xml=xml), **(extra or {})}
    size = int(record["size"])
    gzipped = record.get("contentEncoding", "").lower() == "gzip"
    if gzipped and size and not _takes_gzip(request) and "no-transform" not in record.get("cacheControl", ""):
        headers["warning"] = "214 UploadServer gunzipped"
        headers["vary"] = "Accept-Encoding"
        return BlobResponse(blobs, _open(blobs, record), 0, size, status=200, headers=headers, unpack=True)
    if record.get("contentEncoding"):
        headers["content-encoding"] = record["contentEncoding"]
    span = _span(request.headers.get("range"), size)
    if span is None:
        return BlobResponse(blobs, _open(blobs, record), 0, size, status=200, headers=headers)
    start, end = span
    headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    return BlobResponse(blobs, _open(blobs, record), start, end - start, status=206, headers=headers)


def _open(blobs: Blobs, record: Record) -> int:
    try:
        return blobs.open(record["blob"])
    except FileNotFoundError:  # somebody emptied the state directory
        raise no_object(record["bucket"], record["name"]) from None


def _takes_gzip(request: Request) -> bool:
    accepted = request.headers.get("accept-encoding", "")
    return any(item.strip().split(";")[0].lower() in ("gzip", "*") for item in accepted.split(","))


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """(start, end) of a single range; None for none, for several and for what is no range. Raises ApiError 416."""
    found = RANGE.fullmatch(header.strip()) if header else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= size or end <= start:
        raise ApiError(
            416, "OUT_OF_RANGE", f"Request range not satisfiable: {header}", "requestedRangeNotSatisfiable",
            headers={"content-range": f"bytes */{size}"},
        )  # fmt: skip
    return start, end


def plain_error(error: ApiError) -> Response:
    """An error in place of bytes: text, as the cloud answers downloads, so that clients show it as it is."""
    headers: dict[str, Any] = dict(error.headers)
    return Response(error.message, status_code=error.code, headers=headers, media_type="text/html; charset=UTF-8")
