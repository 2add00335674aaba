"""`longhaul run heavy`: a script and a table in, metrics and files out."""

import getpass
import socket
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.common import DEFAULT_STACK, App, JsonOption, StackOption, app_of, flat
from ops.errors import BadRequest

if TYPE_CHECKING:
    from ops.places import Places
    from ops.request import Request
    from ops.results import Result
    from ops.router import Decision
    from ops.runs import Judgement, Run
    from ops.targets import Target

run_app = typer.Typer(help="Start a run.", no_args_is_help=True)

EXAMPLES = """
\b
Examples:
  longhaul run heavy --data flights.csv --script train.py
  longhaul run heavy --data t.csv --script s.py --sep ';' --decimal , --encoding cp1252
  longhaul run heavy --data t.csv --script s.py --support plan.json --required-output 'data/*.json'
  longhaul run heavy --data t.csv --script s.py --sandbox never --detach
"""


@run_app.command("heavy", epilog=EXAMPLES)
def heavy(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="The table: a CSV file with a header line.")],
    script: Annotated[Path, typer.Option(help="The Python script; the table is at data/cleaned_data.csv for it.")],
    support: Annotated[
        list[str] | None, typer.Option(help="A further file: FILE goes to data/NAME, FILE=PATH to PATH.")
    ] = None,
    sep: Annotated[str, typer.Option(help="Separator of the table.")] = ",",
    decimal: Annotated[str, typer.Option(help="Decimal mark of the table.")] = ".",
    encoding: Annotated[str, typer.Option(help="Encoding of the table.")] = "utf-8",
    required_output: Annotated[
        list[str] | None, typer.Option(help="Glob of a file without which the run has failed.")
    ] = None,
    timeout: Annotated[int | None, typer.Option(help="Longest time of the script, seconds (60 to 7200).")] = None,
    safe_mode: Annotated[bool, typer.Option("--safe-mode", help="Tell the script to do less.")] = False,
    sandbox: Annotated[
        str, typer.Option(help="auto: by the table's size; always: on this machine; never: as a job.")
    ] = "auto",
    run_id: Annotated[str, typer.Option(help="Name of the run; default one that sorts by time.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Run a run id again that has ended.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--detach", help="Stay until it has ended, or return at once.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for the outputs. Default .local/runs/RUN_ID.")] = None,
    image: Annotated[str, typer.Option(help="Image of the sandbox. Default the stack's.")] = "",
    as_json: JsonOption = False,
    stack: StackOption = DEFAULT_STACK,
) -> None:
    """Run a Python script over a large table: in a sandbox here if it is small, on Cloud Run if not.

    Ends with 0: succeeded; 1: failed, a retry may help; 2: the request is wrong.
    """
    from ops.heavy import submit
    from ops.places import Places
    from ops.progress import bars
    from ops.request import Request, support_files

    app = app_of(context)
    request = Request(
        data=data,
        script=script,
        support=support_files(support or []),
        sep=sep,
        decimal=decimal,
        encoding=encoding,
        required_outputs=tuple(required_output or ()),
        timeout_s=timeout,
        safe_mode=safe_mode,
    )
    places = Places(app.project, stack, image)
    decision, target = choose(app, places, request, sandbox)
    with bars(app.err, quiet=as_json) as draw:
        run = submit(request, target, run_id=run_id, force=force, started_by=whoami(target), bars=draw)
    app.say(f"run {run.run_id} started{_where(run)}")
    if not wait:
        _detached(app, run, as_json=as_json)
        return
    followed = _see_through(app, run, target, quiet=as_json)
    if followed is None:
        _detached(app, run, as_json=as_json)
        return
    result = fetch(app, followed, target, out, quiet=as_json)
    show(app, result, target, decision, as_json=as_json)
    raise typer.Exit(result.exit_code)


def choose(app: App, places: "Places", request: "Request", sandbox: str) -> "tuple[Decision, Target]":
    """Return where the run goes, and why."""
    from ops.router import Decision, Place, measure

    if sandbox not in ("auto", "always", "never"):
        raise BadRequest(f"--sandbox must be auto, always or never, got {sandbox!r}")
    decision = measure(request.data, request.encoding, places.thresholds)
    if sandbox != "auto":
        place = Place.SANDBOX if sandbox == "always" else Place.JOB
        decision = Decision(
            place=place, size_bytes=decision.size_bytes, rows=decision.rows, reason=f"--sandbox {sandbox}"
        )
    app.say(f"{request.data.name} goes to the {decision.place}: {decision.reason}")
    target = places.sandbox if decision.place == Place.SANDBOX else places.job
    if target.platform.runtime == "process":
        app.say("no container engine answers: the script runs as a plain process, without isolation. For looking only.")
    return decision, target


def whoami(target: "Target") -> str:
    """Return who starts runs, for the index: the account behind the credentials, or the person on this machine."""
    return target.identity() or f"{getpass.getuser()}@{socket.gethostname()}"


def _where(run: "Run") -> str:
    names = run.index.platform
    name = names.get("execution") or names.get("container") or names.get("pid")
    short = str(name or "").rpartition("/")[2]
    return f" as {short[:60] if not names.get('container') else f'container {short[:12]}'}" if short else ""


def _detached(app: App, run: "Run", *, as_json: bool) -> None:
    if as_json:
        app.print_json({"run_id": run.run_id, "state": run.index.state, "output_uri": run.index.output_uri})
        return
    app.say(f"it goes on without you. longhaul status {run.run_id} | logs -f | cancel | fetch")


def _see_through(app: App, run: "Run", target: "Target", *, quiet: bool) -> "Run | None":
    from ops import lifecycle
    from ops.following import LogFollower, following

    follower = LogFollower(
        on_line=(lambda _line: None) if quiet else (lambda line: app.say(f"  {line.message}")), on_trouble=app.say
    )
    while True:
        try:
            with following(follower), _Line(app, quiet=quiet) as line:
                follower.start(run, target)
                return lifecycle.wait(run, target, on_look=line.show)
        except KeyboardInterrupt:
            choice = _ask_interrupted(app, run, quiet=quiet)
        if choice == "d":
            return None
        if choice == "c":
            app.say("cancelling; the container has 10 s to write down what it has")
            return lifecycle.cancel(run, target)
        follower = LogFollower(on_line=follower.on_line, on_trouble=follower.on_trouble)


class _Line:
    """The last line of the terminal: the state, renewed; without a terminal a line for each change."""

    def __init__(self, app: App, *, quiet: bool) -> None:
        self._app, self._quiet, self._last = app, quiet, ""
        self._status = app.err.status("starting") if app.err.is_terminal and not quiet else None

    def __enter__(self) -> "_Line":
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, run: "Run", judgement: "Judgement") -> None:
        from ops.following import summary

        text = summary(run, judgement)
        if self._status is not None:
            self._status.update(text)
        elif (
            not self._quiet
            and not judgement.state.is_final
            and (head := f"{judgement.state} {judgement.detail}".strip()) != self._last
        ):
            self._last = head
            self._app.say(text)


def _ask_interrupted(app: App, run: "Run", *, quiet: bool) -> str:
    if quiet or not app.err.is_terminal:
        return "d"
    try:
        answer = typer.prompt(f"run {run.run_id}: (c)ancel it, (d)etach, or (w)ait on?", default="d", err=True)
    except typer.Abort:
        return "d"
    return str(answer).strip().lower()[:1]


def fetch(app: App, run: "Run", target: "Target", out: Path | None, *, quiet: bool) -> "Result":
    """Download everything a run left behind, whether it succeeded or not."""
    from ops import prices
    from ops.lifecycle import download
    from ops.progress import bars
    from ops.results import result_of

    folder = out or app.project.scratch / "runs" / run.run_id
    folder.mkdir(parents=True, exist_ok=True)
    with bars(app.err, quiet=quiet) as draw:
        files = download(run, folder, draw)
    return result_of(run, target, folder, files, prices.load())


def show(app: App, result: "Result", target: "Target", decision: "Decision | None", *, as_json: bool) -> None:
    """Print how a run ended."""
    if as_json:
        extra = {} if decision is None else {"decision": asdict(decision)}
        app.print_json({**asdict(result), **extra})
        return
    from rich.table import Table

    from ops.prices import AS_OF
    from ops.progress import duration, usd

    if result.metrics:
        table = Table("metric", "value", box=None)
        for name, value in flat(result.metrics).items():
            table.add_row(name, value)
        app.out.print(table)
    if result.error:
        app.tell(f"{result.error['code']}: {result.error['message']}", style="bold red")
        app.tell(f"  {result.error['hint']}")
        for line in list(result.error.get("log_tail") or ())[-5:]:
            app.tell(f"  | {line}")
    limit = f" of {result.memory_limit_mib:,}" if result.memory_limit_mib else ""
    peak = f", peak memory {result.peak_memory_mib:,}{limit} MiB" if result.peak_memory_mib else ""
    app.tell(f"{result.run_id} {result.state} in {duration(result.seconds)}{peak}")
    shape = f"{target.cpu:g} vCPU, {target.memory_gib:g} GiB"
    price = f"cost {usd(result.cost_usd)} at list price of {AS_OF} ({shape}, one minute at least)"
    if result.place == "sandbox":
        price = f"cost nothing here; as a job of 8 vCPU and 32 GiB {usd(result.cost_usd)} at list price of {AS_OF}"
    app.tell(price)
    app.tell(f"{len(result.files)} files in {result.folder}")
