"""Checks of single values: the message names the argument, its range and the value."""

import re
from collections.abc import Mapping

import pulumi


class SettingsError(pulumi.RunError, ValueError):
    """A stack file is not as it must be. The engine shows its text alone, without a traceback."""


def between(argument: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:
        raise ValueError(f"{argument} must be {low:,}..{high:,} {unit}, got {value:,}")


def like(argument: str, value: str, pattern: str, must: str) -> None:
    if not re.fullmatch(pattern, value):
        raise ValueError(f"{argument} must be {must}, got {value!r}")


def each(argument: str, values: Mapping[str, str], key: str, value: str, must: str) -> None:
    for name, text in values.items():
        like(argument, name, key, must)
        like(f"{argument}.{name}", text, value, must)
