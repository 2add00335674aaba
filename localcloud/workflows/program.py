"""A definition as it is read: workflows, steps, expressions, each with its line."""

from dataclasses import dataclass
from typing import Any

from lark import Token, Tree

REQUIRED = object()
"""Default of a parameter that has none."""


@dataclass(frozen=True)
class Expression:
    """A value that is computed when the step runs."""

    tree: Tree[Token]
    text: str
    line: int


@dataclass(frozen=True)
class Retry:
    """How often and when a try block is run again."""

    predicate: str
    """Function or subworkflow that is given the error."""
    max_retries: Any
    initial_delay: Any = 1
    max_delay: Any = 60
    multiplier: Any = 1.25


@dataclass(frozen=True)
class Case:
    """One branch of a switch."""

    condition: Any
    step: "Step"


@dataclass(frozen=True)
class Step:
    """One step; `body` is what its kind needs."""

    name: str
    kind: str
    """assign, call, switch, for, try, raise, return, steps or jump."""
    line: int
    body: dict[str, Any]
    next: str | None = None


@dataclass(frozen=True)
class Workflow:
    """The main workflow or a subworkflow."""

    name: str
    parameters: dict[str, Any]
    """{name: default, or REQUIRED}."""
    steps: list[Step]
    line: int


@dataclass(frozen=True)
class Program:
    """A checked definition."""

    workflows: dict[str, Workflow]
