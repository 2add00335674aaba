"""The status object of a run: one holder, a heartbeat, exactly one end."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from workloads.common.contract import HEARTBEAT_INTERVAL_S, LOST_AFTER_INTERVALS, RunState
from workloads.common.logs import Log, rfc3339
from workloads.common.storage import (
    NoSpace,
    NotFound,
    PreconditionFailed,
    Storage,
    StorageError,
    Unavailable,
    is_bucket,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MAX_STATUS_BYTES = 1 << 20
MIN_WRITE_GAP_S = 1.0
"""An object may be written once a second, https://cloud.google.com/storage/quotas (2026-11)."""
AT_ONCE = frozenset({"phase", "stage"})
"""Fields whose change is written without waiting for the heartbeat: a reader's progress depends on them."""


class ClaimLost(Exception):
    """Somebody else holds the run or has ended it; nothing more may be written about it."""


class StatusLike(Protocol):
    """What the ledger reads of a status; a frozen dataclass that also has `ended_at`."""

    @property
    def state(self) -> str: ...

    @property
    def run_id(self) -> str: ...

    @property
    def execution(self) -> str: ...

    @property
    def heartbeat_at(self) -> str: ...

    def to_json(self) -> bytes: ...


S = TypeVar("S", bound="StatusLike")


def is_alive(status: StatusLike, now: datetime) -> bool:
    """Whether the run says RUNNING and its heartbeat is young enough to be believed."""
    if status.state != RunState.RUNNING:
        return False
    try:
        age = now - datetime.fromisoformat(status.heartbeat_at)
    except ValueError:
        return False
    return age < timedelta(seconds=HEARTBEAT_INTERVAL_S * LOST_AFTER_INTERVALS)


class Ledger(Generic[S]):
    """The status at `uri`. Every write names the generation of the one before, so that a state somebody else has
    written, such as a cancelled run's end, is never overwritten.
    """

    def __init__(
        self,
        storage: Storage,
        uri: str,
        first: S,
        *,
        read: Callable[[bytes], S],
        log: Log,
        now: Callable[[], datetime],
        gauges: Callable[[], Mapping[str, Any]] = dict,
        on_lost: Callable[[], None] = lambda: None,
        interval_s: float = HEARTBEAT_INTERVAL_S,
        stale: tuple[str, ...] = (),
    ) -> None:
        """`gauges` gives fields to renew with each heartbeat; `stale` are objects of an earlier end, removed when
        the place is taken over."""
        self._storage = storage
        self._uri = uri
        self._status = first
        self._read = read
        self._log = log
        self._now = now
        self._gauges = gauges
        self._on_lost = on_lost
        self._interval_s = interval_s
        self._stale = stale
        self._generation = 0
        self._unsure = b""
        self._lock = threading.Lock()
        self._fields = threading.Lock()
        self._ended = threading.Event()
        self._news = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost = False

    @property
    def status(self) -> S:
        return self._status

    def claim(self) -> None:
        """Write RUNNING. Raises ClaimLost if another execution is at work here, StorageError if it cannot be written."""
        try:
            self._write(if_generation=0)
        except PreconditionFailed:
            self._take_over()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
        self._thread.start()

    def set(self, **changes: Any) -> None:
        """Change fields; they are written with the next heartbeat, or at once if the phase is among them."""
        with self._fields:
            status: DataclassInstance = self._status  # type: ignore[assignment]  # StatusLike says it is one
            is_news = any(getattr(status, name) != changes[name] for name in AT_ONCE & changes.keys())
            self._status = replace(status, **changes)  # type: ignore[assignment]  # the same class again
        if is_news:
            self._news.set()

    def finish(
        self,
        state: RunState,
        *,
        beside: Mapping[str, bytes] | None = None,
        make_room: Callable[[], None] = lambda: None,
        **changes: Any,
    ) -> None:
        """Write the end, once. Raises ClaimLost if somebody else has, StorageError if it cannot be written.

        `beside` are objects to write first, by URI. `make_room` is called if the place is full, before one more try.
        """
        self._ended.set()
        self._news.set()  # the heartbeat need not sleep on
        got_lock = self._lock.acquire(timeout=3.0)  # a heartbeat that hangs must not cost the final state
        try:
            if self.lost:
                raise ClaimLost(f"{self._uri} was written by somebody else")
            for uri, data in (beside or {}).items():
                self._try_twice(uri, data, make_room)
            at = rfc3339(self._now())
            self.set(**self._gauges())
            self.set(**changes, state=state, heartbeat_at=at, ended_at=at)
            generation = self._generation if got_lock else None
            try:
                self._write(if_generation=generation)
            except NoSpace:
                make_room()
                self._write(if_generation=generation)
            except PreconditionFailed as other:
                raise ClaimLost(str(other)) from other
        finally:
            if got_lock:
                self._lock.release()

    def _try_twice(self, uri: str, data: bytes, make_room: Callable[[], None]) -> None:
        try:
            try:
                self._storage.at(uri).write(uri, data)
            except NoSpace:
                make_room()
                self._storage.at(uri).write(uri, data)
        except StorageError as error:
            self._log.error(f"{error.uri} cannot be written: {error}")  # the status, which names the code, still may

    def _take_over(self) -> None:
        data, blob = self._storage.read_small(self._uri, MAX_STATUS_BYTES)
        try:
            other = self._read(data)
        except ValueError:
            other = None  # not a status: nothing to respect
        if other is not None and self._is_held(other):
            raise ClaimLost(
                f"run {other.run_id} is at work as execution {other.execution or 'unknown'}, "
                f"last heartbeat {other.heartbeat_at}"
            )
        try:
            self._write(if_generation=blob.generation)
        except PreconditionFailed as error:
            raise ClaimLost(f"{self._uri} was taken by another start at the same moment") from error
        for uri in self._stale:
            self._storage.at(uri).delete(uri)

    def _is_held(self, other: S) -> bool:
        if other.execution == self._status.execution and (other.execution or not is_bucket(self._uri)):
            return False  # the platform's retry of our own execution, or a run of the same person on this machine
        return is_alive(other, self._now())

    def _write(self, *, if_generation: int | None) -> None:
        self.set(heartbeat_at=rfc3339(self._now()))
        data = self._status.to_json()
        store = self._storage.at(self._uri)
        try:
            self._generation = store.write(self._uri, data, if_generation=if_generation)
        except Unavailable:
            self._unsure = data
            raise
        except PreconditionFailed:
            # A write that was never answered may have happened: then what is there is our own.
            found, blob = self._storage.read_small(self._uri, MAX_STATUS_BYTES)
            if found != self._unsure:
                raise
            self._generation = store.write(self._uri, data, if_generation=blob.generation)
        self._unsure = b""

    def _beat(self) -> None:
        gap = min(MIN_WRITE_GAP_S, self._interval_s)
        while not self._ended.wait(gap):
            self._news.wait(self._interval_s - gap)
            self._news.clear()
            with self._lock:
                if self._ended.is_set():
                    return
                try:
                    self.set(**self._gauges())
                    self._write(if_generation=self._generation)
                except (PreconditionFailed, NotFound) as error:
                    self.lost = True
                    self._log.error(f"this run was ended by somebody else: {error}")
                    self._on_lost()
                    return
                except StorageError as error:
                    self._log.warning(f"the heartbeat cannot be written: {error}")
