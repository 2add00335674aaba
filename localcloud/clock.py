"""The time of the local cloud: the machine's, plus an offset that a test can move."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """`now()` is seconds since 1970 with the offset applied; sleepers wake when the offset is moved past their time."""

    def __init__(self, source: Callable[[], float] = time.time, offset_s: float = 0.0) -> None:
        self._source = source
        self._offset_s = offset_s
        self._moved: asyncio.Event | None = None

    @property
    def offset_s(self) -> float:
        return self._offset_s

    def now(self) -> float:
        return self._source() + self._offset_s

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.now(), UTC)

    def timestamp(self, at: float | None = None) -> str:
        """RFC 3339 with microseconds and Z, of `at` or of now."""
        return rfc3339(self.now() if at is None else at)

    def move(self, offset_s: float) -> None:
        self._offset_s = offset_s
        moved, self._moved = self._moved, None
        if moved is not None:
            moved.set()

    async def sleep_until(self, at: float) -> None:
        while (left := at - self.now()) > 0:
            if self._moved is None:
                self._moved = asyncio.Event()
            try:
                await asyncio.wait_for(self._moved.wait(), left)
            except TimeoutError:
                continue

    async def sleep(self, seconds: float) -> None:
        await self.sleep_until(self.now() + seconds)


def rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> float:
    """Raises ValueError for anything without a zone."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"time must have a zone, got {text!r}")
    return moment.timestamp()
