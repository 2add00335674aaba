"""`longhaul run features`: feature tables of currency pairs in, one validated training file each out."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.commands.common import DEFAULT_STACK, App, JsonOption, StackOption, app_of
from ops.commands.heavy import whoami
from ops.errors import BadRequest

if TYPE_CHECKING:
    from ops.feature_results import Item, PairResult
    from ops.features import Batch
    from ops.outputs import Outputs
    from ops.runs import Run
    from ops.targets import Target

EXAMPLES = """
\b
Examples:
  longhaul run features --pairs eurusd,gbpusd
  longhaul run features --pairs all --parallel 8
  longhaul run features --pairs all --parallel 26 --delayed --detach
  longhaul run features --pairs eurusd,gbpusd --batch 20260131-235959-0a1b2c3d
"""


def register(run_app: typer.Typer) -> None:
    """Add the command to `longhaul run`."""
    run_app.command("features", epilog=EXAMPLES)(features)


def features(
    context: typer.Context,
    pairs: Annotated[str, typer.Option(help="Currency pairs with commas between, or all of the stack's.")],
    parallel: Annotated[int, typer.Option(help="Pairs that run at the same time, 1 to 100.")] = 4,
    delayed: Annotated[
        bool, typer.Option("--delayed", help="May begin up to 12 hours later, for about 30 % less.")
    ] = False,
    batch: Annotated[
        str, typer.Option(help="Name of an earlier call to go on with: pairs that have succeeded are left alone.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="With --batch: run pairs again that have succeeded.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the checkpoints after the upload is verified.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--detach", help="Stay until all have ended, or return at once.")] = True,
    as_json: JsonOption = False,
    stack: StackOption = DEFAULT_STACK,
) -> None:
    """Make the training files of currency pairs, one execution each, and show how far each is.

    A pair that failed goes on where it stood: call the same again, with --batch to leave out what has succeeded.

    Ends with 0: all succeeded; 1: a pair failed or was not started, a retry may help; 2: one cannot succeed as it is.
    """
    from ops import outputs as stack_outputs
    from ops import targets
    from ops.features import Batch, choose

    app = app_of(context)
    outputs = stack_outputs.read(app.project, stack)
    chosen = choose(pairs, outputs.require_features().pairs)
    if not wait and parallel < len(chosen):
        raise BadRequest(
            f"--detach starts all {len(chosen)} pairs at once, and --parallel allows {parallel}",
            f"give --parallel {len(chosen)}, or stay",
        )
    target = targets.features(outputs, delayed=delayed)
    made = Batch(
        target, chosen, name=batch, parallel=parallel, keep=keep, delayed=delayed, force=force,
        started_by=whoami(target),
    )  # fmt: skip
    made.open()
    if not as_json:
        app.say(f"batch {made.name}: {len(chosen)} pairs, {parallel} at a time{', delayed' if delayed else ''}")
    again = _Again(pairs=",".join(chosen), stack=stack, delayed=delayed, keep=keep, parallel=parallel)
    if wait:
        stayed = _see_through(app, made, again, quiet=as_json)
    else:
        made.step()
        stayed = False
    if not stayed:
        _detached(app, made, again, as_json=as_json)
    _end(app, outputs, made, as_json=as_json)


class _Again:
    """The words that continue a batch."""

    def __init__(self, *, pairs: str, stack: str, delayed: bool, keep: bool, parallel: int) -> None:
        options = f"{' --delayed' if delayed else ''}{' --keep' if keep else ''}"
        self._words = f"longhaul run features --stack {stack} --pairs {pairs} --parallel {parallel}{options}"

    def of(self, batch: "Batch") -> str:
        return f"{self._words} --batch {batch.name}"


def _see_through(app: App, batch: "Batch", again: _Again, *, quiet: bool) -> bool:
    """Stay until all pairs have ended; False: the person has gone."""
    from ops.commands.feature_table import Board
    from ops.lifecycle import POLL_S

    while True:
        try:
            with Board(app, quiet=quiet) as board:
                while not batch.step():
                    board.show(batch)
                    time.sleep(POLL_S)
                board.show(batch)
            return True
        except KeyboardInterrupt:
            choice = _ask_interrupted(app, batch, quiet=quiet)
        if choice == "d":
            return False
        if choice == "c":
            app.say("cancelling; each container has 10 s to write down what it has")
            batch.cancel()
            app.say(f"what is there stays. Go on later: {again.of(batch)}")
            return True


def _ask_interrupted(app: App, batch: "Batch", *, quiet: bool) -> str:
    if quiet or not app.err.is_terminal:
        return "d"
    active = sum(slot.is_active for slot in batch.slots)
    question = f"pairs under way: {active}. (c)ancel, (d)etach, or (w)ait on?"
    try:
        answer = typer.prompt(question, default="d", err=True)
    except typer.Abort:
        return "d"
    return str(answer).strip().lower()[:1]


def _detached(app: App, batch: "Batch", again: _Again, *, as_json: bool) -> None:
    from workloads.common.contract import ExitCode

    refused = [slot.refused for slot in batch.slots if slot.refused is not None]
    waiting = [slot.pair for slot in batch.slots if slot.is_waiting]
    if as_json:
        pairs = [
            {"pair": slot.pair, "run_id": slot.run.run_id if slot.run else "", "state": str(slot.state)}
            for slot in batch.slots
        ]
        app.print_json({"batch": batch.name, "pairs": pairs, "again": again.of(batch)})
    else:
        app.say("what is under way goes on without you. longhaul status")
        if waiting:
            app.say(f"not started: {', '.join(waiting)}")
        for error in refused:
            app.say(f"not started: {error}")
        app.say(f"follow it, or go on: {again.of(batch)}")
    codes = [error.exit_code for error in refused] + ([ExitCode.RETRY] if waiting else [])
    raise typer.Exit(max(codes, default=ExitCode.DONE))


def _end(app: App, outputs: "Outputs", batch: "Batch", *, as_json: bool) -> None:
    from ops import prices
    from ops.feature_results import checklist, result_of, worst

    table = prices.load()
    results = [result_of(slot, batch.target, table) for slot in batch.slots]
    items = checklist(batch, outputs.require_features(), results, is_local=bool(outputs.endpoints))
    if as_json:
        app.print_json(_document(batch, results, items))
    else:
        _show(app, results, items, batch)
    raise typer.Exit(worst(results))


def _document(batch: "Batch", results: "list[PairResult]", items: "list[Item]") -> dict[str, Any]:
    from ops.prices import AS_OF

    return {
        "batch": batch.name,
        "pairs": [{**asdict(result), "exit_code": int(result.exit_code)} for result in results],
        "usd": round(sum(result.usd for result in results), 6),
        "usd_delayed": round(sum(result.usd_delayed for result in results), 6),
        "prices_of": AS_OF,
        "checklist": [asdict(item) for item in items],
    }


def _show(app: App, results: "list[PairResult]", items: "list[Item]", batch: "Batch") -> None:
    from ops.commands.feature_table import summary
    from ops.prices import AS_OF
    from ops.progress import usd
    from workloads.common.contract import RunState

    for line in summary(results):
        app.tell(line)
    for result in results:
        if result.error_code:
            app.tell(f"{result.pair} {result.error_code}: {result.message}", style="bold red")
            app.tell(f"  {result.hint}")
    app.tell("")
    for item in items:
        app.tell(str(item))
    app.tell("")
    for result in results:
        if result.report_uri:
            app.tell(f"{result.pair} report {result.report_uri}")
    done = sum(result.state == RunState.SUCCEEDED for result in results)
    total, cheap = sum(result.usd for result in results), sum(result.usd_delayed for result in results)
    shape = f"{batch.target.cpu:g} vCPU, {batch.target.memory_gib:g} GiB"
    delayed = all(result.delayed for result in results if result.usd) and total > 0
    price = f"{usd(total)} delayed" if delayed else f"{usd(total)}, as delayed executions {usd(cheap)}"
    app.tell(f"cost {price}, at list price of {AS_OF} ({shape}, one minute a run at least)")
    app.tell(f"batch {batch.name}: {done} of {len(results)} pairs succeeded")


def fetch(app: App, run: "Run", target: "Target", out: Path | None, *, as_json: bool) -> None:
    """Download record, manifest and report of one run, and show how it ended; the training file stays in its bucket."""
    from datetime import UTC, datetime

    from ops import prices, runs
    from ops.commands.feature_table import summary
    from ops.feature_results import of_run
    from ops.lifecycle import download
    from ops.progress import bars

    folder = out or app.project.scratch / "runs" / run.run_id
    folder.mkdir(parents=True, exist_ok=True)
    with bars(app.err, quiet=as_json) as draw:
        files = download(run, folder, draw)
    state = str(runs.judge(run, None, datetime.now(UTC)).state)
    result = of_run(run, state, target, prices.load())
    if as_json:
        names = sorted(str(path.relative_to(folder.resolve())) for path in files)
        app.print_json({**asdict(result), "folder": str(folder), "files": names})
        return
    for line in summary([result]):
        app.tell(line)
    if result.error_code:
        app.tell(f"{result.error_code}: {result.message}", style="bold red")
        app.tell(f"  {result.hint}")
    app.tell(f"{len(files)} files in {folder}; training file {result.training_uri or 'none'}")
