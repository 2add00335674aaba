"""From property values to a REST body and back, by the table of fields."""

import json
from collections.abc import Mapping
from typing import Any

from localcloud.plugins.gcp.schema import Field
from localcloud.plugins.values import Plain

LIVE = {"LIVE": True, "ARCHIVED": False}


def to_api(fields: Mapping[str, Field], values: Mapping[str, Any], *, create: bool = True) -> Plain:
    """The REST body of `values`: zero values are left out unless the table says `keep`."""
    body: Plain = {}
    for name, field in fields.items():
        if field.local or field.param or (field.late and not create) or not field.input:
            continue
        value = _encode(field, values.get(name), create)
        if value is not None:
            place(body, field.api, value)
    return body


def place(body: Plain, path: tuple[str, ...], value: Any) -> None:
    """Sets `value` in `body` at a path of names, making what lies between."""
    for step in path[:-1]:
        body = body.setdefault(step, {})
    body[path[-1]] = value


def fetch(body: Any, path: tuple[str, ...]) -> Any:
    """What lies in `body` at a path of names, None if nothing does."""
    for step in path:
        if not isinstance(body, Mapping):
            return None
        body = body.get(step)
    return body


def _encode(field: Field, value: Any, create: bool) -> Any:
    if value is None:
        return None
    if field.codec == "byid":
        return {item["id"]: _without_id(to_api(field.fields, item, create=create)) for item in value} or None
    if field.codec == "live":
        return LIVE.get(value)
    if field.codec == "schema":
        return {"fields": _with_policy_tags(json.loads(value))}
    if field.block and field.type == "obj":
        inner = to_api(field.fields, value, create=create)
        block = inner if inner or field.empty else None
        return [block] if field.codec == "one" and block is not None else block
    if field.block:
        return [to_api(field.fields, item, create=create) for item in value] or None
    if value in ("", 0, [], {}) and not field.keep:  # False == 0
        return None
    return str(value) if field.codec == "int64" else value


def _without_id(body: Plain) -> Plain:
    body.pop("id", None)
    return body


def _with_policy_tags(columns: list[Plain]) -> list[Plain]:
    # the provider sends the empty list, so that a removed tag is removed
    return [{"policyTags": {"names": []}, **column} for column in columns]


def from_api(fields: Mapping[str, Field], body: Mapping[str, Any], prior: Mapping[str, Any]) -> Plain:
    """The property values of a REST resource. What is not in it by design is taken from `prior`."""
    values: Plain = {}
    for name, field in fields.items():
        before = prior.get(name)
        value = before if field.local or field.param else _decode(field, fetch(body, field.api), before)
        if value is not None:
            values[name] = value
    return values


def _decode(field: Field, value: Any, prior: Any) -> Any:
    if value is None:
        return "" if prior == "" else None
    if field.codec in ("int64", "live", "byid", "schema", "tail"):
        return _decode_special(field, value, prior)
    if field.type == "obj" and field.block:
        value = value[0] if isinstance(value, list) and value else value
        return from_api(field.fields, value, prior or {}) if isinstance(value, Mapping) else None
    if field.block:
        return _decode_blocks(field, value if isinstance(value, list) else [value], prior or [])
    if field.type == "set":
        return _in_order_of(prior or [], list(value))
    if field.type == "int":
        return int(value)
    return value


def _decode_special(field: Field, value: Any, prior: Any) -> Any:
    if field.codec == "int64":
        return str(value) if field.type == "str" else int(value)
    if field.codec == "live":
        return "LIVE" if value else "ARCHIVED"
    if field.codec == "tail":
        return str(value).rsplit("/", 1)[-1]
    if field.codec == "schema":
        return json.dumps(value.get("fields", []), separators=(",", ":"))
    return _decode_blocks(field, [{**item, "id": key} for key, item in value.items()], prior or [])


def _decode_blocks(field: Field, items: list[Any], prior: list[Any]) -> list[Plain]:
    if field.type != "set":
        befores = [*prior, *[{}] * len(items)]
        return [from_api(field.fields, item, befores[index]) for index, item in enumerate(items)]
    return _in_order_of(prior, [from_api(field.fields, item, {}) for item in items], field.key)


def _in_order_of(prior: list[Any], items: list[Any], key: str = "") -> list[Any]:
    # a set has no order: keeping the program's makes the engine show a change where the program has it
    def position(item: Any) -> int:
        for index, before in enumerate(prior):
            if (before.get(key) == item.get(key)) if key else (before == item):
                return index
        return len(prior)

    return sorted(items, key=position)
