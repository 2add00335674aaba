"""Resumable uploads: what a session remembers, on disk, so that it outlives this process.

https://cloud.google.com/storage/docs/performing-resumable-uploads (2026-11)
"""

import asyncio
import re
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from localcloud.errors import ApiError, unavailable
from localcloud.identity import Principal
from localcloud.storage.blobs import Blobs, Writer
from localcloud.storage.conditions import from_dict
from localcloud.storage.engine import Storage, Target
from localcloud.storage.problems import bad

KIND = "storage.upload"
QUANTUM = 256 * 1024
"""Every chunk but the last is a multiple of this; what is kept of a broken one is too."""
KEEP_S = 7 * 24 * 3600
"""Life of a session, https://cloud.google.com/storage/docs/resumable-uploads#introduction (2026-11)."""
MAX_OPEN = 64
"""Sessions whose file and hash state are kept at hand; others are hashed again when they go on."""
LOCK_WAIT_S = 30.0
RANGE = re.compile(r"bytes (?:(\d+)-(\d+|\*)|\*)/(\d+|\*)")
Session = dict[str, Any]


@dataclass(frozen=True)
class Chunk:
    """A Content-Range header: bytes `start` to `end` (exclusive; None: to the end of the body) of `total`."""

    start: int | None
    end: int | None
    total: int | None

    @property
    def final(self) -> bool:
        return self.start is not None and (self.end is None or self.end == self.total)


def parse_range(header: str | None) -> Chunk:
    """Without a header the body is the whole object. Raises ApiError 400 for another form."""
    if header is None:
        return Chunk(0, None, None)
    found = RANGE.fullmatch(header.strip())
    if found is None:
        raise bad(f"Invalid Content-Range: {header}")
    start, last, total = found.groups()
    size = None if total == "*" else int(total)
    if start is None:
        return Chunk(None, None, size)
    end = None if last == "*" else int(last) + 1
    if end is not None and (end <= int(start) or (size is not None and end > size)):
        raise bad(f"Invalid Content-Range: {header}")
    return Chunk(int(start), end, size)


class _Turn:
    """Whose request of a session it is, and how many hold or await it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class Sessions:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._store = storage.cloud.store
        self._blobs: Blobs = storage.blobs
        self._writers: OrderedDict[str, Writer] = OrderedDict()
        self._locks: dict[str, _Turn] = {}

    def open(self, target: Target, claimed: dict[str, str], total: int | None) -> str:
        """A new session; the caller has checked that the write would be allowed."""
        upload_id = uuid.uuid4().hex + uuid.uuid4().hex
        session = {
            "bucket": target.bucket,
            "name": target.name,
            "member": target.principal.member,
            "conditions": asdict(target.conditions),
            "given": target.given,
            "claimed": claimed,
            "total": total,
            "blob": uuid.uuid4().hex,
            "created": self._storage.cloud.clock.now(),
            "state": "open",
        }
        self._store.put(KIND, upload_id, session)
        return upload_id

    def get(self, upload_id: str) -> Session:
        """Raises ApiError 404 for an id that never was or is over, 499 for a cancelled one."""
        session = self._store.get(KIND, upload_id)
        if session is None or session["created"] + KEEP_S < self._storage.cloud.clock.now():
            raise ApiError(404, "NOT_FOUND", "No such upload session.", "notFound")
        if session["state"] == "cancelled":
            raise ApiError(499, "CANCELLED", "The upload was cancelled.", "clientClosedRequest")
        return session

    @staticmethod
    def target(session: Session) -> Target:
        return Target(
            bucket=session["bucket"],
            name=session["name"],
            principal=Principal(session["member"]),
            conditions=from_dict(session["conditions"]),
            given=session["given"],
        )

    def locked(self, upload_id: str) -> AbstractAsyncContextManager[None]:
        """One request of a session at a time. Raises ApiError 503 if the one before does not end."""

        @asynccontextmanager
        async def hold() -> AsyncIterator[None]:
            turn = self._locks.setdefault(upload_id, _Turn())
            turn.users += 1
            try:
                try:
                    await asyncio.wait_for(turn.lock.acquire(), LOCK_WAIT_S)
                except TimeoutError:
                    raise unavailable("Another request of this upload session is still in progress.") from None
                try:
                    yield
                finally:
                    turn.lock.release()
            finally:
                turn.users -= 1
                if not turn.users:
                    del self._locks[upload_id]

        return hold()

    async def writer(self, upload_id: str, session: Session) -> Writer:
        """The session's file, from memory or as an earlier process left it."""
        found = self._writers.pop(upload_id, None)
        if found is None:
            found = await self._blobs.reopen(session["blob"], QUANTUM)
        self._writers[upload_id] = found
        await self._make_room()
        return found

    async def _make_room(self) -> None:
        for upload_id in list(self._writers):
            if len(self._writers) <= MAX_OPEN:
                return
            if upload_id not in self._locks:
                await self._writers.pop(upload_id).close()

    def finished(self, upload_id: str, session: Session, record: dict[str, Any]) -> None:
        """Keeps the answer for a client that asks again; part of the transaction that makes the object."""
        self._store.put(KIND, upload_id, {**session, "state": "done", "record": record, "given": {}})

    def take(self, upload_id: str) -> Writer:
        """The writer, which the caller now finishes; this class forgets it."""
        return self._writers.pop(upload_id)

    async def let_go(self, upload_id: str) -> None:
        """Closes the file, so that the next request begins with what is in it."""
        writer = self._writers.pop(upload_id, None)
        if writer is not None:
            with suppress(OSError):
                await writer.close()

    async def drop(self, upload_id: str) -> None:
        """Ends a session that can come to nothing any more."""
        self._store.delete(KIND, upload_id)
        await self._discard(upload_id)

    async def cancel(self, upload_id: str, session: Session) -> None:
        self._store.put(KIND, upload_id, {**session, "state": "cancelled", "given": {}})
        await self._discard(upload_id)
        self._blobs.abandon(session["blob"])

    async def _discard(self, upload_id: str) -> None:
        writer = self._writers.pop(upload_id, None)
        if writer is not None:
            await writer.discard()

    def open_blobs(self) -> set[str]:
        return {session["blob"] for _, session in self._store.list(KIND) if session["state"] == "open"}

    async def expire(self, limit: int) -> int:
        """Removes sessions older than a week, at most `limit`. Returns how many."""
        horizon = self._storage.cloud.clock.now() - KEEP_S
        old = [(key, session) for key, session in self._store.list(KIND) if session["created"] < horizon][:limit]
        for upload_id, session in old:
            await self.drop(upload_id)
            self._blobs.abandon(session["blob"])
        return len(old)

    async def close(self) -> None:
        for writer in self._writers.values():
            await writer.close()
        self._writers.clear()
