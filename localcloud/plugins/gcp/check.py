"""Checks a resource's inputs as the provider does in a preview, fills in defaults, and makes names."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from localcloud.plugins.contract import Autoname, Failure
from localcloud.plugins.gcp.row import Row
from localcloud.plugins.gcp.schema import Field
from localcloud.plugins.values import UNKNOWN, Asset, Plain, PropertyPath, path_text

DEFAULTS: Final = "__defaults"
MEMBER: Final = re.compile(
    r"^(allUsers|allAuthenticatedUsers|(user|serviceAccount|group|domain|principal|principalSet|principalHierarchy"
    r"|projectOwner|projectEditor|projectViewer|serviceAgent|iamMember|specialGroup):.+)$"
)


@dataclass(kw_only=True)
class Check:
    """The check of one resource; `failures` fills while it runs."""

    name: str
    failures: list[Failure] = field(default_factory=list)

    def fail(self, path: PropertyPath, reason: str) -> None:
        """Adds a failure at `path`, in the form of the provider's messages."""
        place = path_text((self.name, *path)) if path else self.name
        self.failures.append(Failure(reason=f"{reason}. Examine values at '{place}'."))

    def fields(self, fields: Mapping[str, Field], news: Mapping[str, Any], path: PropertyPath, tf: str = "") -> Plain:
        """`news` with types put right and defaults filled in."""
        values: Plain = {}
        for name in news:
            if name not in fields and name != DEFAULTS:
                self.fail((*path, name), "Invalid or unknown key")
        filled = []
        for name, spec in fields.items():
            value = news.get(name)
            if not spec.input:
                if value is not None:
                    self.fail((*path, name), "Computed attributes cannot be set")
                continue
            if value is None and spec.default is not None:
                value = spec.default
                filled.append(name)
            if value is None:
                self._missing(spec, (*path, name))
            else:
                values[name] = self.value(spec, value, (*path, name), f"{tf}{spec.tf_name}")
        if filled:
            values[DEFAULTS] = filled
        return values

    def _missing(self, spec: Field, path: PropertyPath) -> None:
        if spec.required:
            name = spec.tf_name
            self.fail(
                path, f'Missing required argument. The argument "{name}" is required, but no definition was found.'
            )

    def value(self, spec: Field, value: Any, path: PropertyPath, tf: str) -> Any:
        """One value, of the field's type."""
        if value is UNKNOWN or isinstance(value, Asset):
            return value
        if spec.type == "map":
            return self._map(spec, value, path)
        if spec.type == "obj":
            return self.fields(spec.fields, value, path, f"{tf}.0.") if self._is(dict, value, path) else value
        if spec.type in ("list", "set"):
            return self._items(spec, value, path, tf) if self._is(list, value, path) else value
        return self._scalar(spec, spec.type, value, path, tf)

    def _is(self, kind: type[Any], value: Any, path: PropertyPath) -> bool:
        if isinstance(value, kind):
            return True
        wanted = "object" if kind is dict else "list"
        self.fail(path, f"expected {wanted}, got {type(value).__name__}")
        return False

    def _items(self, spec: Field, items: list[Any], path: PropertyPath, tf: str) -> list[Any]:
        values = []
        for index, item in enumerate(items):
            at = (*path, index)
            if item is UNKNOWN or not spec.block:
                values.append(item if item is UNKNOWN else self._scalar(spec, spec.item, item, at, f"{tf}.{index}"))
            elif self._is(dict, item, at):
                values.append(self.fields(spec.fields, item, at, f"{tf}.{index}."))
        return values

    def _map(self, spec: Field, value: Any, path: PropertyPath) -> Any:
        if not self._is(dict, value, path):
            return value
        return {
            key: item if item is UNKNOWN else self._scalar(spec, "str", item, (*path, key), key)
            for key, item in value.items()
            if item is not None
        }

    def _scalar(self, spec: Field, kind: str, value: Any, path: PropertyPath, tf: str) -> Any:
        if value is None or value is UNKNOWN:
            return value
        typed = self._typed(kind, value, path)
        if isinstance(typed, str):
            self._rules(spec, typed, path, tf)
        return typed

    def _typed(self, kind: str, value: Any, path: PropertyPath) -> Any:
        if isinstance(value, dict | list):
            self.fail(path, f"expected {kind}, got {'object' if isinstance(value, dict) else 'list'}")
            return value
        if kind == "str":
            return str(value).lower() if isinstance(value, bool) else str(value)
        if kind == "bool":
            if isinstance(value, bool) or str(value).lower() in ("true", "false"):
                return value if isinstance(value, bool) else str(value).lower() == "true"
            self.fail(path, f"strconv.ParseBool: parsing {json.dumps(value)}: invalid syntax")
            return value
        try:
            return int(str(value)) if kind == "int" else float(value)
        except ValueError:
            call = "ParseInt" if kind == "int" else "ParseFloat"
            self.fail(path, f"strconv.{call}: parsing {json.dumps(str(value))}: invalid syntax")
            return value

    def _rules(self, spec: Field, value: str, path: PropertyPath, tf: str) -> None:
        if spec.allowed and value not in spec.allowed:
            allowed = " ".join(json.dumps(item) for item in spec.allowed)
            self.fail(path, f"expected {tf} to be one of [{allowed}], got {value}")
        if spec.match and not re.search(spec.match, value):
            self.fail(path, f'"{tf}" ("{value}") doesn\'t match regexp {json.dumps(spec.match)}')
        if spec.member and not MEMBER.match(value):
            where = "https://cloud.google.com/billing/docs/reference/rest/v1/Policy#Binding"
            self.fail(path, f"invalid value for {tf} (IAM members must have one of the values outlined here: {where})")
        if spec.base64:
            self._base64(value, path, tf)
        if spec.json:
            self._json(value, path, tf)

    def _base64(self, value: str, path: PropertyPath, tf: str) -> None:
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error:
            self.fail(path, f"could not decode {tf} as a valid base64 value. Please use the terraform base64 functions")

    def _json(self, value: str, path: PropertyPath, tf: str) -> None:
        try:
            json.loads(value)
        except ValueError as error:
            self.fail(path, f'"{tf}" contains an invalid JSON: {error}')


def check_exactly_one(check: Check, row: Row, values: Plain) -> None:
    """Of some properties a resource has exactly one."""
    if not row.exactly_one:
        return
    given = [name for name in row.exactly_one if values.get(name) is not None]
    if len(given) != 1:
        names = ",".join(row.exactly_one)
        problem = "must be specified" if not given else f"can be specified, but `{','.join(given)}` were specified"
        check.fail((given[0] if given else row.exactly_one[0],), f"only one of `{names}` {problem}")


def autoname(row: Row, logical: str, olds: Mapping[str, Any], values: Plain, options: Autoname) -> None:
    """Gives the resource a name if the program does not: the old one if that was made too, else `LOGICAL-7HEX`."""
    name = row.autoname
    if not name or values.get(name) is not None:
        return
    if name in (olds.get(DEFAULTS) or ()) and olds.get(name):
        made = olds[name]
    elif options.proposed:
        made = options.proposed
    elif options.disabled:
        return
    else:
        seed = options.seed or logical.encode()
        prefix = logical[: row.autoname_limit - 8] if row.autoname_limit else logical
        made = f"{prefix}-{hashlib.sha256(seed).hexdigest()[:7]}"
    values[name] = made
    values[DEFAULTS] = [*values.get(DEFAULTS, []), name]


def autoname_is_missing(row: Row, values: Plain) -> bool:
    """Whether the resource still has no name (autonaming is off)."""
    return bool(row.autoname) and values.get(row.autoname) is None
