"""`longhaul local …`: the local Google Cloud of this checkout."""

import json
from typing import Annotated, Any

import typer

from ops.commands.common import JsonOption, YesOption, app_of, confirm
from ops.errors import BadRequest

local_app = typer.Typer(help="The local Google Cloud: for development and tests, on 127.0.0.1.", no_args_is_help=True)

LocalStack = Annotated[str, typer.Option("--stack", "-s", help="Stack whose endpoints say where it listens.")]


@local_app.command("up")
def up(context: typer.Context, as_json: JsonOption = False, stack: LocalStack = "local") -> None:
    """Start it, if it does not run, and wait until it answers."""
    from ops.local import LocalCloud

    app = app_of(context)
    started = LocalCloud(app.project, stack).up()
    if as_json:
        app.print_json({"was_up": started.was_up, "seconds": started.seconds, "ports": dict(started.ports)})
        return
    how = "is up already" if started.was_up else f"ready in {started.seconds:.1f} s"
    app.say(f"local cloud {how}, http://127.0.0.1:{started.ports['control']}")


@local_app.command("down")
def down(context: typer.Context, stack: LocalStack = "local") -> None:
    """Stop it with everything it runs; what it holds stays."""
    from ops.local import LocalCloud

    app = app_of(context)
    app.say("local cloud stopped" if LocalCloud(app.project, stack).down() else "the local cloud was not up")


@local_app.command("status")
def status(context: typer.Context, as_json: JsonOption = False, stack: LocalStack = "local") -> None:
    """Say whether it runs, where it listens, and what it warns of. Ends with 1 if it does not run."""
    from ops.local import LocalCloud

    app = app_of(context)
    cloud = LocalCloud(app.project, stack)
    found: dict[str, Any] = {"up": cloud.is_up(), "pid": cloud.pid(), "state": str(cloud.state), "ports": cloud.ports()}
    if cloud.is_up():
        found["status"] = cloud.control("GET", "/status")
    if as_json:
        app.print_json(found)
    else:
        app.tell(f"up, process {found['pid']}" if found["up"] else "down")
        for name, port in sorted(cloud.ports().items(), key=lambda item: item[1]):
            app.tell(f"  {port}  {name}")
        for warning in (found.get("status") or {}).get("warnings", []):
            app.tell(f"  ! {warning}")
    raise typer.Exit(0 if found["up"] else 1)


@local_app.command("reset")
def reset(context: typer.Context, yes: YesOption = False, stack: LocalStack = "local") -> None:
    """Stop it and forget everything it holds, with the Pulumi state of its stack."""
    from ops.local import LocalCloud

    app = app_of(context)
    cloud = LocalCloud(app.project, stack)
    if not confirm(app, f"Forget everything in {cloud.state} and the state of stack {stack}?", yes=yes):
        raise typer.Exit(1)
    cloud.reset()
    app.say("the local cloud is empty. longhaul local up")


@local_app.command("token")
def token(context: typer.Context, stack: LocalStack = "local") -> None:
    """Print an access token of the operator, for curl."""
    from ops.local import LocalCloud

    app = app_of(context)
    app.out.file.write(LocalCloud(app.project, stack).token() + "\n")


@local_app.command("env")
def env(context: typer.Context, stack: LocalStack = "local") -> None:
    """Print what points gcloud at it, for `eval "$(longhaul local env)"`."""
    import shlex

    from ops.local import LocalCloud

    app = app_of(context)
    for name, value in LocalCloud(app.project, stack).gcloud_environ().items():
        app.out.file.write(f"export {name}={shlex.quote(value)}\n")


FAULTS = """
\b
Examples:
  longhaul local faults visibility_delay_s=5 error_rate=0.1 'error_codes=[503,429]'
  longhaul local faults --clear
"""


@local_app.command("faults", epilog=FAULTS)
def faults(
    context: typer.Context,
    changes: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="No faults any more.")] = False,
    stack: LocalStack = "local",
) -> None:
    """Show or set what it does to its users: slow visibility, failed requests, doubled deliveries."""
    from ops.local import LocalCloud

    app = app_of(context)
    cloud = LocalCloud(app.project, stack)
    if clear:
        wanted: dict[str, Any] = {"visibility_delay_s": 0, "error_rate": 0, "double_delivery_rate": 0}
    else:
        wanted = dict(_change(text) for text in changes or [])
    app.print_json(cloud.control("PUT", "/faults", wanted) if wanted else cloud.control("GET", "/faults"))


def _change(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        raise BadRequest(
            f"faults: must be NAME=VALUE with a JSON value, got {text!r}" if equals else f"got {text!r}"
        ) from None
