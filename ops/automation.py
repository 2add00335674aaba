"""Preview, up, refresh and destroy of a stack through Pulumi's Automation API, for the command, CI and tests.

    stack = automation.Stack(find_project(), "local")
    stack.up(on_step=print)

The project's own `__main__.py` runs as an inline program, in this process: no language plugin is started.

What the engine does not do by itself, and this does:

- An update that failed is not sent again by the next `up`: the state holds the new inputs already. Resources with such
  errors are found in the state and refreshed first.
- Deletion protection stops a destroy or a replacement half way. It is looked for before anything is touched.
- A stack that somebody else is updating is reported with who holds it; what a crashed update left can be released.
"""

import gc
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops import stackfile
from ops.environment import Project
from ops.errors import BadRequest, OpsError
from ops.locks import holders, still_running
from ops.outputs import Outputs, parse
from ops.plan import DELETING, Leftovers, Outcome, Step, leftovers, step_of

if TYPE_CHECKING:
    from pulumi import automation as auto
    from pulumi.automation import events

OnStep = Callable[[Step], None]


class Stack:
    """One stack of a project. Nothing is started before the first operation.

    Every operation raises BadRequest if the stack or its program is wrong, and OpsError if the engine, the provider or
    the cloud fails it; the message is the engine's own first error.
    """

    def __init__(self, project: Project, name: str) -> None:
        self.project, self.name = project, name
        self.file = stackfile.load(project, name)
        self.environ = project.engine_environ(local=self.file.is_local)

    @cached_property
    def _stack(self) -> "auto.Stack":
        from pulumi import automation as auto

        options = auto.LocalWorkspaceOptions(
            work_dir=str(self.project.root), env_vars=self.environ, pulumi_command=self._engine()
        )
        made: auto.Stack = _explained(
            lambda: auto.create_or_select_stack(
                stack_name=self.name, project_name=self.project.name, program=self._program, opts=options
            )
        )
        return made

    def _engine(self) -> "auto.PulumiCommand":
        from pulumi import automation as auto

        found = shutil.which("pulumi", path=self.environ.get("PATH"))
        if found is None:
            raise OpsError("the pulumi engine is not on PATH", "install Pulumi, or run `make setup`")
        binary = Path(found)
        # the API takes the folder above bin/, or looks on this process's own PATH, which may lack what the set-up added
        return auto.PulumiCommand(root=str(binary.parent.parent) if binary.parent.name == "bin" else None)

    def _program(self) -> None:
        code = str(self.project.code)
        if code not in sys.path:
            sys.path.insert(0, code)
        runpy.run_path(str(self.project.code / "__main__.py"), run_name="__main__")

    def leftovers(self) -> Leftovers:
        """Return what earlier operations left in the state."""
        return leftovers(_explained(self._stack.export_stack).deployment)

    def outputs(self) -> Outputs:
        """Return the stack's export. Raises BadRequest: it is not deployed."""
        found = _explained(self._stack.outputs)
        return parse({name: output.value for name, output in found.items()}, self.name)

    def preview(self, *, refresh: bool = False, on_step: OnStep | None = None, on_event: Any = None) -> Outcome:
        """Return what `up` would do; `refresh`: compared with what is really there. Changes nothing."""
        return self._run(
            lambda take: self._stack.preview(refresh=refresh or None, on_event=take), on_step, on_event, plan=True
        )

    def up(self, *, refresh: bool = False, on_step: OnStep | None = None, on_event: Any = None) -> Outcome:
        """Bring the stack to what the program says. What an earlier, failed update left is refreshed first.

        Raises BadRequest also for a plan that takes away a protected resource; nothing has been touched then.
        """
        left = self.leftovers()
        if left.protected:
            plan = self.preview(refresh=refresh)
            self._refuse_protected([s.urn for s in plan.steps if s.op in DELETING and s.urn in left.protected])
        if left.pending:
            self.refresh()
        repaired = tuple(urn.rpartition("::")[2] for urn in (*left.failed, *left.pending))
        done = self._run(
            lambda take: self._stack.up(refresh=(refresh or bool(repaired)) or None, show_secrets=False, on_event=take),
            on_step,
            on_event,
        )
        return Outcome(changes=done.changes, steps=done.steps, repaired=repaired)

    def refresh(self, *, preview_only: bool = False, on_step: OnStep | None = None, on_event: Any = None) -> Outcome:
        """Bring the state to what is really there; creations that a crash left open are dropped from it."""
        return self._run(
            lambda take: self._stack.refresh(
                preview_only=preview_only or None, clear_pending_creates=True, show_secrets=False, on_event=take
            ),
            on_step,
            on_event,
        )

    def destroy(self, *, remove: bool = False, on_step: OnStep | None = None, on_event: Any = None) -> Outcome:
        """Delete everything the stack made; `remove`: forget the stack itself too.

        Raises BadRequest: something is protected; nothing has been touched then.
        """
        self._refuse_protected(list(self.leftovers().protected))
        done = self._run(lambda take: self._stack.destroy(show_secrets=False, on_event=take), on_step, on_event)
        if remove:
            _explained(lambda: self._stack.workspace.remove_stack(self.name, preserve_config=True))
        return done

    def unlock(self) -> list[str]:
        """Release what a crashed update of this machine holds and return who held it.

        Raises BadRequest: that update still runs, or nobody holds the stack.
        """
        held = self.holders()
        if not held:
            raise BadRequest(f"nobody holds stack {self.name}")
        if alive := [who for who in held if still_running(who)]:
            raise BadRequest(f"stack {self.name} is being updated by {', '.join(alive)}", "wait for it, or stop it")
        _explained(self._stack.cancel)
        return held

    def holders(self) -> list[str]:
        """Return who holds the stack's lock, as USER@HOST (pid N); [] if nobody does or the backend keeps no files."""
        return holders(self.environ.get("PULUMI_BACKEND_URL", ""), self.name)

    def _refuse_protected(self, urns: list[str]) -> None:
        if not urns:
            return
        names = ", ".join(sorted({urn.rpartition("::")[2] for urn in urns}))
        raise BadRequest(
            f"protected from deletion: {names}; nothing has been touched",
            f"set deletion_protection: false in Pulumi.{self.name}.yaml, run `longhaul up`, then this again",
        )

    def _run(
        self, operation: Callable[[Any], Any], on_step: OnStep | None, on_event: Any, *, plan: bool = False
    ) -> Outcome:
        steps: dict[tuple[str, str], Step] = {}
        changes: dict[str, int] = {}
        errors: list[str] = []

        def take(event: "events.EngineEvent") -> None:
            if on_event is not None:
                on_event(event)
            if (step := step_of(event, plan=plan)) is not None:
                if step.done or plan:
                    steps[step.urn, step.op] = step
                if on_step is not None:
                    on_step(step)
            if event.summary_event is not None:
                changes.update({str(op): count for op, count in event.summary_event.resource_changes.items()})
            if event.diagnostic_event is not None and event.diagnostic_event.severity == "error":
                errors.append(event.diagnostic_event.message)

        try:
            _explained(lambda: operation(take), errors)
        except OpsError:
            _forget_program()
            # the engine's own protection refuses in the plan, in words for the program's author
            self._refuse_protected([urn for text in errors for urn in _PROTECTED.findall(text)])
            raise
        return Outcome(changes=changes, steps=tuple(steps.values()))


def _explained(call: Callable[[], Any], errors: list[str] | None = None) -> Any:
    from pulumi.automation import errors as engine

    try:
        return call()
    except engine.ConcurrentUpdateError as exc:
        raise OpsError(f"the stack is being updated by somebody else: {_holder(str(exc))}", _UNLOCK) from exc
    except engine.StackNotFoundError as exc:
        raise BadRequest("there is no such stack", "longhaul up creates it") from exc
    except engine.CommandError as exc:
        message = _first_error(errors or [], str(exc))
        ours = isinstance(exc, engine.InlineSourceRuntimeError) or any(_PROGRAM in text for text in errors or [])
        raise (BadRequest if ours else OpsError)(message) from exc


def _forget_program() -> None:
    """Collect the coroutine that the SDK leaves of a program which the engine cut short.

    Left to the collector it would complain of its missing event loop at any later moment, in the middle of anything.
    """
    hook = sys.unraisablehook

    def quiet(unraisable: "sys.UnraisableHookArgs") -> None:
        if "run_in_stack" not in repr(unraisable.object):
            hook(unraisable)

    sys.unraisablehook = quiet
    try:
        gc.collect()
    finally:
        sys.unraisablehook = hook


_PROTECTED = re.compile(r'unable to (?:replace|delete) resource "([^"]+)"\s+as it is currently marked for protection')

_PROGRAM = "an unhandled error occurred:"
"""How the engine says that the program, not the provider, raised an error."""

_UNLOCK = "wait for it; if it crashed: longhaul unlock"


def _holder(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if "created by" in line]
    return "; ".join(line.partition("created by ")[2] for line in lines) or "unknown"


def _first_error(errors: list[str], text: str) -> str:
    for message in errors:
        lines = [line.strip() for line in message.splitlines() if line.strip() and not _is_noise(line)]
        if lines:
            # the last line of a Python traceback is the error, the first of anything else
            return lines[-1] if "Traceback" in message else " ".join(lines)[:2000]
    found = [line.strip() for line in text.splitlines() if "error:" in line and "update failed" not in line]
    if found:
        return found[0].partition("error:")[2].strip()[:2000]
    code = re.search(r"code: (-?\d+)", text)
    return f"the engine ended without a word, exit code {code[1]}" if code else text.strip()[-2000:]


def _is_noise(line: str) -> bool:
    return "update failed" in line or "preview failed" in line or line.strip().startswith("sdk-v2/")
