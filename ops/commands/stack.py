"""`longhaul preview`, `up`, `refresh`, `destroy`, `unlock`, `images`, `env`: the stack itself."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.common import DEFAULT_STACK, App, JsonOption, StackOption, YesOption, app_of, confirm
from ops.errors import BadRequest

if TYPE_CHECKING:
    from ops.automation import Stack
    from ops.plan import Outcome, Step

_MARKS = {"create": "+", "update": "~", "replace": "±", "delete": "-", "read": "<", "refresh": "·"}
_SILENT = frozenset({"same", "refresh", "create-replacement", "delete-replaced", "read"})
_PAST = {"create": "created", "update": "updated", "replace": "replaced", "delete": "deleted", "same": "unchanged"}


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("preview", epilog="\b\nExamples:\n  longhaul preview --stack local --refresh")(preview)
    app.command("up", epilog="\b\nExamples:\n  longhaul up --stack local --yes")(up)
    app.command("refresh")(refresh)
    app.command("destroy")(destroy)
    app.command("unlock")(unlock)
    app.command("images")(images)
    app.command("env", epilog="\b\nExamples:\n  longhaul env --stack dev >> .env")(env)


def _stack(app: App, name: str) -> "Stack":
    from ops.automation import Stack

    # the program names its files from its own folder, as it does under plain pulumi
    os.chdir(app.project.code)
    return Stack(app.project, name)


def preview(
    context: typer.Context,
    with_refresh: Annotated[bool, typer.Option("--refresh", help="Compare with what is really there.")] = False,
    as_json: JsonOption = False,
    stack: StackOption = DEFAULT_STACK,
) -> None:
    """Say what `up` would change. Changes nothing."""
    app = app_of(context)
    outcome = _stack(app, stack).preview(refresh=with_refresh)
    if as_json:
        _print_json(app, outcome)
        return
    for step in outcome.steps:
        _print_step(app, step, plan=True)
    app.tell(_summary(outcome.changes, plan=True))


def up(
    context: typer.Context,
    yes: YesOption = False,
    with_refresh: Annotated[bool, typer.Option("--refresh", help="Compare with what is really there first.")] = False,
    as_json: JsonOption = False,
    stack: StackOption = DEFAULT_STACK,
) -> None:
    """Deploy the stack: show what changes, ask, do it."""
    app = app_of(context)
    target = _stack(app, stack)
    if not yes:
        plan = target.preview(refresh=with_refresh)
        for step in plan.steps:
            _print_step(app, step, plan=True)
        app.say(_summary(plan.changes, plan=True))
        if plan.is_quiet or not confirm(app, f"Deploy this to {stack}?", yes=yes):
            raise typer.Exit(0 if plan.is_quiet else 1)
    outcome = target.up(refresh=with_refresh, on_step=None if as_json else lambda step: _print_step(app, step))
    if as_json:
        _print_json(app, outcome)
        return
    if outcome.repaired:
        names = ", ".join(outcome.repaired)
        app.say(f"an earlier update of {names} had failed: compared with what is really there, and sent again")
    app.tell(_summary(outcome.changes))


def refresh(
    context: typer.Context,
    preview_only: Annotated[bool, typer.Option("--preview-only", help="Only say what differs.")] = False,
    as_json: JsonOption = False,
    stack: StackOption = DEFAULT_STACK,
) -> None:
    """Bring the state to what is really there."""
    app = app_of(context)
    outcome = _stack(app, stack).refresh(preview_only=preview_only)
    if as_json:
        _print_json(app, outcome)
        return
    app.tell(_summary(outcome.changes))


def destroy(
    context: typer.Context,
    yes: YesOption = False,
    remove: Annotated[bool, typer.Option("--remove", help="Forget the stack itself too; its file stays.")] = False,
    as_json: JsonOption = False,
    stack: StackOption = DEFAULT_STACK,
) -> None:
    """Delete everything the stack made. What is protected from deletion stops it before anything is touched."""
    app = app_of(context)
    target = _stack(app, stack)
    if not confirm(app, f"Delete everything of {stack}, the runs in its bucket included?", yes=yes):
        raise typer.Exit(1)
    outcome = target.destroy(remove=remove, on_step=None if as_json else lambda step: _print_step(app, step))
    if as_json:
        _print_json(app, outcome)
        return
    app.tell(_summary(outcome.changes))


def unlock(context: typer.Context, stack: StackOption = DEFAULT_STACK) -> None:
    """Release a stack that a crashed update holds; `up` then finds what that update was at."""
    app = app_of(context)
    for who in _stack(app, stack).unlock():
        app.say(f"released what {who} held")


def images(context: typer.Context, as_json: JsonOption = False, stack: StackOption = DEFAULT_STACK) -> None:
    """Show the image, by digest, that each system of the stack runs."""
    from ops.outputs import read

    app = app_of(context)
    outputs = read(app.project, stack)
    found = {"heavy": outputs.systems.heavy.image} if outputs.systems.heavy else {}
    if as_json:
        app.print_json(found)
        return
    for system, image in found.items():
        app.tell(f"{system}  {image}")


def env(context: typer.Context, stack: StackOption = DEFAULT_STACK) -> None:
    """Print the variables for a system that calls the heavy runner, as a block to paste."""
    from ops.outputs import read

    app = app_of(context)
    block = read(app.project, stack).require_heavy().env_block
    if not block:
        raise BadRequest(f"stack {stack} exports no variables", f"bring it up to date: longhaul up --stack {stack}")
    app.out.file.write(block.rstrip("\n") + "\n")


def _print_step(app: App, step: "Step", *, plan: bool = False) -> None:
    if step.op in _SILENT or not (step.done or plan):
        return
    kind = step.type.rpartition(":")[2]
    what = f" [{', '.join(step.keys)}]" if step.keys and step.op != "create" else ""
    forced = f" because of {', '.join(step.replacing)}" if step.replacing else ""
    app.say(f"  {_MARKS.get(step.op, step.op)} {step.name} ({kind}){what}{forced}")


def _summary(changes: Mapping[str, int], *, plan: bool = False) -> str:
    shown = {op: count for op, count in changes.items() if count and op != "same"}
    if not shown:
        return f"no changes ({changes.get('same', 0)} resources)"
    words = [f"{count} {op if plan else _PAST.get(op, op)}" for op, count in sorted(shown.items())]
    return ", ".join([*words, f"{changes.get('same', 0)} unchanged"])


def _print_json(app: App, outcome: "Outcome") -> None:
    steps = [
        {name: value for name, value in asdict(step).items() if name not in ("old", "new", "done")}
        for step in outcome.steps
        if step.op != "same"
    ]
    app.print_json({"changes": dict(outcome.changes), "repaired": list(outcome.repaired), "steps": steps})
