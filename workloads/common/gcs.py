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
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from workloads.common import crc32c
from workloads.common.storage import (
    BLOCK,
    Blob,
    Changed,
    Corrupt,
    Deadline,
    Denied,
    Interrupted,
    NotFound,
    PreconditionFailed,
    StorageError,
    Transfer,
    Unavailable,
    split,
    translate,
)
from workloads.common.tokens import TokenError, Tokens

GOOGLE = "https://storage.googleapis.com"
RANGE_BYTES = 32 << 20
PARALLEL_RANGES = 4
CHUNK_BYTES = 16 << 20
"""Bytes of one PUT of a resumable upload; the API asks for multiples of 256 KiB."""
ONE_PIECE_BYTES = 2 << 20
"""Up to here an upload is one request, held in memory."""

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
MAX_SILENCE_S = 30.0

_FINE = frozenset({200, 201, 204, 206, 308})
_FIELDS = "size,generation,crc32c"

T = TypeVar("T")


class _Again(Exception):
    """A failure that a retry may cure."""


class GcsStore:
    """One client for all threads of a process."""

    def __init__(
        self,
        tokens: Callable[[urllib3.PoolManager], Tokens],
        *,
        endpoint: str | None = None,
        deadline: Deadline | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = urllib3.PoolManager(maxsize=2 * PARALLEL_RANGES, retries=False)
        self._tokens = tokens(self._http)
        self._base = endpoint or GOOGLE
        self._deadline = deadline or Deadline()
        self._clock = clock
        self._sleep = sleep

    def stat(self, uri: str) -> Blob:
        answer = self._call(uri, lambda: self._send("GET", uri, self._object(uri), {"fields": _FIELDS}))
        return _blob(uri, answer.json())

    def read(self, blob: Blob, length: int) -> bytes:
        if not blob.size:
            return b""
        headers = {"Range": f"bytes=0-{min(length, blob.size) - 1}", "Accept-Encoding": "gzip"}
        query = {"alt": "media", "generation": str(blob.generation)}
        with _reading(blob):
            answer = self._call(
                blob.uri, lambda: self._send("GET", blob.uri, self._object(blob.uri), query, headers=headers)
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

    def upload(self, source: int, uri: str, transfer: Transfer) -> Blob:
        size = os.fstat(source).st_size
        if size <= ONE_PIECE_BYTES:
            data = os.pread(source, size, 0)
            blob = self._write(uri, data, {})
            transfer.advance(size)
            return blob
        crc = _file_crc(source, size)
        for last in (False, True):
            blob = self._upload_resumable(source, size, uri, crc, transfer)
            if (blob.size, blob.crc32c) == (size, crc):
                return blob
            if last:
                break
        raise Corrupt(uri, f"was stored with {blob.size:,} of {size:,} bytes or with another checksum, twice")

    def write(self, uri: str, data: bytes, *, if_generation: int | None = None) -> int:
        query = {} if if_generation is None else {"ifGenerationMatch": str(if_generation)}
        try:
            return self._write(uri, data, query).generation
        except PreconditionFailed:
            # A write that was answered 503 may have happened; the retry then meets our own object.
            now = self.stat(uri)
            if now.size == len(data) and now.crc32c == crc32c.extend(0, data):
                return now.generation
            raise

    def delete(self, uri: str) -> None:
        try:
            self._call(uri, lambda: self._send("DELETE", uri, self._object(uri), {}))
        except NotFound:
            return

    def _write(self, uri: str, data: bytes, query: Mapping[str, str]) -> Blob:
        bucket, name = split(uri)
        about = {"name": name, "crc32c": crc32c.to_base64(crc32c.extend(0, data)), "contentType": _content_type(name)}
        boundary = os.urandom(16).hex()
        head = f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(about)}\r\n"
        middle = f"--{boundary}\r\nContent-Type: {about['contentType']}\r\n\r\n"
        body = b"".join((head.encode(), middle.encode(), data, f"\r\n--{boundary}--".encode()))
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        url = f"/upload/storage/v1/b/{bucket}/o"
        full = {"uploadType": "multipart", "fields": _FIELDS, **query}
        answer = self._call(uri, lambda: self._send("POST", uri, url, full, headers=headers, body=body))
        return _blob(uri, answer.json())

    def _upload_resumable(self, source: int, size: int, uri: str, crc: int, transfer: Transfer) -> Blob:
        bucket, name = split(uri)
        about = {"name": name, "crc32c": crc32c.to_base64(crc), "contentType": _content_type(name)}
        headers = {"Content-Type": "application/json; charset=UTF-8", "X-Upload-Content-Length": str(size)}
        url = f"/upload/storage/v1/b/{bucket}/o"
        query = {"uploadType": "resumable", "fields": _FIELDS, "name": name}
        body = json.dumps(about).encode()
        session = self._call(uri, lambda: self._send("POST", uri, url, query, headers=headers, body=body)).headers[
            "Location"
        ]
        done = 0
        while True:
            answer, done = self._call(uri, partial(self._put_chunk, session, source, done, size, uri, transfer))
            if answer is not None:
                return _blob(uri, answer)

    def _put_chunk(
        self, session: str, source: int, start: int, size: int, uri: str, transfer: Transfer
    ) -> tuple[dict[str, Any] | None, int]:
        """Send the chunk at `start`; gives the object once complete, and how far the service has got."""
        length = min(CHUNK_BYTES, size - start)
        headers = {"Content-Length": str(length), "Content-Range": f"bytes {start}-{start + length - 1}/{size}"}
        try:
            answer = self._send("PUT", uri, session, {}, headers=headers, body=_Part(source, start, length))
        except _Again:
            # The service may have kept a part of the chunk: it says how much, and the next call goes on from there.
            headers = {"Content-Length": "0", "Content-Range": f"bytes */{size}"}
            answer = self._send("PUT", uri, session, {}, headers=headers)
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
            answer = self._send("GET", blob.uri, self._object(blob.uri), query, headers=headers, stream=True)
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
                raise _Again(f"{type(error).__name__} in the middle of a transfer") from error
            finally:
                answer.close() if done < length else answer.release_conn()
            if done < length:
                raise _Again("the connection ended early")

        with _reading(blob):
            self._call(blob.uri, attempt)
        return crc

    def _object(self, uri: str) -> str:
        bucket, name = split(uri)
        return f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"

    def _patience(self) -> float:
        """Longest silence on a connection, seconds: short once the platform has asked us to stop."""
        return min(MAX_SILENCE_S, max(1.0, self._deadline.left(self._clock())))

    def _call(self, uri: str, attempt: Callable[[], T]) -> T:
        """Run `attempt`, again while a retry may help and the deadline allows it."""
        started = self._clock()
        try:
            return attempt()
        except _Again as error:
            first = error
        # Imported only now: it costs 0.05 s of every start and most runs never need it.
        from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

        retrying = Retrying(
            retry=retry_if_exception_type(_Again),
            wait=wait_random_exponential(multiplier=0.2, max=8),
            stop=lambda state: self._deadline.left(started) <= state.upcoming_sleep,
            sleep=self._sleep,
            reraise=True,
        )
        if self._deadline.left(started) <= 0:
            raise Unavailable(uri, f"{first}; no time left to retry") from first
        try:
            self._sleep(0.1)
            return retrying(attempt)
        except _Again as error:
            raise Unavailable(uri, f"{error}, after {self._clock() - started:.0f} s of retries") from error

    def _send(
        self,
        method: str,
        uri: str,
        path: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        body: "bytes | _Part | None" = None,
        stream: bool = False,
        renewed: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """One request; answers other than success raise. Gives 308 back, which an unfinished upload is."""
        url = path if path.startswith("http") else self._base + path
        if query:
            url += "?" + urlencode(query)
        try:
            token = self._tokens.get()
            identity = {"Authorization": f"Bearer {token}"} if token else {}
            answer = self._http.request(
                method,
                url,
                headers={**(headers or {}), **identity},
                body=body,
                preload_content=not stream,
                redirect=False,
                timeout=urllib3.Timeout(connect=10, read=self._patience()),
            )
        except (HTTPError, OSError, TokenError) as error:
            raise _Again(_reason(error)) from error
        if answer.status in _FINE:
            return answer
        said = _said(answer)
        if answer.status == 401 and not renewed:
            self._tokens.forget()
            return self._send(method, uri, path, query, headers=headers, body=body, stream=stream, renewed=True)
        raise _error(uri, answer.status, said)


class _Part:
    """A range of an open file as the body of a request, read block by block; can be sent again."""

    def __init__(self, source: int, start: int, length: int) -> None:
        self._source, self._start, self._length = source, start, length

    def __iter__(self) -> Iterator[bytes]:
        done = 0
        while done < self._length and (
            block := os.pread(self._source, min(self._length - done, BLOCK), self._start + done)
        ):
            done += len(block)
            yield block


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


def _reason(error: Exception) -> str:
    if isinstance(error, ReadTimeoutError):
        return "the service did not answer in time"
    return str(error) if isinstance(error, TokenError) else f"no connection ({type(error).__name__})"


def _said(answer: urllib3.BaseHTTPResponse) -> str:
    """The service's own words, without the rest of the answer."""
    text = answer.read() if not answer.data else answer.data
    try:
        return str(json.loads(text)["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return text[:200].decode(errors="replace").strip()


def _error(uri: str, status: int, said: str) -> Exception:
    if status in _TRANSIENT:
        return _Again(f"the service answered {status}: {said}")
    kinds = {401: Denied, 403: Denied, 404: NotFound, 410: NotFound, 412: PreconditionFailed, 416: Changed}
    return kinds.get(status, StorageError)(uri, f"{said or 'no reason given'} ({status})")
