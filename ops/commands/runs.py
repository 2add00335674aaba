"""`longhaul status`, `logs`, `cancel`, `reap`, `fetch`, `cost`: everything about runs that were started."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.commands.common import DEFAULT_STACK, App, JsonOption, StackOption, app_of, flat
from ops.errors import BadRequest, OpsError

if TYPE_CHECKING:
    from ops.places import Places
    from ops.runs import Judgement, Run

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Run id.")]

WATCH_S = 2.0
SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("status", epilog="\b\nExamples:\n  longhaul status\n  longhaul status RUN --watch")(status)
    app.command("logs", epilog="\b\nExamples:\n  longhaul logs RUN --follow")(logs)
    app.command("cancel")(cancel)
    app.command("reap")(reap)
    app.command("fetch", epilog="\b\nExamples:\n  longhaul fetch RUN --out results")(fetch)
    app.command(
        "cost",
        epilog="\b\nExamples:\n  longhaul cost RUN\n  longhaul cost --stack dev\n  longhaul cost RUN --cpu 4 --memory-gib 16",
    )(cost)


def _find(app: App, stack: str, run_id: str) -> "tuple[Places, Run]":
    from ops.places import Places

    places = Places(app.project, stack)
    return places, places.find(run_id)


def _row(run: "Run", judgement: "Judgement") -> dict[str, Any]:
    from ops.results import seconds_of

    status = run.status
    return {
        "run_id": run.run_id,
        "system": run.index.system,
        "state": str(judgement.state),
        "detail": judgement.detail,
        "recorded": judgement.recorded,
        "runtime": run.index.platform.get("runtime", ""),
        "started_by": run.index.started_by,
        "started_at": run.index.started_at,
        "seconds": seconds_of(run),
        "heartbeat_at": status.heartbeat_at if status else "",
        "memory_mib": getattr(status, "memory_mib", 0),
        "peak_memory_mib": status.peak_memory_mib if status else 0,
        "error_code": status.error_code if status else "",
        "output_uri": run.index.output_uri,
        "platform": dict(run.index.platform),
        **_of_system(run),
    }


def _of_system(run: "Run") -> dict[str, Any]:
    """What only runs of one system have."""
    from workloads.feature_pipeline.contract import Status

    if not isinstance(status := run.status, Status):
        return {}
    return {
        "pair": status.pair,
        "stage": str(status.stage),
        "tables_done": status.tables_done,
        "tables_total": status.tables_total,
        "tables_per_minute": status.tables_per_minute,
        "eta_s": status.eta_s,
        "stage_seconds": dict(status.stage_seconds),
        "hint": status.hint,
        "warnings": list(status.warnings),
        "checks": dict(status.checks),
    }


def _look(places: "Places", run: "Run") -> dict[str, Any]:
    from ops import lifecycle
    from ops.runs import judge

    if not run.asks_platform:
        return _row(run, judge(run, None, datetime.now(UTC)))
    try:
        return _row(*lifecycle.look(run, places.target_of(run)))
    except OpsError as exc:
        # a place that cannot be asked is no reason to hide what the objects say
        row = _row(run, judge(run, None, datetime.now(UTC)))
        return {**row, "detail": f"{row['detail']} (platform not asked: {exc})".strip()}


def status(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="[RUN]", help="Run id. Default: the last runs.")] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Renew until every run shown has ended.")] = False,
    limit: Annotated[int, typer.Option(help="How many of the last runs.")] = SHOWN,
    as_json: JsonOption = False,
    stack: StackOption = DEFAULT_STACK,
) -> None:
    """Show the last runs, or one run, with the state each is really in.

    RUNNING without a heartbeat for 50 s is shown as LOST; `reap` then writes down what the platform knows.
    """
    from ops.places import Places
    from ops.runs import recent
    from workloads.common.contract import RunState

    app, rows = app_of(context), []
    places = Places(app.project, stack)
    while True:
        found = [places.find(run_id)] if run_id else list(recent(places.shelves, limit))
        rows = [_look(places, run) for run in found]
        if not watch or all(RunState(row["state"]).is_final for row in rows):
            break
        _print_rows(app, rows, one=bool(run_id))
        time.sleep(WATCH_S)
    if as_json:
        app.print_json(rows[0] if run_id else rows)
    else:
        _print_rows(app, rows, one=bool(run_id))


def _print_rows(app: App, rows: Sequence[dict[str, Any]], *, one: bool) -> None:
    from ops.progress import duration

    if one:
        shown = {name: value for name, value in flat(rows[0]).items() if value not in ("", "0", "None")}
        width = max(len(name) for name in shown)
        for name, value in shown.items():
            app.tell(f"{name:<{width}}  {value}")
        return
    if not rows:
        app.say("no runs yet. longhaul run heavy --help")
        return
    lines = [("run", "state", "where", "started", "took", "by", "")]
    for row in rows:
        took = duration(row["seconds"]) if row["seconds"] else ""
        note = row["detail"] + ("" if row["recorded"] else " (not written down: longhaul reap)")
        started = row["started_at"][:19]
        lines.append((row["run_id"], row["state"], row["runtime"], started, took, row["started_by"], note))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    for line in lines:
        text = "  ".join([*(f"{cell:<{width}}" for cell, width in zip(line[:6], widths, strict=True)), line[6]])
        # cut for a person's window only: what is piped into a file is whole
        whole = not app.out.is_terminal or len(text) <= app.out.width
        app.tell(text.rstrip() if whole else text[: app.out.width - 1] + "…")


def logs(
    context: typer.Context,
    run_id: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the run has ended.")] = False,
    task: Annotated[int | None, typer.Option(help="Only this task.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    stack: StackOption = DEFAULT_STACK,
) -> None:
    """Print the log of a run: from the platform, or what the run kept of it where the platform has nothing any more."""
    import json
    from dataclasses import asdict

    from ops import lifecycle
    from ops.following import LogFollower, following
    from ops.platforms import LogLine

    app = app_of(context)
    places, run = _find(app, stack, run_id)
    target = places.target_of(run)
    seen = 0

    def show(line: LogLine) -> None:
        nonlocal seen
        seen += 1
        if task is None or line.task == task:
            app.out.file.write((json.dumps(asdict(line)) if as_json else f"{line.time} {line.message}".strip()) + "\n")

    if follow and run.asks_platform:
        with following(LogFollower(on_line=show, on_trouble=app.say)) as follower:
            follower.start(run, target)
            lifecycle.wait(run, target)
        return
    try:
        for line in target.platform.logs(lifecycle.names_of(run)) if lifecycle.is_known(run) else ():
            show(line)
    except OpsError as exc:
        app.say(f"the platform has no log: {exc}")
    if not seen:
        _print_kept(app, run)


def _print_kept(app: App, run: "Run") -> None:
    from workloads.heavy_runner.contract import EXECUTION_LOG

    held = run.files.read(run.prefix + EXECUTION_LOG)
    if held is None:
        raise BadRequest(f"run {run.run_id} has left no log", "longhaul status says what state it is in")
    app.out.file.write(held.data.decode("utf-8", errors="replace"))


def cancel(
    context: typer.Context, run_id: RunArgument, as_json: JsonOption = False, stack: StackOption = DEFAULT_STACK
) -> None:
    """Stop a run; its container has 10 s to write down what it has."""
    from ops import lifecycle
    from ops.runs import judge

    app = app_of(context)
    places, run = _find(app, stack, run_id)
    ended = lifecycle.cancel(run, places.target_of(run))
    row = _row(ended, judge(ended, None, datetime.now(UTC)))
    app.print_json(row) if as_json else app.say(f"{ended.run_id} {row['state']}")


def reap(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="[RUN]", help="Run id. Default: all of the last 200.")] = "",
    as_json: JsonOption = False,
    stack: StackOption = DEFAULT_STACK,
) -> None:
    """Write down how runs ended whose container could not: killed, never started, cancelled, out of memory.

    The state comes from what the platform says. A run that may still be at work is left alone.
    """
    from dataclasses import asdict

    from ops import lifecycle
    from ops.places import Places
    from ops.runs import recent

    app = app_of(context)
    places = Places(app.project, stack)
    runs = [places.find(run_id)] if run_id else list(recent(places.shelves, 200))
    results = []
    for run in runs:
        try:
            results.append(lifecycle.reap_now(run, places.target_of(run)))
        except OpsError as exc:
            if run_id:
                raise
            app.say(f"{run.run_id}: {exc}")
    if as_json:
        app.print_json([asdict(result) for result in results])
        return
    for result in results:
        if result.wrote or run_id:
            app.say(f"{result.run_id} {result.state}{' written' if result.wrote else ' unchanged'}: {result.detail}")
    if not any(result.wrote for result in results):
        app.say("nothing to write down")


def fetch(
    context: typer.Context,
    run_id: RunArgument,
    out: Annotated[Path | None, typer.Option(help="Folder for the outputs. Default .local/runs/RUN.")] = None,
    as_json: JsonOption = False,
    stack: StackOption = DEFAULT_STACK,
) -> None:
    """Download what a run left behind and show how it ended."""
    from ops.commands import fanout, features, heavy
    from ops.systems import FANOUT, FEATURES

    app = app_of(context)
    places, run = _find(app, stack, run_id)
    target = places.target_of(run)
    if run.index.system == FEATURES.name:
        features.fetch(app, run, target, out, as_json=as_json)
        return
    if run.index.system == FANOUT.name:
        fanout.fetch(app, run, places, out, as_json=as_json)
        return
    heavy.show(app, heavy.fetch(app, run, target, out, quiet=as_json), target, None, as_json=as_json)


def cost(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="[RUN]", help="Run id. Default: the stack as a whole.")] = "",
    cpu: Annotated[float | None, typer.Option(help="What if it had run on so many vCPU.")] = None,
    memory_gib: Annotated[float | None, typer.Option(help="What if it had run on so many GiB.")] = None,
    price_file: Annotated[Path | None, typer.Option("--prices", help="YAML file with prices of your own.")] = None,
    as_json: JsonOption = False,
    stack: StackOption = DEFAULT_STACK,
) -> None:
    """Say what a run, or what a stack's runs, cost at list price, with the formula.

    An estimate: no free tier, no discount, no storage, no network.
    """
    from ops import costs, prices
    from ops.places import Places
    from ops.systems import FANOUT

    app, table = app_of(context), prices.load(price_file)
    if run_id:
        places, run = _find(app, stack, run_id)
        if run.index.system == FANOUT.name:
            raise BadRequest("what a fan-out cost is in its result", f"longhaul fetch {run_id}")
        cost_of_run = costs.of_run(run, places.target_of(run), table, cpu, memory_gib)
        _print_cost(app, cost_of_run.document(), cost_of_run.lines(table), as_json=as_json)
        return
    systems = costs.of_systems(Places(app.project, stack), table)
    document = {"systems": systems, "usd": sum(each["usd"] for each in systems), "prices_of": prices.AS_OF}
    _print_cost(app, document, costs.stack_lines(systems), as_json=as_json)


def _print_cost(app: App, document: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    if as_json:
        app.print_json(document)
        return
    for line in lines:
        app.tell(line)
