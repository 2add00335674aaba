"""Blobs on disk, by digest, and uploads on their way there."""

import asyncio
import hashlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path
from typing import Any

UPLOAD_TTL_S = 86_400.0
PART_BYTES = 1 << 20


class DigestMismatch(ValueError):
    """What arrived is not what was announced."""


class OutOfOrder(ValueError):
    """A chunk that does not begin where the last one ended."""


@dataclass
class Upload:
    id: str
    name: str
    path: Path
    size: int = 0
    hash: Any = field(default_factory=hashlib.sha256)
    busy: bool = False


class Blobs:
    """A blob is visible once it is complete, verified and on disk, never before."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "sha256"
        self._uploads = root / "uploads"
        for folder in (self._blobs, self._uploads):
            folder.mkdir(parents=True, exist_ok=True)
        self._open: dict[str, Upload] = {}
        self._pending: dict[str, int] = {}
        self._drop_stale()

    def _drop_stale(self) -> None:
        for path in self._uploads.iterdir():
            if time.time() - path.stat().st_mtime > UPLOAD_TTL_S:
                path.unlink()

    def path(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")

    def size(self, digest: str) -> int | None:
        """None if there is no such blob."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def start(self, name: str) -> Upload:
        upload_id = str(uuid.uuid4())
        path = self._uploads / f"{upload_id}.{name.replace('/', '%')}"
        path.touch()
        return self._open.setdefault(upload_id, Upload(upload_id, name, path))

    async def find(self, upload_id: str, name: str) -> Upload | None:
        """An upload in progress, also one from before a restart."""
        upload = self._open.get(upload_id)
        if upload is None:
            path = self._uploads / f"{upload_id}.{name.replace('/', '%')}"
            if "/" in upload_id or not path.is_file():
                return None
            upload = await asyncio.to_thread(_reopen, upload_id, name, path)
            self._open[upload_id] = upload
        return upload if upload.name == name else None

    async def append(self, upload: Upload, chunks: AsyncIterator[bytes], start: int | None = None) -> None:
        """Raises OutOfOrder if `start` is given and is not the size so far. What arrives before a cut connection is kept."""
        if upload.busy or (start is not None and start != upload.size):
            raise OutOfOrder(f"the next byte must be {upload.size}, got {start}")
        upload.busy = True
        try:
            with upload.path.open("ab", buffering=0) as file:
                await _copy(chunks, upload, file)
        finally:
            upload.busy = False

    async def finish(self, upload: Upload, digest: str, link: Callable[[], None]) -> None:
        """Makes the upload a blob and calls `link` with it in place. Raises DigestMismatch, and drops the upload then."""
        actual = f"sha256:{upload.hash.hexdigest()}"
        if actual != digest:
            self.cancel(upload)
            raise DigestMismatch(f"digest must be {actual}, got {digest}")
        await self._publish(upload.path, digest, link)
        self._open.pop(upload.id, None)

    async def _publish(self, source: Path, digest: str, link: Callable[[], None]) -> None:
        # until it is linked, a blob looks like garbage
        self._pending[digest] = self._pending.get(digest, 0) + 1
        try:
            await asyncio.to_thread(_publish, source, self.path(digest))
            link()
        finally:
            self._pending[digest] -= 1
            if not self._pending[digest]:
                del self._pending[digest]

    def cancel(self, upload: Upload) -> None:
        self._open.pop(upload.id, None)
        upload.path.unlink(missing_ok=True)

    async def put(self, data: bytes, digest: str, link: Callable[[], None]) -> None:
        """A small blob at once."""
        path = self._uploads / f"{uuid.uuid4()}.manifest"
        path.write_bytes(data)
        await self._publish(path, digest, link)

    def remove(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)

    def digests(self) -> list[str]:
        return [f"sha256:{path.name}" for path in self._blobs.iterdir()]

    def settled(self) -> list[str]:
        """Without those that are just being linked."""
        return [digest for digest in self.digests() if digest not in self._pending]

    def clear(self) -> None:
        self._open.clear()
        for folder in (self._blobs, self._uploads):
            for path in folder.iterdir():
                path.unlink()


async def _copy(chunks: AsyncIterator[bytes], upload: Upload, file: RawIOBase) -> None:
    """Writes and hashes in a thread, a part at a time: a slow disk holds up nobody else."""
    part = bytearray()
    try:
        async for chunk in chunks:
            part += chunk
            if len(part) >= PART_BYTES:
                full, part = part, bytearray()
                await asyncio.to_thread(_write, upload, file, full)
    finally:
        _write(upload, file, part)


def _write(upload: Upload, file: RawIOBase, part: bytearray) -> None:
    rest = memoryview(part)
    while rest:
        rest = rest[file.write(rest) or 0 :]
    upload.hash.update(part)
    upload.size += len(part)


def _reopen(upload_id: str, name: str, path: Path) -> Upload:
    upload = Upload(upload_id, name, path)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            upload.hash.update(chunk)
            upload.size += len(chunk)
    return upload


def _publish(source: Path, target: Path) -> None:
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
