"""The engine behind BigQuery: started at the first call, found again after a crash, stopped with the local cloud."""

import asyncio
import base64
import json
import logging
import os
import secrets
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from localcloud.bigquery.hosts import Container, EngineMissing, Host, Process
from localcloud.bigquery.settings import from_extra
from localcloud.errors import ApiError, unavailable
from localcloud.identity import Principal
from localcloud.runtime.base import RuntimeUnavailable
from localcloud.runtime.choose import DEFAULT_HOST

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

log = logging.getLogger("localcloud.bigquery")
AUTHORIZE = "localcloud/authorize"
"""Path on the port `bigquery` where the engine asks what a caller may do."""


class Warehouse:
    """A Service. `address()` gives a running engine, whatever that takes."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self.settings = from_extra(cloud.settings.extra)
        self._data = cloud.directory("bigquery")
        self._file = self._data / "engine.json"
        self._lock = asyncio.Lock()
        self._host: Host | None = None
        self._run: dict[str, Any] = {}
        self.phase = "not started"
        self.http = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=5), limits=httpx.Limits(max_connections=64), trust_env=False
        )

    # --- service --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Nothing: the engine is started by the first call."""

    async def stop(self) -> None:
        await self._end()
        await self.http.aclose()
        if self._host is not None:
            await self._host.close()

    async def reset(self) -> None:
        """Forgets all data."""
        await self._end()
        await asyncio.to_thread(_empty, self._data)

    def status(self) -> dict[str, Any]:
        return {"engine": self.phase, "memory_mib": self.settings.memory_mib, "data": str(self._data)}

    # --- for the fronts -------------------------------------------------------------------------------------------

    @property
    def secret(self) -> str:
        return str(self._run.get("secret", ""))

    def authorization(self, principal: Principal) -> str:
        """Header by which the engine knows the caller."""
        return self._claims(principal.member, self.secret)

    def _claims(self, member: str, secret: str) -> str:
        authority = f"{self._cloud.settings.url('bigquery')}/{AUTHORIZE}"
        claims = {"member": member, "authority": authority, "secret": secret}
        return "Localcloud " + base64.b64encode(json.dumps(claims).encode()).decode()

    async def http_url(self) -> str:
        """Base URL of the engine. Raises ApiError 503 where it cannot be had."""
        return f"http://127.0.0.1:{(await self._running())['port']}"

    async def grpc_address(self) -> str:
        """Raises ApiError 503."""
        return f"127.0.0.1:{(await self._running())['grpc_port']}"

    async def forward(
        self, principal: Principal, verb: str, path: str, query: str, headers: dict[str, str], content: bytes
    ) -> httpx.Response:
        """One request to the engine. Raises ApiError 503 if the engine cannot be had or breaks off."""
        base = await self.http_url()
        url = f"{base}/{path}" + (f"?{query}" if query else "")
        headers = {**headers, "authorization": self.authorization(principal)}
        try:
            return await self.http.request(verb, url, headers=headers, content=content)
        except httpx.TransportError as problem:
            self.lost(problem)
            raise unavailable(f"The engine of BigQuery broke off: {problem!r}") from None

    def lost(self, problem: Exception) -> None:
        """The engine did not answer: the next call looks for it anew."""
        if self._run:
            log.warning("the engine of BigQuery does not answer (%r); see %s", problem, self._data / "engine.log")
        self._run = {}

    async def _running(self) -> dict[str, Any]:
        if self._run:
            return self._run
        async with self._lock:
            if not self._run:
                try:
                    self._run = await self._adopt() or await self._begin()
                except EngineMissing as problem:
                    self.phase = f"cannot be had: {problem}"
                    self._cloud.warn("bigquery", f"BigQuery is not served: {problem}.")
                    message = f"BigQuery is not served here: {problem}."
                    # a reason of its own: Google's clients try again for minutes after backendError
                    raise ApiError(503, "UNAVAILABLE", message, "engineMissing") from None
        return self._run

    async def _hosted(self) -> Host:
        if self._host is None:
            self._host = await self._choose()
        return self._host

    async def _choose(self) -> Host:
        runtime = self._cloud.settings.runtime
        if runtime.mode != "processes":
            address = runtime.docker_host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
            try:
                container = Container(address, self._cloud.settings.state, self.settings)
                await container.open()
            except (RuntimeUnavailable, ValueError) as problem:
                if runtime.mode == "containers":
                    raise EngineMissing(str(problem)) from problem
                return Process(self.settings, str(problem))
            return container
        return Process(self.settings)

    async def _adopt(self) -> dict[str, Any] | None:
        """The engine of an earlier process of this state directory, if it still answers."""
        try:
            run: dict[str, Any] = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return None
        if not await (await self._hosted()).alive(run):
            return None
        if not await self._answers(run):
            await (await self._hosted()).stop(run)
            return None
        self.phase = "running (taken up again)"
        return run

    async def _begin(self) -> dict[str, Any]:
        host, began = await self._hosted(), time.monotonic()
        if not await host.prepared():
            self.phase = "being installed"
            log.warning("BigQuery: making its engine (20 to 120 s, 1.2 GB, once on this machine)")
            await host.prepare()
            log.warning("BigQuery: its engine is made (%.0f s)", time.monotonic() - began)
        self.phase = "starting"
        port, grpc_port = _free_ports(2)
        run: dict[str, Any] = {"port": port, "grpc_port": grpc_port, "secret": secrets.token_urlsafe(24)}
        env = {
            "LOCALCLOUD_PORT": str(port),
            "LOCALCLOUD_GRPC_PORT": str(grpc_port),
            "LOCALCLOUD_SECRET": run["secret"],
            "LOCALCLOUD_PROJECT": self._cloud.projects.list()[0]["projectId"],
            "LOCALCLOUD_WATCH": f"{self._cloud.settings.url('control')}/healthz",
        }
        if "storage" in self._cloud.settings.ports:
            env["STORAGE_EMULATOR_HOST"] = self._cloud.settings.url("storage")
        run |= await host.start(env, self._data)
        self._write(run)
        await self._await_ready(host, run)
        self.phase = "running"
        self._cloud.warnings.pop("bigquery", None)
        log.info("BigQuery's engine is ready (%.1f s)", time.monotonic() - began)
        return run

    def _write(self, run: dict[str, Any]) -> None:
        with os.fdopen(os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(run, file)

    async def _await_ready(self, host: Host, run: dict[str, Any]) -> None:
        deadline = time.monotonic() + self.settings.start_timeout_s
        while time.monotonic() < deadline:
            if await self._answers(run):
                return
            if not await host.alive(run):
                break
            await asyncio.sleep(0.1)
        await host.stop(run)
        raise EngineMissing(f"its engine did not come up: {_last_line(self._data / 'engine.log')}")

    async def _answers(self, run: dict[str, Any]) -> bool:
        """Whether it is there and knows us; that port may be somebody else's by now."""
        headers = {"authorization": self._claims(self._cloud.settings.owner, run["secret"])}
        url = f"http://127.0.0.1:{run['port']}/discovery/v1/apis/bigquery/v2/rest"
        try:
            answer = await self.http.get(url, headers=headers, timeout=5)
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    async def _end(self) -> None:
        async with self._lock:
            run, self._run = self._run, {}
            if not run:
                # one that nobody has called since a crash
                run = await self._adopt() or {} if self._file.exists() else {}
            if run:
                await (await self._hosted()).stop(run)
            self._file.unlink(missing_ok=True)
            self.phase = "stopped"


def _free_ports(number: int) -> list[int]:
    held = [socket.socket() for _ in range(number)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"


def _empty(folder: Path) -> None:
    import shutil

    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
