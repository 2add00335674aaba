"""First stage: every table of the snapshot as a canonical checkpoint, in scratch and in the staging bucket.

Reading waits for the network, so many tables are read at once; aligning and encoding takes CPU, so only as many
tables as there are CPUs are in that step.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workloads.common.storage import Changed, Interrupted, NotFound, Stop, Storage, Transfer
from workloads.feature_pipeline import align, checkpoint
from workloads.feature_pipeline.contract import FeatureEnv, checkpoint_object
from workloads.feature_pipeline.manifest import Entry
from workloads.feature_pipeline.tables import Snapshot, changed, nested
from workloads.feature_pipeline.warehouse import Warehouse, WarehouseError

ENTRY_LIMIT_BYTES = 4 << 20


class KeyInvalidError(ValueError):
    """The target table's key cannot give rows and order."""


class SchemaChangedError(ValueError):
    """A table has other columns than when the run began."""


class AbsentError(ValueError):
    """A table has no rows at the snapshot's time, or is not there any more."""


class NestedError(ValueError):
    """A table has columns that no flat file can hold."""


class _Halt(Stop):
    """No further table is begun: the run is asked to stop, or a table has failed."""

    def __init__(self, run: Stop) -> None:
        super().__init__()
        self._run = run

    def is_set(self) -> bool:
        return super().is_set() or self._run.is_set()


@dataclass
class Rate:
    """How fast tables come, and what holds them up."""

    total: int
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    """Tables extracted by this attempt."""
    reused: int = 0
    """Tables that an earlier attempt had extracted."""
    skipped: int = 0
    """Tables without rows or gone."""
    bytes: int = 0
    """Size of all checkpoints so far."""
    seconds: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "encode": 0.0, "upload": 0.0})

    def __post_init__(self) -> None:
        self._start = self.clock()

    def add(self, entry: Entry, fresh: bool) -> None:
        """Count one table; only `fresh` ones, extracted now, make the rate."""
        self.bytes += entry.size
        if not fresh:
            self.reused += 1
            return
        self.done += 1
        for step, spent in entry.seconds.items():
            self.seconds[step] = self.seconds.get(step, 0.0) + spent

    @property
    def ready(self) -> int:
        """Tables whose checkpoint is in scratch."""
        return self.done + self.reused

    @property
    def spent_s(self) -> float:
        return self.clock() - self._start

    @property
    def per_minute(self) -> float:
        """Tables extracted in a minute, 0 before the first."""
        return 60 * self.done / self.spent_s if self.spent_s > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds until the last table at this rate."""
        left = self.total - self.ready - self.skipped
        return 60 * left / self.per_minute if self.per_minute else None

    def cause(self) -> str:
        """Name the step that most of the time went into."""
        reasons = {
            "read": "reading from BigQuery (its slots, the network, or too few io_threads)",
            "encode": "aligning and encoding (too few CPUs for the number of workers)",
            "upload": "uploading checkpoints (the network to the staging bucket)",
        }
        return reasons[max(reasons, key=lambda step: self.seconds.get(step, 0.0))]


class Extractor:
    """Extracts the tables of one snapshot."""

    def __init__(
        self,
        env: FeatureEnv,
        warehouse: Warehouse,
        storage: Storage,
        scratch: Path,
        cpus: int,
        stop: Stop,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.env, self.warehouse, self.storage, self.scratch = env, warehouse, storage, scratch
        self._clock, self._stop, self._halt = clock, stop, _Halt(stop)
        self._encoders = threading.BoundedSemaphore(max(1, env.workers or cpus))
        self.transfer = Transfer(stop)
        self._policies = align.Policies(
            missing=env.policy_missing, duplicate=env.policy_duplicate, extra=env.policy_extra
        )

    def path(self, table: str) -> Path:
        """Where the checkpoint of `table` lies in scratch."""
        return self.scratch / f"{table}.parquet"

    def run(
        self, snapshot: Snapshot, allowed: frozenset[str], report: Callable[[Rate, Entry], None]
    ) -> tuple[dict[str, Entry], list[str]]:
        """Put every table's checkpoint into scratch; return ({table: its entry}, tables without rows or gone).

        Only what is not in the staging bucket yet is read from BigQuery. `report` is called after every table, and
        may raise to end the extraction. `allowed` tables may be empty or gone.

        Raises:
            KeyInvalidError, SchemaChangedError, NestedError, align.MisalignedError: see there; the message names the
                table.
            AbsentError: tables are empty or gone; the message names all of them.
            warehouse.WarehouseError, storage.StorageError: reading or writing failed.
        """
        rate = Rate(len(snapshot.tables), self._clock)
        target, entry = self._target(snapshot, rate)
        entries, absent = {snapshot.target: entry}, dict[str, str]()
        report(rate, entry)
        with ThreadPoolExecutor(self.env.io_threads, thread_name_prefix="extract") as pool:
            futures: dict[Future[tuple[Entry, bool]], str] = {
                pool.submit(self._one, snapshot, table, target): table
                for table in snapshot.tables
                if table != snapshot.target
            }
            try:
                for future in as_completed(futures):
                    try:
                        entry, fresh = future.result()
                    except AbsentError as error:
                        absent[futures[future]] = str(error)
                        rate.skipped += 1
                        continue
                    entries[entry.table] = entry
                    rate.add(entry, fresh)
                    report(rate, entry)
            except BaseException:
                self._halt.set()  # what is under way is finished: it need not be extracted again
                pool.shutdown(cancel_futures=True)
                raise
        refused = sorted(table for table in absent if table not in allowed)
        if refused:
            shown = "; ".join(absent[table] for table in refused[:10])
            rest = f"; … ({len(refused)} in all)" if len(refused) > 10 else ""
            raise AbsentError(f"{shown}{rest}; fill them, or name them in missing_allowed")
        return {table: entries[table] for table in snapshot.tables if table in entries}, sorted(absent)

    def _target(self, snapshot: Snapshot, rate: Rate) -> tuple[pa.Array, Entry]:
        """Return (the key that all tables get, the target table's entry)."""
        entry = self._stored(snapshot, snapshot.target)
        fresh = entry is None
        if entry is None:
            began = self._clock()
            content = self._read(snapshot, snapshot.target)
            ordered = _sorted(content, self.env.key_column, snapshot.target)
            spent = {"read": self._clock() - began}
            moved = ordered is not content
            counts = align.Counts(rows=len(content), missing=0, duplicate=0, extra=0, null_key=0, reordered=moved)
            entry = self._keep(snapshot, snapshot.target, ordered, counts, spent)
        rate.add(entry, fresh)
        key = pq.read_table(self.path(snapshot.target), columns=[self.env.key_column])[self.env.key_column]
        return key.combine_chunks(), entry

    def _one(self, snapshot: Snapshot, table: str, target: pa.Array) -> tuple[Entry, bool]:
        """Return (entry of `table`, whether it was extracted now)."""
        if self._halt.is_set():
            raise Interrupted
        entry = self._stored(snapshot, table)
        if entry:
            return entry, False
        began = self._clock()
        content = self._read(snapshot, table)
        spent = {"read": self._clock() - began}
        with self._encoders:
            if self._stop.is_set():
                raise Interrupted
            try:
                aligned, counts = align.align(content, target, self.env.key_column, self._policies)
            except align.MisalignedError as error:
                raise align.MisalignedError(f"table {table}: {error}") from error
            except ValueError as error:
                raise KeyInvalidError(f"table {table}: {error}") from error
            del content
            return self._keep(snapshot, table, aligned, counts, spent), True

    def _read(self, snapshot: Snapshot, table: str) -> pa.Table:
        at = datetime.fromisoformat(snapshot.snapshot_time)
        if found := nested(snapshot.tables[table]):
            raise NestedError(f"table {table}: columns {', '.join(found[:5])} hold arrays or records; flatten them")
        try:
            content = self.warehouse.read(snapshot.datasets[table], table, at)
        except WarehouseError as error:
            if error.gone:
                raise AbsentError(f"table {table} is gone since the run began") from error
            raise
        difference = changed(snapshot.tables[table], dict.fromkeys(content.column_names, ""))
        if difference:
            raise SchemaChangedError(f"table {table}: comes {difference} since the run began")
        if not len(content):
            raise AbsentError(f"table {table} has no rows at {snapshot.snapshot_time}")
        return content

    def _keep(
        self, snapshot: Snapshot, table: str, content: pa.Table, counts: align.Counts, spent: dict[str, float]
    ) -> Entry:
        """Write the checkpoint, upload it, and then its entry: with the entry it counts as extracted."""
        path, began = self.path(table), self._clock()
        checkpoint.write(content, self.env.key_column, path)
        spent["encode"] = self._clock() - began
        uri = self._uri(snapshot, table)
        began = self._clock()
        with path.open("rb") as file:
            blob = self.storage.at(uri).upload(file.fileno(), uri, self.transfer)
        spent["upload"] = self._clock() - began
        entry = Entry(
            table=table,
            snapshot_time=snapshot.snapshot_time,
            rows=len(content),
            columns=tuple(name for name in content.column_names if name != self.env.key_column),
            counts=counts.to_dict(),
            nan=checkpoint.nan_counts(content),
            size=blob.size,
            crc32c=blob.crc32c if blob.crc32c is not None else checkpoint.crc32c(path),
            seconds=spent,
        )
        self.storage.at(uri).write(f"{uri}.json", entry.to_json())
        return entry

    def _stored(self, snapshot: Snapshot, table: str) -> Entry | None:
        """Return the entry that an earlier attempt left in the staging bucket, its checkpoint fetched into scratch.

        None if there is none, or if what is there is not what the entry says: the table is extracted again then.
        """
        uri = self._uri(snapshot, table)
        try:
            data, _ = self.storage.read_small(f"{uri}.json", ENTRY_LIMIT_BYTES)
            entry = Entry.from_json(data)
            blob = self.storage.at(uri).stat(uri)
        except (NotFound, ValueError):
            return None
        if blob.size != entry.size or blob.crc32c not in (None, entry.crc32c):
            return None
        path = self.path(table)
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("w+b") as file:
                self.storage.at(uri).download(blob, file.fileno(), self.transfer)
        except Changed:
            return None
        if checkpoint.crc32c(partial) != entry.crc32c:
            return None
        partial.replace(path)
        return entry

    def _uri(self, snapshot: Snapshot, table: str) -> str:
        name = checkpoint_object(self.env.pair, snapshot.snapshot_id, table)
        return f"gs://{self.env.staging_bucket}/{name}"


def _sorted(content: pa.Table, key: str, table: str) -> pa.Table:
    """Return the target table in the order of its key. Raises KeyInvalidError."""
    if key not in content.column_names:
        raise KeyInvalidError(f"target table {table}: has no key column {key!r} (setting key_column)")
    column = content[key]
    if column.null_count:
        raise KeyInvalidError(f"target table {table}: {column.null_count} rows have no {key}; give each row a key")
    distinct = pc.count_distinct(column).as_py()
    if distinct != len(column):
        raise KeyInvalidError(
            f"target table {table}: {len(column) - distinct} rows repeat a {key}; keys must be unique"
        )
    rising = len(column) < 2 or pc.all(pc.greater(column[1:], column[:-1])).as_py()
    return content if rising else content.sort_by(key)


def totals(entries: Mapping[str, Entry]) -> dict[str, int]:
    """Return how many rows did not fit, over all tables."""
    names = ("missing", "duplicate", "extra", "null_key", "reordered")
    return {name: sum(entry.counts.get(name, 0) for entry in entries.values()) for name in names}
