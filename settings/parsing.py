"""A dataclass from what a stack's file says, strict about keys and types."""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from settings.checks import SettingsError
from settings.heavy_runner import SET_BY_STACK
from workloads.heavy_runner.contract import HeavyRunnerEnv

T = TypeVar("T")

REFUSED: dict[type, Collection[str]] = {HeavyRunnerEnv: SET_BY_STACK}
"""Dataclass of a contract -> its fields that the file cannot set."""


def parse(
    cls: type[T], raw: object, path: str, *, refused: Collection[str] = (), given: Mapping[str, Any] | None = None
) -> T:
    """A dataclass from what the file says under `path`, strict about keys and types."""
    here = path.rstrip(":.")
    if not isinstance(raw, Mapping):
        raise SettingsError(f"{here}: value must be a map, got {raw!r}")
    known = {item.name: item for item in fields(cls) if item.name not in refused}  # type: ignore[arg-type]  # T is one of our dataclasses
    for name in raw:
        if name not in known:
            raise SettingsError(f"{path}{name}: key must be one of {', '.join(sorted(known))}, got {name!r}")
    for name, item in known.items():
        if name not in raw and item.default is MISSING and item.default_factory is MISSING:
            raise SettingsError(f"{path}{name}: key must be set, got none")
    hints = get_type_hints(cls)
    values = {name: _value(hints[name], value, f"{path}{name}") for name, value in raw.items()}
    try:
        return cls(**{**values, **(given or {})})
    except ValueError as error:
        raise SettingsError(f"{path if path.endswith(':') else f'{here}: '}{error}") from error


def _value(hint: Any, value: object, path: str) -> Any:
    if isinstance(hint, UnionType):
        (hint,) = (one for one in get_args(hint) if one is not NoneType)
    if is_dataclass(hint) and isinstance(hint, type):
        return parse(hint, value, f"{path}.", refused=REFUSED.get(hint, ()))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (bool, int, float, str):
        if type(value) is not hint:
            raise SettingsError(f"{path}: value must be of type {hint.__name__}, got {value!r}")
        return value
    if hint == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise SettingsError(f"{path}: value must be a list of strings, got {value!r}")
        return tuple(value)
    if hint == tuple[int, ...]:
        if not isinstance(value, list) or not all(type(item) is int for item in value):
            raise SettingsError(f"{path}: value must be a list of whole numbers, got {value!r}")
        return tuple(value)
    if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
        raise SettingsError(f"{path}: value must be a map of strings, got {value!r}")
    return dict(value)
