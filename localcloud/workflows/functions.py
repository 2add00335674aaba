"""The standard library as far as expressions may call it; calls that wait are in `blocking`.

Reference: https://cloud.google.com/workflows/docs/reference/stdlib/overview (2026-11).
"""

import base64
import hashlib
import hmac
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

from localcloud.workflows.errors import error
from localcloud.workflows.expressions import kind, text
from localcloud.workflows.values import a_list, a_map, integer, json_text, string

BLOCKING = frozenset(
    {
        "sys.sleep", "sys.sleep_until", "sys.log", "http.get", "http.post", "http.put", "http.patch", "http.delete",
        "http.request",
    }
)  # fmt: skip
"""Functions that a call step may call and an expression may not."""


def library(
    env: Mapping[str, str], now: Callable[[], float], new_id: Callable[[], str] = lambda: str(uuid.uuid4())
) -> dict[str, Callable[..., Any]]:
    """Return {name: function} for one execution. `env` is what sys.get_env knows, `now` the clock (UNIX seconds)."""
    return {
        **_PURE,
        "sys.get_env": lambda name, default=_REQUIRED: _get_env(env, name, default),
        "sys.now": lambda: float(now()),
        "time.format": _time_format,
        "time.parse": _time_parse,
        "uuid.generate": new_id,
        "if": _no_if,
    }


_REQUIRED = object()


def _no_if(*_: Any) -> Any:
    raise error("TypeError", "if is evaluated where it stands")


def _get_env(env: Mapping[str, str], name: Any, default: Any) -> Any:
    if name in env:
        return env[name]
    if default is _REQUIRED:
        raise error("KeyError", f"environment variable not found: {name}")
    return default


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise error("TypeError", f"cannot convert {kind(value)} to integer")
    try:
        return int(value) if not isinstance(value, str) else int(value, 10)
    except (ValueError, OverflowError) as problem:
        raise error("ValueError", f"cannot convert {value!r} to integer") from problem


def _double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise error("TypeError", f"cannot convert {kind(value)} to double")
    try:
        return float(value)
    except ValueError as problem:
        raise error("ValueError", f"cannot convert {value!r} to double") from problem


def _len(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise error("TypeError", f"len: must be given a string, list or map, got {kind(value)}")
    return len(value)


def _map_get(container: Any, keys: Any) -> Any:
    """map.get: null where a key is not found, on the way as at the end."""
    value = container
    for key in keys if isinstance(keys, list) else [keys]:
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def _json_decode(data: Any) -> Any:
    if not isinstance(data, str | bytes):
        raise error("TypeError", f"json.decode: must be given a string or bytes, got {kind(data)}")
    try:
        return json.loads(data)
    except ValueError as problem:
        raise error("ValueError", f"json.decode: {problem}") from problem


def _substring(source: Any, start: Any, end: Any) -> str:
    whole, first, last = string(source, "source"), integer(start, "start"), integer(end, "end")
    if not 0 <= first <= last <= len(whole):
        raise error("IndexError", f"text.substring: {first}..{last} is outside a string of {len(whole)}")
    return whole[first:last]


def _regex(pattern: Any) -> "re.Pattern[str]":
    try:
        return re.compile(string(pattern, "regexp"))
    except re.error as problem:
        raise error("ValueError", f"regular expression {pattern!r}: {problem}") from problem


def _find_all(source: Any, substring: Any) -> list[int]:
    whole, part = string(source, "source"), string(substring, "substr")
    return [match.start() for match in re.finditer(f"(?={re.escape(part)})", whole)]


def _find_all_regex(source: Any, regexp: Any) -> list[dict[str, Any]]:
    return [{"index": m.start(), "match": m[0]} for m in _regex(regexp).finditer(string(source, "source"))]


def _decode_text(data: Any, charset: Any = "UTF-8") -> str:
    if not isinstance(data, bytes):
        raise error("TypeError", f"text.decode: must be given bytes, got {kind(data)}")
    try:
        return data.decode(charset)
    except (UnicodeDecodeError, LookupError) as problem:
        raise error("ValueError", f"text.decode: {problem}") from problem


def _base64_decode(data: Any) -> bytes:
    try:
        return base64.b64decode(string(data, "data"), validate=True)
    except ValueError as problem:
        raise error("ValueError", f"base64.decode: {problem}") from problem


def _bytes(data: Any) -> bytes:
    return data if isinstance(data, bytes) else string(data, "data").encode()


def _hash(data: Any, algorithm: Any = "SHA256") -> bytes:
    name = str(algorithm).lower().replace("-", "")
    if name not in ("md5", "sha1", "sha256", "sha384", "sha512"):
        raise error("ValueError", f"hash.compute_checksum: unknown algorithm {algorithm!r}")
    return hashlib.new(name, _bytes(data), usedforsecurity=False).digest()


def _hmac(key: Any, data: Any, algorithm: Any = "SHA256") -> bytes:
    return hmac.digest(_bytes(key), _bytes(data), str(algorithm).lower().replace("-", ""))


def _time_format(seconds: Any, zone: Any = "GMT") -> str:
    if zone not in ("GMT", "UTC", "Etc/UTC"):
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            place: Any = ZoneInfo(string(zone, "timezone"))
        except (ZoneInfoNotFoundError, ValueError) as problem:
            raise error("ValueError", f"time.format: unknown time zone {zone!r}") from problem
    else:
        place = UTC
    moment = datetime.fromtimestamp(float(seconds), place)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _time_parse(value: Any) -> float:
    try:
        moment = datetime.fromisoformat(string(value, "value"))
    except ValueError as problem:
        raise error("ValueError", f"time.parse: {value!r} is no ISO 8601 time") from problem
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _merge(first: Any, second: Any) -> dict[str, Any]:
    return {**a_map(first, "first"), **a_map(second, "second")}


def _merge_nested(first: Any, second: Any) -> dict[str, Any]:
    merged = dict(a_map(first, "first"))
    for key, value in a_map(second, "second").items():
        old = merged.get(key)
        merged[key] = _merge_nested(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _abs(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise error("TypeError", f"math.abs: must be given a number, got {kind(value)}")
    return abs(value)


def _extreme(pick: Callable[..., Any]) -> Callable[..., Any]:
    def find(first: Any, second: Any) -> Any:
        for value in (first, second):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise error("TypeError", f"must be given numbers, got {kind(value)}")
        return pick(first, second)

    return find


def _floor(value: Any) -> int:
    return math.floor(_double(value))


_PURE: dict[str, Callable[..., Any]] = {
    "int": _int,
    "double": _double,
    "string": lambda value: text(value),
    "len": _len,
    "keys": lambda value: list(a_map(value, "keys")),
    "default": lambda value, other: other if value is None else value,
    "get_type": lambda value: kind(value),
    "list.concat": lambda items, value: [*a_list(items, "list"), value],
    "list.prepend": lambda items, value: [value, *a_list(items, "list")],
    "map.get": _map_get,
    "map.delete": lambda items, key: {k: v for k, v in a_map(items, "map").items() if k != key},
    "map.merge": _merge,
    "map.merge_nested": _merge_nested,
    "math.abs": _abs,
    "math.floor": _floor,
    "math.max": _extreme(max),
    "math.min": _extreme(min),
    "json.decode": _json_decode,
    "json.encode": lambda data, indent=None: json_text(data, indent).encode(),
    "json.encode_to_string": json_text,
    "base64.encode": lambda data, padding=True: base64.b64encode(_bytes(data)).decode(),
    "base64.decode": lambda data, padding=True: _base64_decode(data),
    "text.decode": _decode_text,
    "text.encode": lambda data, charset="UTF-8": string(data, "data").encode(charset),
    "text.find_all": _find_all,
    "text.find_all_regex": _find_all_regex,
    "text.match_regex": lambda source, regexp: _regex(regexp).search(string(source, "source")) is not None,
    "text.replace_all": lambda source, sub, new: string(source, "source").replace(
        string(sub, "substr"), string(new, "repl")
    ),
    "text.replace_all_regex": lambda source, regexp, new: _regex(regexp).sub(
        re.sub(r"\$(\d)", r"\\\1", string(new, "repl")), string(source, "source")
    ),
    "text.split": lambda source, separator: string(source, "source").split(string(separator, "separator")),
    "text.substring": _substring,
    "text.to_lower": lambda source: string(source, "source").lower(),
    "text.to_upper": lambda source: string(source, "source").upper(),
    "text.url_encode": lambda source: quote(string(source, "source"), safe=""),
    "text.url_encode_plus": lambda source: quote(string(source, "source"), safe="").replace("%20", "+"),
    "text.url_decode": lambda source: unquote(string(source, "source")),
    "hash.compute_checksum": _hash,
    "hash.compute_hmac": _hmac,
    "retry.always": lambda e: True,
    "retry.never": lambda e: False,
    "http.default_retry_predicate": lambda e: retryable(e, idempotent=True),
    "http.default_retry_predicate_non_idempotent": lambda e: retryable(e, idempotent=False),
}
NAMES = frozenset(_PURE) | {"sys.get_env", "sys.now", "time.format", "time.parse", "uuid.generate", "if"}


def retryable(failure: Any, *, idempotent: bool) -> bool:
    """The documented predicates.

    https://cloud.google.com/workflows/docs/reference/stdlib/http/default_retry_predicate and
    https://cloud.google.com/workflows/docs/reference/stdlib/http/default_retry_predicate_non_idempotent (2026-11).
    """
    if not isinstance(failure, dict):
        return False
    tags = failure.get("tags") or []
    passing = ("ConnectionError", "ConnectionFailedError", "TimeoutError") if idempotent else ("ConnectionFailedError",)
    codes = (429, 502, 503, 504) if idempotent else (429, 503)
    return any(tag in tags for tag in passing) or ("HttpError" in tags and failure.get("code") in codes)
