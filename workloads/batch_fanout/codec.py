"""Inputs and results as bytes. Results are plain data, so that reading one never runs what is in it."""

import io
import json
import math
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from workloads.batch_fanout.contract import Format

_PROTOCOL = 5
"""Understood by Python 3.8 and later."""


def encode_input(value: Any, form: str) -> bytes:
    """Raises ValueError: `value` cannot be stored in this format."""
    try:
        if form == Format.PICKLE:
            return pickle.dumps(value, protocol=_PROTOCOL)
        return _json(plain(value))
    except (TypeError, ValueError, AttributeError, pickle.PicklingError) as error:
        raise ValueError(f"input: cannot be stored as {form} ({error})") from error


def decode_input(data: bytes, form: str) -> Any:
    """An input whose digest has been checked: a pickle is a program, and only what stage A wrote may run."""
    if form == Format.PICKLE:
        return pickle.loads(data)  # noqa: S301  # the caller compared its digest with the manifest's
    return json.loads(data)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a task stores: the model's result, and which input it belongs to."""

    index: int
    input: str
    """Name of the input."""
    input_sha256: str
    model: str
    result: Any
    """Plain data: maps, lists, text, numbers, true, false, none."""
    task: Mapping[str, Any] = field(default_factory=dict)
    """How the task went: seconds, memory, attempt."""
    version: int = 1

    def encode(self, form: str) -> bytes:
        """Raises ValueError: the model's result is not plain data."""
        document = {**asdict(self), "result": plain(self.result)}
        return pickle.dumps(document, protocol=_PROTOCOL) if form == Format.PICKLE else _json(document)

    @classmethod
    def decode(cls, data: bytes, form: str) -> Self:
        """Raises ValueError: it is cut, or no result."""
        try:
            raw = _PlainUnpickler(io.BytesIO(data)).load() if form == Format.PICKLE else json.loads(data)
            return cls(**{item.name: raw[item.name] for item in fields(cls)})
        except Exception as error:  # a pickle that is cut or made up fails in any way
            raise ValueError(f"result: cannot be read ({type(error).__name__}: {error})") from error


class _PlainUnpickler(pickle.Unpickler):
    """Reads plain data and refuses everything that would import or call something."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is no plain data")


def plain(value: Any) -> Any:
    """`value` with arrays as lists and their numbers as Python's. Raises ValueError for anything else."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # an array or a number of numpy, without importing it
        return plain(value.tolist())
    raise ValueError(f"must be plain data, got {type(value).__module__}.{type(value).__qualname__}")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError(f"names must be text, got {type(key).__name__}")
    return key


def _json(document: Any) -> bytes:
    return json.dumps(_finite(document), allow_nan=False, separators=(",", ":")).encode()


def _finite(value: Any) -> Any:
    """JSON knows no NaN: it becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
