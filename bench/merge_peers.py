"""The same merge by other means, each in a process of its own: python -m bench.merge_peers METHOD FOLDER OUTPUT."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.feature_data import KEY, entries


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def polars_hconcat(folder: Path, output: Path) -> None:
    """Lazy horizontal concat, streamed to disk: only right where all keys are equal, which it checks first."""
    import polars as pl

    found = files(folder)
    first = pl.scan_parquet(found[0])
    key = first.select(KEY).collect()
    for path in found[1:]:
        if not pl.scan_parquet(path).select(KEY).collect().equals(key):
            raise SystemExit(f"{path.name} is not aligned")
    frames = [first, *(pl.scan_parquet(path).drop(KEY) for path in found[1:])]
    pl.concat(frames, how="horizontal").sink_parquet(output, compression="zstd", compression_level=1)


def polars_joins(folder: Path, output: Path) -> None:
    """One left join after the other, first of duplicate keys kept."""
    import polars as pl

    found = files(folder)
    frame = pl.read_parquet(found[0])
    for path in found[1:]:
        other = pl.read_parquet(path).unique(subset=KEY, keep="first", maintain_order=True)
        frame = frame.join(other, on=KEY, how="left", maintain_order="left")
    frame.write_parquet(output, compression="zstd", compression_level=1)


def duckdb_joins(folder: Path, output: Path) -> None:
    """Left joins in one statement, its memory limited to three quarters of the container's."""
    import duckdb

    found = files(folder)
    joins = "".join(f" LEFT JOIN read_parquet('{path}') AS t{i} USING ({KEY})" for i, path in enumerate(found[1:], 1))
    sql = f"SELECT * FROM read_parquet('{found[0]}') AS t0{joins} ORDER BY {KEY}"  # noqa: S608  # our own files
    connection = duckdb.connect(config={"threads": "2", "memory_limit": "9GB"})
    connection.execute(f"COPY ({sql}) TO '{output}' (FORMAT parquet, COMPRESSION zstd)")


def pyarrow_append(folder: Path, output: Path) -> None:
    """All tables in memory, their columns put side by side: only right where all keys are equal."""
    import pyarrow.parquet as pq

    found = files(folder)
    table = pq.read_table(found[0])
    key = table[KEY]
    for path in found[1:]:
        other = pq.read_table(path)
        if not other[KEY].equals(key):
            raise SystemExit(f"{path.name} is not aligned")
        for name in other.column_names[1:]:
            table = table.append_column(name, other[name])
    pq.write_table(table, output, compression="zstd", compression_level=1, use_dictionary=False)


def recode_and_cp(folder: Path, output: Path) -> None:
    """The least that misaligned files cost: those decoded, aligned and encoded by 2 processes, then `cp` of all."""
    found = files(folder)
    key_file = output.with_suffix(".key")
    import pyarrow.parquet as pq

    from workloads.feature_pipeline import checkpoint

    checkpoint.write(pq.read_table(found[0], columns=[KEY]), KEY, key_file)
    dirty = found[1::2]
    target = output.with_suffix(".d")
    target.mkdir()
    command = [sys.executable, "-m", "workloads.feature_pipeline.recode", str(os.getpid()), str(key_file), KEY, "{}"]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) for _ in range(2)
    ]  # our own module
    for number, worker in enumerate(workers):
        lines = [json.dumps({"path": str(path), "target": str(target / path.name)}) for path in dirty[number::2]]
        assert worker.stdin  # noqa: S101  # a pipe was asked for
        worker.stdin.write("\n".join(lines) + "\n")
        worker.stdin.close()
    if any(worker.wait() for worker in workers):
        raise SystemExit("a recoding process failed")
    fresh = [target / path.name if path in set(dirty) else path for path in found]
    copies = output.with_suffix(".copy")
    copies.mkdir()
    subprocess.run(["cp", *map(str, fresh), str(copies)], check=True)  # the peer itself


def validation(folder: Path, output: Path) -> None:
    """The third stage on `output`, which must be merged from `folder`: prints seconds and peak of this process."""
    from workloads.feature_pipeline.contract import FeatureEnv
    from workloads.feature_pipeline.manifest import Manifest
    from workloads.feature_pipeline.validate import validate

    found = entries(files(folder))
    manifest = Manifest(pair="eurusd", key=KEY, target="t0000", snapshot_time="", tables=found)
    env = FeatureEnv(
        project="p", features_dataset="f", raw_dataset="r", output_bucket="o", staging_bucket="s", pair="eurusd"
    )
    began = time.monotonic()
    report = validate(output, manifest, env, {})
    seconds = time.monotonic() - began
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    failed = [check.name for check in report.checks if not check.passed and not check.warning]
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "failed": failed}))


METHODS: dict[str, Callable[[Path, Path], None]] = {
    method.__name__: method
    for method in (polars_hconcat, polars_joins, duckdb_joins, pyarrow_append, recode_and_cp, validation)
}

if __name__ == "__main__":
    METHODS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
