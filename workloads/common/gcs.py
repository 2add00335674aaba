"""Objects in Cloud Storage over its JSON API, in 25 MiB where the official client takes 56 MiB to import.

Source: https://cloud.google.com/storage/docs/json_api/v1 and /docs/performing-resumable-uploads (2026-08).
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

from workloads.common import crc32c
from workloads.common.gcs_http import Again, Http, Part
from workloads.common.storage import (
    BLOCK,
    Blob,
    Changed,
    Corrupt,
    Deadline,
    Interrupted,
    NotFound,
    PreconditionFailed,
    Transfer,
    split,
    translate,
)
from workloads.common.tokens import Tokens

GOOGLE = "https://storage.googleapis.com"
RANGE_BYTES = 32 << 20
PARALLEL_RANGES = 4
CHUNK_BYTES = 16 << 20
"""Bytes of one PUT of a resumable upload; the API asks for multiples of 256 KiB."""
ONE_PIECE_BYTES = 2 << 20
"""Up to here an upload is one request, held in memory."""

_FIELDS = "size,generation,crc32c"


class GcsStore:
    """One client for all threads of a process."""

    def __init__(
        self,
        tokens: Callable[[urllib3.PoolManager], Tokens],
        *,
        endpoint: str | None = None,
        deadline: Deadline | None = None,
        connections: int = 2 * PARALLEL_RANGES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`connections` are kept open, as many as threads call at once."""
        self._http = Http(
            tokens,
            base=endpoint or GOOGLE,
            connections=connections,
            deadline=deadline or Deadline(),
            clock=clock,
            sleep=sleep,
        )

    def stat(self, uri: str) -> Blob:
        answer = self._http.call(uri, lambda: self._http.send("GET", uri, _object(uri), {"fields": _FIELDS}))
        return _blob(uri, answer.json())

    def read(self, blob: Blob, length: int) -> bytes:
        if not blob.size:
            return b""
        headers = {"Range": f"bytes=0-{min(length, blob.size) - 1}", "Accept-Encoding": "gzip"}
        query = {"alt": "media", "generation": str(blob.generation)}
        with _reading(blob):
            answer = self._http.call(
                blob.uri, lambda: self._http.send("GET", blob.uri, _object(blob.uri), query, headers=headers)
            )
        return bytes(answer.data[:length])

    def download(self, blob: Blob, target: int, transfer: Transfer) -> None:
        starts = range(0, blob.size, RANGE_BYTES)
        halt = threading.Event()

        def fetch(start: int) -> tuple[int, int]:
            length = min(RANGE_BYTES, blob.size - start)
            return self._fetch(blob, target, start, length, transfer, halt), length

        with ThreadPoolExecutor(max_workers=PARALLEL_RANGES, thread_name_prefix="download") as pool:
            futures = [pool.submit(fetch, start) for start in starts]
            _wait_all(futures, halt)
        crc = 0
        for future in futures:
            part, length = future.result()
            crc = crc32c.join(crc, part, length)
        if blob.crc32c is not None and crc != blob.crc32c:
            raise Corrupt(blob.uri, "arrived with another checksum than it was stored with")

    def upload(self, source: int, uri: str, transfer: Transfer, *, if_generation: int | None = None) -> Blob:
        size = os.fstat(source).st_size
        if size <= ONE_PIECE_BYTES:
            blob = self._write(uri, os.pread(source, size, 0), if_generation)
            transfer.advance(size)
            return blob
        crc = _file_crc(source, size)
        for last in (False, True):
            blob = self._upload_resumable(source, size, uri, crc, transfer, if_generation)
            if (blob.size, blob.crc32c) == (size, crc):
                return blob
            if last:
                break
            if if_generation is not None:
                if_generation = blob.generation  # what arrived wrong is ours to replace
        raise Corrupt(uri, f"was stored with {blob.size:,} of {size:,} bytes or with another checksum, twice")

    def write(self, uri: str, data: bytes, *, if_generation: int | None = None) -> int:
        return self._write(uri, data, if_generation).generation

    def _write(self, uri: str, data: bytes, if_generation: int | None) -> Blob:
        query = {} if if_generation is None else {"ifGenerationMatch": str(if_generation)}
        tries = 0

        def attempt() -> Blob:
            nonlocal tries
            tries += 1
            return self._post(uri, data, query)

        try:
            return self._http.call(uri, attempt)
        except PreconditionFailed:
            # A write whose answer was lost may have happened; its retry then meets our own object.
            if tries > 1:
                now = self.stat(uri)
                if now.size == len(data) and now.crc32c == crc32c.extend(0, data):
                    return now
            raise

    def delete(self, uri: str) -> None:
        try:
            self._http.call(uri, lambda: self._http.send("DELETE", uri, _object(uri), {}))
        except NotFound:
            return

    def _post(self, uri: str, data: bytes, query: Mapping[str, str]) -> Blob:
        """One attempt to write an object in one piece."""
        bucket, name = split(uri)
        about = {"name": name, "crc32c": crc32c.to_base64(crc32c.extend(0, data)), "contentType": _content_type(name)}
        boundary = os.urandom(16).hex()
        head = f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(about)}\r\n"
        middle = f"--{boundary}\r\nContent-Type: {about['contentType']}\r\n\r\n"
        body = b"".join((head.encode(), middle.encode(), data, f"\r\n--{boundary}--".encode()))
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        url = f"/upload/storage/v1/b/{bucket}/o"
        full = {"uploadType": "multipart", "fields": _FIELDS, **query}
        return _blob(uri, self._http.send("POST", uri, url, full, headers=headers, body=body).json())

    def _upload_resumable(
        self, source: int, size: int, uri: str, crc: int, transfer: Transfer, if_generation: int | None
    ) -> Blob:
        bucket, name = split(uri)
        about = {"name": name, "crc32c": crc32c.to_base64(crc), "contentType": _content_type(name)}
        headers = {"Content-Type": "application/json; charset=UTF-8", "X-Upload-Content-Length": str(size)}
        url = f"/upload/storage/v1/b/{bucket}/o"
        query = {"uploadType": "resumable", "fields": _FIELDS, "name": name}
        if if_generation is not None:
            query["ifGenerationMatch"] = str(if_generation)
        body = json.dumps(about).encode()
        session = self._http.call(
            uri, lambda: self._http.send("POST", uri, url, query, headers=headers, body=body)
        ).headers["Location"]
        done = 0
        while True:
            answer, done = self._http.call(uri, partial(self._put_chunk, session, source, done, size, uri, transfer))
            if answer is not None:
                return _blob(uri, answer)

    def _put_chunk(
        self, session: str, source: int, start: int, size: int, uri: str, transfer: Transfer
    ) -> tuple[dict[str, Any] | None, int]:
        """Send the chunk at `start`; gives the object once complete, and how far the service has got."""
        length = min(CHUNK_BYTES, size - start)
        headers = {"Content-Length": str(length), "Content-Range": f"bytes {start}-{start + length - 1}/{size}"}
        try:
            answer = self._http.send("PUT", uri, session, {}, headers=headers, body=Part(source, start, length))
        except Again:
            # The service may have kept a part of the chunk: it says how much, and the next call goes on from there.
            headers = {"Content-Length": "0", "Content-Range": f"bytes */{size}"}
            answer = self._http.send("PUT", uri, session, {}, headers=headers)
        if answer.status != 308:
            transfer.advance(size - start)
            return answer.json(), size
        kept = answer.headers.get("Range", "")
        reached = int(kept.rpartition("-")[2]) + 1 if kept else 0
        transfer.advance(reached - start)
        return None, reached

    def _fetch(
        self, blob: Blob, target: int, start: int, length: int, transfer: Transfer, halt: threading.Event
    ) -> int:
        """One range into the file; gives its checksum. After a broken connection it goes on where it stopped."""
        crc, done = 0, 0
        query = {"alt": "media", "generation": str(blob.generation)}

        def attempt() -> None:
            nonlocal crc, done
            headers = {"Range": f"bytes={start + done}-{start + length - 1}", "Accept-Encoding": "gzip"}
            answer = self._http.send("GET", blob.uri, _object(blob.uri), query, headers=headers, stream=True)
            try:
                for block in answer.stream(BLOCK, decode_content=False):
                    if halt.is_set():
                        raise Interrupted
                    block = block[: length - done]
                    _write_at(target, block, start + done, blob.uri)
                    crc = crc32c.extend(crc, block)
                    done += len(block)
                    transfer.advance(len(block))
            except (HTTPError, OSError) as error:
                raise Again(f"{type(error).__name__} in the middle of a transfer") from error
            finally:
                answer.close() if done < length else answer.release_conn()
            if done < length:
                raise Again("the connection ended early")

        with _reading(blob):
            self._http.call(blob.uri, attempt)
        return crc


def _object(uri: str) -> str:
    bucket, name = split(uri)
    return f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"


@contextmanager
def _reading(blob: Blob) -> Iterator[None]:
    """While a known version is read, its absence means that it went away."""
    try:
        yield
    except (NotFound, PreconditionFailed) as error:
        raise Changed(blob.uri, "was deleted or replaced while it was read") from error


def _wait_all(futures: list[Future[Any]], halt: threading.Event) -> None:
    """Wait for all; when one fails, stop the others and raise what it raised."""
    done, rest = wait(futures, return_when=FIRST_EXCEPTION)
    failed = next((error for future in done if (error := future.exception()) is not None), None)
    if failed is None:
        return
    halt.set()
    for future in rest:
        future.cancel()
    wait(rest)
    raise failed


def _write_at(target: int, block: bytes, offset: int, uri: str) -> None:
    view = memoryview(block)
    try:
        while view:
            count = os.pwrite(target, view, offset)
            view, offset = view[count:], offset + count
    except OSError as error:
        raise translate(uri, error) from error


def _file_crc(source: int, size: int) -> int:
    crc, done = 0, 0
    while done < size and (block := os.pread(source, BLOCK, done)):
        crc = crc32c.extend(crc, block)
        done += len(block)
    return crc


def _blob(uri: str, body: Mapping[str, Any]) -> Blob:
    crc = body.get("crc32c")
    return Blob(
        uri=uri,
        size=int(body["size"]),
        generation=int(body["generation"]),
        crc32c=crc32c.from_base64(crc) if crc else None,
    )


def _content_type(name: str) -> str:
    return _CONTENT_TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")


_CONTENT_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "log": "text/plain; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
}
