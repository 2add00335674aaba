"""Buckets and objects as documents: which generation of a name is live, and what becomes of the one it replaces.

Every change is one transaction made without awaiting, after its preconditions were checked in the same step: of any
number of callers that expect the same state exactly one finds it.
"""

import time
from collections.abc import Generator
from typing import Any

from localcloud.clock import Clock, rfc3339
from localcloud.storage.problems import no_bucket
from localcloud.store import Store

BUCKET = "storage.bucket"
OBJECT = "storage.object"
VERSION = "storage.version"
BATCH = 256
FEW = 8
LAST = "\U0010ffff"
Record = dict[str, Any]


def object_key(bucket: str, name: str) -> str:
    return f"{bucket}/{name}"


def version_key(bucket: str, name: str, generation: str | int) -> str:
    return f"{bucket}/{name}\0{int(generation):020d}"


class Catalogue:
    """The documents of one store. `blob` in an object's record is private to this package."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self._clock = clock
        self._generation = 0

    def now(self) -> str:
        """RFC 3339 with milliseconds, as the API writes times."""
        return milliseconds(self._clock.now())

    def next_generation(self) -> int:
        """Microseconds of the machine's clock, never twice the same."""
        self._generation = max(self._generation + 1, time.time_ns() // 1000)
        return self._generation

    def find_bucket(self, name: str) -> Record | None:
        return self.store.get(BUCKET, name)

    def bucket(self, name: str) -> Record:
        """Raises ApiError 404."""
        found = self.find_bucket(name)
        if found is None:
            raise no_bucket()
        return found

    def put_bucket(self, bucket: Record) -> None:
        self.store.put(BUCKET, bucket["name"], bucket)

    def is_empty(self, bucket: str) -> bool:
        return not any(self.store.list(kind, prefix=f"{bucket}/", limit=1) for kind in (OBJECT, VERSION))

    def live(self, bucket: str, name: str) -> Record | None:
        return self.store.get(OBJECT, object_key(bucket, name))

    def find(self, bucket: str, name: str, generation: int | None = None) -> Record | None:
        """The live object, or the one of that generation, live or not."""
        live = self.live(bucket, name)
        if generation is None or (live is not None and int(live["generation"]) == generation):
            return live
        return self.store.get(VERSION, version_key(bucket, name, generation))

    def put(self, record: Record, *, versioned: bool) -> list[str]:
        """Makes `record` the live object of its name. Returns blobs that nothing names any more."""
        old = self.live(record["bucket"], record["name"])
        with self.store.transaction():
            freed = self._retire(old, versioned) if old else []
            self.store.put(OBJECT, object_key(record["bucket"], record["name"]), record)
        return freed

    def replace(self, record: Record) -> None:
        """Writes changed metadata of a generation back to where it is."""
        key = object_key(record["bucket"], record["name"])
        if "timeDeleted" in record:
            self.store.put(VERSION, version_key(record["bucket"], record["name"], record["generation"]), record)
        else:
            self.store.put(OBJECT, key, record)

    def remove(self, record: Record, *, versioned: bool) -> list[str]:
        """Deletes a generation; a live one of a versioned bucket becomes noncurrent. Returns blobs to drop."""
        if "timeDeleted" in record:
            self.store.delete(VERSION, version_key(record["bucket"], record["name"], record["generation"]))
            return [record["blob"]]
        with self.store.transaction():
            self.store.delete(OBJECT, object_key(record["bucket"], record["name"]))
            return self._retire(record, versioned)

    def _retire(self, old: Record, versioned: bool) -> list[str]:
        if not versioned:
            return [old["blob"]]
        noncurrent = {**old, "timeDeleted": self.now()}
        self.store.put(VERSION, version_key(old["bucket"], old["name"], old["generation"]), noncurrent)
        return []

    def scan(
        self, kind: str, bucket: str, prefix: str = "", after: str = ""
    ) -> Generator[tuple[str, Record], str | None, None]:
        """(key without the bucket, record) in order of keys that begin with `prefix` and sort after `after`.

        What is sent into it is a key: it goes on after that one without reading what lies between.
        """
        base = f"{bucket}/"
        cursor, size = base + after if after else "", BATCH
        while True:
            rows = self.store.list(kind, prefix=base + prefix, start_after=cursor, limit=size)
            for key, record in rows:
                if key <= cursor:
                    continue
                jump = yield key[len(base) :], record
                cursor = base + jump if jump else key
            if len(rows) < size:
                return
            # a jump beyond what was read is likely to be followed by another
            size = FEW if cursor > rows[-1][0] else min(BATCH, size * 4)


def milliseconds(at: float) -> str:
    return rfc3339(at)[:-4] + "Z"
