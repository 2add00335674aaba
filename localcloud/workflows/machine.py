"""Execution of a checked definition, one step after the other."""

import asyncio
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from localcloud.workflows import limits
from localcloud.workflows.errors import Fatal, Frame, WorkflowError, error
from localcloud.workflows.expressions import evaluate, get, kind, truth
from localcloud.workflows.program import REQUIRED, Expression, Program, Retry, Step, Workflow
from localcloud.workflows.scope import Scope

_TURN = 20
"""Steps between two turns of the event loop."""


class Host(Protocol):
    """What the machine cannot do itself."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    def log(self, data: Any, severity: str) -> None:
        """Write a log entry for sys.log."""

    async def http(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Make an HTTP request; raises WorkflowError with HttpError for a status of 400 or more."""

    async def connector(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Call a Google API and wait for its operation."""

    def entered(self, frames: list[Frame]) -> None:
        """Note where the execution is; outermost first."""


@dataclass(frozen=True)
class _Jump:
    target: str


@dataclass(frozen=True)
class _Return:
    value: Any


_Signal = _Jump | _Return | None


class Machine:
    """One execution."""

    def __init__(self, program: Program, host: Host, functions: Mapping[str, Callable[..., Any]]):
        self.program, self.host, self.functions = program, host, functions
        self._steps = 0
        self._frames: list[Frame] = []

    async def run(self, argument: Any) -> Any:
        """Execute main with `argument`; return its result.

        Raises:
            WorkflowError: an error that nothing caught.
        """
        main = self.program.workflows["main"]
        scope = Scope()
        for name, default in main.parameters.items():
            scope.declare(
                name, argument if argument is not None or default is REQUIRED else self._value(default, scope)
            )
        return await self._workflow(main, scope)

    async def _workflow(self, workflow: Workflow, scope: Scope) -> Any:
        if len(self._frames) >= limits.CALL_DEPTH:
            raise error("RecursionError", f"call depth exceeds the limit of {limits.CALL_DEPTH}")
        self._frames.append(Frame(workflow.name, "", workflow.line))
        try:
            signal = await self._block(workflow.steps, scope, workflow.name)
        finally:
            self._frames.pop()
        return signal.value if isinstance(signal, _Return) else None

    async def _block(self, steps: list[Step], scope: Scope, workflow: str) -> _Signal:
        """Execute steps in order; a jump to a step of this block is followed here, any other handed outwards."""
        index = {step.name: place for place, step in enumerate(steps)}
        place = 0
        while place < len(steps):
            signal = await self._step(steps[place], scope, workflow)
            if signal is None:
                place += 1
            elif isinstance(signal, _Jump) and signal.target in index:
                place = index[signal.target]
            else:
                return signal
        return None

    async def _step(self, step: Step, scope: Scope, workflow: str) -> _Signal:
        self._steps += 1
        limits.check_steps(self._steps)
        if self._steps % _TURN == 0:
            await asyncio.sleep(0)  # a loop without calls must not keep the others waiting
        self._frames[-1] = Frame(workflow, step.name, step.line)
        self.host.entered(self._frames)
        try:
            signal: _Signal = await getattr(self, f"_do_{step.kind}")(step, scope, workflow)
        except WorkflowError as problem:
            problem.trace = problem.trace or tuple(reversed(self._frames))
            raise
        if signal is not None or step.next is None:
            return signal
        return _Return(None) if step.next == "end" else _Jump(step.next)

    async def _do_jump(self, step: Step, scope: Scope, workflow: str) -> _Signal:
        return None

    async def _do_assign(self, step: Step, scope: Scope, workflow: str) -> _Signal:
        for target, value in step.body["assign"]:
            result = copy.deepcopy(self._value(value, scope))  # a variable is a value, not a reference
            limits.check_string(result)
            self._assign(target.tree, result, scope)
        limits.check_memory(sum(limits.size(value) for value in scope.values()))
        return None

    def _assign(self, tree: Any, value: Any, scope: Scope) -> None:
        if tree.data == "variable":
            scope[str(tree.children[0])] = value
            return
        container = self._container(tree.children[0], scope)
        place = str(tree.children[1]) if tree.data == "member" else evaluate(tree.children[1], scope, self.functions)
        if isinstance(container, dict) and isinstance(place, str):
            container[place] = value
        else:
            get(container, place)  # the documented error for a bad index or type
            container[place] = value

    def _container(self, tree: Any, scope: Scope) -> Any:
        """Return the map or list that is assigned into; maps on the way are made where they are missing."""
        if tree.data == "variable":
            return get(dict(scope), str(tree.children[0]))
        outer = self._container(tree.children[0], scope)
        place = str(tree.children[1]) if tree.data == "member" else evaluate(tree.children[1], scope, self.functions)
        if isinstance(outer, dict) and isinstance(place, str) and place not in outer:
            outer[place] = {}
        return get(outer, place)

    async def _do_call(self, step: Step, scope: Scope, workflow: str) -> _Signal:
        name = step.body["call"]
        arguments = self._value(step.body["args"], scope)
        if name in self.program.workflows:
            result = await self._subworkflow(self.program.workflows[name], arguments)
        elif not isinstance(arguments, dict):
            raise error("TypeError", f"{name}: args must be a map, got {kind(arguments)}")
        elif name.startswith("http."):
            result = await self.host.http(name.removeprefix("http."), arguments)
        elif name.startswith("sys."):
            await self._system(name, arguments)
            result = None
        else:
            result = await self.host.connector(name, arguments)
        if step.body["result"] is not None:
            scope[step.body["result"]] = result
            limits.check_memory(sum(limits.size(value) for value in scope.values()))
        return None

    async def _subworkflow(self, workflow: Workflow, arguments: Any) -> Any:
        scope = Scope()
        given = dict(zip(workflow.parameters, arguments, strict=False)) if isinstance(arguments, list) else arguments
        for name, default in workflow.parameters.items():
            if name in given:
                scope.declare(name, copy.deepcopy(given[name]))
            elif default is REQUIRED:
                raise error("TypeError", f"{workflow.name}: parameter {name} is missing")
            else:
                scope.declare(name, self._value(default, scope))
        return await self._workflow(workflow, scope)

    async def _system(self, name: str, arguments: Mapping[str, Any]) -> None:
        if name == "sys.log":
            data = arguments.get("data", arguments.get("json", arguments.get("text")))
            self.host.log(data, str(arguments.get("severity", "DEFAULT")))
        elif name == "sys.sleep":
            seconds = arguments.get("seconds")
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
                raise error("ValueError", f"sys.sleep: seconds must be a number of 0 or more, got {seconds!r}")
            await self.host.sleep(float(seconds))
        else:
            until = self.functions["time.parse"](arguments.get("time"))
            await self.host.sleep(max(0.0, until - self.functions["sys.now"]()))

    async def _do_switch(self, step: Step, scope: Scope, workflow: str) -> _Signal:
        for case in step.body["switch"]:
            if truth(self._value(case.condition, scope), "condition"):
                inner = case.step
                signal: _Signal = await getattr(self, f"_do_{inner.kind}")(inner, scope, workflow)
                if signal is not None or inner.next is None:
                    return signal
                return _Return(None) if inner.next == "end" else _Jump(inner.next)
        return None

    async def _do_for(self, step: Step, scope: Scope, workflow: str) -> _Signal:
        for index, value in enumerate(self._range(step, scope)):
            inner = Scope(scope)
            inner.declare(step.body["value"], value)
            if step.body["index"]:
                inner.declare(step.body["index"], index)
            signal = await self._block(step.body["steps"], inner, workflow)
            if isinstance(signal, _Jump) and signal.target == "break":
                break
            if signal is not None and signal != _Jump("continue"):
                return signal
        return None

    def _range(self, step: Step, scope: Scope) -> list[Any] | range:
        if step.body["range"] is None:
            items = self._value(step.body["in"], scope)
            if isinstance(items, dict):
                return list(items)
            if not isinstance(items, list):
                raise error("TypeError", f"for: in must be a list or map, got {kind(items)}")
            return items
        ends = [self._value(item, scope) for item in step.body["range"]]
        if len(ends) != 2 or any(isinstance(end, bool) or not isinstance(end, int) for end in ends):
            raise error("TypeError", f"for: range must be two integers, got {ends}")
        return range(ends[0], ends[1] + 1)

    async def _do_try(self, step: Step, scope: Scope, workflow: str) -> _Signal:
        try:
            return await self._tried(step, scope, workflow)
        except Fatal:
            raise
        except WorkflowError as problem:
            if "except" not in step.body:
                raise
            inner = Scope(scope)
            if step.body["as"]:
                inner.declare(step.body["as"], problem.value)
            return await self._block(step.body["except"], inner, workflow)

    async def _tried(self, step: Step, scope: Scope, workflow: str) -> _Signal:
        body, retry = step.body["try"], step.body.get("retry")
        attempt = 0
        while True:
            try:
                return await self._step(body, scope, workflow)
            except Fatal:
                raise
            except WorkflowError as problem:
                if retry is None or not await self._again(retry, problem, attempt, scope):
                    raise
                await self.host.sleep(self._delay(retry, attempt, scope))
                attempt += 1

    async def _again(self, retry: Retry, problem: WorkflowError, attempt: int, scope: Scope) -> bool:
        if attempt >= self._value(retry.max_retries, scope):
            return False
        if retry.predicate in self.program.workflows:
            workflow = self.program.workflows[retry.predicate]
            answer = await self._subworkflow(workflow, [problem.value])
        else:
            answer = self.functions[retry.predicate](problem.value)
        return truth(answer, f"result of {retry.predicate}")

    def _delay(self, retry: Retry, attempt: int, scope: Scope) -> float:
        first, most, factor = (
            float(self._value(value, scope)) for value in (retry.initial_delay, retry.max_delay, retry.multiplier)
        )
        return min(most, first * factor**attempt)

    async def _do_raise(self, step: Step, scope: Scope, workflow: str) -> _Signal:
        value = self._value(step.body["raise"], scope)
        if not isinstance(value, str | dict):
            raise error("TypeError", f"raise: must be given a string or map, got {kind(value)}")
        raise WorkflowError(value)

    async def _do_return(self, step: Step, scope: Scope, workflow: str) -> _Signal:
        return _Return(self._value(step.body["return"], scope))

    async def _do_steps(self, step: Step, scope: Scope, workflow: str) -> _Signal:
        return await self._block(step.body["steps"], scope, workflow)

    def _value(self, value: Any, scope: Scope) -> Any:
        if isinstance(value, Expression):
            return evaluate(value.tree, scope, self.functions)
        if isinstance(value, dict):
            return {key: self._value(item, scope) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, scope) for item in value]
        return value
