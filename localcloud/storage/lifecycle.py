"""What the cloud does to objects by itself: lifecycle rules, and the end of uploads nobody finished.

https://cloud.google.com/storage/docs/lifecycle (2026-11). Google acts within a day or so; here a sweep runs every
minute and whenever the cloud's clock is moved, and goes by that clock.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from localcloud.clock import parse_rfc3339
from localcloud.errors import ApiError
from localcloud.storage.catalogue import BUCKET, OBJECT, VERSION, Record
from localcloud.storage.engine import Storage
from localcloud.storage.sessions import Sessions
from localcloud.storage.xmlparts import MultipartUploads

log = logging.getLogger("localcloud.storage")
EVERY_S = 60.0
MAX_ACTIONS = 500
"""Of one sweep, so that requests get their turn."""
DAY_S = 86_400


class Lifecycle:
    """A Service: the sweep."""

    def __init__(self, storage: Storage, sessions: Sessions, parts: MultipartUploads, every_s: float = EVERY_S) -> None:
        self._storage = storage
        self._sessions = sessions
        self._parts = parts
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        storage = self._storage
        growing = self._sessions.open_blobs()
        removed = await storage.blobs.sweep(storage.named_blobs() | self._parts.blobs() | growing, growing)
        if removed:
            log.info("removed %d files that no object names", removed)
        self._task = asyncio.create_task(self._run(), name="storage-lifecycle")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._sessions.close()
        self._storage.blobs.close()

    async def _run(self) -> None:
        while True:
            clock = self._storage.cloud.clock
            with suppress(TimeoutError):  # a moved clock ends the wait early
                await asyncio.wait_for(clock.sleep(self._every_s), self._every_s)
            try:
                await self.sweep()
            except Exception:
                # a rule that cannot be applied must not end the sweep for good
                log.exception("lifecycle sweep")

    async def sweep(self) -> int:
        """One pass over all buckets. Returns how many objects and uploads were changed, at most MAX_ACTIONS or so."""
        done = await self._sessions.expire(MAX_ACTIONS) + self._parts.expire(MAX_ACTIONS)
        for _, bucket in self._storage.catalogue.store.list(BUCKET):
            rules = bucket.get("lifecycle", {}).get("rule", [])
            for rule in rules:
                if rule["action"]["type"] == "AbortIncompleteMultipartUpload":
                    done += self._parts.abort_older(bucket["name"], rule["condition"].get("age", 0))
            if rules:
                done += await self._apply(bucket, rules, MAX_ACTIONS - done)
        return done

    async def _apply(self, bucket: Record, rules: list[dict[str, Any]], limit: int) -> int:
        done = 0
        for looked, (record, newer) in enumerate(self._generations(bucket["name"])):
            if done >= limit:
                break
            if looked % 200 == 199:
                await asyncio.sleep(0)
            current = self._storage.catalogue.find(record["bucket"], record["name"], int(record["generation"]))
            due = [rule["action"] for rule in rules if current and self._due(rule["condition"], current, newer)]
            if current is not None and due:
                done += self._act(bucket, current, due)
        return done

    def _act(self, bucket: Record, record: Record, actions: list[dict[str, Any]]) -> int:
        """Delete wins over a change of class; holds and retention win over both."""
        try:
            if any(action["type"] == "Delete" for action in actions):
                self._storage.remove(bucket, record)
                return 1
        except ApiError:
            return 0
        for action in actions:
            wanted = action.get("storageClass")
            if action["type"] == "SetStorageClass" and record["storageClass"] != wanted:
                now = self._storage.catalogue.now()
                self._storage.change(record, {**record, "storageClass": wanted, "timeStorageClassUpdated": now})
                return 1
        return 0

    def _generations(self, bucket: str) -> Iterator[tuple[Record, int]]:
        """Every generation with the number of newer ones of its name."""
        catalogue = self._storage.catalogue
        for _, record in catalogue.scan(OBJECT, bucket):
            yield record, 0
        versions = list(catalogue.scan(VERSION, bucket))
        newer: dict[str, int] = {}
        for _, record in reversed(versions):
            name = record["name"]
            if name not in newer:
                newer[name] = 1 if catalogue.live(bucket, name) else 0
            yield record, newer[name]
            newer[name] += 1

    def _due(self, condition: dict[str, Any], record: Record, newer: int) -> bool:
        """Whether every part of the condition holds."""
        now = self._storage.cloud.clock.now()

        def days_since(field: str) -> float | None:
            return (now - parse_rfc3339(record[field])) / DAY_S if field in record else None

        def old_enough(field: str, days: Any) -> bool:
            since = days_since(field)
            return since is not None and since >= int(days)

        def before(field: str, day: str) -> bool:
            return field in record and parse_rfc3339(record[field]) < _midnight(day)

        tests: dict[str, Callable[[Any], bool]] = {
            "age": lambda value: old_enough("timeCreated", value),
            "createdBefore": lambda value: before("timeCreated", value),
            "customTimeBefore": lambda value: before("customTime", value),
            "daysSinceCustomTime": lambda value: old_enough("customTime", value),
            "daysSinceNoncurrentTime": lambda value: old_enough("timeDeleted", value),
            "isLive": lambda value: ("timeDeleted" not in record) == value,
            "matchesPattern": lambda value: False,
            "matchesPrefix": lambda value: record["name"].startswith(tuple(value)),
            "matchesStorageClass": lambda value: record["storageClass"] in value,
            "matchesSuffix": lambda value: record["name"].endswith(tuple(value)),
            "noncurrentTimeBefore": lambda value: before("timeDeleted", value),
            "numNewerVersions": lambda value: newer >= int(value) and "timeDeleted" in record,
        }
        return all(key in tests and tests[key](value) for key, value in condition.items())


def _midnight(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
