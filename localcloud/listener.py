"""One ASGI application on one loopback port."""

import asyncio
import socket
from typing import Any

import uvicorn

MAX_CONNECTIONS = 1024
"""Of one port; more are answered 503."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on loopback. Raises OSError with the port named."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"port {port} of {host} cannot be used: {error.strerror}") from None
    listener.set_inheritable(False)
    return listener


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """The daemon owns the signals."""


class Listener:
    """A Service: one ASGI application on one loopback port. `port` is the real one once made; `http`: uvicorn's protocol."""

    def __init__(self, app: Any, host: str = "127.0.0.1", port: int = 0, http: Any = "httptools") -> None:
        self._socket = bind(host, port)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", loop="none", http=http, ws="none",
            timeout_keep_alive=75, backlog=1024, timeout_graceful_shutdown=2,
            limit_concurrency=MAX_CONNECTIONS, server_header=False, date_header=True,
        )  # fmt: skip
        config.load()
        self._server = _Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._server.startup(sockets=[self._socket])
        self._loop = asyncio.create_task(self._server.main_loop(), name=f"listener-{self.port}")

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._loop is not None:
            await self._loop
            await self._server.shutdown(sockets=[self._socket])
        self._socket.close()
