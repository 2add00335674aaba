"""Object bytes as files: written once by a worker thread, made durable, then visible under a name nobody guesses.

Nothing here ever holds more than two pieces of a transfer in memory. A blob becomes part of an object only when the
catalogue names it; a file that nothing names (the process died in between) is removed at the next start.
"""

import asyncio
import base64
import hashlib
import os
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import google_crc32c

WRITE_BYTES = 2 << 20
"""Bytes gathered before a worker thread writes and hashes them."""
READ_BYTES = 1 << 20
"""Bytes of one read."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Content:
    """Finished bytes. The hashes are base64 as in the API; `md5` is empty for composed objects, as in the cloud."""

    blob: str
    size: int
    crc32c: str
    md5: str = ""


class Hashes:
    """crc32c and, unless told otherwise, MD5 of a stream, with its size."""

    def __init__(self, *, md5: bool = True) -> None:
        self.size = 0
        self._crc32c = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None

    def update(self, data: bytes) -> None:
        self.size += len(data)
        self._crc32c = google_crc32c.extend(self._crc32c, data)
        if self._md5 is not None:
            self._md5.update(data)

    def content(self, blob: str) -> Content:
        crc32c = base64.b64encode(self._crc32c.to_bytes(4, "big")).decode()
        md5 = base64.b64encode(self._md5.digest()).decode() if self._md5 is not None else ""
        return Content(blob=blob, size=self.size, crc32c=crc32c, md5=md5)


class Writer:
    """One file that grows. `write` returns at once or waits for the write before; call `finish` or `discard` once."""

    def __init__(self, blobs: "Blobs", blob: str, fd: int, hashes: Hashes) -> None:
        self.blob = blob
        self._blobs = blobs
        self._fd = fd
        self._hashes = hashes
        self._taken = hashes.size
        self._parts: list[bytes] = []
        self._waiting = 0
        self._pending: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        """Bytes accepted, written or not."""
        return self._taken + self._waiting

    async def write(self, data: bytes) -> None:
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting >= WRITE_BYTES:
            await self._submit(self._waiting)

    async def flush(self, multiple: int = 1) -> None:
        """Puts what is buffered into the file, down to a multiple of `multiple` bytes; the rest is forgotten."""
        await self._submit(self.size // multiple * multiple - self._taken)
        await self._settle()
        self._parts, self._waiting = [], 0

    async def finish(self) -> Content:
        """Makes the bytes durable and gives the file its final place."""
        try:
            await self.flush()
            await self._blobs.work(self._publish)
        except BaseException:
            await self.discard()
            raise
        return self._hashes.content(self.blob)

    async def close(self) -> None:
        """Lets go of the file and keeps it where it is, for a session that goes on later."""
        await self._settle()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def discard(self) -> None:
        """Removes what was written."""
        if self._pending is not None:
            await asyncio.wait([self._pending])
            self._pending = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._blobs.incoming(self.blob).unlink(missing_ok=True)

    async def _submit(self, length: int) -> None:
        await self._settle()
        if length <= 0:
            return
        data = b"".join(self._parts)
        self._parts = [data[length:]] if length < len(data) else []
        self._waiting = len(data) - length
        self._taken += length
        self._pending = asyncio.ensure_future(self._store(data[:length]))

    async def _settle(self) -> None:
        """A failed write (a full disk) surfaces here. Shielded: the file must not be closed under a worker's hands."""
        pending = self._pending
        if pending is None:
            return
        try:
            await asyncio.shield(pending)
        finally:
            if pending.done():
                self._pending = None

    def copy(self, fds: list[int]) -> None:
        """Appends whole files; for a worker thread, on a writer that nothing was written to."""
        for fd in fds:
            at = 0
            while piece := os.pread(fd, READ_BYTES, at):
                write_all(self._fd, piece)
                self._hashes.update(piece)
                at += len(piece)
                self._taken += len(piece)

    async def _store(self, data: bytes) -> None:
        """Writes and hashes side by side: both let go of the interpreter's lock."""
        write = self._blobs.work(lambda: write_all(self._fd, data))
        await asyncio.gather(write, self._blobs.work(lambda: self._hashes.update(data)))

    def _publish(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._blobs.publish(self.blob)


class Blobs:
    """The files under `root`: `incoming/` while they grow, `data/xx/` once they are whole."""

    def __init__(self, root: Path, threads: int = 8) -> None:
        self._incoming = root / "incoming"
        self._data = root / "data"
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="storage")
        for folder in (self._incoming, *(self._data / f"{first:02x}" for first in range(256))):
            folder.mkdir(parents=True, exist_ok=True)

    def incoming(self, blob: str) -> Path:
        return self._incoming / blob

    def path(self, blob: str) -> Path:
        return self._data / blob[:2] / blob

    async def work(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def create(self, *, md5: bool = True) -> Writer:
        blob = uuid.uuid4().hex
        fd = os.open(self.incoming(blob), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        return Writer(self, blob, fd, Hashes(md5=md5))

    async def reopen(self, blob: str, multiple: int) -> Writer:
        """A writer for a file left by an earlier process, cut down to a multiple of `multiple` bytes and hashed again."""

        def rehash() -> tuple[int, Hashes]:
            if self.path(blob).exists():  # published by a process that died before it could say so
                os.rename(self.path(blob), self.incoming(blob))
            fd = os.open(self.incoming(blob), os.O_CREAT | os.O_RDWR, 0o600)
            os.ftruncate(fd, os.fstat(fd).st_size // multiple * multiple)
            hashes = Hashes()
            while piece := os.read(fd, READ_BYTES):
                hashes.update(piece)
            return fd, hashes

        fd, hashes = await self.work(rehash)  # the file offset is at its end now
        return Writer(self, blob, fd, hashes)

    def publish(self, blob: str) -> None:
        """Moves a durable file from incoming/ to data/ and makes the move durable too."""
        target = self.path(blob)
        os.rename(self.incoming(blob), target)
        sync_folder(target.parent)

    def open(self, blob: str) -> int:
        """A descriptor of one's own: the bytes stay readable even if the object is replaced or deleted meanwhile."""
        return os.open(self.path(blob), os.O_RDONLY)

    async def read(self, fd: int, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """`length` bytes from `start`; the next piece is read while the caller deals with this one."""
        end = start + length

        def piece(at: int) -> asyncio.Future[bytes]:
            return asyncio.ensure_future(self.work(lambda: os.pread(fd, min(READ_BYTES, end - at), at)))

        ahead = piece(start) if length else None
        try:
            while ahead is not None:
                data = await ahead
                ahead = None
                if not data:
                    raise OSError(f"blob ends at byte {start} of {end}")
                start += len(data)
                ahead = piece(start) if start < end else None
                yield data
        finally:
            if ahead is not None:  # the reader left: the descriptor is closed next, so the read must be over
                await asyncio.wait([ahead])

    async def link(self, content: Content) -> Content:
        """The same bytes under a blob of their own, without copying."""
        blob = uuid.uuid4().hex

        def link() -> None:
            os.link(self.path(content.blob), self.path(blob))
            sync_folder(self.path(blob).parent)

        await self.work(link)
        return Content(blob=blob, size=content.size, crc32c=content.crc32c, md5=content.md5)

    async def join(self, fds: list[int]) -> Content:
        """The bytes of several blobs one after the other, as one new blob."""
        writer = self.create(md5=False)

        try:
            await self.work(lambda: writer.copy(fds))
        except BaseException:
            await writer.discard()
            raise
        return await writer.finish()

    def drop(self, blobs: Iterable[str]) -> None:
        """Removes files in the background; one left behind by a crash is found at the next start."""
        for blob in blobs:
            self._pool.submit(self.path(blob).unlink, missing_ok=True)

    def abandon(self, blob: str) -> None:
        """Removes a file that never became whole, in the background."""
        self._pool.submit(self.incoming(blob).unlink, missing_ok=True)

    async def sweep(self, named: set[str], growing: set[str]) -> int:
        """Removes every file that is neither in `named` (whole) nor in `growing` (incoming). Returns how many."""

        def remove() -> int:
            removed = 0
            for path in [*self._data.glob("??/*"), *self._incoming.iterdir()]:
                if path.name not in (growing if path.parent == self._incoming else named):
                    path.unlink(missing_ok=True)
                    removed += 1
            return removed

        return await self.work(remove)

    def close(self) -> None:
        self._pool.shutdown(wait=True)


def write_all(fd: int, data: bytes) -> None:
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += os.write(fd, view[done:])


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
