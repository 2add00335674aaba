"""Property values as the Pulumi engine sends them, and as plain Python.

Secrets, unknowns and assets travel as objects with a signature key, or as reserved strings
(https://github.com/pulumi/pulumi/blob/v3.230.0/sdk/go/common/resource/properties.go, read 2026-11-24).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import struct_pb2

SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a signature of the protocol, not a secret
OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
ASSET: Final = "c44067f5952c0a294b673a41bacd8c17"
UNKNOWN_STRINGS: Final = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)

PropertyPath = tuple[str | int, ...]
Plain = dict[str, Any]


class Unknown:
    """A value that is known only after the update; there is one instance, `UNKNOWN`."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A file or text handed to a resource; `hash` is the SHA-256 the engine computed."""

    hash: str
    path: str | None = None
    text: str | None = None

    def read(self) -> bytes:
        """Its bytes. Raises OSError if the file cannot be read, ValueError for a remote asset."""
        if self.text is not None:
            return self.text.encode()
        if self.path is None:
            raise ValueError("asset: argument must be a file or a text, got a remote one; download it first")
        with open(self.path, "rb") as file:
            return file.read()


@dataclass(frozen=True, kw_only=True)
class Properties:
    """Plain values, and the paths at which they are secret."""

    values: Plain
    secrets: frozenset[PropertyPath] = frozenset()


def decode(struct: struct_pb2.Struct) -> Properties:
    """Plain Python of what the engine sent: numbers without fraction are ints, unknowns are `UNKNOWN`."""
    secrets: set[PropertyPath] = set()
    values = {key: _decode(value, (key,), secrets) for key, value in struct.fields.items()}
    return Properties(values=values, secrets=frozenset(secrets))


def _decode(value: struct_pb2.Value, path: PropertyPath, secrets: set[PropertyPath]) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value in UNKNOWN_STRINGS else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_decode(item, (*path, index), secrets) for index, item in enumerate(value.list_value.values)]
    if kind == "struct_value":
        fields = value.struct_value.fields
        if SIGNATURE in fields:
            return _decode_signed(fields[SIGNATURE].string_value, fields, path, secrets)
        return {key: _decode(item, (*path, key), secrets) for key, item in fields.items()}
    return None


def _decode_signed(
    signature: str, fields: Mapping[str, struct_pb2.Value], path: PropertyPath, secrets: set[PropertyPath]
) -> Any:
    if signature == SECRET:
        secrets.add(path)
        return _decode(fields["value"], path, secrets)
    if signature == OUTPUT:
        if "secret" in fields and fields["secret"].bool_value:
            secrets.add(path)
        return _decode(fields["value"], path, secrets) if "value" in fields else UNKNOWN
    if signature == ASSET:
        path_field, text_field = fields.get("path"), fields.get("text")
        return Asset(
            hash=fields["hash"].string_value if "hash" in fields else "",
            path=path_field.string_value if path_field and path_field.string_value else None,
            text=text_field.string_value if text_field and not (path_field and path_field.string_value) else None,
        )
    raise ValueError(f"{'.'.join(map(str, path))}: archives and resource references are not taken by this stand-in")


def encode(values: Mapping[str, Any], secrets: Iterable[PropertyPath] = ()) -> struct_pb2.Struct:
    """The engine's form of `values`; what lies at one of `secrets` is wrapped, paths that lead nowhere are ignored."""
    wanted = frozenset(secrets)
    struct = struct_pb2.Struct()
    for key, value in values.items():
        if value is not None:
            struct.fields[key].CopyFrom(_encode(value, (key,), wanted))
    return struct


def _encode(value: Any, path: PropertyPath, secrets: frozenset[PropertyPath]) -> struct_pb2.Value:
    inner = _encode_plain(value, path, secrets)
    if path not in secrets or value is UNKNOWN:
        return inner
    wrapped = struct_pb2.Struct()
    wrapped.fields[SIGNATURE].string_value = SECRET
    wrapped.fields["value"].CopyFrom(inner)
    return struct_pb2.Value(struct_value=wrapped)


def _encode_plain(value: Any, path: PropertyPath, secrets: frozenset[PropertyPath]) -> struct_pb2.Value:
    if value is UNKNOWN:
        return struct_pb2.Value(string_value="04da6b54-80e4-46f7-96ec-b56ff0331ba9")
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, int | float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, Asset):
        fields = {SIGNATURE: ASSET, "hash": value.hash, "path": value.path, "text": value.text}
        return struct_pb2.Value(struct_value=encode(fields))
    if isinstance(value, Mapping):
        struct = struct_pb2.Struct()
        for key, item in value.items():
            if item is not None:
                struct.fields[key].CopyFrom(_encode(item, (*path, key), secrets))
        return struct_pb2.Value(struct_value=struct)
    items = [_encode(item, (*path, index), secrets) for index, item in enumerate(value)]
    return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))


def has_unknown(value: Any) -> bool:
    """Whether any part of `value` is not known yet."""
    if value is UNKNOWN:
        return True
    if isinstance(value, Mapping):
        return any(has_unknown(item) for item in value.values())
    return isinstance(value, list) and any(has_unknown(item) for item in value)


def path_text(path: PropertyPath) -> str:
    """`path` in the engine's notation, such as `template.containers[0].envs["a-b"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "a").isalnum():
            text += f".{step}" if text else step
        else:
            escaped = step.replace('"', '\\"')
            text += f'["{escaped}"]'
    return text
