"""Errors of the language: what `except: as: e` sees, and what a failed execution shows."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Frame:
    """A step under way in a workflow or subworkflow."""

    routine: str
    step: str
    line: int


class SourceError(ValueError):
    """A definition that cannot be deployed; the message names the line."""

    def __init__(self, message: str, line: int | None = None):
        super().__init__(f"{message} (line {line})" if line is not None else message)
        self.line = line


class WorkflowError(Exception):
    """A value raised by a step: a string, or a map with `message`, `tags` and perhaps `code`."""

    def __init__(self, value: Any):
        super().__init__(value if isinstance(value, str) else str(value.get("message", value)))
        self.value = value
        self.trace: tuple[Frame, ...] = ()
        """Where it was raised, innermost first."""

    @property
    def tags(self) -> list[str]:
        """Tags of the error, such as HttpError."""
        return list(self.value.get("tags", [])) if isinstance(self.value, dict) else []


class Fatal(WorkflowError):
    """An error no `except` can catch: a limit of the whole execution."""


def error(tag: str, message: str, **more: Any) -> WorkflowError:
    """Make an error of one of the documented kinds.

    Tags: https://cloud.google.com/workflows/docs/reference/syntax/error-types (2026-11).
    """
    return WorkflowError({"message": message, "tags": [tag], **more})
