"""One pair from BigQuery to a validated training file. Reads no environment: everything comes in as arguments."""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from workloads.common import run_index
from workloads.common.background import interruptible
from workloads.common.contract import RUN_METADATA, ExitCode, RunStart, RunState, Task
from workloads.common.ledger import ClaimLost, Ledger
from workloads.common.logs import Log, rfc3339, utc_now
from workloads.common.memory import MIB, Memory, own_memory
from workloads.common.storage import Interrupted, Stop, Storage, StorageError, Transfer
from workloads.feature_pipeline import backup, record, snapshots
from workloads.feature_pipeline.contract import (
    STATUS,
    SYSTEM,
    ErrorCode,
    FeatureEnv,
    Stage,
    Status,
    records_prefix,
)
from workloads.feature_pipeline.extract import Rate
from workloads.feature_pipeline.failure import DATA_FAULTS, RunFailure, explain, terminated
from workloads.feature_pipeline.manifest import Manifest
from workloads.feature_pipeline.merging import Merger
from workloads.feature_pipeline.stages import Stages, empty
from workloads.feature_pipeline.tables import Snapshot, Uploaded
from workloads.feature_pipeline.warehouse import Warehouse

STOP_GRACE_S = 1.0
"""Seconds a stage has left once the platform has asked us to stop; it leaves 10 for everything."""


class FeatureRun:
    """One run. Create it, `execute` it once, from the main thread."""

    def __init__(
        self,
        *,
        env: FeatureEnv,
        run_id: str,
        task: Task,
        start: RunStart,
        storage: Storage,
        warehouse: Callable[[], Warehouse],
        memory: Memory,
        stop: Stop,
        log: Log,
        runtime: str = "process",
        in_memory: bool = False,
        problem: RunFailure | None = None,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`in_memory` says that files in scratch are memory whatever their file system is called, as on Cloud Run.
        `problem` is one the caller met before: the run then ends with it."""
        self.env, self.run_id, self.task, self.start = env, run_id, task, start
        self.storage, self.memory, self.stop, self.log = storage, memory, stop, log
        self.runtime, self.in_memory, self.problem = runtime, in_memory, problem
        self.now, self.clock = now, clock
        self.connect = warehouse
        self.records = f"gs://{env.output_bucket}/{records_prefix(env.pair, run_id)}"
        self.scratch = Path(env.scratch_dir)
        self.started, self._began = now(), clock()
        self.snapshot: Snapshot | None = None
        self.snapshots: snapshots.Snapshots | None = None
        self.manifest: Manifest | None = None
        self.uploaded: Uploaded | None = None
        self.rate: Rate | None = None
        self.merged: dict[str, Any] = {}
        self.checks: Mapping[str, bool] = {}
        self.warnings: list[str] = []
        self.resumed = False
        self.peak_mib = 0
        self.ledger: Ledger[Status] | None = None
        self.merger = Merger(log, env.merge_tries)
        self.transfer = Transfer(stop)
        self._seconds: dict[str, float] = {}
        self._stage: tuple[Stage, float] | None = None

    def execute(self) -> ExitCode:
        """Do the run; whatever happens, its final state is written if it can be."""
        try:
            self._open()
            if self.problem:
                raise self.problem
            self._all_stages()
        except Interrupted:
            return self._end(RunState.FAILED, terminated())
        except (run_index.HeldByOther, ClaimLost) as held:
            self.log.error(f"nothing is written about this run: {held}")
            return ExitCode.BAD_REQUEST
        except snapshots.PairHeldError as held:
            hint = "Wait until that run has ended; if it is dead, it counts as lost within a minute."
            return self._end(RunState.FAILED, RunFailure(ErrorCode.HELD_BY_OTHER, str(held), hint))
        except Exception as error:
            failure = terminated() if self.stop.is_set() else explain(error)
            if failure.code is ErrorCode.INTERNAL_ERROR:
                self.log.error(traceback.format_exc(limit=20))
            return self._end(RunState.FAILED, failure)
        return self._end(RunState.SUCCEEDED, None)

    @property
    def elapsed_s(self) -> float:
        return self.clock() - self._began

    def stage_seconds(self) -> dict[str, float]:
        """Seconds that each stage has taken so far."""
        found = dict(self._seconds)
        if self._stage:
            found[self._stage[0]] = round(self.clock() - self._stage[1], 3)
        return found

    def warn(self, message: str, **fields: object) -> None:
        """Log a warning and keep it for status and record."""
        self.log.warning(message, **fields)
        if message not in self.warnings:
            self.warnings.append(message)

    def set(self, **changes: Any) -> None:
        """Change fields of the status; they are written with the next heartbeat."""
        if self.ledger:
            self.ledger.set(**changes)

    def _open(self) -> None:
        """Claim the run id, in the index and by the status."""
        if self.env.bucket:
            run_index.claim(
                self.storage,
                self.env.bucket,
                system=SYSTEM,
                run_id=self.run_id,
                start=self.start,
                task=self.task,
                output_uri=self.records,
                now=self.now,
            )
        first = Status(
            state=RunState.RUNNING,
            pair=self.env.pair,
            run_id=self.run_id,
            started_at=rfc3339(self.started),
            execution=self.task.execution,
        )
        ledger = Ledger(
            self.storage,
            f"{self.records}{STATUS}",
            first,
            read=Status.from_json,
            log=self.log,
            now=self.now,
            gauges=self._gauges,
            on_lost=self.stop.set,
        )
        ledger.claim()
        self.ledger = ledger

    def _gauges(self) -> dict[str, Any]:
        self.peak_mib = max(self.peak_mib, self.memory.read().used // MIB, own_memory()[1] // MIB)
        return {
            "peak_memory_mib": self.peak_mib,
            "bytes_done": self.transfer.done,
            "bytes_total": self.transfer.total,
            "stage_seconds": self.stage_seconds(),
            "warnings": tuple(self.warnings),
        }

    def _all_stages(self) -> None:
        stages = Stages(self)
        with self._timed(Stage.EXTRACT):
            self._interruptible(stages.begin)
            if not self.uploaded:
                self._interruptible(stages.extract)
        if not self.uploaded:
            with self._timed(Stage.MERGE):
                self._interruptible(stages.merge)
            with self._timed(Stage.VALIDATE):
                self._interruptible(stages.validate)
            with self._timed(Stage.BACKUP):
                self._interruptible(stages.backup)
        with self._timed(Stage.CLEAN_UP):
            self._interruptible(stages.clean_up)

    def _interruptible(self, work: Callable[[], None]) -> None:
        try:
            interruptible(work, self.stop, grace_s=STOP_GRACE_S)
        finally:
            if self.stop.is_set():
                self.merger.stop()
        if self.ledger and self.ledger.lost:
            raise ClaimLost("it was ended by somebody else")

    @contextmanager
    def _timed(self, stage: Stage) -> Iterator[None]:
        self._stage = (stage, self.clock())
        self.transfer = Transfer(self.stop)
        self.set(stage=stage, message=f"{stage} began")
        self.log.info(f"stage {stage} begins", stage=stage)
        try:
            yield
        finally:
            self._seconds[stage] = round(self.clock() - self._stage[1], 3)
            self._stage = None
        self.log.info(f"stage {stage} done", stage=stage, seconds=self._seconds[stage])

    def _end(self, state: RunState, failure: RunFailure | None) -> ExitCode:
        """Record, then status: once the status is final nothing changes any more."""
        if failure:
            self.log.error(f"{failure.code}: {failure.message} {failure.hint}", code=failure.code)
            if failure.code in DATA_FAULTS:
                self._forget_snapshot()
        code = failure.code.exit_code if failure else ExitCode.DONE
        if self.ledger is None:
            self.log.error(f"the state {state} cannot be written: the place of the status could not be taken")
            return code
        try:
            self._write_end(self.ledger, state, failure)
        except ClaimLost as lost:
            self.log.error(f"nothing is written about this run: {lost}")
            return ExitCode.BAD_REQUEST
        except StorageError as error:
            self.log.error(f"the final state {state} cannot be written: {error}")
            return code or ExitCode.RETRY
        self.log.info(f"{state} after {self.elapsed_s:,.1f} s: {self.records}", state=state, peak_mib=self.peak_mib)
        return code

    def _write_end(self, ledger: Ledger[Status], state: RunState, failure: RunFailure | None) -> None:
        if ledger.lost:
            raise ClaimLost("it was ended by somebody else")
        data = record.make(self, state, failure).to_json()
        if failure:
            try:
                backup.write_documents(self.storage, self.records, {RUN_METADATA: data})
            except StorageError as error:
                self.log.error(f"{RUN_METADATA} cannot be written: {error}")
        else:
            backup.write_documents(self.storage, self.records, {RUN_METADATA: data})
        ledger.finish(
            state,
            make_room=lambda: empty(self.scratch),
            message=failure.message if failure else "done",
            error_code=failure.code if failure else "",
            hint=failure.hint if failure else "",
            checks=dict(self.checks),
        )

    def _forget_snapshot(self) -> None:
        if self.snapshots is None or self.snapshot is None:
            return
        try:
            self.snapshots.drop()
        except StorageError as error:
            self.log.warning(f"the snapshot cannot be removed; the next run resumes it: {error}")
