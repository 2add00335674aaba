"""One HTTP client for the storage API: identity, errors by their meaning, retries within a deadline."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from workloads.common.storage import (
    BLOCK,
    Changed,
    Deadline,
    Denied,
    NotFound,
    PreconditionFailed,
    StorageError,
    Unavailable,
)
from workloads.common.tokens import NoIdentity, TokenError, Tokens

MAX_SILENCE_S = 30.0
"""Longest silence on a connection before it is given up, seconds."""

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_FINE = frozenset({200, 201, 204, 206, 308})

T = TypeVar("T")


class Again(Exception):
    """A failure that a retry may cure."""


class Part:
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


class Http:
    """Requests to one service; safe to share between threads."""

    def __init__(
        self,
        tokens: Callable[[urllib3.PoolManager], Tokens],
        *,
        base: str,
        connections: int,
        deadline: Deadline,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = urllib3.PoolManager(maxsize=connections, retries=False)
        self._tokens = tokens(self._http)
        self._base = base
        self._deadline = deadline
        self._clock = clock
        self._sleep = sleep

    def _patience(self) -> float:
        """Longest silence on a connection, seconds: short once the platform has asked us to stop."""
        return min(MAX_SILENCE_S, max(1.0, self._deadline.left(self._clock())))

    def call(self, uri: str, attempt: Callable[[], T]) -> T:
        """Run `attempt`, again while a retry may help and the deadline allows it."""
        started = self._clock()
        try:
            return attempt()
        except Again as error:
            first = error
        # Imported only now: it costs 0.05 s of every start and most runs never need it.
        from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

        retrying = Retrying(
            retry=retry_if_exception_type(Again),
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
        except Again as error:
            raise Unavailable(uri, f"{error}, after {self._clock() - started:.0f} s of retries") from error

    def send(
        self,
        method: str,
        uri: str,
        path: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        body: "bytes | Part | None" = None,
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
        except NoIdentity as error:
            raise Denied(uri, str(error)) from error
        except (HTTPError, OSError, TokenError) as error:
            raise Again(_reason(error)) from error
        if answer.status in _FINE:
            return answer
        said = _said(answer)
        if answer.status == 401 and not renewed:
            self._tokens.forget()
            return self.send(method, uri, path, query, headers=headers, body=body, stream=stream, renewed=True)
        raise _error(uri, answer.status, said)


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
        return Again(f"the service answered {status}: {said}")
    kinds = {401: Denied, 403: Denied, 404: NotFound, 410: NotFound, 412: PreconditionFailed, 416: Changed}
    return kinds.get(status, StorageError)(uri, f"{said or 'no reason given'} ({status})")
