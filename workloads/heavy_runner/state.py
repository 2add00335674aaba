"""status.json and error.json: one holder, a heartbeat, exactly one end."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from workloads.common.contract import HEARTBEAT_INTERVAL_S, LOST_AFTER_INTERVALS, RunState
from workloads.common.logs import Log, rfc3339
from workloads.common.storage import NoSpace, NotFound, PreconditionFailed, Storage, StorageError, is_bucket
from workloads.heavy_runner.contract import ERROR, STATUS, ErrorReport, Phase, Status
from workloads.heavy_runner.failure import ClaimLost, from_output

MAX_STATUS_BYTES = 1 << 20


class Ledger:
    """The run's state in the output place. Every write names the generation of the one before, so that a state
    somebody else has written, such as a cancelled run's end, is never overwritten.
    """

    def __init__(
        self,
        storage: Storage,
        base_uri: str,
        first: Status,
        *,
        log: Log,
        now: Callable[[], datetime],
        gauges: Callable[[], Mapping[str, Any]] = dict,
        on_lost: Callable[[], None] = lambda: None,
        interval_s: float = HEARTBEAT_INTERVAL_S,
    ) -> None:
        self._storage = storage
        self._base = base_uri
        self._status = first
        self._log = log
        self._now = now
        self._gauges = gauges
        self._on_lost = on_lost
        self._interval_s = interval_s
        self._generation = 0
        self._lock = threading.Lock()
        self._fields = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost = False

    @property
    def status(self) -> Status:
        return self._status

    def claim(self) -> None:
        """Write RUNNING. Raises ClaimLost if another execution is at work here, RunFailure if it cannot be written."""
        uri = self._base + STATUS
        try:
            try:
                self._write(if_generation=0)
            except PreconditionFailed:
                self._take_over(uri)
        except StorageError as error:
            raise from_output(error, STATUS) from error
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
        self._thread.start()

    def set(self, **changes: Any) -> None:
        """Change fields; they are written with the next heartbeat."""
        with self._fields:
            self._status = replace(self._status, **changes)

    def finish(self, state: RunState, error: ErrorReport | None = None, *, make_room: Callable[[], None]) -> None:
        """Write the end, once. Raises ClaimLost if somebody else has, StorageError if it cannot be written.

        `make_room` is called if the place is full, before one more try.
        """
        self._ended.set()
        got_lock = self._lock.acquire(timeout=3.0)  # a heartbeat that hangs must not cost the final state
        try:
            if self.lost:
                raise ClaimLost(f"{self._base}{STATUS} was written by somebody else")
            if error is not None:
                self._try_twice(ERROR, error.to_json(), make_room)
            at = rfc3339(self._now())
            self.set(**self._gauges(), state=state, phase=Phase.DONE, heartbeat_at=at, ended_at=at)
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

    def _try_twice(self, name: str, data: bytes, make_room: Callable[[], None]) -> None:
        uri = self._base + name
        try:
            try:
                self._storage.at(uri).write(uri, data)
            except NoSpace:
                make_room()
                self._storage.at(uri).write(uri, data)
        except StorageError as error:
            self._log.error(f"{name} cannot be written: {error}")  # the status, which names the code, still may

    def _take_over(self, uri: str) -> None:
        data, blob = self._storage.read_small(uri, MAX_STATUS_BYTES)
        try:
            other = Status.from_json(data)
        except ValueError:
            other = Status(state=RunState.FAILED)  # not a status: nothing to respect
        if self._is_held(other):
            raise ClaimLost(
                f"run {other.run_id} is at work as execution {other.execution or 'unknown'}, "
                f"last heartbeat {other.heartbeat_at}"
            )
        try:
            self._write(if_generation=blob.generation)
        except PreconditionFailed as error:
            raise ClaimLost(f"{uri} was taken by another start at the same moment") from error
        stale = self._base + ERROR
        self._storage.at(stale).delete(stale)

    def _is_held(self, other: Status) -> bool:
        if other.state != RunState.RUNNING:
            return False
        if other.execution == self._status.execution and (other.execution or not is_bucket(self._base)):
            return False  # the platform's retry of our own execution, or a run of the same person on this machine
        try:
            age = self._now() - datetime.fromisoformat(other.heartbeat_at)
        except ValueError:
            return False
        return age < timedelta(seconds=HEARTBEAT_INTERVAL_S * LOST_AFTER_INTERVALS)

    def _write(self, *, if_generation: int | None) -> None:
        uri = self._base + STATUS
        self.set(heartbeat_at=rfc3339(self._now()))
        self._generation = self._storage.at(uri).write(uri, self._status.to_json(), if_generation=if_generation)

    def _beat(self) -> None:
        while not self._ended.wait(self._interval_s):
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
