"""What a program would have to say to get a resource as it is: for refreshes and imports."""

from collections.abc import Mapping
from typing import Any

from localcloud.plugins.contract import Change
from localcloud.plugins.gcp.check import DEFAULTS
from localcloud.plugins.gcp.plan import _value, zero
from localcloud.plugins.gcp.schema import Field
from localcloud.plugins.values import Plain


def refreshed(fields: Mapping[str, Field], inputs: Mapping[str, Any], state: Mapping[str, Any]) -> Plain:
    """`inputs` with what the state contradicts put right, and settings it has beside them added."""
    values: Plain = {DEFAULTS: inputs[DEFAULTS]} if DEFAULTS in inputs else {}
    for name, field in fields.items():
        given, there = inputs.get(name), state.get(name)
        value = given if field.input and _agrees(field, given, there) else _corrected(field, given, there)
        if value is not None:
            values[name] = value
    return values


def _agrees(field: Field, given: Any, there: Any) -> bool:
    changes: list[Change] = []
    _value(field, given, there, (), changes)
    return not changes


def _corrected(field: Field, given: Any, there: Any) -> Any:
    if not field.input or there is None:
        return None
    if given is None:
        return _stated(field, there)
    if field.block and field.type == "obj":
        return refreshed(field.fields, given, there)
    if field.block and field.type == "list":
        return [
            refreshed(field.fields, given[index], item) if index < len(given) else _stated_block(field, item)
            for index, item in enumerate(there)
        ]
    return _stated(field, there)


def imported(fields: Mapping[str, Field], state: Mapping[str, Any]) -> Plain:
    """Inputs for a resource that no program has described yet: all it has that is not a default or the server's own."""
    values: Plain = {}
    for name, field in fields.items():
        if not field.input:
            continue
        there = state.get(name)
        if there is None and field.local and field.default is not None:
            there = field.default
        value = None if there is None else _stated(field, there)
        if value is not None and not (zero(field, value) and not field.keep):
            values[name] = value
    return values


def _stated(field: Field, there: Any) -> Any:
    if field.block and field.type == "obj":
        return _stated_block(field, there)
    if field.block:
        return [_stated_block(field, item) for item in there]
    return there


def _stated_block(field: Field, there: Mapping[str, Any]) -> Plain:
    return imported(field.fields, there)
