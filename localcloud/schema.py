"""JSON bodies against discovery schemas, with the wording of Google's front end."""

import base64
import binascii
import json
import math
import re
from typing import Any

from localcloud.clock import parse_rfc3339
from localcloud.errors import ApiError, violations

Found = list[tuple[str, str]]
Schema = dict[str, Any]

INT_RANGE = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
DURATION = re.compile(r"^-?\d+(\.\d{1,9})?s$")
ENUM_NUMBERS: tuple[tuple[str, dict[int, str]], ...] = (
    (
        "EARLY_ACCESS",
        {0: "LAUNCH_STAGE_UNSPECIFIED", 6: "UNIMPLEMENTED", 7: "PRELAUNCH", 1: "EARLY_ACCESS", 2: "ALPHA", 3: "BETA",
         4: "GA", 5: "DEPRECATED"},
    ),
    (
        "EMERGENCY",
        {0: "DEFAULT", 100: "DEBUG", 200: "INFO", 300: "NOTICE", 400: "WARNING", 500: "ERROR", 600: "CRITICAL",
         700: "ALERT", 800: "EMERGENCY"},
    ),
    (
        "GOOGET",
        {0: "FORMAT_UNSPECIFIED", 1: "DOCKER", 2: "MAVEN", 3: "NPM", 5: "APT", 6: "YUM", 7: "GOOGET", 8: "PYTHON",
         9: "KFP", 10: "GO", 11: "GENERIC", 12: "RUBY"},
    ),
)  # fmt: skip
"""Enums whose numbers are not their positions in the document, known by one of their names: google/api/launch_stage.proto,
google/logging/type/log_severity.proto, google/devtools/artifactregistry/v1/repository.proto (googleapis, 2026-11)."""


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: "_" + found.group(1).lower(), name)


def camel(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda found: found.group(1).upper(), name)


def body_field(schema: str) -> str:
    """What the request message calls its body, as far as the document tells: GoogleCloudRunV2Job -> job."""
    if schema.endswith("Request"):
        return ""
    return snake(re.sub(r"^(GoogleCloud|Google)[A-Za-z]*?V\d+(?:(?:alpha|beta)\d+)?", "", schema)).lower().lstrip("_")


def enum_name(spec: Schema, value: Any) -> str | None:
    """The enum value's name for a name or, as GAPIC clients send it, a number; None if it is neither."""
    names: list[str] = spec["enum"]
    if isinstance(value, str) and value in names:
        return value
    digits = isinstance(value, str) and value.isdigit()
    if (isinstance(value, int) and not isinstance(value, bool)) or digits:
        number = int(value)
        for marker, numbers in ENUM_NUMBERS:
            if marker in names:
                known = numbers.get(number)
                return known if known in names else None
        return names[number] if 0 <= number < len(names) else None
    return None


def unknown_name(name: str, where: str) -> str:
    at = f" at '{where}'" if where else ""
    return f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'


class Checker:
    def __init__(self, schemas: dict[str, Schema], *, strict: bool) -> None:
        self._schemas = schemas
        self._strict = strict

    def check(self, schema: str, body: Any, method_id: str, *, required: bool) -> dict[str, Any]:
        if not isinstance(body, dict):
            raise ApiError(
                400,
                "INVALID_ARGUMENT",
                'Invalid JSON payload received. Unknown name "": Root element must be a message.',
            )
        found: Found = []
        checked = self._message(self._schemas[schema], body, body_field(schema), found, method_id, required)
        if found:
            raise violations(found)
        return checked

    def _message(
        self, schema: Schema, body: dict[str, Any], where: str, found: Found, method_id: str, required: bool
    ) -> dict[str, Any]:
        properties: dict[str, Schema] = schema.get("properties", {})
        out: dict[str, Any] = {}
        for key, value in body.items():
            name = key if key in properties else camel(key)
            spec = properties.get(name)
            if spec is None:
                if "additionalProperties" in schema:
                    out[key] = self._value(
                        schema["additionalProperties"], value, f"{where}[{key}]", found, method_id, required
                    )
                elif self._strict and not key.startswith("@"):
                    found.append((where, unknown_name(key, where)))
                continue
            if value is None or spec.get("readOnly"):
                continue
            path = f"{where}.{snake(name)}" if where else snake(name)
            out[name] = self._value(spec, value, path, found, method_id, required)
        for name, spec in properties.items():
            if name not in out and _is_required(spec, method_id, required):
                path = f"{where}.{snake(name)}" if where else snake(name)
                found.append((path, f"{path}: Field is required."))
        return out

    def _value(self, spec: Schema, value: Any, path: str, found: Found, method_id: str, required: bool) -> Any:
        if "$ref" in spec:
            spec = self._schemas[spec["$ref"]]
        kind = spec.get("type", "any")
        if kind == "array":
            if not isinstance(value, list):
                # protobuf's JSON reader takes a single value for a repeated field
                value = [value]
            items = spec["items"]
            return [
                self._value(items, item, f"{path}[{n}]", found, method_id, required) for n, item in enumerate(value)
            ]
        if kind == "object":
            if not isinstance(value, dict):
                found.append((path, _invalid(path, "", value)))
                return {}
            if not spec.get("properties") and "additionalProperties" not in spec:
                return value
            return self._message(spec, value, path, found, method_id, required)
        return self.scalar(spec, value, path, found)

    def scalar(self, spec: Schema, value: Any, path: str, found: Found) -> Any:
        kind, form = spec.get("type", "any"), spec.get("format", "")
        if kind == "any":
            return value
        if "enum" in spec:
            name = enum_name(spec, value)
            if name is None:
                found.append((path, _invalid(path, "", value)))
            return name
        if kind == "boolean":
            return _boolean(value, path, found)
        if kind == "integer" or form in ("int64", "uint64"):
            number = _integer(value, form or "int32", path, found)
            return str(number) if kind == "string" and number is not None else number
        if kind == "number":
            return _number(value, path, found)
        if not isinstance(value, str):
            found.append((path, _invalid(path, "TYPE_STRING", value)))
            return ""
        _check_format(form, value, path, found)
        return value


def _is_required(spec: Schema, method_id: str, required: bool) -> bool:
    if method_id and method_id in spec.get("annotations", {}).get("required", ()):
        return True
    return required and not spec.get("readOnly") and spec.get("description", "").startswith("Required.")


def _invalid(path: str, kind: str, value: Any) -> str:
    shown = value if isinstance(value, dict | list) is False else "..."
    return f"Invalid value at '{path}'{f' ({kind})' if kind else ''}, {json.dumps(shown)}"


def _boolean(value: Any, path: str, found: Found) -> bool | None:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    found.append((path, _invalid(path, "TYPE_BOOL", value)))
    return None


def _integer(value: Any, form: str, path: str, found: Found) -> int | None:
    low, high = INT_RANGE[form]
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and re.fullmatch(r"-?\d+", value)
    ):
        number = int(value)
    if number is None or not low <= number <= high:
        found.append((path, _invalid(path, f"TYPE_{form.upper()}", value)))
        return None
    return number


def _number(value: Any, path: str, found: Found) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = math.inf
        if math.isfinite(number):
            return number
    found.append((path, _invalid(path, "TYPE_DOUBLE", value)))
    return None


def _check_format(form: str, value: str, path: str, found: Found) -> None:
    if form == "google-duration" and not DURATION.match(value):
        text = "Illegal duration format; duration must end with 's'" if not value.endswith("s") else "Invalid duration"
        found.append(
            (
                path,
                f"Invalid value at '{path}' (type.googleapis.com/google.protobuf.Duration), Field '{path.split('.')[-1]}', {text}",
            )
        )
    elif form in ("google-datetime", "date-time"):
        try:
            parse_rfc3339(value)
        except ValueError:
            found.append(
                (
                    path,
                    f"Invalid value at '{path}' (type.googleapis.com/google.protobuf.Timestamp), Field '{path.split('.')[-1]}', Invalid time format: {value}",
                )
            )
    elif form == "byte":
        try:
            base64.b64decode(value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4), validate=True)
        except binascii.Error:
            found.append((path, f"Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed for \"{value[:40]}\""))
