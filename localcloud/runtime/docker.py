"""Tasks as real containers of a Docker engine."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import httpx

from localcloud.clock import rfc3339
from localcloud.runtime.base import (
    LABEL_KEY,
    LABEL_STATE,
    Batch,
    Exit,
    Found,
    Granted,
    HostLimits,
    ImageProblem,
    RuntimeUnavailable,
    StartProblem,
    TaskSpec,
)
from localcloud.runtime.engine import Engine, EngineError
from localcloud.runtime.grants import clamp
from localcloud.runtime.lines import Output, bytes_before, time_of
from localcloud.runtime.writable import Seeds, Writable, probe

_LOG_MIB = 64
_LOG = {"Type": "json-file", "Config": {"max-size": f"{_LOG_MIB}m", "max-file": "3"}}
"""The engine's copy of the output, for taking up again after a restart; it may lose its beginning."""
_TMPFS = "rw,exec,nosuid,nodev,mode=1777,size={mib}m"
_MOVING = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?/[^@]+")
"""A tag of a registry on this machine: asked for anew each time, as it may name another image by now."""

Auth = Callable[[str], Awaitable[dict[str, str] | None]]
"""Gives the registry login for an image, in the engine's AuthConfig form."""


class DockerRuntime:
    """Containers on the host's network, with a read-only root and directories in memory (see writable.py).

    Args:
        host: address of the engine.
        state: id of the state folder; only containers that carry it are ever touched.
        folder: where to keep copies if the host has no memory file system.
        auth: registry login; None = anonymous.
    """

    name: Literal["container"] = "container"

    def __init__(self, host: str, state: str, folder: Path, limits: HostLimits, auth: Auth | None = None):
        self._engine, self._state, self._limits, self._auth = Engine(host), state, limits, auth
        self._seeds = Seeds(state, folder)
        self._images: dict[str, Writable] = {}
        self._probed: dict[str, Writable] = {}
        self._users: dict[str, str] = {}
        self._pulling: dict[str, asyncio.Lock] = {}
        self._attached: dict[str, httpx.Response] = {}
        self._cpus, self._memory_mib, self._gpu = 1, 512, False

    async def open(self) -> None:
        try:
            info = await self._engine.call("GET", "/info")
        except EngineError as problem:
            raise RuntimeUnavailable(f"the Docker engine at {self._engine.host} refuses: {problem}") from problem
        self._cpus, self._memory_mib = int(info["NCPU"]), int(info["MemTotal"]) >> 20
        self._gpu = "nvidia" in (info.get("Runtimes") or {})
        self._seeds.keep_only([found.key for found in await self.found()])

    async def close(self) -> None:
        for answer in self._attached.values():
            await answer.aclose()
        self._seeds.tidy()
        await self._engine.close()

    @property
    def has_gpu(self) -> bool:
        """The engine can hand NVIDIA devices to containers."""
        return self._gpu

    def grant(self, memory_mib: int, cpus: float) -> Granted:
        return clamp(self._limits, self._memory_mib, self._cpus, memory_mib, cpus)

    async def prepare(self, image: str) -> None:
        lock = self._pulling.setdefault(image, asyncio.Lock())
        async with lock:
            held = await self._engine.image(image)
            if held is None or _MOVING.fullmatch(image):
                await self._engine.pull(image, await self._auth(image) if self._auth else None)
                held = await self._engine.image(image)
            if held is None:
                raise ImageProblem(image, "missing", "not found")
            if (kind := f"{held.get('Os')}/{held.get('Architecture')}") != "linux/amd64":
                problem = f"Container manifest type must support amd64/linux, got {kind}"
                raise ImageProblem(image, "unusable", problem)
            self._users[image] = (held.get("Config") or {}).get("User") or "root"
            if (image_id := held["Id"]) not in self._probed:
                labels = {LABEL_STATE: self._state}
                self._probed[image_id] = await probe(self._engine, image_id, labels, self._limits.seed_limit_mib)
            self._images[image] = self._probed[image_id]

    async def start(self, spec: TaskSpec) -> str:
        await self.prepare(spec.image)
        if (run_id := await self._earlier(spec.key)) is not None:
            return run_id
        try:
            body = await asyncio.to_thread(self._body, spec)
            made = await self._engine.call("POST", "/containers/create", body, name=self._name(spec.key))
        except BaseException as problem:
            self._seeds.drop(spec.key)
            if isinstance(problem, EngineError):
                raise StartProblem(problem.message) from problem
            raise
        run_id = str(made["Id"])
        try:
            query = {"stream": "true", "stdout": "true", "stderr": "true"}
            self._attached[run_id] = await self._engine.open("POST", f"/containers/{run_id}/attach", **query)
            await self._engine.call("POST", f"/containers/{run_id}/start")
        except EngineError as problem:
            await self.remove(run_id)
            raise StartProblem(problem.message) from problem
        return run_id

    async def _earlier(self, key: str) -> str | None:
        """Return the container an earlier process of ours started under this key, removing one it only created."""
        try:
            held = await self._engine.call("GET", f"/containers/{self._name(key)}/json")
        except EngineError as problem:
            if problem.status == 404:
                return None
            raise
        if held["State"]["Status"] != "created":
            return str(held["Id"])
        await self.remove(held["Id"])
        return None

    def _name(self, key: str) -> str:
        return f"localcloud-{self._state}-{key}"

    def _body(self, spec: TaskSpec) -> dict[str, Any]:
        env = dict(spec.env) | ({"LONGHAUL_NO_GPU": "1"} if spec.gpus and not self._gpu else {})
        body = {
            "Image": spec.image,
            "Env": [f"{name}={value}" for name, value in env.items()],
            "Labels": {LABEL_STATE: self._state, LABEL_KEY: spec.key},
            "HostConfig": self._host_config(spec),
            "StopSignal": "SIGTERM",
        }
        optional = {"Entrypoint": list(spec.command), "Cmd": list(spec.args), "WorkingDir": spec.working_dir}
        return body | {name: value for name, value in optional.items() if value}

    def _host_config(self, spec: TaskSpec) -> dict[str, Any]:
        granted = self.grant(spec.memory_mib, spec.cpus)
        tmpfs, mounts = self._mounts(spec, granted.memory_mib)
        root = self._users[spec.image].partition(":")[0] in ("root", "0")
        config = {
            "NetworkMode": "host",
            "Memory": granted.memory_mib << 20,
            "MemorySwap": granted.memory_mib << 20,
            "ShmSize": granted.memory_mib << 20,
            "NanoCpus": int(granted.cpus * 1e9),
            "PidsLimit": self._limits.pids_limit,
            "ReadonlyRootfs": True,
            "Tmpfs": tmpfs,
            "Mounts": mounts,
            "CapDrop": ["NET_RAW"],
            # an image that starts as root may drop to a user itself; any other never gains what it has not
            "SecurityOpt": [] if root else ["no-new-privileges"],
            "Init": False,
            "LogConfig": _LOG,
            "RestartPolicy": {"Name": "no"},
        }
        if spec.gpus and self._gpu:
            config["DeviceRequests"] = [{"Driver": "nvidia", "Count": spec.gpus, "Capabilities": [["gpu"]]}]
        return config

    def _mounts(self, spec: TaskSpec, memory_mib: int) -> tuple[dict[str, str], list[dict[str, str]]]:
        """Return what is mounted as tmpfs, and what otherwise."""
        writable = self._images[spec.image]
        tmpfs = {path: _TMPFS.format(mib=memory_mib) for path in writable.empty}
        mounts = [
            {"Type": "bind", "Source": str(source), "Target": path}
            for path, source in self._seeds.make(spec.key, writable)
        ]
        for volume in spec.volumes:
            if volume.medium == "memory":
                tmpfs[volume.path] = _TMPFS.format(mib=volume.size_mib or memory_mib)
            else:
                mounts.append({"Type": "volume", "Target": volume.path})
        return tmpfs, mounts

    async def wait(self, run_id: str) -> Exit | None:
        while True:
            try:
                await self._engine.call("POST", f"/containers/{run_id}/wait", wait=True)
                state = (await self._engine.call("GET", f"/containers/{run_id}/json"))["State"]
            except EngineError as problem:
                if problem.status == 404:
                    return None
                raise
            except RuntimeUnavailable:
                await asyncio.sleep(1)  # the engine restarts; the container's fate is asked again
                continue
            if state["Status"] in ("exited", "dead"):
                return Exit(code=int(state["ExitCode"]), oom=bool(state["OOMKilled"]), error=state.get("Error") or "")

    async def logs(self, run_id: str, since: str) -> AsyncIterator[Batch]:
        """Read the attached stream, which holds the task back if it writes faster; after a restart the engine's log."""
        attached, by_time = self._attached.pop(run_id, None), bytes_before(since) > _LOG_MIB << 20
        output = Output(since, by_time=by_time and attached is None)
        answer = attached or await self._log(run_id, time_of(since) if by_time else "")
        if answer is None:
            return
        async with contextlib.aclosing(self._engine.read(answer)) as chunks:
            async for chunk in chunks:
                lines = output.live(chunk, rfc3339(time.time())) if attached else output.stored(chunk)
                if lines:
                    yield Batch(lines, output.cursor)
        if lines := output.finish():
            yield Batch(lines, output.cursor)

    async def _log(self, run_id: str, after: str) -> httpx.Response | None:
        query = {"follow": "true", "stdout": "true", "stderr": "true", "timestamps": "true"}
        if after:
            query["since"] = _engine_time(after)  # the log's beginning may be gone
        try:
            return await self._engine.open("GET", f"/containers/{run_id}/logs", **query)
        except EngineError as problem:
            if problem.status in (404, 409):
                return None
            raise

    async def signal(self, run_id: str, name: Literal["TERM", "KILL"]) -> None:
        try:
            await self._engine.call("POST", f"/containers/{run_id}/kill", signal=f"SIG{name}")
        except EngineError as problem:
            if problem.status not in (404, 409):
                raise

    async def remove(self, run_id: str) -> None:
        key = ""
        if (attached := self._attached.pop(run_id, None)) is not None:
            await attached.aclose()
        try:
            held = await self._engine.call("GET", f"/containers/{run_id}/json")
            key = held["Config"]["Labels"].get(LABEL_KEY, "")
            await self._engine.call("DELETE", f"/containers/{run_id}", force="true", v="true")
        except EngineError as problem:
            if problem.status not in (404, 409):
                raise
        if key:
            await asyncio.to_thread(self._seeds.drop, key)

    async def found(self) -> list[Found]:
        filters = f'{{"label":["{LABEL_STATE}={self._state}"]}}'
        listed = await self._engine.call("GET", "/containers/json", all="true", filters=filters)
        return [
            Found(key=item["Labels"].get(LABEL_KEY, ""), run_id=item["Id"], running=item["State"] == "running")
            for item in listed
        ]


def _engine_time(moment: str) -> str:
    """Turn a time into the SECONDS.NANOSECONDS that the engine takes for `since`."""
    whole, _, fraction = moment.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return f"{seconds}.{fraction or '0':0<9}"
