"""REST and gRPC on one port: a gRPC call is turned into the REST call it stands for, and answered from its answer.

A connection that begins with HTTP/2's preface is piped to a gRPC server on a port of its own; all others are HTTP/1.
"""

import asyncio
import contextlib
import errno
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import httpx
from google.protobuf import json_format
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from localcloud.errors import RPC_CODE
from localcloud.listener import Listener

PREFACE = b"PRI * HTTP/2.0"
"""https://www.rfc-editor.org/rfc/rfc9113#section-3.4"""
STATUS = {code.value[0]: code for code in grpc.StatusCode}
_FIELD = re.compile(r"\{([^}]+)\}")
_NO_TIMEOUT = httpx.Timeout(None)


@dataclass(frozen=True)
class Rpc:
    """One unary method and its REST form, as its google.api.http annotation has it."""

    request: Any
    """Class of the request message."""
    answer: Any
    """Class of the answer."""
    verb: str
    path: str
    """Such as /v1/{parent}/secrets."""
    body: str = ""
    """Field that is the body, `*` for all that is not in the path, empty for none."""


@dataclass(frozen=True)
class TwoWay:
    """An ASGI application together with the gRPC service that it also is."""

    http: Callable[..., Any]
    service: str
    rpcs: dict[str, Rpc]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.http(scope, receive, send)

    def handlers(self) -> Any:
        methods = {name: self._handler(rpc) for name, rpc in self.rpcs.items()}
        return grpc.method_handlers_generic_handler(self.service, methods)

    def _handler(self, rpc: Rpc) -> Any:
        async def handle(request: Any, context: Any) -> Any:
            answer = await self._call(rpc, request, context)
            body = json.loads(answer.content or b"{}")
            if answer.status_code >= 400:
                error = body["error"]
                await context.abort(STATUS[RPC_CODE[error["status"]]], error["message"])
            return json_format.ParseDict(body, rpc.answer(), ignore_unknown_fields=True)

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=rpc.request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    async def _call(self, rpc: Rpc, request: Any, context: Any) -> httpx.Response:
        path, query, body = rest_of(rpc, json_format.MessageToDict(request))
        given = {key: value for key, value in context.invocation_metadata() or ()}
        headers = {"Authorization": str(given["authorization"])} if "authorization" in given else {}
        transport = httpx.ASGITransport(app=self.http, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://grpc", timeout=_NO_TIMEOUT) as http:
            return await http.request(rpc.verb, path, params=query, json=body, headers=headers)


def with_grpc(http: Callable[..., Any], service: str, rpcs: dict[str, Rpc]) -> TwoWay:
    return TwoWay(http, service, rpcs)


def rest_of(rpc: Rpc, message: dict[str, Any]) -> tuple[str, dict[str, Any], Any]:
    """Path, query and JSON body of the REST call."""
    rest = dict(message)

    def fill(found: re.Match[str]) -> str:
        head, _, tail = found[1].partition(".")
        if not tail:
            return str(rest.pop(head, ""))
        inner = dict(rest.get(head, {}))
        value = inner.pop(tail, "")
        rest[head] = inner
        return str(value)

    path = _FIELD.sub(fill, rpc.path)
    if rpc.body == "*":
        return path, {}, rest
    body = rest.pop(rpc.body, {}) if rpc.body else None
    return path, dict(_flat("", rest)), body


def _flat(prefix: str, message: dict[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in message.items():
        if isinstance(value, dict):
            found += _flat(f"{prefix}{key}.", value)
        else:
            found.append((prefix + key, value))
    return found


class _Pipe(asyncio.Protocol):
    """The other end of a piped connection."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def connection_lost(self, problem: Exception | None) -> None:
        self._client.close()

    def pause_writing(self) -> None:
        self._client.pause_reading()

    def resume_writing(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._client.resume_reading()


class _Switch(HttpToolsProtocol):
    """HTTP/1 until the first bytes say otherwise."""

    grpc_port = 0
    _decided = False
    _first = b""
    _server: asyncio.Transport | None = None
    _waiting: list[bytes]

    def data_received(self, data: bytes) -> None:
        if self._decided:
            if self._first:
                self._pipe(data)
            else:
                super().data_received(data)
            return
        held = getattr(self, "_held", b"") + data
        if PREFACE.startswith(held[: len(PREFACE)]) and len(held) < len(PREFACE):
            self._held = held
            return
        self._decided = True
        if not held.startswith(PREFACE):
            super().data_received(held)
            return
        self._first, self._waiting = held, [held]
        self._unset_keepalive_if_required()
        asyncio.get_running_loop().create_task(self._connect(), name="grpc-pipe")

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            server, _ = await loop.create_connection(lambda: _Pipe(self.transport), "127.0.0.1", self.grpc_port)
        except OSError:
            self.transport.close()
            return
        self._server = server
        for data in self._waiting:
            server.write(data)
        self._waiting = []

    def _pipe(self, data: bytes) -> None:
        if self._server is None:
            self._waiting.append(data)
        else:
            self._server.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._server is not None:
            self._server.close()
        super().connection_lost(exc)


class Front:
    """In place of an HTTP listener. Make it on the event-loop thread."""

    def __init__(self, app: Any, host: str = "127.0.0.1", port: int = 0) -> None:
        self._late = app
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)], maximum_concurrent_rpcs=256)
        grpc_port = self._server.add_insecure_port("127.0.0.1:0")
        if not grpc_port:
            raise OSError(errno.EADDRNOTAVAIL, "no port for gRPC could be taken")
        switch = type("Switch", (_Switch,), {"grpc_port": grpc_port})
        self._http = Listener(app, host, port, http=switch)
        self.port = self._http.port

    async def start(self) -> None:
        app: TwoWay = self._late.app
        self._server.add_generic_rpc_handlers((app.handlers(),))
        await self._server.start()
        await self._http.start()

    async def stop(self) -> None:
        await self._server.stop(grace=0.5)
        await self._http.stop()


front: Callable[..., Any] = Front
"""What the daemon puts on the port of a module whose application is `TwoWay`."""
