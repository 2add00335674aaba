"""The snapshot of a pair in the staging bucket: made once, held by one run, read again by whoever resumes."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from workloads.common.contract import RunState
from workloads.common.ledger import MAX_STATUS_BYTES, is_alive
from workloads.common.logs import Log, rfc3339
from workloads.common.storage import NotFound, PreconditionFailed, Storage
from workloads.feature_pipeline.contract import STATUS, FeatureEnv, Status, records_prefix, snapshot_object
from workloads.feature_pipeline.extract import KeyInvalidError, NestedError
from workloads.feature_pipeline.tables import Found, Snapshot, Uploaded, choose, is_shared, nested, refuse_missing
from workloads.feature_pipeline.warehouse import Warehouse

CHECKPOINT_VERSION = 1
"""Form of the checkpoints; a run of another version extracts anew."""
MARGIN = timedelta(hours=2)
"""A snapshot must stay readable this long: the longest a run takes."""
MAX_SNAPSHOT_BYTES = 64 << 20


class PairHeldError(Exception):
    """Another run is at work on this pair."""


class Snapshots:
    """The snapshot object of one pair."""

    def __init__(
        self, env: FeatureEnv, storage: Storage, warehouse: Warehouse, log: Log, now: Callable[[], datetime]
    ) -> None:
        self.env, self.storage, self.warehouse, self.log, self._now = env, storage, warehouse, log, now
        self.uri = f"gs://{env.staging_bucket}/{snapshot_object(env.pair)}"
        self._generation = 0

    def begin(self, run_id: str, execution: str, output_generation: int) -> tuple[Snapshot, str]:
        """Take the snapshot that an earlier attempt left, or make one; give it and what is to be said about it.

        Raises:
            PairHeldError: another run is at work on this pair.
            TablesMissingError, KeyInvalidError, NestedError: the tables cannot make a training file.
            WarehouseError, StorageError: reading or writing failed.
        """
        found = self._load()
        note = ""
        if found is not None:
            why = self._unusable(found, run_id, self._look_at_holder(found, run_id, execution))
            if not why:
                refuse_missing(found.missing, self.env.missing_allowed, "tables other pairs have and this one lacks")
                self._write(replace(found, run_id=run_id))
                return replace(found, run_id=run_id), f"resumes the snapshot of {found.snapshot_time}"
            self.log.info(f"the snapshot of {found.snapshot_time} is not resumed: {why}")
            note = "" if found.uploaded else f"starts anew: {why}"
        made = self._make(run_id, output_generation)
        self._write(made)
        return made, note

    def mark_uploaded(self, snapshot: Snapshot, uploaded: Uploaded) -> Snapshot:
        """Keep that the training file is in place: a restart has only to clean up."""
        marked = replace(snapshot, uploaded=uploaded)
        self._write(marked)
        return marked

    def drop(self) -> None:
        """Forget the snapshot: the next run reads anew."""
        self.storage.at(self.uri).delete(self.uri)

    def _load(self) -> Snapshot | None:
        try:
            data, blob = self.storage.read_small(self.uri, MAX_SNAPSHOT_BYTES)
        except NotFound:
            return None
        self._generation = blob.generation
        try:
            return Snapshot.from_json(data)
        except ValueError as error:
            self.log.warning(f"{self.uri} is no snapshot and is replaced: {error}")
            return None

    def _write(self, snapshot: Snapshot) -> None:
        try:
            self._generation = self.storage.at(self.uri).write(
                self.uri, snapshot.to_json(), if_generation=self._generation
            )
        except (PreconditionFailed, NotFound) as error:
            raise PairHeldError(f"another run has taken {self.env.pair} at this moment ({self.uri})") from error

    def _look_at_holder(self, found: Snapshot, run_id: str, execution: str) -> str:
        """Give the last state of the run that holds `found`, empty if it is ours or unknown.

        Raises PairHeldError if that run is at work.
        """
        if found.run_id == run_id:
            return ""
        uri = f"gs://{self.env.output_bucket}/{records_prefix(self.env.pair, found.run_id)}{STATUS}"
        try:
            data, _ = self.storage.read_small(uri, MAX_STATUS_BYTES)
            other = Status.from_json(data)
        except (NotFound, ValueError):
            return ""
        ours = bool(execution) and other.execution == execution
        if not ours and is_alive(other, self._now()):
            raise PairHeldError(
                f"run {found.run_id} is at work on {self.env.pair} as execution {other.execution or 'unknown'}, "
                f"last heartbeat {other.heartbeat_at}"
            )
        return other.state

    def _unusable(self, found: Snapshot, run_id: str, ended: str) -> str:
        """Say why `found` cannot be resumed; empty if it can."""
        if found.uploaded:
            # A run that was cut off in its clean-up is finished by the next; one that has ended well is over.
            unfinished = run_id == found.run_id or ended not in ("", RunState.SUCCEEDED)
            return "" if unfinished else f"run {found.run_id} has made its training file from it"
        if found.fingerprint != fingerprint(self.env):
            return "settings that shape the checkpoints have changed since"
        hours = min(self.warehouse.time_travel_hours(dataset) for dataset in set(found.datasets.values()))
        age = self._now() - datetime.fromisoformat(found.snapshot_time)
        if age > timedelta(hours=hours) - MARGIN:
            return f"it is {age.total_seconds() / 3600:.0f} h old and BigQuery goes back {hours} h only"
        return ""

    def _make(self, run_id: str, output_generation: int) -> Snapshot:
        env = self.env
        features, raw = qualified(env.project, env.features_dataset), qualified(env.project, env.raw_dataset)
        columns = self.warehouse.columns(features)
        found = choose(columns, env)
        refuse_missing(found.missing, env.missing_allowed, "tables other pairs have and this one lacks")
        datasets = dict.fromkeys([found.target, *found.features, *found.shared], features)
        if env.shared_tables and raw != features:
            for table, types in self.warehouse.columns(raw).items():
                if table not in columns and is_shared(table, env):
                    datasets[table], columns[table] = raw, types
        now = self._now()
        at = now.replace(microsecond=now.microsecond // 1000 * 1000)  # whole milliseconds, never in the future
        self._check(found, {table: columns[table] for table in datasets})
        return Snapshot(
            snapshot_id=at.strftime("%Y%m%dT%H%M%SZ"),
            snapshot_time=rfc3339(at),
            fingerprint=fingerprint(env),
            run_id=run_id,
            target=found.target,
            tables={table: columns[table] for table in datasets},
            datasets=datasets,
            missing=tuple(found.missing),
            output_generation=output_generation,
        )

    def _check(self, found: Found, columns: dict[str, dict[str, str]]) -> None:
        key = self.env.key_column
        keyless = [table for table, types in columns.items() if key not in types]
        if keyless:
            raise KeyInvalidError(f"no key column {key!r} (setting key_column) in {_some(keyless)}")
        deep = [f"{table}.{name}" for table, types in columns.items() for name in nested(types)]
        if deep:
            raise NestedError(f"columns hold arrays or records: {_some(deep)}; flatten them")
        kinds = {table: types[key] for table, types in columns.items()}
        other = [f"{table} ({kind})" for table, kind in kinds.items() if kind != kinds[found.target]]
        if other:
            raise KeyInvalidError(
                f"the key of the target table is {kinds[found.target]}, that of {_some(other)} is not; cast it"
            )


def qualified(project: str, dataset: str) -> str:
    """PROJECT.DATASET of a setting that may leave the project out."""
    return dataset if "." in dataset else f"{project}.{dataset}"


def fingerprint(env: FeatureEnv) -> str:
    """Digest of the settings that shape a checkpoint or choose the tables."""
    names = (
        "project", "features_dataset", "raw_dataset", "pair", "target_table", "pair_tables", "shared_tables",
        "key_column", "policy_missing", "policy_duplicate", "policy_extra",
    )  # fmt: skip
    values = [CHECKPOINT_VERSION, *(getattr(env, name) for name in names)]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f", … ({len(names)} in all)" if len(names) > 10 else "")
