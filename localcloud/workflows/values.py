"""Values of the language: the types that functions ask for, and how they are written as JSON."""

import json
from typing import Any

from localcloud.workflows.errors import error
from localcloud.workflows.expressions import kind


def string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise error("TypeError", f"{where} must be a string, got {kind(value)}")
    return value


def a_list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise error("TypeError", f"{where} must be a list, got {kind(value)}")
    return value


def a_map(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise error("TypeError", f"{where} must be a map, got {kind(value)}")
    return value


def integer(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise error("TypeError", f"{where} must be an integer, got {kind(value)}")
    return value


def json_text(data: Any, indent: Any = None) -> str:
    """json.encode_to_string: compact, or indented by the number of spaces in indent.indent."""
    spaces = len(string(indent.get("indent", "  "), "indent")) if isinstance(indent, dict) else None
    separators = (",", ":") if spaces is None else None
    try:
        return json.dumps(plain(data), indent=spaces, separators=separators, ensure_ascii=False)
    except TypeError as problem:
        raise error("TypeError", f"json.encode: {problem}") from problem


def plain(value: Any) -> Any:
    """As JSON is written: a double without a fraction looks like an integer."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value
