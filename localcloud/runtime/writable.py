"""Which directories of a read-only container can be written to, and how.

On Cloud Run every file of a container can be written and counts as its memory. Here the root file system is read-only
and these directories are kept in memory instead: /tmp, /var/tmp, /run, the user's home and WORKDIR. One that is empty in
the image is a plain tmpfs. One that holds something (WORKDIR usually holds the code) is copied once per task to a host
directory that lies in memory, and mounted: what the task writes there is charged to its own memory limit, as on tmpfs.
"""

import contextlib
import io
import posixpath
import shutil
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcloud.runtime.engine import Engine, EngineError
from localcloud.runtime.unpack import unpack

ALWAYS = ("/tmp", "/var/tmp", "/run")  # noqa: S108 - paths in the container, not of this process
_MEMORY_DIR = Path("/dev/shm")  # noqa: S108 - the one tmpfs every Linux host has


@dataclass(frozen=True, kw_only=True)
class Writable:
    """The writable directories of one image."""

    empty: tuple[str, ...]
    """Plain tmpfs."""
    seeded: tuple[tuple[str, bytes], ...]
    """(path, tar of its content)."""
    too_large: tuple[str, ...]
    """Left read-only, because the image holds more in them than the settings let copy."""


async def probe(engine: Engine, image: str, labels: dict[str, str], limit_mib: int) -> Writable:
    """Look into an image, by a container that is created but never started."""
    config = (await engine.image(image) or {}).get("Config") or {}
    body = {"Image": image, "Cmd": ["/"], "Labels": labels, "NetworkDisabled": True}
    made = await engine.call("POST", "/containers/create", body)
    try:
        home = await _home(engine, made["Id"], config)
        wanted = [*ALWAYS, home, posixpath.normpath(config.get("WorkingDir") or "/")]
        return await _sort(engine, made["Id"], wanted, limit_mib << 20)
    finally:
        await engine.call("DELETE", f"/containers/{made['Id']}", force="true", v="true")


async def _sort(engine: Engine, container: str, paths: Iterable[str], limit: int) -> Writable:
    empty: list[str] = []
    seeded: list[tuple[str, bytes]] = []
    too_large: list[str] = []
    for path in dict.fromkeys(paths):
        if path in ("/", ""):
            continue
        content = await _archive(engine, container, path, limit)
        if content is None:
            too_large.append(path)
        elif _entries(content) > 1:
            seeded.append((path, content))
        else:
            empty.append(path)
    return Writable(empty=tuple(empty), seeded=tuple(seeded), too_large=tuple(too_large))


def _entries(content: bytes) -> int:
    if not content:
        return 0
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return sum(1 for _, _ in zip(range(2), archive, strict=False))


async def _archive(engine: Engine, container: str, path: str, limit: int) -> bytes | None:
    """Return a tar of `path`, empty if there is no such directory, None if it is larger than `limit` bytes."""
    parts, size = [], 0
    try:
        answer = await engine.open("GET", f"/containers/{container}/archive", path=path)
        async with contextlib.aclosing(engine.read(answer)) as chunks:
            async for chunk in chunks:
                parts.append(chunk)
                size += len(chunk)
                if size > limit:
                    return None
    except EngineError as problem:
        if problem.status == 404:
            return b""
        raise
    return b"".join(parts)


async def _home(engine: Engine, container: str, config: dict[str, Any]) -> str:
    for entry in config.get("Env") or []:
        name, _, value = entry.partition("=")
        if name == "HOME" and value.startswith("/"):
            return posixpath.normpath(str(value))
    user = (config.get("User") or "0").partition(":")[0]
    content = await _archive(engine, container, "/etc/passwd", 1 << 20)
    if content:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            file = archive.extractfile("passwd")
            for line in (file.read().decode("utf-8", "replace") if file else "").splitlines():
                fields = line.split(":")
                if len(fields) >= 6 and user in (fields[0], fields[2]):
                    return posixpath.normpath(fields[5] or "/")
    return "/"


class Seeds:
    """The host directories in memory that hold copies, one folder per task."""

    def __init__(self, state: str, fallback: Path):
        in_memory = _MEMORY_DIR.is_dir()
        self._root = _MEMORY_DIR / f"localcloud-{state}" if in_memory else fallback / "seeds"

    def make(self, key: str, writable: Writable) -> list[tuple[str, Path]]:
        """Copy, and return (path in the container, directory on the host)."""
        mounts = []
        for number, (path, content) in enumerate(writable.seeded):
            target = self._root / key / str(number)
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                unpack(archive, target, as_given=True)
            mounts.append((path, target / posixpath.basename(path)))
        return mounts

    def drop(self, key: str) -> None:
        """Remove a task's copies."""
        shutil.rmtree(self._root / key, ignore_errors=True)

    def keep_only(self, keys: Iterable[str]) -> None:
        """Remove the copies of tasks that are gone."""
        kept = set(keys)
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def tidy(self) -> None:
        """Remove the folder itself if no task has a copy in it."""
        with contextlib.suppress(OSError):
            self._root.rmdir()
