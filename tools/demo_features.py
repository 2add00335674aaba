"""`make demo-features`: local cloud up, exchange rates and feature tables in BigQuery, training files of three pairs."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.demo import BIN, ROOT, Incomplete, step

PAIRS = ("eurusd", "gbpusd", "usdjpy")
LEAST_TABLES, LEAST_COLUMNS, LEAST_ROWS = 60, 100, 5_000
"""What the example's tables make at least, for each pair."""
WAITED_S = 600


def ask(*words: str | Path) -> Any:
    """Return what a `longhaul … --json` prints. Raises Incomplete: it failed."""
    argv = [str(BIN / "longhaul"), *map(str, words), "--json"]
    done = subprocess.run(
        argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=WAITED_S
    )
    if done.returncode:
        raise Incomplete(f"{' '.join(map(str, words))}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def seed() -> None:
    """Fill the local BigQuery; what is there already stays."""
    port = ask("local", "status")["ports"]["bigquery"]
    project = "longhaul-local"
    step(
        "load exchange rates and compute the feature tables by SQL (20-60 s; what is there stays)",
        *(BIN / "python", "-m", "examples.fx.seed", "--project", project, "--pairs", ",".join(PAIRS)),
        *("--bigquery", f"http://127.0.0.1:{port}"),
    )


def check(pair: str, result: dict[str, Any], folder: Path) -> Path:
    """Return the report of a pair. Raises Incomplete: its training file is not what it has to be."""
    if result["state"] != "SUCCEEDED":
        raise Incomplete(f"{pair} ended as {result['state']}: {result['message']}")
    if not result["checks"] or not all(result["checks"].values()):
        raise Incomplete(f"{pair}: the validation says {result['checks']}")
    least = {"tables": LEAST_TABLES, "columns": LEAST_COLUMNS, "rows": LEAST_ROWS}
    if short := [f"{result[name]:,} {name}" for name, number in least.items() if result[name] < number]:
        raise Incomplete(f"{pair} has only {', '.join(short)}")
    report = folder / "validation.html"
    if not report.is_file():
        raise Incomplete(f"{pair} has no report in {folder}")
    return report


def demo() -> str:
    """Return the line that says what was done and where the results lie."""
    start = time.monotonic()
    batch = f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    folder = ROOT / ".local" / "runs" / batch
    longhaul = BIN / "longhaul"
    step("start the local Google Cloud", longhaul, "local", "up")
    step(
        "pulumi up of stack local (4-10 s; 1-4 min when the jobs' images are built)",
        *(longhaul, "up", "--stack", "local", "--yes"),
    )
    seed()
    step(
        "make the training files of three pairs in parallel (20-60 s)",
        *(longhaul, "run", "features", "--stack", "local", "--pairs", ",".join(PAIRS), "--batch", batch),
        *("--parallel", str(len(PAIRS))),
    )
    results = {}
    print("\n== reports of the validation", flush=True)
    for pair in PAIRS:
        results[pair] = ask("fetch", f"{batch}-{pair}", "--stack", "local", "--out", folder / pair)
        report = check(pair, results[pair], folder / pair)
        print(f"   {pair}: {os.path.relpath(report, ROOT)}", flush=True)
    rows = min(result["rows"] for result in results.values())
    columns = min(result["columns"] for result in results.values())
    tables = sum(result["tables"] for result in results.values())
    usd = sum(result["usd"] for result in results.values())
    return (
        f"demo-features: done in {time.monotonic() - start:.0f} s: {tables} BigQuery tables became validated training "
        f"files of {len(PAIRS)} pairs, each at least {rows:,} rows x {columns:,} columns with all targets (${usd:.4f} "
        f"at list price); reports: {folder.relative_to(ROOT)}"
    )


def main() -> int:
    """0: the training files are complete; 1: one is not."""
    try:
        print(f"\n{demo()}")
    except (Incomplete, subprocess.TimeoutExpired) as err:
        print(f"\ndemo-features: INCOMPLETE: {err}. `uv run longhaul doctor` looks for the cause", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
