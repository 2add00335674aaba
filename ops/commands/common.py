"""What the subcommands share: options, consoles, one way to print a result."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ops.environment import Project, find_project

StackOption = Annotated[
    str, typer.Option("--stack", "-s", envvar="LONGHAUL_STACK", help="Stack whose resources are used.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing for people.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]

DEFAULT_STACK = "local"


@dataclass
class App:
    """One call of the command."""

    folder: Path | None = None
    debug: bool = False
    out: Console = field(default_factory=Console)
    """Results."""
    err: Console = field(default_factory=lambda: Console(stderr=True))
    """All else."""

    @cached_property
    def project(self) -> Project:
        """The project that the command works on."""
        return find_project(self.folder)

    def say(self, text: str) -> None:
        """Tell a person something that is not the result."""
        self.err.print(text, highlight=False, markup=False, soft_wrap=True)

    def tell(self, text: str, style: str = "") -> None:
        """Print a line of the result as it is: no wrapping, no colours of its own."""
        self.out.print(text, style=style or None, highlight=False, markup=False, soft_wrap=True)

    def print_json(self, document: Any) -> None:
        """Print the one JSON document of this call."""
        self.out.file.write(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")


def app_of(context: typer.Context) -> App:
    """Return what the main callback made for this call."""
    made = context.find_object(App)
    if made is None:
        raise RuntimeError("the main callback has not run")
    return made


def confirm(app: App, question: str, *, yes: bool) -> bool:
    """Ask; without a terminal only --yes is a yes."""
    if yes:
        return True
    if not app.err.is_terminal:
        app.say(f"{question} Nobody to ask: give --yes.")
        return False
    return typer.confirm(question, err=True)


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested JSON as rows: `cv.rmse.mean` -> `12.3`; long lists by their length."""
    rows: dict[str, str] = {}
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows |= flat(value, f"{name}.")
        elif isinstance(value, list):
            short = len(value) <= 8 and all(not isinstance(v, list | dict) for v in value)
            rows[name] = ", ".join(_cell(v) for v in value) if short else f"{len(value):,} values"
        else:
            rows[name] = _cell(value)
    return rows


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
