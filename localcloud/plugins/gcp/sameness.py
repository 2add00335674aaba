"""Values that differ in spelling and mean the same to the provider; a table gives the rule by `same=RULE`."""

import json
import re
from collections.abc import Callable
from typing import Any, Final

DURATION: Final = re.compile(r"^(\d+(?:\.\d+)?)([smhd])$")
SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
CASELESS_MEMBERS: Final = ("user", "serviceAccount", "group", "domain")


def _tail(new: Any, old: Any) -> bool:
    return bool(new) and bool(old) and str(new).rsplit("/", 1)[-1] == str(old).rsplit("/", 1)[-1]


def _duration(new: Any, old: Any) -> bool:
    left, right = DURATION.match(str(new)), DURATION.match(str(old))
    if not left or not right:
        return False
    return float(left[1]) * SECONDS[left[2]] == float(right[1]) * SECONDS[right[2]]


def normal_member(member: str) -> str:
    """A member with the parts that IAM compares without case in lower case."""
    kind, colon, rest = member.partition(":")
    return f"{kind}:{rest.lower()}" if colon and kind in CASELESS_MEMBERS else member


def _member(new: Any, old: Any) -> bool:
    return normal_member(str(new)) == normal_member(str(old))


def _disabled(new: Any, old: Any) -> bool:
    return not (new or {}).get("enabled") and not (old or {}).get("enabled")


def _agent(new: Any, old: Any) -> bool:
    # Cloud Scheduler sets its own User-Agent on every job
    kept = {key: value for key, value in (old or {}).items() if key != "User-Agent"}
    return kept == {key: value for key, value in (new or {}).items() if key != "User-Agent"}


def _limits(new: Any, old: Any) -> bool:
    # Cloud Run fills in the limits a service does not name
    return all((old or {}).get(key) == value for key, value in (new or {}).items())


def _schema(new: Any, old: Any) -> bool:
    try:
        return _columns(json.loads(new)) == _columns(json.loads(old))
    except (TypeError, ValueError):
        return False


def _columns(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    plain = []
    for column in columns:
        kept = {key: value for key, value in column.items() if value not in ("", None, {"names": []}, [])}
        kept["type"] = str(column.get("type", "")).upper()
        kept["mode"] = column.get("mode") or "NULLABLE"
        if "fields" in kept:
            kept["fields"] = _columns(kept["fields"])
        plain.append(kept)
    return plain


RULES: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "tail": _tail,
    "case": lambda new, old: str(new).lower() == str(old).lower(),
    "upper": lambda new, old: str(new).upper() == old,
    "slash": lambda new, old: str(new).rstrip("/") == str(old).rstrip("/"),
    "project": lambda new, old: str(new).removeprefix("projects/") == str(old).removeprefix("projects/"),
    "filled": lambda new, old: not new,
    "empty": lambda new, old: not new and not any((old or {}).values()),
    "deadline": lambda new, old: {new or "180s", old or "180s"} == {"180s"},
    "reduce": lambda new, old: {new or "", old or ""} <= {"", "REDUCE_NONE"},
    "duration": _duration,
    "member": _member,
    "disabled": _disabled,
    "agent": _agent,
    "limits": _limits,
    "schema": _schema,
}


def same(rule: str, new: Any, old: Any) -> bool:
    """Whether `new` means what `old` means."""
    return RULES[rule](new, old)
