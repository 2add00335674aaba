"""The Logging query language, as far as people and gcloud write it, compiled to a test of one entry.

Comparisons (= != > >= < <= : =~ !~) of any field, value lists, AND, OR, NOT, juxtaposition, parentheses, bare text,
log_id() and SEARCH(). https://cloud.google.com/logging/docs/view/logging-query-language (2026-11). The rest is refused.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

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
PART = r'(?:[A-Za-z_$@][\w$/@-]*|"(?:\\.|[^"\\])*")'
FIELD = re.compile(rf"(-?)({PART}(?:\.(?:{PART}|[\w-]+))*)\s*(>=|<=|!=|=~|!~|=|>|<|:)")
STRING = re.compile(r'"((?:\\.|[^"\\])*)"|\'((?:\\.|[^\'\\])*)\'')
BARE = re.compile(r"[^\s()\"',]+")
CALL = re.compile(r"(-?)(log_id|SEARCH)\(\s*(\"(?:\\.|[^\"\\])*\")\s*\)")
WORD = re.compile(r"(AND|OR|NOT)\b")

Entry = dict[str, Any]
Test = Callable[[Entry], bool]


@dataclass(frozen=True)
class Bounds:
    """What every matching entry has, for the index: earliest and latest time (ns), and exact values by field."""

    since: int | None = None
    until: int | None = None
    equal: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Filter:
    test: Test
    bounds: Bounds


@dataclass(frozen=True)
class _Node:
    test: Test
    bounds: Bounds = Bounds()


@lru_cache(maxsize=512)
def parse(text: str) -> Filter:
    """Raises ApiError 400 with the place of the mistake."""
    parser = _Parser(text)
    node = parser.conjunction() if parser.skip() else _Node(lambda entry: True)
    if parser.skip():
        raise parser.wrong("unexpected text")
    return Filter(node.test, node.bounds)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def wrong(self, what: str) -> ApiError:
        near = self.text[self.at : self.at + 40]
        return ApiError(
            400,
            "INVALID_ARGUMENT",
            f"Unparseable filter: syntax error at line 1, column {self.at + 1}, {what}, token '{near}'",
        )

    def skip(self) -> bool:
        """Past white space and comments; False at the end."""
        found = re.compile(r"(?:\s+|--[^\n]*)*").match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.at < len(self.text)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def word(self, *words: str) -> bool:
        self.skip()
        found = WORD.match(self.text, self.at)
        if found and found.group(1) in words:
            self.at = found.end()
            return True
        return False

    def conjunction(self) -> _Node:
        parts = [self.disjunction()]
        while True:
            explicit = self.word("AND")
            if not self.skip() or self.text[self.at] == ")":
                if explicit:
                    raise self.wrong("AND without a right side")
                break
            parts.append(self.disjunction())
        if len(parts) == 1:
            return parts[0]
        tests = [part.test for part in parts]
        return _Node(lambda entry: all(test(entry) for test in tests), _both([part.bounds for part in parts]))

    def disjunction(self) -> _Node:
        parts = [self.negation()]
        while self.word("OR"):
            parts.append(self.negation())
        if len(parts) == 1:
            return parts[0]
        tests = [part.test for part in parts]
        return _Node(lambda entry: any(test(entry) for test in tests))

    def negation(self) -> _Node:
        if self.word("NOT"):
            inner = self.negation().test
            return _Node(lambda entry: not inner(entry))
        return self.atom()

    def atom(self) -> _Node:
        if not self.skip():
            raise self.wrong("a term is missing")
        if self.text.startswith("(", self.at) or self.text.startswith("-(", self.at):
            negated = self.text[self.at] == "-"
            self.at += 2 if negated else 1
            inner = self.conjunction()
            if not self.skip() or self.text[self.at] != ")":
                raise self.wrong("')' is missing")
            self.at += 1
            return _Node(lambda entry: not inner.test(entry)) if negated else inner
        if found := self.take(CALL):
            return _signed(found.group(1), _call(found.group(2), _unescape(found.group(3)[1:-1])))
        if found := self.take(FIELD):
            return self._comparison(found)
        return self._text()

    def _comparison(self, found: re.Match[str]) -> _Node:
        path = tuple(_unescape(part[1:-1]) if part[0] == '"' else part for part in _parts(found.group(2)))
        operator = found.group(3)
        values, joined = self._values()
        nodes = [_compare(path, operator, value, self) for value in values]
        if len(nodes) == 1:
            return _signed(found.group(1), nodes[0])
        tests = [node.test for node in nodes]
        if joined == "AND":
            return _signed(found.group(1), _Node(lambda entry: all(test(entry) for test in tests)))
        return _signed(found.group(1), _Node(lambda entry: any(test(entry) for test in tests)))

    def _values(self) -> tuple[list[str], str]:
        self.skip()
        if not self.text.startswith("(", self.at):
            return [self._value()], ""
        self.at += 1
        values, joined = [self._value()], ""
        while self.skip() and self.text[self.at] != ")":
            word = "OR" if self.word("OR") else "AND" if self.word("AND") else ""
            if not word or (joined and word != joined):
                raise self.wrong("values must be joined by OR, or by AND")
            joined = word
            values.append(self._value())
        if not self.skip():
            raise self.wrong("')' is missing")
        self.at += 1
        return values, joined

    def _value(self) -> str:
        self.skip()
        if found := self.take(STRING):
            return _unescape(found.group(1) if found.group(1) is not None else found.group(2))
        if found := self.take(BARE):
            return found.group()
        raise self.wrong("a value is missing")

    def _text(self) -> _Node:
        negated = self.text[self.at] == "-" and self.at + 1 < len(self.text)
        if negated:
            self.at += 1
        needle = self._value().lower()
        return _signed("-" if negated else "", _Node(lambda entry: any(needle in text for text in _texts(entry))))


def _signed(sign: str, node: _Node) -> _Node:
    return _Node(lambda entry: not node.test(entry)) if sign else node


def _parts(path: str) -> list[str]:
    return re.findall(r'"(?:\\.|[^"\\])*"|[^."]+', path)


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _both(all_bounds: list[Bounds]) -> Bounds:
    since = [item.since for item in all_bounds if item.since is not None]
    until = [item.until for item in all_bounds if item.until is not None]
    equal = tuple(pair for item in all_bounds for pair in item.equal)
    return Bounds(max(since) if since else None, min(until) if until else None, equal)


def _call(function: str, argument: str) -> _Node:
    if function == "log_id":
        return _Node(lambda entry: unquote(entry.get("logName", "").partition("/logs/")[2]) == argument)
    words = argument.lower().split()
    return _Node(lambda entry: all(any(word in text for text in _texts(entry)) for word in words))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
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


def _compare(path: tuple[str, ...], operator: str, value: str, parser: _Parser) -> _Node:
    if operator in ("=~", "!~"):
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise parser.wrong(f"invalid regular expression: {error}") from None

        def match(entry: Entry) -> bool:
            return any(isinstance(item, str) and bool(pattern.search(item)) for item in _find(entry, path))

        return _Node(match) if operator == "=~" else _Node(lambda entry: not match(entry))
    if operator == "!=":
        equal = _compare(path, "=", value, parser).test
        return _Node(lambda entry: not equal(entry))
    if path == ("severity",):
        return _severity(operator, value, parser)
    if len(path) == 1 and path[0] in TIMES:
        return _time(path[0], operator, value, parser)
    if operator == ":":
        return _Node(_has(path, value))
    return _ordered(path, operator, value)


def _has(path: tuple[str, ...], value: str) -> Test:
    if value == "*":
        return lambda entry: any(True for _ in _find(entry, path))
    needle = value.lower()
    return lambda entry: any(needle in text for item in _find(entry, path) for text in _texts(item))


def _severity(operator: str, value: str, parser: _Parser) -> _Node:
    number = SEVERITIES.get(value.upper(), int(value) if value.isdigit() else None)
    if number is None:
        raise parser.wrong(f"{value} is not a severity")
    order = ORDER["=" if operator == ":" else operator]
    wanted = number
    return _Node(lambda entry: order(SEVERITIES.get(entry.get("severity", "DEFAULT"), 0), wanted))


def _time(field: str, operator: str, value: str, parser: _Parser) -> _Node:
    try:
        wanted = nanoseconds(value if "T" in value else f"{value}T00:00:00Z")
    except ValueError:
        raise parser.wrong(f"{value} is not an RFC 3339 time") from None
    order = ORDER["=" if operator == ":" else operator]
    bounds = Bounds()
    if field == "timestamp":
        since = wanted if operator in (">", ">=", "=", ":") else None
        until = wanted if operator in ("<", "<=", "=", ":") else None
        bounds = Bounds(since, until)
    return _Node(lambda entry: order(nanoseconds(entry[field]), wanted), bounds)


def _ordered(path: tuple[str, ...], operator: str, value: str) -> _Node:
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

    return _Node(test, Bounds(equal=((".".join(path), value),)) if operator == "=" else Bounds())


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
