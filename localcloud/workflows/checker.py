"""What can be known of a definition before its first execution: that every name it uses exists."""

from collections.abc import Callable
from typing import Any

from localcloud.workflows import expressions, functions
from localcloud.workflows.errors import SourceError
from localcloud.workflows.program import REQUIRED, Case, Expression, Retry, Step, Workflow

Arguments = Callable[[str], frozenset[str] | None]
"""The arguments of a googleapis.* call; None if there is no such call."""


class Checker:
    """Looks through all steps of all workflows."""

    def __init__(self, workflows: dict[str, Workflow], connectors: Arguments):
        self.workflows, self.connectors = workflows, connectors

    def check(self) -> None:
        for workflow in self.workflows.values():
            self.steps(workflow.steps, frozenset(), in_loop=False)

    def steps(self, steps: list[Step], outer: frozenset[str], *, in_loop: bool) -> None:
        names = outer | {step.name for step in steps}
        for step in steps:
            self.step(step, names, in_loop)

    def step(self, step: Step, names: frozenset[str], in_loop: bool) -> None:
        loop_words = {"break", "continue"} if in_loop else set()
        if step.next is not None and step.next not in names | {"end"} | loop_words:
            raise SourceError(f"step {step.name}: next names no step: {step.next}", step.line)
        for value in step.body.values():
            self.value(value, names, in_loop or step.kind == "for")
        if step.kind == "call":
            self.call(step)
        if step.kind == "try" and "retry" in step.body:
            self.predicate(step.body["retry"].predicate, step.line)

    def value(self, value: Any, names: frozenset[str], in_loop: bool) -> None:
        if isinstance(value, Expression):
            self.functions(value)
        elif isinstance(value, Step):
            self.step(value, names, in_loop)
        elif isinstance(value, Case):
            self.value(value.condition, names, in_loop)
            self.step(value.step, names, in_loop)
        elif isinstance(value, Retry):
            for part in (value.max_retries, value.initial_delay, value.max_delay, value.multiplier):
                self.value(part, names, in_loop)
        elif isinstance(value, list) and value and isinstance(value[0], Step):
            self.steps(value, names, in_loop=in_loop)
        elif isinstance(value, list | tuple):
            for item in value:
                self.value(item, names, in_loop)
        elif isinstance(value, dict):
            for item in value.values():
                self.value(item, names, in_loop)

    def functions(self, expression: Expression) -> None:
        for name in sorted(expressions.names(expression.tree)):
            if name in functions.BLOCKING or name.startswith("googleapis.") or name in self.workflows:
                raise SourceError(f"{name} waits and cannot stand in an expression; use a call step", expression.line)
            if name not in functions.NAMES:
                raise SourceError(f"unknown function {name}", expression.line)

    def call(self, step: Step) -> None:
        name, arguments = step.body["call"], step.body["args"]
        if name in self.workflows:
            self.parameters(step, self.workflows[name], arguments)
        elif name in functions.NAMES:
            raise SourceError(f"call {name}: stands in an expression here, ${{{name}(…)}}", step.line)
        elif not isinstance(arguments, dict | Expression):
            raise SourceError(f"call {name}: args must be a map", step.line)
        elif name not in functions.BLOCKING:
            self.connector(name, arguments, step.line)

    def connector(self, name: str, arguments: Any, line: int) -> None:
        known = self.connectors(name)
        if known is None:
            raise SourceError(f"call {name}: no such subworkflow, function or connector", line)
        unknown = sorted(set(arguments) - known) if isinstance(arguments, dict) else []
        if unknown:
            raise SourceError(f"call {name}: no argument {unknown[0]}, it takes {', '.join(sorted(known))}", line)

    def parameters(self, step: Step, workflow: Workflow, arguments: Any) -> None:
        if isinstance(arguments, list):
            if len(arguments) > len(workflow.parameters):
                raise SourceError(f"call {workflow.name}: takes {len(workflow.parameters)} arguments", step.line)
            given = set(list(workflow.parameters)[: len(arguments)])
        elif isinstance(arguments, dict):
            given = set(arguments)
        else:
            return
        unknown = sorted(given - set(workflow.parameters))
        missing = [n for n, default in workflow.parameters.items() if default is REQUIRED and n not in given]
        if unknown or missing:
            problem = f"has no parameter {unknown[0]}" if unknown else f"needs parameter {missing[0]}"
            raise SourceError(f"call {workflow.name}: {problem}", step.line)

    def predicate(self, name: str, line: int) -> None:
        known = {
            "http.default_retry_predicate",
            "http.default_retry_predicate_non_idempotent",
            "retry.always",
            "retry.never",
        }
        if name not in known and name not in self.workflows:
            raise SourceError(f"unknown retry predicate {name}", line)
