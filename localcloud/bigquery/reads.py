"""The port `bigquerystorage`: the Storage Read API over gRPC without TLS, for callers that say who they are.

Messages pass through as they are. The engine checks what they ask for (see inside.py); here it is only settled who asks,
from the call's metadata `authorization: Bearer TOKEN`, as a channel with credentials sends it.
"""

import errno
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from localcloud.bigquery.engine import Warehouse
from localcloud.errors import RPC_CODE, ApiError
from localcloud.identity import principal_of

if TYPE_CHECKING:
    from localcloud.cloud import Cloud
    from localcloud.shell import Service

log = logging.getLogger("localcloud.bigquery")
SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"
UNARY = ("CreateReadSession", "SplitReadStream")
STREAMING = ("ReadRows",)
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
"""The engine sends a stream's rows in one message, up to 2 GiB, where the cloud sends about 100 MB at most."""
STATUS = {code.value[0]: code for code in grpc.StatusCode}


class Reads:
    """Passes calls on to the engine, as their caller."""

    def __init__(self, cloud: "Cloud", warehouse: Warehouse) -> None:
        self._cloud = cloud
        self._warehouse = warehouse
        self._channel: tuple[str, grpc.aio.Channel] | None = None

    async def _prepare(self, context: Any) -> tuple[grpc.aio.Channel, list[tuple[str, str]]]:
        """The engine's channel, and the metadata to send. Raises ApiError."""
        self._cloud.faults.maybe_fail("bigquerystorage")
        given = {key: value for key, value in context.invocation_metadata() or ()}
        scheme, _, token = str(given.get("authorization", "")).partition(" ")
        principal = principal_of(token.strip() or None if scheme.lower() == "bearer" else None, self._cloud)
        address = await self._warehouse.grpc_address()
        if self._channel is None or self._channel[0] != address:
            await self.close()
            self._channel = (address, grpc.aio.insecure_channel(address, options=UNLIMITED))
        metadata = [("authorization", self._warehouse.authorization(principal))]
        return self._channel[1], metadata

    async def close(self) -> None:
        if self._channel is not None:
            channel, self._channel = self._channel[1], None
            await channel.close()

    async def _refuse(self, context: Any, error: Exception) -> None:
        """Ends the call with the error's status."""
        if isinstance(error, ApiError):
            await context.abort(STATUS[RPC_CODE[error.status]], error.message)
        elif isinstance(error, grpc.aio.AioRpcError):
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                self._warehouse.lost(error)
            await context.abort(error.code(), error.details() or "")
        else:
            log.exception("Storage Read API", exc_info=error)
            await context.abort(grpc.StatusCode.INTERNAL, "Internal error. See the local cloud's log.")

    def unary(self, method: str) -> Any:
        async def handle(request: bytes, context: Any) -> bytes:
            try:
                channel, metadata = await self._prepare(context)
                answer: bytes = await _bytes(channel.unary_unary, method)(request, metadata=metadata)
            except Exception as error:
                await self._refuse(context, error)
                raise
            return answer

        return grpc.unary_unary_rpc_method_handler(handle)

    def streaming(self, method: str) -> Any:
        async def handle(request: bytes, context: Any) -> AsyncIterator[bytes]:
            try:
                channel, metadata = await self._prepare(context)
                async for answer in _bytes(channel.unary_stream, method)(request, metadata=metadata):
                    yield answer
            except Exception as error:
                await self._refuse(context, error)
                raise

        return grpc.unary_stream_rpc_method_handler(handle)

    def handlers(self) -> Any:
        methods = {name: self.unary(name) for name in UNARY} | {name: self.streaming(name) for name in STREAMING}
        return grpc.method_handlers_generic_handler(SERVICE, methods)


def _bytes(kind: Callable[[str], Any], method: str) -> Any:
    """A call of the engine whose messages stay as they are."""
    return kind(f"/{SERVICE}/{method}")


class GrpcListener:
    """In place of an HTTP listener: a gRPC server on one loopback port. Make it on the event-loop thread."""

    def __init__(self, app: Any, host: str = "127.0.0.1", port: int = 0) -> None:
        self._late = app
        self._server = grpc.aio.server(options=[*UNLIMITED, ("grpc.so_reuseport", 0)], maximum_concurrent_rpcs=256)
        shown = f"[{host}]" if ":" in host else host
        try:
            self.port: int = self._server.add_insecure_port(f"{shown}:{port}")
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise OSError(errno.EADDRINUSE, f"port {port} of {host} cannot be used: address already in use")

    async def start(self) -> None:
        reads: Reads = self._late.app
        self._server.add_generic_rpc_handlers((reads.handlers(),))
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(grace=1)
        await self._late.app.close()


listener: Callable[..., Any] = GrpcListener
"""What the daemon puts on this part's port."""


def app(cloud: "Cloud") -> Reads:
    """The calls of the port `bigquerystorage`; needs the part `bigquery`."""
    warehouse = cloud.parts.get("bigquery")
    if warehouse is None:
        raise ValueError("settings: ports must contain bigquery where they contain bigquerystorage")
    return Reads(cloud, warehouse)


def services(cloud: "Cloud") -> "list[Service]":
    return []
