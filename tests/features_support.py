"""The feature pipeline on tables in memory and buckets in a folder; can be killed at a chosen moment.

As a program (`python tests/features_support.py FOLDER`) it is the container: it reads the tables from FOLDER/tables,
keeps its buckets in FOLDER/buckets, and says on standard output what it reads.
"""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather

from workloads.common.contract import ExitCode, RunStart, Task
from workloads.common.logs import Log
from workloads.common.memory import Memory, Reading
from workloads.common.storage import Blob, LocalStore, NoSpace, Stop, Storage, Transfer
from workloads.feature_pipeline import checkpoint
from workloads.feature_pipeline.contract import FeatureEnv, Status, records_prefix
from workloads.feature_pipeline.run import FeatureRun
from workloads.feature_pipeline.warehouse import WarehouseError

ROOT = Path(__file__).resolve().parent.parent
KEY = "interval_time"
PAIR = "eurusd"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def keys(rows: int) -> pa.Array:
    return pa.array(np.arange(rows, dtype="int64") * 300_000_000, pa.timestamp("us", "UTC"))


def features(name: str, rows: int, columns: int = 3, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    values = {f"{name}_{index}": np.round(rng.normal(size=rows), 5) for index in range(columns)}
    return pa.table({KEY: keys(rows), **values})


def targets(rows: int) -> pa.Table:
    rng = np.random.default_rng(1)
    return pa.table({KEY: keys(rows), **{f"return_h{h}": rng.normal(size=rows) for h in range(15, 106, 15)}})


def dataset(rows: int = 3_000, tables: int = 6) -> dict[str, pa.Table]:
    """A target table, tables of one pair, and a shared one."""
    found = {f"targets_{PAIR}": targets(rows)}
    for index in range(tables - 2):
        found[f"sma_{index}_{PAIR}"] = features(f"sma_{index}", rows, seed=index)
    return {**found, "shared_calendar": features("calendar", rows, seed=99)}


class MemoryWarehouse:
    """BigQuery as a dict of tables; counts what is read."""

    def __init__(self, tables: Mapping[str, pa.Table], hours: int = 168) -> None:
        self.tables = dict(tables)
        self.raw: dict[str, pa.Table] = {}
        self.hours = hours
        self.seen: list[str] = []
        self.denied: set[str] = set()
        self.before_read: Callable[[str], None] = lambda table: None

    def columns(self, dataset: str) -> dict[str, dict[str, str]]:
        if dataset in self.denied:
            raise WarehouseError(f"the columns of {dataset} may not be read: denied", denied=True)
        found = self.tables if dataset.endswith(".features") else self.raw
        return {name: {column.name: _kind(column.type) for column in table.schema} for name, table in found.items()}

    def time_travel_hours(self, dataset: str) -> int:
        return self.hours

    def rows(self, dataset: str) -> dict[str, int]:
        return {name: len(table) for name, table in self.tables.items()}

    def read(self, dataset: str, table: str, at: datetime) -> pa.Table:
        self.before_read(table)
        self.seen.append(table)
        found = self.tables if dataset.endswith(".features") else self.raw
        if table not in found:
            raise WarehouseError(f"table {dataset}.{table} is not there", gone=True)
        return found[table]


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return "ARRAY<FLOAT64>"
    return {"double": "FLOAT64", "int64": "INT64", "string": "STRING"}.get(str(kind), "TIMESTAMP")


class FolderBuckets(LocalStore):
    """Buckets as folders, with the checksums and generations of the real ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failures: dict[str, Exception] = {}
        self.before: Callable[[str, str], None] = lambda call, uri: None
        self._last = threading.Lock()

    def path(self, uri: str) -> Path:
        return self.folder / uri.removeprefix("gs://")

    def _about(self, call: str, uri: str) -> None:
        self.before(call, uri)
        for part, failure in self.failures.items():
            if part in f"{call} {uri}":
                raise failure

    def stat(self, uri: str) -> Blob:
        if not uri.startswith("gs://"):
            return super().stat(uri)
        self._about("stat", uri)
        blob = super().stat(str(self.path(uri)))
        return replace(blob, uri=uri, crc32c=checkpoint.crc32c(self.path(uri)))

    def read(self, blob: Blob, length: int) -> bytes:
        return super().read(replace(blob, uri=str(self.path(blob.uri))), length)

    def download(self, blob: Blob, target: int, transfer: Transfer) -> None:
        self._about("download", blob.uri)
        super().download(replace(blob, uri=str(self.path(blob.uri))), target, transfer)

    def upload(self, source: int, uri: str, transfer: Transfer, *, if_generation: int | None = None) -> Blob:
        self._about("upload", uri)
        super().upload(source, str(self.path(uri)), transfer, if_generation=if_generation)
        self._about("uploaded", uri)
        return self.stat(uri)

    def write(self, uri: str, data: bytes, *, if_generation: int | None = None) -> int:
        self._about("write", uri)
        generation = super().write(str(self.path(uri)), data, if_generation=if_generation)
        self._about("written", uri)
        return generation

    def delete(self, uri: str) -> None:
        self._about("delete", uri)
        super().delete(str(self.path(uri)))

    def names(self, bucket: str) -> set[str]:
        base = self.folder / bucket
        return {str(path.relative_to(base)) for path in base.rglob("*") if path.is_file()}


def settings(folder: Path, **changes: Any) -> FeatureEnv:
    values: dict[str, Any] = {
        "project": "p",
        "features_dataset": "features",
        "raw_dataset": "raw",
        "output_bucket": "out",
        "staging_bucket": "stage",
        "pair": PAIR,
        "scratch_dir": str(folder / "scratch"),
        "io_threads": 3,
    }
    return FeatureEnv(**{**values, **changes})


class Place:
    """Buckets and scratch under one folder, and the runs made there."""

    def __init__(self, folder: Path, tables: Mapping[str, pa.Table] | None = None) -> None:
        self.folder = folder
        self.warehouse = MemoryWarehouse(dataset() if tables is None else tables)
        self.buckets = FolderBuckets(folder / "buckets")
        self.out = io.BytesIO()
        self.now = NOW

    def run(
        self,
        *,
        run_id: str = "r1",
        execution: str = "e1",
        memory: int | None = None,
        stop: Stop | None = None,
        clock: Callable[[], float] | None = None,
        **changes: Any,
    ) -> ExitCode:
        return self.prepare(
            run_id=run_id, execution=execution, memory=memory, stop=stop, clock=clock, **changes
        ).execute()

    def prepare(
        self,
        *,
        run_id: str = "r1",
        execution: str = "e1",
        memory: int | None = None,
        stop: Stop | None = None,
        clock: Callable[[], float] | None = None,
        in_memory: bool = False,
        **changes: Any,
    ) -> FeatureRun:
        stop = stop or Stop()
        options: dict[str, Any] = {"clock": clock} if clock else {}
        return FeatureRun(
            env=settings(self.folder, **changes),
            run_id=run_id,
            task=Task(execution=execution),
            start=RunStart(),
            storage=Storage(lambda deadline: self.buckets),
            warehouse=lambda: self.warehouse,
            memory=Memory(memory, "test", lambda: Reading(0, 0)),
            stop=stop,
            log=Log(self.out, source="features", readable=False),
            in_memory=in_memory,
            now=lambda: self.now,
            **options,
        )

    def status(self, run_id: str = "r1") -> Status:
        return Status.from_json(self.document("status.json", run_id))

    def record(self, run_id: str = "r1") -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.document("run_metadata.json", run_id))
        return loaded

    def document(self, name: str, run_id: str = "r1") -> bytes:
        return (self.buckets.folder / "out" / records_prefix(PAIR, run_id) / name).read_bytes()

    @property
    def training(self) -> Path:
        return self.buckets.folder / "out" / f"training_{PAIR}.parquet"

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]

    def later(self, **passed: float) -> None:
        self.now += timedelta(**passed)


def full(uri: str) -> NoSpace:
    return NoSpace(uri, "No space left on device")


# -- as a program --------------------------------------------------------------------------------------------------


def start(folder: Path, *, kill: str = "", environment: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    """Start the container's program; with `kill` ("call part-of-uri count") it kills itself at that storage call."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "KILL": kill, **(environment or {})}
    command = [sys.executable, str(Path(__file__).resolve()), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT)


def save(folder: Path, tables: Mapping[str, pa.Table]) -> None:
    (folder / "tables").mkdir(parents=True)
    for name, table in tables.items():
        pyarrow.feather.write_feather(table, str(folder / "tables" / f"{name}.arrow"), compression="uncompressed")


def _main(folder: Path) -> int:
    files = sorted((folder / "tables").glob("*.arrow"))
    place = Place(folder, {path.stem: pyarrow.feather.read_table(str(path)) for path in files})
    place.out = sys.stdout.buffer  # type: ignore[assignment]  # written to, never read
    place.now = datetime.now(UTC)

    def say(table: str) -> None:
        sys.stdout.write(json.dumps({"read": table}) + "\n")  # one write: other threads write too
        sys.stdout.flush()
        time.sleep(float(os.environ.get("SLOW_READ_S") or 0))

    place.warehouse.before_read = say
    call, _, rest = os.environ.get("KILL", "").partition(" ")
    part, _, count = rest.partition(" ")
    left = [int(count or 0)]

    def die_here(seen: str, uri: str) -> None:
        if call == seen and part in uri:
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    place.buckets.before = die_here
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    run = place.prepare(stop=stop, in_memory=bool(os.environ.get("IN_MEMORY")))
    return int(run.execute())


if __name__ == "__main__":
    code = _main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(code)
