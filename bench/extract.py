"""How fast tables become checkpoints, and what decides it: python -m bench.extract [--tables 64] [--rounds 3]

The extraction of the feature pipeline on tables that lie in a folder as Arrow files, with another folder as staging
bucket: what is left is reading, aligning, encoding, checksums and copies. Peers write the same tables with the
defaults of Polars, pyarrow and pandas, from as many threads as there are cores. Reading with a wait of 0.5 s, as over a
network, shows what io_threads are for; paging one table as JSON shows what a client does without the Storage Read API.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather

from bench import feature_data, measure
from workloads.common.memory import cpu_count
from workloads.common.storage import Stop, Storage
from workloads.feature_pipeline.contract import FeatureEnv
from workloads.feature_pipeline.extract import Extractor
from workloads.feature_pipeline.tables import Snapshot

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from features_support import FolderBuckets  # noqa: E402  # the path is set above

TABLES_PER_S = 80
LATENCY_S = 0.5
MB = 10**6


class Warehouse:
    """Tables as Arrow files, each read after a wait."""

    def __init__(self, folder: Path, latency_s: float) -> None:
        self.folder, self.latency_s = folder, latency_s

    def columns(self, dataset: str) -> dict[str, dict[str, str]]:
        return {
            path.stem: dict.fromkeys(pa.ipc.open_file(path).schema.names, "") for path in sorted(self.folder.iterdir())
        }

    def time_travel_hours(self, dataset: str) -> int:
        return 168

    def rows(self, dataset: str) -> dict[str, int]:
        return {}

    def read(self, dataset: str, table: str, at: datetime) -> pa.Table:
        time.sleep(self.latency_s)
        return _read(self.folder / f"{table}.arrow")


def _read(path: Path) -> pa.Table:
    return pyarrow.feather.read_table(str(path), memory_map=False)


def ours(tables: Path, folder: Path, latency_s: float = 0.0, io_threads: int = 16) -> int:
    """The pipeline's own extraction."""
    warehouse = Warehouse(tables, latency_s)
    env = FeatureEnv(
        project="p",
        features_dataset="d",
        raw_dataset="d",
        output_bucket="o",
        staging_bucket="s",
        pair="eurusd",
        key_column=feature_data.KEY,
        io_threads=io_threads,
    )
    columns = warehouse.columns("d")
    snapshot = Snapshot(
        snapshot_id="s",
        snapshot_time="2026-01-01T00:00:00Z",
        fingerprint="",
        run_id="r",
        target="t0000",
        tables=columns,
        datasets=dict.fromkeys(columns, "p.d"),
    )
    buckets, cpus = FolderBuckets(folder / "buckets"), max(1, int(cpu_count()))
    extractor = Extractor(env, warehouse, Storage(lambda deadline: buckets), folder, cpus, Stop())
    extractor.run(snapshot, frozenset(), lambda rate, entry: None)
    return len(columns)


def waiting(tables: Path, folder: Path, io_threads: int) -> int:
    return ours(tables, folder, LATENCY_S, io_threads)


def peer(write: Callable[[pa.Table, Path], None], tables: Path, folder: Path) -> int:
    """Read and write every table from as many threads as there are cores."""
    paths = sorted(tables.iterdir())
    with ThreadPoolExecutor(max(1, int(cpu_count()))) as pool:
        for _ in pool.map(lambda path: write(_read(path), folder / f"{path.stem}.parquet"), paths):
            pass
    return len(paths)


def by_pyarrow(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path)


def by_polars(table: pa.Table, path: Path) -> None:
    import polars as pl

    pl.DataFrame(table).write_parquet(path)


def by_pandas(table: pa.Table, path: Path) -> None:
    table.to_pandas().to_parquet(path)


def json_pages(tables: Path, folder: Path) -> int:
    """One table as the REST API sends it: rows of strings, parsed and made into columns."""
    table = _read(sorted(tables.iterdir())[1])
    columns = [column.cast(pa.string()).to_pylist() for column in table.columns]
    rows = [{"f": [{"v": value} for value in row]} for row in zip(*columns, strict=True)]
    pages = [json.dumps({"rows": rows[start : start + 10_000]}) for start in range(0, len(rows), 10_000)]
    began = time.monotonic()
    cells = [row["f"] for page in pages for row in json.loads(page)["rows"]]
    for index in range(1, table.num_columns):
        pa.array([None if cell[index]["v"] is None else float(cell[index]["v"]) for cell in cells])
    print(json.dumps({"tables": 1, "seconds": time.monotonic() - began}))
    return 0


METHODS: dict[str, Callable[[Path, Path], int]] = {
    "ours": ours,
    "ours, 0.5 s a read, 16 threads": lambda tables, folder: waiting(tables, folder, 16),
    "ours, 0.5 s a read, 2 threads": lambda tables, folder: waiting(tables, folder, 2),
    "pyarrow defaults": lambda tables, folder: peer(by_pyarrow, tables, folder),
    "polars defaults": lambda tables, folder: peer(by_polars, tables, folder),
    "pandas defaults": lambda tables, folder: peer(by_pandas, tables, folder),
    "JSON pages, no Storage Read API": json_pages,
}


def once(method: str, tables: Path) -> tuple[float, float]:
    """(tables a second, peak MB) of one method in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="longhaul-bench-") as folder:
        command = [sys.executable, "-m", "bench.extract", "--method", method, "--from", str(tables), "--to", folder]
        done = measure.run(command)
    if done.code:
        raise SystemExit(f"{method} failed with {done.code}: {done.stderr[-2_000:]}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said["tables"] / said["seconds"], done.peak_bytes / MB


def main() -> None:
    """Make the tables, run the methods in turns, print the table and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    for name in ("--method", "--from", "--to"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    arguments = vars(parser.parse_args())
    if arguments["method"]:
        began = time.monotonic()
        count = METHODS[arguments["method"]](Path(arguments["from"]), Path(arguments["to"]))
        if count:
            print(json.dumps({"tables": count, "seconds": time.monotonic() - began}))
        return
    with tempfile.TemporaryDirectory(prefix="longhaul-bench-") as name:
        for index in range(arguments["tables"]):
            path = f"{name}/t{index:04}.arrow"
            pyarrow.feather.write_feather(feature_data.table(index), path, compression="uncompressed")
        found: dict[str, list[tuple[float, float]]] = {method: [] for method in METHODS}
        for _ in range(arguments["rounds"]):
            for method, results in found.items():
                results.append(once(method, Path(name)))
    print(f"extraction of {arguments['tables']} tables, {os.cpu_count()} cores, {date.today()}")
    print(f"{'method':<34} {'tables/s':>9} {'range':>17} {'peak MB':>8}")
    for method, results in found.items():
        rates = [rate for rate, _ in results]
        spread = f"[{min(rates):.2f}-{max(rates):.2f}]"
        peak = max(size for _, size in results)
        print(f"{method:<34} {statistics.median(rates):9.2f} {spread:>17} {peak:8,.0f}")
    rate = round(statistics.median(rate for rate, _ in found["ours"]), 1)
    verdict = {"value": rate, "target": TABLES_PER_S, "ok": rate >= TABLES_PER_S}
    print(json.dumps({"checkpoints_per_s": verdict}))


if __name__ == "__main__":
    main()
