"""`make demo-fanout`: 200 epidemic simulations as Batch tasks, 10 of which lose their machine, and one chart of all."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.demo import BIN, ROOT, Incomplete, step

TASKS, LOST, PARALLELISM = 200, 10, 8
"""5 % of the tasks lose their Spot machine; 8 run at the same time."""
LONGHAUL = BIN / "longhaul"


def lose_machines(rate: float) -> None:
    """Let the local cloud take machines from running tasks, `LOST` in all; 0: none any more."""
    words = (f"preemption_rate={rate:g}", f"max_preemptions={LOST if rate else 0}", "preemption_after_s=0.2")
    argv = [str(LONGHAUL), "local", "faults", *words]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Incomplete(f"the local cloud takes no machines: {done.stderr.strip()}")


def check(run_id: str, folder: Path) -> dict[str, Any]:
    """Return how the run ended. Raises Incomplete: tasks were not lost, or not made up for, or there is no chart."""
    argv = [str(LONGHAUL), "fetch", run_id, "--stack", "local", "--out", str(folder), "--json"]
    done = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Incomplete(f"fetch {run_id}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    stages = {stage["stage"]: stage for stage in result["stages"]}
    if result["state"] != "SUCCEEDED" or result["inputs"] != TASKS or result["missing"]:
        raise Incomplete(f"{result['missing']} of {result['inputs']} results are missing: {result['message']}")
    lost, again = stages["b"]["failed"], stages.get("b-standard", {}).get("done", 0)
    if lost != LOST or again != LOST:
        raise Incomplete(f"{lost} tasks lost their machine and {again} ran again; wanted {LOST} of both")
    gathered = json.loads((folder / "gather.json").read_text(encoding="utf-8"))
    if gathered["found"] != TASKS or not Path(result["chart"]).read_bytes().startswith(b"\x89PNG"):
        raise Incomplete(f"the gather found {gathered['found']} results, or drew no chart")
    return result


def demo() -> str:
    """Return the line that says what was done and where the chart lies."""
    start = time.monotonic()
    run_id = f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    folder = ROOT / ".local" / "runs" / run_id
    step("start the local Google Cloud", LONGHAUL, "local", "up")
    step(
        "pulumi up of stack local (4-10 s; 1-4 min when images are built)",
        *(LONGHAUL, "up", "--stack", "local", "--yes"),
    )
    lose_machines(0.5)
    try:
        step(
            f"simulate {TASKS} epidemics, {PARALLELISM} at a time; {LOST} of the tasks lose their machine",
            *(LONGHAUL, "run", "fanout", "--stack", "local", "--count", str(TASKS), "--seed", "1"),
            *("--max-parallelism", str(PARALLELISM), "--run-id", run_id, "--sim-id", "demo", "--out", folder),
        )
    finally:
        lose_machines(0)
    result = check(run_id, folder)
    return (
        f"demo-fanout: done in {time.monotonic() - start:.0f} s: {TASKS} simulations as Batch tasks, the {LOST} that lost "
        f"their machine and no others ran again; at most ${result['usd_at_most']:.4f} at list price; "
        f"chart: {os.path.relpath(result['chart'], ROOT)}, page: {os.path.relpath(result['page'], ROOT)}"
    )


def main() -> int:
    """0: all results are gathered; 1: they are not."""
    try:
        print(f"\n{demo()}")
    except Incomplete as err:
        print(f"\ndemo-fanout: INCOMPLETE: {err}. `uv run longhaul doctor` looks for the cause", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
