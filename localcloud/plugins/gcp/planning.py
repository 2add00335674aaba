"""Plans one resource: its fields, the provider's defaults, labels, and content."""

from collections.abc import Mapping, Sequence

from localcloud.plugins.contract import Change
from localcloud.plugins.gcp import labels, storage
from localcloud.plugins.gcp.config import Settings
from localcloud.plugins.gcp.plan import Plan, plan
from localcloud.plugins.gcp.row import Row
from localcloud.plugins.gcp.schema import Field
from localcloud.plugins.gcp.target import with_defaults
from localcloud.plugins.values import UNKNOWN, Plain, path_text


def plan_resource(row: Row, fields: Mapping[str, Field], news: Plain, olds: Plain, settings: Settings) -> Plan:
    """What changes between state and inputs, and what the resource will then look like."""
    planned = plan(fields, with_defaults(row, news, settings.project, settings.region), olds)
    values = with_defaults(row, planned.values, settings.project, settings.region)
    changes = list(planned.changes)
    if row.labels:
        wanted = labels.wanted_labels(news, olds, settings.default_labels, settings.mark)
        changes += labels.plan_labels(values, olds, wanted)
    if row.annotations:
        changes += labels.plan_annotations(values, olds, news.get("annotations") or {})
    if row.behaviour == "object" and (news.get("content") is not None or news.get("source") is not None):
        changes += _content_change(values, olds)
    if "deletionPolicy" in fields:
        values.setdefault("deletionPolicy", "DELETE")
    return Plan(values=values, changes=changes)


def _content_change(values: Plain, olds: Plain) -> list[Change]:
    values["detectMd5hash"] = md5 = storage.content_md5(values)
    old = olds.get("detectMd5hash")
    return [Change(path=("detectMd5hash",), kind="update")] if olds and md5 != old else []


def foreseen(fields: Mapping[str, Field], values: Plain) -> Plain:
    """What a preview of a create can tell: the values, and UNKNOWN for what the server will fill in."""
    unknown = {name: UNKNOWN for name, field in fields.items() if field.computed and name not in values}
    return {**unknown, **values}


def local_defaults(fields: Mapping[str, Field]) -> Plain:
    """The provider's own switches of a resource that is imported."""
    return {name: field.default for name, field in fields.items() if field.local and field.default is not None}


def ignored(change: Change, ignore: Sequence[str]) -> bool:
    """Whether the program wants this change ignored."""
    text = path_text(change.path)
    return any(text == item or text.startswith((f"{item}.", f"{item}[")) for item in ignore)
