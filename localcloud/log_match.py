"""One term of the Logging query language as a test of an entry."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from localcloud.errors import ApiError
from localcloud.times import nanoseconds

SEVERITIES = {
    "DEFAULT": 0,
    "DEBUG": 100,
    "INFO": 200,
    "NOTICE": 300,
    "WARNING": 400,
    "ERROR": 500,
    "CRITICAL": 600,
    "ALERT": 700,
    "EMERGENCY": 800,
}
TIMES = ("timestamp", "receiveTimestamp")
Entry = dict[str, Any]
Test = Callable[[Entry], bool]
Wrong = Callable[[str], ApiError]
"""Makes the error for what is wrong at the place where the reading stands."""


@dataclass(frozen=True)
class Bounds:
    """What every matching entry has, for the index: earliest and latest time (ns), and exact values by field."""

    since: int | None = None
    until: int | None = None
    equal: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Node:
    test: Test
    bounds: Bounds = Bounds()


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value.lower()
    elif value is not None:
        yield str(value).lower()


def _find(entry: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """Values at a path; a key may itself hold dots, and lists are looked into."""
    if isinstance(entry, list):
        for item in entry:
            yield from _find(item, path)
    elif not path:
        yield entry
    elif isinstance(entry, dict):
        for width in range(1, len(path) + 1):
            key = ".".join(path[:width])
            if key in entry:
                yield from _find(entry[key], path[width:])


def compare(path: tuple[str, ...], operator: str, value: str, wrong: Wrong) -> Node:
    if operator in ("=~", "!~"):
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise wrong(f"invalid regular expression: {error}") from None

        def match(entry: Entry) -> bool:
            return any(isinstance(item, str) and bool(pattern.search(item)) for item in _find(entry, path))

        return Node(match) if operator == "=~" else Node(lambda entry: not match(entry))
    if operator == "!=":
        equal = compare(path, "=", value, wrong).test
        return Node(lambda entry: not equal(entry))
    if path == ("severity",):
        return _severity(operator, value, wrong)
    if len(path) == 1 and path[0] in TIMES:
        return _time(path[0], operator, value, wrong)
    if operator == ":":
        return Node(_has(path, value))
    return _ordered(path, operator, value)


def _has(path: tuple[str, ...], value: str) -> Test:
    if value == "*":
        return lambda entry: any(True for _ in _find(entry, path))
    needle = value.lower()
    return lambda entry: any(needle in text for item in _find(entry, path) for text in texts(item))


def _severity(operator: str, value: str, wrong: Wrong) -> Node:
    number = SEVERITIES.get(value.upper(), int(value) if value.isdigit() else None)
    if number is None:
        raise wrong(f"{value} is not a severity")
    order = ORDER["=" if operator == ":" else operator]
    wanted = number
    return Node(lambda entry: order(SEVERITIES.get(entry.get("severity", "DEFAULT"), 0), wanted))


def _time(field: str, operator: str, value: str, wrong: Wrong) -> Node:
    try:
        wanted = nanoseconds(value if "T" in value else f"{value}T00:00:00Z")
    except ValueError:
        raise wrong(f"{value} is not an RFC 3339 time") from None
    order = ORDER["=" if operator == ":" else operator]
    bounds = Bounds()
    if field == "timestamp":
        since = wanted if operator in (">", ">=", "=", ":") else None
        until = wanted if operator in ("<", "<=", "=", ":") else None
        bounds = Bounds(since, until)
    return Node(lambda entry: order(nanoseconds(entry[field]), wanted), bounds)


def _ordered(path: tuple[str, ...], operator: str, value: str) -> Node:
    order = ORDER[operator]
    number = _number(value)
    low = value.lower()

    def test(entry: Entry) -> bool:
        for item in _find(entry, path):
            if isinstance(item, bool):
                if operator == "=" and low == str(item).lower():
                    return True
            elif isinstance(item, int | float):
                if number is not None and order(item, number):
                    return True
            elif isinstance(item, str) and order(item.lower(), low):
                return True
        return False

    return Node(test, Bounds(equal=((".".join(path), value),)) if operator == "=" else Bounds())


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: bool(a == b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
}
