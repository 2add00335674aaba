"""One resource on its way to the API: its row, its address, and calls about it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from localcloud.plugins.contract import PluginError
from localcloud.plugins.gcp import operations
from localcloud.plugins.gcp.rest import Rest
from localcloud.plugins.gcp.row import Row
from localcloud.plugins.gcp.schema import Field, snake
from localcloud.plugins.values import UNKNOWN, Plain, has_unknown

PLACEHOLDER: Final = re.compile(r"\{(\w+)(?:\|(\w+))?\}")


class Incomplete(Exception):
    """A template needs a value that is not known yet, or not there."""


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fills a row's template. Raises Incomplete naming the property that is missing or unknown."""

    def fill(match: re.Match[str]) -> str:
        value = values.get(match[1])
        if match[2] == "bool":
            return "true" if value else "false"
        if value is None or value is UNKNOWN or value == "":
            raise Incomplete(match[1])
        if match[2] == "tail":
            return str(value).rsplit("/", 1)[-1]
        return quote(str(value), safe="") if match[2] == "quoted" else str(value)

    return PLACEHOLDER.sub(fill, template)


@dataclass(frozen=True, kw_only=True)
class Target:
    """`params` are the values that templates are filled from: the resource's own, and the provider's defaults."""

    row: Row
    fields: Mapping[str, Field]
    rest: Rest
    params: Mapping[str, Any]
    id: str = ""
    timeout_s: float = 0.0

    def path(self, template: str) -> str:
        """Fills one of the row's templates."""
        try:
            return render(template, {**self.params, "id": self.id})
        except Incomplete as missing:
            raise PluginError(f"{snake(str(missing))}: required field is not set") from missing

    def at(self, id: str) -> "Target":
        """The same resource, with its id."""
        return replace(self, id=id)

    def call(self, method: str, template: str, body: Any = None, **query: str) -> Plain:
        """One call on the row's own service."""
        path = self.path(template)
        return self.rest.call(method, self.row.service, path, query=query, body=body, timeout_s=self.timeout_s)

    def wait(self, operation: Plain) -> None:
        """Waits for an operation of the row's own service."""
        operations.wait(self.rest, self.row.service, operation, self.timeout_s)

    @property
    def loopback(self) -> bool:
        """Whether the service is on this machine."""
        return self.rest.settings.loopback(self.row.service)


def with_defaults(row: Row, values: Plain, project: str, region: str) -> Plain:
    """`values` with the provider's project and place, and what the provider can already tell of computed properties."""
    complete = dict(values)
    if not complete.get("project") and project:
        complete["project"] = project
    if row.place and not complete.get(row.place) and region:
        complete[row.place] = region
    for name, template in row.planned.items():
        complete.setdefault(name, _rendered(template, complete))
    return {name: value for name, value in complete.items() if value is not None}


def _rendered(template: str, values: Plain) -> Any:
    try:
        return render(template, values)
    except Incomplete:
        return UNKNOWN if has_unknown(values) else None


def parse_id(row: Row, id: str) -> Plain:
    """The parts of an id, for an import. Raises PluginError naming the form it must have."""
    parts, position = [], 0
    for match in PLACEHOLDER.finditer(row.id):
        parts += [re.escape(row.id[position : match.start()]), f"(?P<{match[1]}>[^/]+)"]
        position = match.end()
    pattern = "".join([*parts, re.escape(row.id[position:])])
    if row.server_id and row.id == "{name}":
        pattern = "(?P<name>.+)"
    found = re.fullmatch(pattern, id)
    if not found:
        raise PluginError(f"import id must be {PLACEHOLDER.sub(lambda match: match[1].upper(), row.id)}, got {id!r}")
    return dict(found.groupdict())
