"""Lists of objects: prefix, delimiter, offsets, glob, versions, pages.

https://cloud.google.com/storage/docs/json_api/v1/objects/list (2026-11)
"""

import base64
import binascii
import heapq
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import lru_cache

from localcloud.storage.catalogue import LAST, OBJECT, VERSION, Catalogue, Record
from localcloud.storage.problems import bad

MAX_RESULTS = 1000
Entries = Generator[tuple[str, Record], str | None, None]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What is asked for. `after` is exclusive; `start` inclusive and `end` exclusive, as in the API."""

    bucket: str
    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str = ""
    glob: str = ""
    after: str = ""
    limit: int = MAX_RESULTS
    trailing: bool = False
    """includeTrailingDelimiter: an object whose name is a prefix of the page is an item too."""
    versions: bool = False


@dataclass
class Page:
    items: list[Record] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    last: str = ""
    """Key after which the next page begins; empty if there is none."""


def page(catalogue: Catalogue, asked: Listing) -> Page:
    """Reads on from `after`, and past a whole prefix at once."""
    found = Page()
    matches = _glob(asked.glob).fullmatch if asked.glob else None
    entries = _entries(catalogue, asked)
    cursor, jump = asked.after, None
    while (entry := _next(entries, jump)) is not None:
        key, record = entry
        jump = None
        name = record["name"]
        if asked.end and name >= asked.end:
            return found
        group = _group(name, asked)
        shown = name if group is None else group
        wanted = matches is None or bool(matches(shown) or matches(shown.removesuffix(asked.delimiter)))
        if wanted and len(found.items) + len(found.prefixes) >= asked.limit:
            found.last = cursor
            return found
        if wanted and (group is None or (asked.trailing and name == group)):
            found.items.append(record)
        if wanted and group is not None:
            found.prefixes.append(group)
        jump = None if group is None else group + LAST
        cursor = jump or key
    return found


def _next(entries: Entries, jump: str | None) -> tuple[str, Record] | None:
    try:
        return entries.send(jump)
    except StopIteration:
        return None


def _group(name: str, asked: Listing) -> str | None:
    """The common prefix that stands for `name`, or None where it stands for itself."""
    if not asked.delimiter:
        return None
    at = name.find(asked.delimiter, len(asked.prefix))
    return name[: at + len(asked.delimiter)] if at >= 0 else None


def _entries(catalogue: Catalogue, asked: Listing) -> Entries:
    """From where the page begins; takes a key to jump behind."""
    after = max(asked.after, _before(asked.start))
    if not asked.versions:
        yield from catalogue.scan(OBJECT, asked.bucket, asked.prefix, after)
        return
    name, split, _ = after.partition("\0")
    begin = _before(name) if split else after
    live = catalogue.scan(OBJECT, asked.bucket, asked.prefix, begin)
    old = catalogue.scan(VERSION, asked.bucket, asked.prefix, begin)
    current = ((f"{key}\0{int(record['generation']):020d}", record) for key, record in live)
    for key, record in heapq.merge(old, current, key=lambda entry: entry[0]):
        if key > after:
            after = (yield key, record) or after


def _before(name: str) -> str:
    """A string that sorts before `name` and after every other name that does: names hold no NUL."""
    if not name:
        return ""
    last = ord(name[-1])
    if last == 0:
        return name[:-1]
    below = last - 1
    if 0xD800 <= below <= 0xDFFF:
        below = 0xD7FF
    return name[:-1] + chr(below) + LAST


@lru_cache
def _glob(pattern: str) -> re.Pattern[str]:
    """`*` within a level, `**` across levels, `?`, `[a-z]`, `{a,b}`. Raises ApiError 400 for what is unbalanced."""
    out, at, depth = [], 0, 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**", at):
            out.append(".*")
            at += 1
        elif char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[" and (end := pattern.find("]", at + 2)) > 0:
            inner = pattern[at + 1 : end].replace("\\", "\\\\")
            out.append(f"[^{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]")
            at = end
        elif char == "{":
            out.append("(?:")
            depth += 1
        elif char == "}" and depth:
            out.append(")")
            depth -= 1
        elif char == "," and depth:
            out.append("|")
        elif char == "\\" and at + 1 < len(pattern):
            at += 1
            out.append(re.escape(pattern[at]))
        else:
            out.append(re.escape(char))
        at += 1
    try:
        return re.compile("".join(out) + ")" * depth, re.DOTALL)
    except re.error:
        raise bad(f"Invalid matchGlob: {pattern}") from None


def token(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def from_token(text: str) -> str:
    """Raises ApiError 400."""
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad("Invalid page token.") from None
