"""The five stages of a run, each a function that can be done again from the start."""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.common.memory import cpu_count, own_memory
from workloads.common.storage import StorageError
from workloads.feature_pipeline import backup, report, room, validate
from workloads.feature_pipeline.contract import (
    MANIFEST,
    REPORT_JSON,
    REPORT_PAGE,
    ErrorCode,
    training_object,
)
from workloads.feature_pipeline.extract import Extractor, Rate
from workloads.feature_pipeline.failure import RunFailure
from workloads.feature_pipeline.manifest import Entry, Manifest
from workloads.feature_pipeline.snapshots import Snapshots
from workloads.feature_pipeline.tables import Snapshot
from workloads.feature_pipeline.warehouse import Warehouse, WarehouseError

if TYPE_CHECKING:
    from workloads.feature_pipeline.run import FeatureRun

LOG_EVERY_S = 10.0
WARN_AFTER_S = 30.0
"""Time and tables before the rate says anything."""
WARN_AFTER_TABLES = 5
MAX_REPORT_BYTES = 64 << 20


class Stages:
    """What the stages hand on to each other lies in the run."""

    def __init__(self, run: "FeatureRun") -> None:
        self.run = run
        self._warehouse: Warehouse | None = None
        self._room: room.Room | None = None
        self._logged_at = float("-inf")
        self._slow = False

    @property
    def output(self) -> Path:
        """The merged file in scratch."""
        return self.run.scratch / training_object(self.run.env.pair)

    @property
    def snapshot(self) -> Snapshot:
        if self.run.snapshot is None:
            raise TypeError("the snapshot is taken first")
        return self.run.snapshot

    @property
    def manifest(self) -> Manifest:
        if self.run.manifest is None:
            raise TypeError("the tables are extracted first")
        return self.run.manifest

    def begin(self) -> None:
        """Empty the scratch space and take the snapshot."""
        run = self.run
        run.scratch.mkdir(parents=True, exist_ok=True)
        empty(run.scratch)
        self._room = room.find(run.scratch, run.memory.limit, in_memory=run.in_memory and run.env.scratch == "memory")
        self._warehouse = run.connect()
        run.snapshots = Snapshots(run.env, run.storage, self._warehouse, run.log, run.now)
        generation = backup.generation_now(run.storage, backup.training_uri(run.env))
        run.snapshot, note = run.snapshots.begin(run.run_id, run.task.execution, generation)
        if note:
            run.resumed = note.startswith("resumes")
            run.warn(note) if not run.resumed else run.log.info(note)
        run.uploaded = run.snapshot.uploaded
        run.set(tables_total=len(run.snapshot.tables))
        run.log.info(
            f"{len(run.snapshot.tables)} tables at {run.snapshot.snapshot_time}",
            missing=list(run.snapshot.missing),
            target=run.snapshot.target,
        )
        if not run.uploaded:
            self._refuse_by_rows(self._warehouse, self._room)

    def _refuse_by_rows(self, warehouse: Warehouse, found: room.Room) -> None:
        """Refuse before anything is read what cannot fit even if it compresses as well as anything does."""
        snapshot = self.snapshot
        try:
            rows = warehouse.rows(snapshot.datasets[snapshot.target]).get(snapshot.target, 0)
        except WarehouseError as error:
            self.run.log.warning(f"the size is known only once tables are read: {error}")
            return
        columns = 1 + sum(len(types) - 1 for types in snapshot.tables.values())
        found.refuse(
            tables=len(snapshot.tables),
            columns=columns,
            rows=rows,
            checkpoint_bytes=room.smallest(columns, rows),
            basis="estimated before the first read",
        )

    def extract(self) -> None:
        """Every table of the snapshot as a checkpoint in scratch and in the staging bucket."""
        run, snapshot = self.run, self.snapshot
        if self._warehouse is None:
            raise TypeError("the snapshot is taken first")
        cpus = max(1, int(cpu_count()))
        extractor = Extractor(run.env, self._warehouse, run.storage, run.scratch, cpus, run.stop, run.clock)
        run.transfer = extractor.transfer
        run.log.info(f"{run.env.io_threads} tables are read at once, {run.env.workers or cpus} encoded", cpus=cpus)
        entries, absent = extractor.run(snapshot, frozenset(run.env.missing_allowed), self._progress)
        if absent:
            run.warn(f"without rows or gone, allowed by name: {', '.join(absent)}")
        run.manifest = Manifest(
            pair=run.env.pair,
            key=run.env.key_column,
            target=snapshot.target,
            snapshot_time=snapshot.snapshot_time,
            tables=entries,
            missing=snapshot.missing,
            empty=tuple(absent),
        )

    def _progress(self, rate: Rate, entry: Entry) -> None:
        run = self.run
        run.rate = rate
        run.set(
            tables_done=rate.ready,
            tables_per_minute=round(rate.per_minute, 1),
            eta_s=None if rate.eta_s is None else round(rate.eta_s, 1),
        )
        if rate.spent_s - self._logged_at >= LOG_EVERY_S or rate.ready == rate.total:
            self._logged_at = rate.spent_s
            self._log_progress(rate)
        self._refuse_by_sizes(rate, entry)

    def _log_progress(self, rate: Rate) -> None:
        run, expected = self.run, self.run.env.expected_tables_per_minute
        eta = "" if rate.eta_s is None else f", {rate.eta_s:,.0f} s left"
        run.log.info(
            f"{rate.ready}/{rate.total} tables, {rate.per_minute:.1f} tables/min{eta}",
            tables_done=rate.ready,
            tables_total=rate.total,
            tables_per_minute=round(rate.per_minute, 1),
            eta_s=rate.eta_s,
            reused=rate.reused,
            bytes=rate.bytes,
        )
        slow = rate.done >= WARN_AFTER_TABLES and rate.spent_s >= WARN_AFTER_S and rate.per_minute < expected / 2
        if slow and not self._slow:
            run.warn(
                f"extraction runs at less than half of the expected {expected:g} tables/min; "
                f"most time goes into {rate.cause()}",
                seconds={step: round(spent, 1) for step, spent in rate.seconds.items()},
            )
        self._slow = slow

    def _refuse_by_sizes(self, rate: Rate, entry: Entry) -> None:
        """Once enough checkpoints are there their mean size says what all will take."""
        if self._room is None or rate.ready < max(WARN_AFTER_TABLES, room.PROJECT_AFTER * rate.total):
            return
        columns = 1 + sum(len(types) - 1 for types in self.snapshot.tables.values())
        self._room.refuse(
            tables=rate.total,
            columns=columns,
            rows=entry.rows,
            checkpoint_bytes=rate.bytes * rate.total // rate.ready,
            basis=f"projected from {rate.ready} checkpoints",
        )

    def merge(self) -> None:
        """One file from all checkpoints, in a process of its own."""
        run, manifest = self.run, self.manifest
        if self._room is None:
            raise TypeError("the scratch space is looked at first")
        size = sum(entry.size for entry in manifest.tables.values())
        limit = None if run.memory.limit is None else max(1, run.memory.limit - own_memory()[0])
        request = {
            "key": manifest.key,
            "output": str(self.output),
            "sources": [{"table": table, "path": str(run.scratch / f"{table}.parquet")} for table in manifest.tables],
            "consume": self._room.consume(size),
            "workers": max(1, run.env.workers or int(cpu_count())),
            "memory_limit": limit,
            "in_memory": self._room.in_memory,
        }
        run.transfer.total = size

        def progress(done: int, tables: int, written: int) -> None:
            run.transfer.advance(written - run.transfer.done)
            run.set(message=f"merged {done} of {tables} tables")

        run.merged = run.merger.run(request, progress)
        run.log.info(
            f"merged {run.merged['rows']:,} rows x {run.merged['columns']:,} columns, {run.merged['bytes']:,} bytes",
            spliced=run.merged["spliced"],
            recoded=len(run.merged["recoded"]),
            resumed=run.merged["resumed"],
            peak_mib=run.merged["peak_bytes"] >> 20,
        )

    def validate(self) -> None:
        """Checklist, report as JSON and page; both are written whatever they say."""
        run, manifest = self.run, self.manifest
        found = validate.validate(self.output, manifest, run.env, run.merged["renamed"])
        run.checks = {check.name: check.passed or check.warning for check in found.checks}
        run.set(checks=dict(run.checks))
        for check in found.checks:
            if check.passed:
                run.log.info(f"[x] {check.name}: {check.detail}", check=check.name)
            else:
                run.warn(f"[{'?' if check.warning else ' '}] {check.name}: {check.detail}", check=check.name)
        facts = {
            "run": run.run_id,
            "image": run.env.image or "not told",
            "snapshot": manifest.snapshot_time,
            "target table": manifest.target,
        }
        documents = {
            MANIFEST: manifest.to_json(),
            REPORT_JSON: (json.dumps(found.to_dict(), indent=2, allow_nan=False) + "\n").encode(),
            REPORT_PAGE: report.page(found, self.output, facts).encode(),
        }
        backup.write_documents(run.storage, run.records, documents)
        if not found.passed:
            failed = [check for check in found.checks if not check.passed and not check.warning]
            raise RunFailure(
                ErrorCode.VALIDATION_FAILED,
                "; ".join(f"{check.name}: {check.detail}" for check in failed),
                f"See {run.records}{REPORT_PAGE}. The training file was not replaced.",
                failed=[check.name for check in failed],
            )

    def backup(self) -> None:
        """The training file into its bucket, and the snapshot marked: from here a restart only cleans up."""
        run, snapshot = self.run, self.snapshot
        if run.snapshots is None:
            raise TypeError("the snapshot is taken first")
        run.transfer.total = os.path.getsize(self.output)
        run.uploaded = backup.upload(
            run.storage, run.env, self.output, snapshot.output_generation, run.transfer, run.records
        )
        run.snapshot = run.snapshots.mark_uploaded(snapshot, run.uploaded)
        run.log.info(
            f"{backup.training_uri(run.env)} is in place, checksum compared",
            bytes=run.uploaded.size,
            generation=run.uploaded.generation,
        )

    def clean_up(self) -> None:
        """Scratch and checkpoints away; what cannot be removed is left to the bucket's lifecycle.

        The snapshot stays: it says that this run has made its file, should it be started again.
        """
        run, snapshot = self.run, self.snapshot
        if run.uploaded is None:
            raise TypeError("the training file is uploaded first")
        self._take_over(run.uploaded.records)
        empty(run.scratch)
        try:
            if run.env.keep:
                run.log.info("the checkpoints are kept, as asked; the bucket's lifecycle removes them")
            else:
                run.transfer.total = 2 * len(snapshot.tables)
                backup.clean_up(run.storage, run.env, snapshot, lambda done: run.transfer.advance(1))
        except StorageError as error:
            run.warn(f"checkpoints are left to the bucket's lifecycle: {error}")

    def _take_over(self, records: str) -> None:
        """After a restart: the documents of the attempt that uploaded, and what they say of the checks."""
        run = self.run
        if run.checks:
            return
        backup.copy_documents(run.storage, records, run.records)
        data, _ = run.storage.read_small(f"{run.records}{REPORT_JSON}", MAX_REPORT_BYTES)
        found = json.loads(data)
        run.checks = {check["name"]: check["passed"] or check["warning"] for check in found["checks"]}
        run.merged = {"rows": found["rows"], "columns": found["columns"], "bytes": found["bytes"]}


def empty(folder: Path) -> None:
    """Remove what is in `folder`; the folder itself may be where a volume is mounted."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
