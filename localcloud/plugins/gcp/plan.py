"""State against inputs: what changes, what needs a new resource, and what the resource will then look like."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.plugins.contract import Change
from localcloud.plugins.gcp.sameness import same
from localcloud.plugins.gcp.schema import Field
from localcloud.plugins.values import UNKNOWN, Plain, PropertyPath


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`values`: inputs, completed by what the server filled in before; `changes`: what differs from the state."""

    values: Plain
    changes: list[Change]


def plan(fields: Mapping[str, Field], news: Mapping[str, Any], olds: Mapping[str, Any]) -> Plan:
    """Compares `news` (checked inputs) with `olds` (state). Fields of the server alone are carried over."""
    changes: list[Change] = []
    values = _fields(fields, news, olds, (), changes)
    return Plan(values=values, changes=changes)


def _fields(
    fields: Mapping[str, Field],
    news: Mapping[str, Any],
    olds: Mapping[str, Any],
    path: PropertyPath,
    changes: list[Change],
) -> Plain:
    values: Plain = {}
    for name, field in fields.items():
        old = olds.get(name)
        value = _value(field, news.get(name), old, (*path, name), changes) if field.input else old
        if value is not None:
            values[name] = value
    return values


def _value(field: Field, new: Any, old: Any, path: PropertyPath, changes: list[Change]) -> Any:
    if new is not UNKNOWN and field.same and (new or old) and same(field.same, new, old):
        return old
    if new is None:
        if field.computed or zero(field, old) or (field.default is not None and old == field.default):
            return old
        changes.append(Change(path=path, kind="delete", replace=field.replace))
        return None
    if new is UNKNOWN:
        changes.append(Change(path=path, kind="add" if old is None else "update", replace=field.replace))
        return UNKNOWN
    if field.type == "obj" and field.block:
        return _block(field, new, old, path, changes)
    if field.type == "set":
        return _set(field, new, old or [], path, changes)
    if field.type == "list":
        return _list(field, new, old or [], path, changes)
    if field.type == "map":
        return _map(field, new, old or {}, path, changes)
    return _scalar(field, new, old, path, changes)


def zero(field: Field, value: Any) -> bool:
    """Whether the provider cannot tell `value` from absent."""
    if field.block and field.type == "obj":
        return value is None
    return value is None or value in ("", 0, [], {})  # False == 0


def _scalar(field: Field, new: Any, old: Any, path: PropertyPath, changes: list[Change]) -> Any:
    # the provider keeps some values in upper case: in its state the program's own spelling is a difference
    equal = new == old and field.same != "upper"
    if equal or (zero(field, new) and zero(field, old)):
        return new
    changes.append(Change(path=path, kind="add" if old is None else "update", replace=field.replace))
    return new


def _block(field: Field, new: Any, old: Any, path: PropertyPath, changes: list[Change]) -> Any:
    if old is None:
        changes.append(Change(path=path, kind="add", replace=_replaces(field, new)))
        return new
    return _fields(field.fields, new, old, path, changes)


def _replaces(field: Field, value: Any) -> bool:
    if field.replace:
        return True
    blocks = value if isinstance(value, list) else [value]
    return any(
        inner.replace or (inner.block and _replaces(inner, block[name]))
        for block in blocks
        if isinstance(block, Mapping)
        for name, inner in field.fields.items()
        if block.get(name) is not None
    )


def _list(field: Field, new: list[Any], old: list[Any], path: PropertyPath, changes: list[Change]) -> list[Any]:
    values = []
    for index, item in enumerate(new):
        values.append(_item(field, item, old[index] if index < len(old) else None, (*path, index), changes))
    for index in range(len(new), len(old)):
        changes.append(Change(path=(*path, index), kind="delete", replace=_replaces(field, old[index])))
    return values


def _item(field: Field, new: Any, old: Any, path: PropertyPath, changes: list[Change]) -> Any:
    if old is None or new is UNKNOWN:
        changes.append(Change(path=path, kind="add" if old is None else "update", replace=_replaces(field, new)))
        return new
    if field.block:
        return _fields(field.fields, new, old, path, changes)
    if new != old:
        changes.append(Change(path=path, kind="update", replace=field.replace))
    return new


def _map(field: Field, new: dict[str, Any], old: dict[str, Any], path: PropertyPath, changes: list[Change]) -> Any:
    for key in new.keys() | old.keys():
        if key not in old:
            changes.append(Change(path=(*path, key), kind="add", replace=field.replace))
        elif key not in new:
            changes.append(Change(path=(*path, key), kind="delete", replace=field.replace))
        elif new[key] != old[key]:
            changes.append(Change(path=(*path, key), kind="update", replace=field.replace))
    return new


def _set(field: Field, new: list[Any], old: list[Any], path: PropertyPath, changes: list[Change]) -> list[Any]:
    rest = dict(enumerate(old))
    values: list[Any] = []
    added: list[int] = []
    for index, item in enumerate(new):
        found = next((at for at, before in rest.items() if _is_same_element(field, item, before)), None)
        if found is None:
            added.append(index)
            values.append(item)
            continue
        values.append(_item(field, item, rest.pop(found), (*path, index), changes))
    for index in added:
        kind = "update" if rest.pop(index, None) is not None else "add"
        changes.append(Change(path=(*path, index), kind=kind, replace=_replaces(field, new[index])))
    for index, before in rest.items():
        changes.append(Change(path=(*path, index), kind="delete", replace=_replaces(field, before)))
    return values


def _is_same_element(field: Field, new: Any, old: Any) -> bool:
    if not field.block or new is UNKNOWN:
        return bool(new == old)
    if field.key:
        return bool(new.get(field.key) == old.get(field.key))
    changes: list[Change] = []
    _fields(field.fields, new, old, (), changes)
    return not changes
