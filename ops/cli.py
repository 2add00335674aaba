"""The `longhaul` command. Subcommands lie in ops/commands; what they need is imported when they run."""

import sys
import traceback
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ops.commands import doctor, fanout, features, local, runs, stack
from ops.commands.common import App
from ops.commands.heavy import run_app
from ops.errors import OpsError
from workloads.common.contract import ExitCode

app = typer.Typer(
    name="longhaul",
    help="Start long jobs on Google Cloud, watch them, and deploy the stack they run on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.add_typer(run_app, name="run")
features.register(run_app)
fanout.register(run_app)
runs.register(app)
stack.register(app)
app.add_typer(local.local_app, name="local")
app.command("doctor")(doctor.doctor)


@app.callback()
def start(
    context: typer.Context,
    project: Annotated[Path | None, typer.Option(help="Folder of Pulumi.yaml. Default: here or above.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Begin."""
    context.obj = App(folder=project, debug=debug)


def main() -> None:
    """Run the command and end the process: 0 done, 1 failed, 2 the request is wrong, 130 interrupted."""
    try:
        app()
    except OpsError as exc:
        _end(str(exc), exc.remedy, exc.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as exc:
        _end(f"unexpected {type(exc).__name__}: {exc}", "longhaul --debug … shows where", ExitCode.RETRY)


def _end(message: str, remedy: str, code: ExitCode) -> NoReturn:
    if "--debug" in sys.argv:
        traceback.print_exc()
    print(f"longhaul: {message}", file=sys.stderr)
    if remedy:
        print(f"  -> {remedy}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
