"""Checkpoints as a currency pair's feature tables make them: rolling features of a random walk, with gaps."""

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from workloads.feature_pipeline import checkpoint
from workloads.feature_pipeline.manifest import Entry

KEY = "interval_time"
ROWS = 120_000
COLUMNS = 16
STEP_US = 300_000_000
HORIZONS = (15, 30, 45, 60, 75, 90, 105)
Floats = np.ndarray[Any, np.dtype[np.float64]]


def table(index: int, rows: int = ROWS) -> pa.Table:
    """Table number `index`: 14 columns of float64 and 2 of float32; number 0 holds the seven targets."""
    rng = np.random.default_rng(index)
    price = np.round(1.1 + np.cumsum(rng.standard_t(4, rows)) * 1e-4, 5)
    columns = {KEY: keys(rows)}
    if index == 0:
        for horizon in HORIZONS:
            ahead = horizon // 5
            moved = np.concatenate([price[ahead:] / price[:-ahead] - 1, np.full(ahead, np.nan)])
            columns[f"target_h{horizon}"] = pa.array(moved, from_pandas=True)
        return pa.table(columns)
    window = int(rng.choice([5, 15, 60, 240, 1_440]))
    for number, make in enumerate(_KINDS):
        values = make(price, window, rng)
        gaps = rng.random(rows) < 0.004
        gaps[:window] = True
        kind = pa.float32() if number >= COLUMNS - 2 else pa.float64()
        columns[f"f{index:04}_{number:02}"] = pa.array(values.astype(kind.to_pandas_dtype()), kind, mask=gaps)
    return pa.table(columns)


def keys(rows: int) -> pa.Array:
    return pa.array(np.arange(rows, dtype="int64") * STEP_US, pa.timestamp("us", "UTC"))


def spoiled(found: pa.Table, index: int) -> pa.Table:
    """The table with rows missing, in another order, doubled or of no use, by its number."""
    rng, rows = np.random.default_rng(index + 10_000), len(found)
    match index % 10:
        case 0 | 1 | 2 | 3:
            return found.take(np.flatnonzero(rng.random(rows) >= 0.01))
        case 4 | 5:
            return found.slice(rows // 60)
        case 6 | 7:
            blocks = np.array_split(np.arange(rows), 100)
            return found.take(np.concatenate([blocks[block] for block in rng.permutation(100)]))
        case 8:
            doubled = rng.choice(rows, max(1, rows // 1_000), replace=False)
            return found.take(np.sort(np.concatenate([np.arange(rows), doubled])))
    more = table(index, rows + max(1, rows // 240))
    return more


def _mean(values: Floats, window: int) -> Floats:
    total = np.cumsum(np.concatenate([[0.0], values]))
    out = np.zeros(len(values))
    out[window - 1 :] = (total[window:] - total[:-window]) / window
    return out


def _deviation(values: Floats, window: int) -> Floats:
    return np.asarray(np.sqrt(np.maximum(_mean(values**2, window) - _mean(values, window) ** 2, 0)), dtype=np.float64)


def _log_return(values: Floats, window: int) -> Floats:
    return np.concatenate([np.zeros(window), np.log(values[window:] / values[:-window])])


_KINDS: tuple[Callable[[Floats, int, np.random.Generator], Floats], ...] = (
    lambda p, w, r: p,
    lambda p, w, r: _mean(p, w),
    lambda p, w, r: _deviation(p, w),
    lambda p, w, r: _log_return(p, w),
    lambda p, w, r: np.concatenate([np.zeros(w), np.round(p[w:] - p[:-w], 5)]),
    lambda p, w, r: (p - _mean(p, w)) / (_deviation(p, w) + 1e-9),
    lambda p, w, r: r.poisson(40, len(p)).astype(float) * w,
    lambda p, w, r: np.asarray(np.round(np.maximum.accumulate(p), 5), dtype=np.float64),
    lambda p, w, r: _mean(_mean(p, w), w),
    lambda p, w, r: np.asarray(np.sign(_log_return(p, w)), dtype=np.float64),
    lambda p, w, r: (_mean(p, w) - _mean(p, 2 * w)) / w,
    lambda p, w, r: _mean(p * (1 + r.random(len(p)) * 1e-5), w),
    lambda p, w, r: _log_return(p, 1) ** 2,
    lambda p, w, r: p / (_mean(p, w) + 1e-9),
    lambda p, w, r: np.abs(_log_return(p, w)) / (_mean(np.abs(_log_return(p, 1)), w) + 1e-9),
    lambda p, w, r: r.normal(size=len(p)),
)


def write(folder: Path, count: int, *, dirty: bool = False) -> list[Path]:
    """Make `count` checkpoints in `folder`, every second one spoiled if `dirty`, unless they are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"t{index:04}.parquet" for index in range(count)]
    missing = [index for index, path in enumerate(paths) if not path.exists()]
    with ProcessPoolExecutor() as pool:
        for _ in pool.map(partial(_write, folder, dirty), missing):
            pass
    return paths


def _write(folder: Path, dirty: bool, index: int) -> None:
    found = table(index)
    path = folder / f"t{index:04}.parquet"
    content = spoiled(found, index) if dirty and index % 2 else found
    checkpoint.write(content, KEY, path)
    names = tuple(name for name in found.column_names if name != KEY)
    entry = Entry(
        table=path.stem,
        snapshot_time="2026-01-01T00:00:00Z",
        rows=len(found),
        columns=names,
        counts={},
        nan=checkpoint.nan_counts(found),
        size=path.stat().st_size,
        crc32c=checkpoint.crc32c(path),
    )
    path.with_suffix(".json").write_bytes(entry.to_json())


def entries(paths: list[Path]) -> dict[str, Entry]:
    """What is known of each checkpoint, as the extraction keeps it."""
    return {path.stem: Entry.from_json(json.dumps(_known(path)).encode()) for path in paths}


def _known(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    if beside.exists():
        loaded: dict[str, Any] = json.loads(beside.read_bytes())
        return loaded
    from workloads.feature_pipeline.merge import footer

    found = footer.outline(path)
    names = [name for name in found.names if name != KEY]
    return {
        "table": path.stem, "snapshot_time": "", "rows": found.rows, "columns": names, "counts": {}, "nan": {},
        "size": path.stat().st_size, "crc32c": 0,
    }  # fmt: skip
