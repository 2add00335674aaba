"""Which properties stay secret on their way from inputs to outputs."""

from collections.abc import Iterable, Mapping
from typing import Any

from localcloud.plugins.gcp.schema import Field
from localcloud.plugins.values import PropertyPath


def kept_secrets(
    fields: Mapping[str, Field], secrets: Iterable[PropertyPath], values: Mapping[str, Any], *, coarse: bool = False
) -> frozenset[PropertyPath]:
    """The secret paths of `values`: those given, and those the table calls secret.

    `coarse` makes a whole set secret if one of its elements is: the order of a set may change on its way.
    """
    found = {_widened(fields, path) if coarse else path for path in secrets}
    _declared(fields, values, (), found)
    return frozenset(found)


def _widened(fields: Mapping[str, Field], path: PropertyPath) -> PropertyPath:
    inner: Mapping[str, Field] = fields
    for index, step in enumerate(path):
        field = inner.get(step) if isinstance(step, str) else None
        if field is None:
            continue
        if field.type == "set":
            return path[: index + 1]
        inner = field.fields
    return path


def _declared(
    fields: Mapping[str, Field], values: Mapping[str, Any], path: PropertyPath, found: set[PropertyPath]
) -> None:
    for name, field in fields.items():
        value = values.get(name)
        if value is None:
            continue
        if field.secret:
            found.add((*path, name))
        elif field.block:
            items = enumerate(value) if isinstance(value, list) else [(None, value)]
            for index, item in items:
                if isinstance(item, Mapping):
                    at = (*path, name) if index is None else (*path, name, index)
                    _declared(field.fields, item, at, found)
