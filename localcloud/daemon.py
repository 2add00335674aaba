"""The process: takes the state directory, starts every API and service, stops them all."""

import asyncio
import fcntl
import importlib
import logging
import logging.handlers
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from localcloud.cloud import Cloud
from localcloud.errors import ApiError, to_response
from localcloud.settings import Settings, WrongSettings
from localcloud.shell import Listener, Service

log = logging.getLogger("localcloud")

PARTS: dict[str, str] = {
    "control": "localcloud.apis.control",
    "run": "localcloud.apis.run",
    "storage": "localcloud.storage",
    "iam": "localcloud.apis.iam",
    "resourcemanager": "localcloud.apis.resourcemanager",
    "serviceusage": "localcloud.apis.serviceusage",
    "artifactregistry": "localcloud.apis.artifactregistry",
    "registry": "localcloud.registry",
    "logging": "localcloud.apis.logging",
    "metadata": "localcloud.metadata",
    "bigquery": "localcloud.bigquery",
    "bigquerystorage": "localcloud.bigquery.reads",
    "secretmanager": "localcloud.apis.secretmanager",
    "workflows": "localcloud.apis.workflows",
    "workflowexecutions": "localcloud.apis.workflowexecutions",
    "batch": "localcloud.apis.batch",
    "cloudbilling": "localcloud.apis.billing",
}
"""Port -> module with `app(cloud)`, the ASGI application, and optionally `services(cloud)`, what runs beside it.

A port that is not HTTP has a module with `listener(app, host, port)`, which is put on it in place of a Listener.
"""

STOP_TIMEOUT_S = 20.0


class StateInUse(RuntimeError):
    """Another process holds the state directory."""


@dataclass
class Daemon:
    settings: Settings

    def __post_init__(self) -> None:
        self._services: list[Service] = []
        self._lock: IO[str] | None = None
        self.stopping = asyncio.Event()

    async def start(self) -> Cloud:
        """Raises StateInUse, or OSError for a port that is taken."""
        self._lock = lock_state(self.settings.state)
        began = time.perf_counter()
        cloud = Cloud(self.settings)
        cloud.parts["daemon"] = self
        modules = load_parts(self.settings)
        try:
            # ports first, applications second: an application may ask for the address of another
            proxies = {name: _Late() for name in modules}
            listeners: dict[str, Any] = {}
            for name, module in modules.items():
                make = getattr(module, "listener", Listener)
                listeners[name] = make(proxies[name], self.settings.host, self.settings.ports[name])
            bound = {name: listener.port for name, listener in listeners.items()}
            cloud.settings = self.settings = self.settings.with_ports(bound)
            for name, module in modules.items():
                proxies[name].app = module.app(cloud)
                self._services.extend(getattr(module, "services", _none)(cloud))
            self._services.extend(listeners.values())
            for service in self._services:
                await service.start()
        except BaseException:
            await self._stop_services()
            self._unlock()
            raise
        cloud.write_json("ports.json", bound)
        log.info("ready in %.2f s, control on %s", time.perf_counter() - began, self.settings.url("control"))
        return cloud

    async def run(self) -> None:
        """Until SIGTERM, SIGINT or the control API's shutdown."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        cloud = await self.start()
        print(f"local cloud ready: {self.settings.url('control')}", flush=True)
        await self.stopping.wait()
        await self.stop(cloud)

    async def stop(self, cloud: Cloud) -> None:
        await self._stop_services()
        cloud.close()
        self._unlock()
        log.info("stopped")

    async def _stop_services(self) -> None:
        """What must end while the APIs still answer (`drain`), then the listeners at once, then what runs beside them."""
        for service in self._services:
            if (drain := getattr(service, "drain", None)) is not None:
                await _end(service, drain)
        listeners = [service for service in self._services if isinstance(service, Listener)]
        await asyncio.gather(*map(_stop, listeners))
        for service in reversed(self._services):
            if not isinstance(service, Listener):
                await _stop(service)
        self._services.clear()

    def _unlock(self) -> None:
        if self._lock is not None:
            (self.settings.state / "daemon.pid").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None


async def _stop(service: Service) -> None:
    await _end(service, service.stop)


async def _end(service: Service, how: Callable[[], Awaitable[None]]) -> None:
    try:
        await asyncio.wait_for(how(), STOP_TIMEOUT_S)
    except Exception:
        # one part that will not stop must not keep the others running
        log.exception("stopping %s", type(service).__name__)


class _Late:
    """An application that is put in after its port is known. Pages of a browser are kept out of it."""

    app: Callable[..., Any]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and from_a_web_page(scope["headers"]):
            error = ApiError(403, "PERMISSION_DENIED", "Requests of web pages are not served by the local cloud.")
            await to_response(error)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def from_a_web_page(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a browser sent it for a page that is not of this machine: any site could otherwise use the owner's rights."""
    origin = dict(headers).get(b"origin", b"").decode("latin-1")
    return bool(origin) and urlsplit(origin).hostname not in ("127.0.0.1", "localhost", "::1")


def _none(cloud: Cloud) -> list[Service]:
    return []


def load_parts(settings: Settings) -> dict[str, Any]:
    """The modules of the ports that the settings have."""
    return {name: importlib.import_module(module) for name, module in PARTS.items() if name in settings.ports}


def lock_state(state: Path) -> IO[str]:
    """Holds the directory for this process until the file is closed. Raises StateInUse."""
    state.mkdir(parents=True, exist_ok=True)
    handle = (state / "lock").open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        pid = state / "daemon.pid"
        holder = f"process {pid.read_text().strip()}" if pid.exists() else "another process"
        raise StateInUse(f"state: {state} is in use by {holder}; stop it or take another directory") from None
    (state / "daemon.pid").write_text(f"{os.getpid()}\n")
    return handle


def set_up_logging(state: Path, level: str) -> None:
    """To localcloud.log in the state directory, at most 3 files of 10 MiB."""
    state.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(state / "localcloud.log", maxBytes=10 * 2**20, backupCount=2)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger("localcloud")
    root.addHandler(handler)
    root.setLevel(level)
    root.propagate = False
    logging.getLogger("uvicorn.error").addHandler(handler)
    logging.getLogger("uvicorn.error").propagate = False


def serve(settings: Settings, level: str = "INFO") -> int:
    """Runs in the foreground; the exit code of the process."""
    set_up_logging(settings.state, level)
    import uvloop

    async def main() -> None:
        await Daemon(settings).run()

    try:
        uvloop.run(main())
    except WrongSettings as error:
        print(f"localcloud: {error}", file=sys.stderr)
        return 2
    except (StateInUse, OSError) as error:
        print(f"localcloud: {error}", file=sys.stderr)
        return 1
    return 0
