"""What the merge of the feature pipeline takes, paired with `cp` of the same bytes and with other ways to do it.

    python -m bench.merge [--tables 64] [--rounds 5] [--full] [--folder DIR]

`--full` is one pair of the first users: 668 tables of 16 columns and 120,000 rows, 6.4 GB, which needs 20 GB of disk and
some 20 minutes; joins are left out there, because they end for want of memory. Every method runs in a process of its own, in a
memory control group of 12 GiB where the machine lets us make one, ours and the peer in turns. Peaks are of the whole
process tree, sampled every 10 ms, imports included.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from bench import feature_data, measure
from bench.measure import Outcome

FULL_TABLES = 668
GIB = 1 << 30
MB = 10**6
CONTAINER_BYTES = 12 * GIB
SMALL_BYTES = 256 << 20


@dataclass
class Row:
    """One method over its rounds, each with the round of ours that it was paired with."""

    name: str
    ours: list[Outcome] = field(default_factory=list)
    theirs: list[Outcome] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return all(outcome.code == 0 for outcome in self.theirs)

    def ratio(self) -> float:
        """Median of the peer's wall time over ours."""
        return statistics.median(b.wall_s / a.wall_s for a, b in zip(self.ours, self.theirs, strict=True))


class Bench:
    """Where the checkpoints lie, and how a method is run on them."""

    def __init__(self, folder: Path, tables: int, rounds: int) -> None:
        self.folder, self.tables, self.rounds = folder, tables, rounds
        self.scratch = folder / "scratch"
        self.limited = False

    def ours(
        self, source: Path, *, limit: int = CONTAINER_BYTES, output: Path | None = None, **options: object
    ) -> Outcome:
        """The merge as the pipeline starts it."""
        target = output or self.scratch / "out.parquet"
        found = sorted(source.glob("*.parquet"))
        sources = [{"table": path.stem, "path": str(path)} for path in found if path != target]
        request = {"key": feature_data.KEY, "output": str(target), "sources": sources, "workers": 2, **options}
        command = [sys.executable, "-m", "workloads.feature_pipeline.merge"]
        return self._run(command, json.dumps(request), limit, clear=output is None)

    def peer(self, name: str, source: Path) -> Outcome:
        output = self.scratch / "out.parquet"
        if name == "cp":
            self.scratch.mkdir(exist_ok=True)
            files = map(str, sorted(source.glob("*.parquet")))
            return self._run(["cp", "--reflink=never", *files, str(self.scratch)], "", CONTAINER_BYTES)
        command = [sys.executable, "-m", "bench.merge_peers", name, str(source), str(output)]
        return self._run(command, "", CONTAINER_BYTES)

    def _run(self, command: Sequence[str], stdin: str, limit: int, *, clear: bool = True) -> Outcome:
        if clear:
            self.scratch.mkdir(exist_ok=True)
        with measure.memory_group(limit) as group:
            self.limited = group is not None
            outcome = measure.run(command, stdin=stdin, group=group)
        if clear:
            shutil.rmtree(self.scratch)
        return outcome

    def pairs(self, name: str, source: Path, rounds: int) -> Row:
        """Ours and the peer in turns; a peer that fails is not run again."""
        row = Row(name)
        for _ in range(rounds):
            row.ours.append(_good(self.ours(source)))
            row.theirs.append(self.peer(name, source))
            if not row.done:
                break
        return row


def _good(outcome: Outcome) -> Outcome:
    if outcome.code:
        raise SystemExit(f"the merge failed with {outcome.code}: {outcome.stdout[-500:]} {outcome.stderr[-2_000:]}")
    return outcome


def show(title: str, row: Row) -> None:
    """One line of the table: median [range] of the pairs."""
    ours, theirs = row.ours, row.theirs
    if not row.done:
        why = "killed for want of memory" if theirs[-1].killed else f"failed: {theirs[-1].stderr.strip()[-60:]!r}"
        print(f"{title:<38} {why}, after {theirs[-1].wall_s:.1f} s at {theirs[-1].peak_bytes / MB:,.0f} MB")
        return
    walls = [b.wall_s / a.wall_s for a, b in zip(ours, theirs, strict=True)]
    cpus = [b.cpu_s / a.cpu_s for a, b in zip(ours, theirs, strict=True)]
    print(
        f"{title:<38} {_med(ours, 'wall_s'):7.2f} {_med(theirs, 'wall_s'):8.2f} {statistics.median(walls):7.2f} "
        f"[{min(walls):.2f}-{max(walls):.2f}] {statistics.median(cpus):7.2f} "
        f"{_peak(ours):8,.0f} {_peak(theirs):8,.0f}"
    )


def _med(outcomes: Sequence[Outcome], name: str) -> float:
    return float(statistics.median(getattr(outcome, name) for outcome in outcomes))


def _peak(outcomes: Sequence[Outcome]) -> float:
    return max(outcome.peak_bytes for outcome in outcomes) / MB


def verdict(value: float, target: float, *, at_most: bool = True) -> dict[str, object]:
    rounded = round(value, 3)
    return {"value": rounded, "target": target, "ok": rounded <= target if at_most else rounded >= target}


def in_memory(clean: Sequence[Path]) -> float:
    """MB beyond the checkpoints and one table when the scratch is memory and the merge consumes it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="longhaul-bench-") as name:  # memory is wanted
        folder = Path(name)
        for path in clean:
            shutil.copy(path, folder)
        total, largest = (function(path.stat().st_size for path in clean) for function in (sum, max))
        sources = [{"table": path.stem, "path": str(folder / path.name)} for path in clean]
        request = {
            "key": feature_data.KEY, "output": str(folder / "out.parquet"), "sources": sources, "consume": True,
        }  # fmt: skip
        command = [sys.executable, "-m", "workloads.feature_pipeline.merge"]
        outcome = _good(measure.run(command, stdin=json.dumps(request), files=folder))
        return (outcome.peak_bytes - total - largest) / MB


def validated(bench: Bench, clean: Path, *, ours: bool) -> dict[str, float]:
    """Seconds and MB of the validation of a merged file; one of our data has to be valid."""
    output = bench.folder / "merged.parquet"
    _good(bench.ours(clean, output=output))
    found = []
    for _ in range(3):
        done = measure.run([sys.executable, "-m", "bench.merge_peers", "validation", str(clean), str(output)])
        found.append(json.loads(_good(done).stdout))
    output.unlink()
    if ours and found[0]["failed"]:
        raise SystemExit(f"the merged file is not valid: {found[0]['failed']}")
    return {"seconds": statistics.median(one["seconds"] for one in found), "mb": found[0]["peak_bytes"] / MB}


def main() -> None:
    """Make the data, run the pairs, print the table and the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--full", action="store_true", help=f"{FULL_TABLES} tables")
    parser.add_argument("--folder", type=Path, help="where checkpoints are kept for another call; default: nowhere")
    parser.add_argument("--clean", type=Path, help="a folder of aligned checkpoints that are there already")
    arguments = parser.parse_args()
    tables = FULL_TABLES if arguments.full else arguments.tables
    with tempfile.TemporaryDirectory(prefix="longhaul-bench-") as name:
        folder = arguments.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        _bench(Bench(folder, tables, arguments.rounds), arguments.clean, full=arguments.full)


def _bench(bench: Bench, given: Path | None, *, full: bool) -> None:
    clean = given or bench.folder / f"clean-{bench.tables}"
    paths = sorted(given.glob("*.parquet")) if given else feature_data.write(clean, bench.tables)
    dirty = bench.folder / f"dirty-{bench.tables}"
    if not given:
        feature_data.write(dirty, bench.tables, dirty=True)
    size = sum(path.stat().st_size for path in paths)
    rows = [bench.pairs("cp", clean, bench.rounds), bench.pairs("polars_hconcat", clean, 1 if full else bench.rounds)]
    if not full:
        rows += [bench.pairs(name, clean, 3) for name in ("polars_joins", "pyarrow_append", "duckdb_joins")]
    spoiled = [] if given else [bench.pairs("recode_and_cp", dirty, 3)]
    if not given and not full:
        spoiled.append(bench.pairs("polars_joins", dirty, 1))
    small = bench.ours(clean, limit=SMALL_BYTES)
    extra, checked = in_memory(paths), validated(bench, clean, ours=given is None)
    limited = "in 12 GiB" if bench.limited else "NOT limited: no memory control group can be made here"
    print(f"merge of {len(paths)} tables, {size / MB:,.0f} MB, {os.cpu_count()} cores, {date.today()}, {limited}")
    print(
        f"{'against':<38} {'ours s':>7} {'peer s':>8} {'peer/ours wall [range]':>19} {'cpu':>7} {'MB':>8} {'peer MB':>8}"
    )
    for row in rows:
        show(row.name, row)
    for row in spoiled:
        show(f"{row.name}, half misaligned", row)
    print(f"in a container of 256 MiB: {'done' if small.code == 0 else f'failed with {small.code}'}")
    print(f"scratch in memory: {extra:,.0f} MB beyond checkpoints and one table")
    print(f"validation: {checked['seconds']:.2f} s, {checked['mb']:,.0f} MB")
    print(json.dumps(_verdicts(rows, spoiled, small, extra, checked)))


def _verdicts(
    rows: Sequence[Row], spoiled: Sequence[Row], small: Outcome, extra: float, checked: dict[str, float]
) -> dict[str, dict[str, object]]:
    by_name = {row.name: row for row in rows}
    copy, best = by_name["cp"], by_name["polars_hconcat"]
    found: dict[str, dict[str, object]] = {
        "merge_peak_mb": verdict(_peak(copy.ours), 64),
        "merge_over_cp_wall": verdict(1 / copy.ratio(), 1.25),
        "merge_in_256_mib": {"value": small.code, "target": 0, "ok": small.code == 0},
        "consume_mb_beyond_checkpoints_and_a_table": verdict(extra, 64),
        "validation_s": verdict(checked["seconds"], 1.0),
        "validation_mb": verdict(checked["mb"], 256),
    }
    if best.done:
        found["polars_hconcat_over_merge"] = verdict(best.ratio(), 7, at_most=False)
    if "polars_joins" in by_name and by_name["polars_joins"].done:
        found["polars_joins_over_merge"] = verdict(by_name["polars_joins"].ratio(), 20, at_most=False)
    if spoiled:
        found["half_misaligned_peak_mb"] = verdict(_peak(spoiled[0].ours), 512)
        found["half_misaligned_over_recode_and_cp"] = verdict(1 / spoiled[0].ratio(), 1.1)
    return found


if __name__ == "__main__":
    main()
