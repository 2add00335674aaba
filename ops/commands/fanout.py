"""`longhaul run fanout`: N inputs in, N tasks in parallel, one table and one chart out."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.common import DEFAULT_STACK, App, JsonOption, StackOption, app_of
from ops.commands.heavy import _detached, _Line, whoami
from ops.errors import BadRequest

if TYPE_CHECKING:
    from ops.fanout import Request
    from ops.fanout_results import FanoutResult
    from ops.outputs import Outputs
    from ops.places import Places
    from ops.runs import Run
    from ops.targets import Target

EXAMPLES = """
\b
Examples:
  longhaul run fanout --count 200 --seed 1
  longhaul run fanout --count 5000 --seed 1 --max-parallelism 500 --sim-id flu --detach
  longhaul run fanout --count 5000 --dry-run --task-seconds 600
  longhaul run fanout --rerun-failed 20260131-235959-0a1b2c3d
"""


def register(run_app: typer.Typer) -> None:
    """Add the command to `longhaul run`."""
    run_app.command("fanout", epilog=EXAMPLES)(fanout)


def fanout(
    context: typer.Context,
    count: Annotated[int | None, typer.Option(help="Inputs to make, 0 to 100,000; one task each.")] = None,
    seed: Annotated[int, typer.Option(help="The same count and seed give the same inputs.")] = 0,
    max_parallelism: Annotated[int | None, typer.Option(help="Tasks at the same time. Default the stack's.")] = None,
    sim_id: Annotated[str, typer.Option(help="Name of the experiment.")] = "simulation",
    repository: Annotated[str, typer.Option(help="Private repository, OWNER/REPOSITORY. Default the stack's.")] = "",
    git_ref: Annotated[str, typer.Option(help="Branch, tag or commit of it.")] = "",
    run_id: Annotated[str, typer.Option(help="Name of the run; default one that sorts by time.")] = "",
    rerun_failed: Annotated[
        str, typer.Option(metavar="RUN", help="Run the inputs of RUN that have no result again, then gather.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take; start nothing.")] = False,
    task_seconds: Annotated[float, typer.Option(help="With --dry-run: how long one task takes.")] = 600,
    wait: Annotated[bool, typer.Option("--wait/--detach", help="Stay until it has ended, or return at once.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for the outputs. Default .local/runs/RUN_ID.")] = None,
    as_json: JsonOption = False,
    stack: StackOption = DEFAULT_STACK,
) -> None:
    """Make inputs, run one task on each, and gather the results into a table and a chart.

    Ends with 0: succeeded; 1: tasks failed, --rerun-failed runs those again; 2: the request is wrong.
    """
    from ops import fanout as fanouts
    from ops import outputs as stack_outputs
    from ops.places import Places
    from ops.systems import FANOUT

    app = app_of(context)
    if (count is None) == (not rerun_failed):
        raise BadRequest("give either --count, or --rerun-failed RUN", "longhaul run fanout --help")
    places = Places(app.project, stack)
    if places.outputs is None:
        raise stack_outputs.NotDeployed(stack)
    system = places.outputs.require_fanout()
    target = places.fanout
    if rerun_failed:
        held = places.find(rerun_failed)
        if held.index.system != FANOUT.name:
            raise BadRequest(f"run {rerun_failed} is no fan-out")
        run, indices = fanouts.rerun(held, target, max_parallelism=max_parallelism, started_by=whoami(target))
        app.say(f"run {run.run_id}: {len(indices):,} tasks again")
    else:
        request = fanouts.Request(
            count=count or 0,
            seed=seed,
            sim_id=sim_id,
            max_parallelism=max_parallelism,
            repository=repository,
            git_ref=git_ref,
        )
        if dry_run:
            _plan(app, request, places.outputs, task_seconds, as_json=as_json)
            return
        run = fanouts.start(target, request, prefix=system.prefix, run_id=run_id, started_by=whoami(target))
        app.say(f"run {run.run_id} started: {request.count:,} inputs")
    ended = _see_through(app, run, target, quiet=as_json) if wait else None
    if ended is None:
        _detached(app, run, as_json=as_json)
        return
    raise typer.Exit(fetch(app, ended, places, out, as_json=as_json).exit_code)


def _plan(app: App, request: "Request", outputs: "Outputs", task_seconds: float, *, as_json: bool) -> None:
    from ops import prices
    from ops.fanout_results import plan
    from ops.progress import duration, usd

    made = plan(request, outputs.require_fanout(), task_seconds=task_seconds, prices=prices.load())
    if as_json:
        app.print_json(asdict(made))
        return
    for job in made.jobs:
        shape = f"{job['cpu_milli'] / 1_000:g} vCPU, {job['memory_mib']:,} MiB"
        app.tell(f"stage {job['stage']}: {job['tasks']:,} tasks, {job['parallelism']:,} at once, {shape} each")
    app.tell(f"quota: {made.cpus_at_once:,.0f} vCPU at once in {outputs.region}")
    app.tell(f"cost {usd(made.usd)} at list price of E2 machines if a task takes {duration(task_seconds)}")


def _see_through(app: App, run: "Run", target: "Target", *, quiet: bool) -> "Run | None":
    """Stay until the run has ended; None: the person has gone."""
    from ops import lifecycle
    from ops.commands.heavy import _ask_interrupted
    from ops.fanout import follow

    while True:
        try:
            with _Line(app, quiet=quiet) as line:
                return follow(run, target, on_look=line.show)
        except KeyboardInterrupt:
            choice = _ask_interrupted(app, run, quiet=quiet)
        if choice == "d":
            return None
        if choice == "c":
            app.say("cancelling the workflow, then its jobs")
            return lifecycle.cancel(run, target)


def fetch(app: App, run: "Run", places: "Places", out: Path | None, *, as_json: bool) -> "FanoutResult":
    """Download table, chart and page of a run, and show how it ended; inputs and single results stay in the bucket."""
    from datetime import UTC, datetime

    from ops import lifecycle, prices, runs
    from ops.fanout_results import OUTPUTS, result_of
    from ops.outputs import NotDeployed
    from ops.progress import bars

    if places.outputs is None:
        raise NotDeployed(places.stack)
    folder = out or app.project.scratch / "runs" / run.run_id
    folder.mkdir(parents=True, exist_ok=True)
    with bars(app.err, quiet=as_json) as draw:
        files = lifecycle.download(run, folder, draw, below=OUTPUTS)
    state = str(runs.judge(run, None, datetime.now(UTC)).state)
    system = places.outputs.require_fanout()
    result = result_of(run, state, places.fanout, system, prices.load(), folder, files)
    if as_json:
        app.print_json({**asdict(result), "exit_code": int(result.exit_code)})
    else:
        _show(app, result)
    return result


def _show(app: App, result: "FanoutResult") -> None:
    from ops.prices import LIST
    from ops.progress import usd

    for stage in result.stages:
        failed = f", {stage['failed']:,} failed" if stage["failed"] else ""
        app.tell(f"stage {stage['stage']} {stage['state']}: {stage['done']:,} of {stage['tasks']:,} tasks{failed}")
    if result.message:
        app.tell(result.message, style="bold red")
    for name in (result.table, result.page, result.chart):
        if name:
            app.tell(name)
    app.tell(f"cost at most {usd(result.usd_at_most)} at list price of {LIST['batch_vcpu'].read_on} (E2 machines)")
    if result.missing:
        app.tell(f"run only those again: longhaul run fanout --rerun-failed {result.run_id}")
    app.tell(f"{result.run_id} {result.state}: {result.inputs - result.missing:,} of {result.inputs:,} results")
