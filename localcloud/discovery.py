"""Methods and schemas of Google's APIs, from the discovery documents that google-api-python-client ships."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any
from urllib.parse import unquote

from localcloud.errors import violations
from localcloud.schema import Checker, snake

SYSTEM_PARAMETERS = frozenset(
    [
        "alt",
        "fields",
        "key",
        "prettyPrint",
        "quotaUser",
        "access_token",
        "oauth_token",
        "callback",
        "uploadType",
        "upload_protocol",
        "userIp",
        "upload_id",
        "xgafv",
    ]
)
"""https://cloud.google.com/apis/docs/system-parameters (2026-11); each also with a leading $ or `$.`."""


@lru_cache
def document(name: str, version: str) -> dict[str, Any]:
    """Raises FileNotFoundError for an API that google-api-python-client has no document of."""
    folder = resources.files("googleapiclient.discovery_cache") / "documents"
    loaded: dict[str, Any] = json.loads((folder / f"{name}.{version}.json").read_text(encoding="utf-8"))
    return loaded


@lru_cache
def service_names() -> frozenset[str]:
    """The APIs that have a document, such as run.googleapis.com."""
    folder = resources.files("googleapiclient.discovery_cache") / "documents"
    return frozenset(f"{file.name.partition('.')[0]}.googleapis.com" for file in folder.iterdir())


@dataclass(frozen=True)
class Method:
    id: str
    verb: str
    path: str
    """From the host's root, e.g. v2/{+parent}/jobs."""
    parameters: dict[str, dict[str, Any]]
    request: str | None
    """Name of the request's schema."""
    pattern: re.Pattern[str]
    flat: re.Pattern[str] | None
    media_upload: bool

    def match(self, raw_path: str) -> dict[str, str] | None:
        """Path parameters of a still-encoded path: the document's names and, where it has them, the flat ids."""
        found = self.pattern.match(raw_path)
        if found is None:
            return None
        params = {_original(key): unquote(value) for key, value in found.groupdict().items()}
        if self.flat is not None and (ids := self.flat.match(raw_path)):
            params.update({_original(key): unquote(value) for key, value in ids.groupdict().items()})
        return params


def _group(name: str) -> str:
    return "p_" + name.replace(".", "__dot__").replace("-", "__dash__")


def _original(group: str) -> str:
    return group[2:].replace("__dot__", ".").replace("__dash__", "-")


def _compile(template: str, parameters: dict[str, dict[str, Any]]) -> re.Pattern[str]:
    parts = []
    for literal, plus, name in re.findall(r"([^{]*)(?:\{(\+?)([^}]+)\})?", template):
        parts.append(re.escape(literal))
        if name:
            inner = parameters.get(name, {}).get("pattern", "^.+$").removeprefix("^").removesuffix("$")
            parts.append(f"(?P<{_group(name)}>{inner if plus else '[^/]+'})")
    return re.compile("^" + "".join(parts) + "$")


def _walk(node: dict[str, Any]) -> list[dict[str, Any]]:
    found = list(node.get("methods", {}).values())
    for child in node.get("resources", {}).values():
        found.extend(_walk(child))
    return found


class Discovery:
    """One API version. `strict`: an unknown field is an error (else it is dropped, as the oldest APIs do)."""

    def __init__(self, name: str, version: str, *, strict: bool = True) -> None:
        self.name = name
        self.version = version
        self.document = document(name, version)
        self.schemas: dict[str, dict[str, Any]] = self.document["schemas"]
        self.service = self.document["rootUrl"].removeprefix("https://").rstrip("/")
        """Such as run.googleapis.com."""
        self.methods = {method.id: method for method in map(self._method, _walk(self.document))}
        self._checker = Checker(self.schemas, strict=strict)

    def _method(self, raw: dict[str, Any]) -> Method:
        base = self.document["servicePath"]
        parameters = raw.get("parameters", {})
        flat = raw.get("flatPath")
        return Method(
            id=raw["id"],
            verb=raw["httpMethod"],
            path=base + raw["path"],
            parameters=parameters,
            request=raw.get("request", {}).get("$ref"),
            pattern=_compile(base + raw["path"], parameters),
            flat=_compile(base + flat, {}) if flat and "+" in raw["path"] else None,
            media_upload=bool(raw.get("supportsMediaUpload")),
        )

    def method(self, method_id: str) -> Method:
        """Raises KeyError for a method that the document does not have."""
        return self.methods[method_id]

    def check(self, schema: str, body: Any, method_id: str = "", *, required: bool = False) -> dict[str, Any]:
        """The body in camelCase without output-only fields and nulls. Raises ApiError 400 with every violation found."""
        return self._checker.check(schema, body, method_id, required=required)

    def check_query(self, method: Method, given: list[tuple[str, str]]) -> dict[str, Any]:
        """Query parameters with the document's types. Raises ApiError 400 for an unknown name or a bad value."""
        allowed = {name: spec for name, spec in method.parameters.items() if spec.get("location") == "query"}
        spelled = {_plain(name): name for name in allowed}
        query: dict[str, Any] = {}
        found: list[tuple[str, str]] = []
        for key, value in given:
            if key.lstrip("$.").lower() in _SYSTEM and key not in allowed:
                continue
            name = key if key in allowed else spelled.get(_plain(key))
            if name is None:
                found.append(("", _unbound(key)))
                continue
            self._take(allowed[name], name, value, query, found)
        for name, spec in allowed.items():
            if spec.get("required") and name not in query:
                found.append((snake(name), f"Required parameter: {name}"))
        if found:
            raise violations(found)
        return query

    def _take(
        self, spec: dict[str, Any], name: str, value: str, query: dict[str, Any], found: list[tuple[str, str]]
    ) -> None:
        if spec.get("type") == "boolean":
            value = value.lower()  # requests writes True, and Google's front end takes it
        checked = self._checker.scalar(spec, value, snake(name), found)
        if spec.get("repeated"):
            query.setdefault(name, []).append(checked)
        else:
            query[name] = checked


_SYSTEM = frozenset(name.lower() for name in SYSTEM_PARAMETERS)


def _plain(name: str) -> str:
    """Same for options.requestedPolicyVersion, optionsRequestedPolicyVersion and options.requested_policy_version."""
    return name.replace("_", "").replace(".", "").lower()


def _unbound(key: str) -> str:
    return (
        f'Invalid JSON payload received. Unknown name "{key}": Cannot bind query parameter. '
        f"Field '{key}' could not be found in request message."
    )
