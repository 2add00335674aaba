"""A small asynchronous client of the Docker Engine API, as much as the runtime needs.

The docker package blocks a thread for every wait and every log that is followed; this one does not.
API: https://docs.docker.com/reference/api/engine/version/v1.41/ (read 2026-08), spoken by Docker 20.10 and later.
"""

import base64
import json
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

import httpx

from localcloud.runtime.base import ImageProblem, RuntimeUnavailable

_VERSION = "v1.41"
_TIMEOUT = httpx.Timeout(60, connect=5)
_NO_TIMEOUT = httpx.Timeout(None, connect=5)


class EngineError(Exception):
    """The engine answered with an error."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status, self.message = status, message


class Engine:
    """Connection to one engine.

    Args:
        host: `unix:///PATH` or `tcp://127.0.0.1:PORT`, as in DOCKER_HOST.

    Raises:
        ValueError: another kind of address.
    """

    def __init__(self, host: str):
        kind, _, rest = host.partition("://")
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=16)
        if kind == "unix" and rest:
            transport, base = httpx.AsyncHTTPTransport(uds=rest, limits=limits), "http://engine"
        elif kind == "tcp" and rest:
            transport, base = httpx.AsyncHTTPTransport(limits=limits), f"http://{rest}"
        else:
            raise ValueError(f"docker host: must be unix:///PATH or tcp://HOST:PORT, got {host!r}")
        self.host = host
        self._http = httpx.AsyncClient(
            transport=transport, base_url=f"{base}/{_VERSION}", timeout=_TIMEOUT, trust_env=False
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def call(self, method: str, path: str, body: Any = None, *, wait: bool = False, **query: str) -> Any:
        """Send one request and return the decoded JSON (None if there is none).

        Raises:
            EngineError: a status of 400 or more.
            RuntimeUnavailable: no answer.
        """
        timeout = _NO_TIMEOUT if wait else _TIMEOUT
        try:
            answer = await self._http.request(method, path, json=body, params=query, timeout=timeout)
        except httpx.TransportError as problem:
            raise RuntimeUnavailable(f"the Docker engine at {self.host} does not answer: {problem!r}") from problem
        if answer.status_code >= 400:
            raise _error(answer.status_code, answer.content)
        return answer.json() if answer.content.strip() else None

    async def open(self, method: str, target: str, **query: str) -> httpx.Response:
        """Send one request and return its answer with the body still to be read. The caller closes it.

        Raises:
            EngineError: a status of 400 or more.
            RuntimeUnavailable: no answer.
        """
        request = self._http.build_request(method, target, params=query, timeout=_NO_TIMEOUT)
        try:
            answer = await self._http.send(request, stream=True)
            if answer.status_code >= 400:
                problem = _error(answer.status_code, await answer.aread())
                await answer.aclose()
                raise problem
        except httpx.TransportError as problem:
            raise RuntimeUnavailable(f"the Docker engine at {self.host} does not answer: {problem!r}") from problem
        return answer

    async def read(self, answer: httpx.Response) -> AsyncGenerator[bytes]:
        """Yield the body of an opened answer as it comes, at the reader's pace, and close it."""
        try:
            async for chunk in answer.aiter_raw():
                yield chunk
        except httpx.TransportError as problem:
            raise RuntimeUnavailable(f"the Docker engine at {self.host} broke off: {problem!r}") from problem
        finally:
            await answer.aclose()

    async def image(self, ref: str) -> dict[str, Any] | None:
        """Return what the engine holds of an image, None if it holds none."""
        try:
            held: dict[str, Any] = await self.call("GET", f"/images/{quote(ref, safe='/:@')}/json")
        except EngineError as problem:
            if problem.status == 404:
                return None
            raise
        return held

    async def pull(self, ref: str, auth: dict[str, str] | None) -> None:
        """Pull by digest or tag.

        Raises:
            ImageProblem: it does not exist, may not be read, or has no form for this platform.
        """
        name, _, digest = ref.partition("@")
        tag = digest
        if not digest:
            name, colon, tag = ref.rpartition(":")
            if not colon or "/" in tag:
                name, tag = ref, "latest"
        header = {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(auth or {}).encode()).decode()}
        query = {"fromImage": name, "tag": tag, "platform": "linux/amd64"}
        try:
            request = self._http.stream("POST", "/images/create", params=query, headers=header, timeout=_NO_TIMEOUT)
            async with request as answer:
                if answer.status_code >= 400:
                    problem = _error(answer.status_code, await answer.aread())
                    raise ImageProblem(ref, _reason(problem.message), problem.message)
                async for line in answer.aiter_lines():
                    if line.strip() and (message := json.loads(line).get("error")):
                        raise ImageProblem(ref, _reason(message), message)
        except httpx.TransportError as problem:
            raise RuntimeUnavailable(f"the Docker engine at {self.host} broke off a pull: {problem!r}") from problem

    async def build(self, tag: str, context: bytes, arguments: dict[str, str], labels: dict[str, str]) -> None:
        """Build an image from a tar of its context, on the host's network.

        Raises:
            EngineError: a step failed; with its last words.
            RuntimeUnavailable: no answer.
        """
        query = {
            "t": tag,
            "networkmode": "host",
            "buildargs": json.dumps(arguments),
            "labels": json.dumps(labels),
            "rm": "true",
            "forcerm": "true",
        }
        headers = {"Content-Type": "application/x-tar"}
        said: list[str] = []
        try:
            request = self._http.stream(
                "POST", "/build", params=query, headers=headers, content=context, timeout=_NO_TIMEOUT
            )
            async with request as answer:
                if answer.status_code >= 400:
                    raise _error(answer.status_code, await answer.aread())
                async for line in answer.aiter_lines():
                    message = json.loads(line) if line.strip() else {}
                    said = [*said[-4:], str(message.get("stream", "")).strip()]
                    if "error" in message:
                        words = " ".join(filter(None, said))
                        raise EngineError(500, f"{message['error']} ({words})")
        except httpx.TransportError as problem:
            raise RuntimeUnavailable(f"the Docker engine at {self.host} broke off a build: {problem!r}") from problem


def _reason(message: str) -> Any:
    low = message.lower()
    if any(word in low for word in ("unauthorized", "denied", "forbidden", "authentication required")):
        return "denied"
    if any(word in low for word in ("not found", "manifest unknown", "no such", "does not exist", "name unknown")):
        return "missing"
    return "unusable"


def _error(status: int, content: bytes) -> EngineError:
    try:
        message = json.loads(content)["message"]
    except (ValueError, KeyError, TypeError):
        message = content.decode("utf-8", "replace")
    return EngineError(status, str(message).strip())
