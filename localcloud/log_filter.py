"""The Logging query language, as far as people and gcloud write it, compiled to a test of one entry.

Comparisons (= != > >= < <= : =~ !~) of any field, value lists, AND, OR, NOT, juxtaposition, parentheses, bare text,
log_id() and SEARCH(). https://cloud.google.com/logging/docs/view/logging-query-language (2026-11). The rest is refused.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from localcloud.errors import ApiError
from localcloud.log_match import Bounds, Node, Test, compare, texts

PART = r'(?:[A-Za-z_$@][\w$/@-]*|"(?:\\.|[^"\\])*")'
FIELD = re.compile(rf"(-?)({PART}(?:\.(?:{PART}|[\w-]+))*)\s*(>=|<=|!=|=~|!~|=|>|<|:)")
STRING = re.compile(r'"((?:\\.|[^"\\])*)"|\'((?:\\.|[^\'\\])*)\'')
BARE = re.compile(r"[^\s()\"',]+")
CALL = re.compile(r"(-?)(log_id|SEARCH)\(\s*(\"(?:\\.|[^\"\\])*\")\s*\)")
WORD = re.compile(r"(AND|OR|NOT)\b")


@dataclass(frozen=True)
class Filter:
    test: Test
    bounds: Bounds


@lru_cache(maxsize=512)
def parse(text: str) -> Filter:
    """Raises ApiError 400 with the place of the mistake."""
    parser = _Parser(text)
    node = parser.conjunction() if parser.skip() else Node(lambda entry: True)
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

    def conjunction(self) -> Node:
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
        return Node(lambda entry: all(test(entry) for test in tests), _both([part.bounds for part in parts]))

    def disjunction(self) -> Node:
        parts = [self.negation()]
        while self.word("OR"):
            parts.append(self.negation())
        if len(parts) == 1:
            return parts[0]
        tests = [part.test for part in parts]
        return Node(lambda entry: any(test(entry) for test in tests))

    def negation(self) -> Node:
        if self.word("NOT"):
            inner = self.negation().test
            return Node(lambda entry: not inner(entry))
        return self.atom()

    def atom(self) -> Node:
        if not self.skip():
            raise self.wrong("a term is missing")
        if self.text.startswith("(", self.at) or self.text.startswith("-(", self.at):
            negated = self.text[self.at] == "-"
            self.at += 2 if negated else 1
            inner = self.conjunction()
            if not self.skip() or self.text[self.at] != ")":
                raise self.wrong("')' is missing")
            self.at += 1
            return Node(lambda entry: not inner.test(entry)) if negated else inner
        if found := self.take(CALL):
            return _signed(found.group(1), _call(found.group(2), _unescape(found.group(3)[1:-1])))
        if found := self.take(FIELD):
            return self._comparison(found)
        return self._text()

    def _comparison(self, found: re.Match[str]) -> Node:
        path = tuple(_unescape(part[1:-1]) if part[0] == '"' else part for part in _parts(found.group(2)))
        operator = found.group(3)
        values, joined = self._values()
        nodes = [compare(path, operator, value, self.wrong) for value in values]
        if len(nodes) == 1:
            return _signed(found.group(1), nodes[0])
        tests = [node.test for node in nodes]
        if joined == "AND":
            return _signed(found.group(1), Node(lambda entry: all(test(entry) for test in tests)))
        return _signed(found.group(1), Node(lambda entry: any(test(entry) for test in tests)))

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

    def _text(self) -> Node:
        negated = self.text[self.at] == "-" and self.at + 1 < len(self.text)
        if negated:
            self.at += 1
        needle = self._value().lower()
        return _signed("-" if negated else "", Node(lambda entry: any(needle in text for text in texts(entry))))


def _signed(sign: str, node: Node) -> Node:
    return Node(lambda entry: not node.test(entry)) if sign else node


def _parts(path: str) -> list[str]:
    return re.findall(r'"(?:\\.|[^"\\])*"|[^."]+', path)


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _both(all_bounds: list[Bounds]) -> Bounds:
    since = [item.since for item in all_bounds if item.since is not None]
    until = [item.until for item in all_bounds if item.until is not None]
    equal = tuple(pair for item in all_bounds for pair in item.equal)
    return Bounds(max(since) if since else None, min(until) if until else None, equal)


def _call(function: str, argument: str) -> Node:
    if function == "log_id":
        return Node(lambda entry: unquote(entry.get("logName", "").partition("/logs/")[2]) == argument)
    words = argument.lower().split()
    return Node(lambda entry: all(any(word in text for text in texts(entry)) for word in words))
