"""The part of list filters that is served: FIELD:TEXT, FIELD="VALUE", labels.KEY:*, joined by AND.

https://google.aip.dev/160 (2026-11). Anything else is refused.
"""

import re
from typing import Any

from localcloud.errors import invalid

_TERM = re.compile(r'(?P<field>[A-Za-z_.-][\w.-]*)\s*(?P<op>[:=])\s*(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s"()]+))')


def matching(items: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Raises ApiError 400 for what is not understood."""
    if not text.strip():
        return items
    tests = []
    for term in re.split(r"\s+AND\s+", text.strip()):
        found = _TERM.fullmatch(term.strip())
        if found is None:
            raise invalid(f"The local cloud does not understand this filter: {term!r}.", "filter")
        value = found["quoted"] if found["quoted"] is not None else found["plain"]
        tests.append((found["field"], found["op"], value))
    return [item for item in items if all(_holds(item, *test) for test in tests)]


def _holds(item: dict[str, Any], field: str, op: str, wanted: str) -> bool:
    value: Any = item
    for step in field.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if value is None:
        return False
    if op == "=":
        return str(value).lower() == wanted.lower()
    return wanted == "*" or wanted.lower() in str(value).lower()
