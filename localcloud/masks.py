"""Partial responses (`fields=services/name,nextPageToken`) and update masks.

https://cloud.google.com/storage/docs/json_api#partial-response (2026-11)
"""

from typing import Any

from localcloud.errors import invalid
from localcloud.schema import camel

Tree = dict[str, "Tree"]


def parse(fields: str) -> Tree:
    """Raises ApiError 400 for unbalanced parentheses or an empty name."""
    tree, end = _list(fields, 0)
    if end != len(fields):
        raise invalid(f"Invalid field selection {fields}", "fields")
    return tree


def _list(text: str, at: int) -> tuple[Tree, int]:
    tree: Tree = {}
    while True:
        node, at = tree, at
        while True:
            start = at
            while at < len(text) and text[at] not in "/.,()":
                at += 1
            name = text[start:at].strip()
            if not name:
                raise invalid(f"Invalid field selection {text}", "fields")
            node = node.setdefault(name, {})
            if at < len(text) and text[at] in "/.":
                at += 1
                continue
            break
        if at < len(text) and text[at] == "(":
            inner, at = _list(text, at + 1)
            if at >= len(text) or text[at] != ")":
                raise invalid(f"Invalid field selection {text}", "fields")
            node.update(inner)
            at += 1
        if at < len(text) and text[at] == ",":
            at += 1
            continue
        return tree, at


def select(value: Any, fields: str) -> Any:
    return _select(value, parse(fields))


def _select(value: Any, tree: Tree) -> Any:
    if not tree or ("*" in tree and not tree["*"]):
        return value
    if isinstance(value, list):
        return [_select(item, tree) for item in value]
    if not isinstance(value, dict):
        return value
    if "*" in tree:
        return {key: _select(item, tree["*"]) for key, item in value.items()}
    return {key: _select(item, tree[key]) for key, item in value.items() if key in tree}


def update(current: dict[str, Any], patch: dict[str, Any], mask: str) -> dict[str, Any]:
    """`current` with the fields that the comma-separated mask names (camelCase or snake_case) taken from `patch`.

    A named field that `patch` lacks is cleared. `*` takes everything.
    """
    result = dict(current)
    for path in filter(None, (part.strip() for part in mask.split(","))):
        if path == "*":
            return {**current, **patch}
        _assign(result, patch, [camel(step) for step in path.split(".")])
    return result


def _assign(target: dict[str, Any], source: Any, steps: list[str]) -> None:
    head, *rest = steps
    inner = source.get(head) if isinstance(source, dict) else None
    if rest:
        child = dict(target.get(head) or {})
        _assign(child, inner or {}, rest)
        target[head] = child
    elif inner is None:
        target.pop(head, None)
    else:
        target[head] = inner
