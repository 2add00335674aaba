"""Labels and annotations: the program's, the provider's defaults, and those that others put on the resource."""

from collections.abc import Mapping
from typing import Any, Final

from localcloud.plugins.contract import Change
from localcloud.plugins.values import UNKNOWN, Plain

ATTRIBUTION: Final = "goog-pulumi-provisioned"


def wanted_labels(news: Mapping[str, Any], olds: Mapping[str, Any], defaults: Mapping[str, str], mark: bool) -> Any:
    """The labels this program sets: defaults, its own, and on resources it made Pulumi's mark (unless `mark` is False)."""
    own = news.get("labels") or {}
    if own is UNKNOWN:
        return UNKNOWN
    known = olds.get("pulumiLabels") or {}
    marked = mark and (not olds or ATTRIBUTION in known)
    return {**defaults, **own, **({ATTRIBUTION: "true"} if marked else {})}


def plan_labels(values: Plain, olds: Mapping[str, Any], wanted: Any) -> list[Change]:
    """Puts pulumiLabels and effectiveLabels into `values`; labels of others stay. Returns what changes."""
    before, effective = olds.get("pulumiLabels") or {}, olds.get("effectiveLabels") or {}
    values["pulumiLabels"], values["effectiveLabels"] = wanted, _merged(wanted, before, effective)
    return _changes(values, olds, ("pulumiLabels", "effectiveLabels"))


def plan_annotations(values: Plain, olds: Mapping[str, Any], wanted: Any) -> list[Change]:
    """The same for annotations, which have no defaults and no mark."""
    before, effective = olds.get("annotations") or {}, olds.get("effectiveAnnotations") or {}
    values["effectiveAnnotations"] = _merged(wanted, before, effective)
    return _changes(values, olds, ("effectiveAnnotations",))


def _merged(wanted: Any, before: Mapping[str, str], effective: Mapping[str, str]) -> Any:
    if wanted is UNKNOWN:
        return UNKNOWN
    return {**{key: value for key, value in effective.items() if key not in before or key in wanted}, **wanted}


def _changes(values: Plain, olds: Mapping[str, Any], names: tuple[str, ...]) -> list[Change]:
    return [
        Change(path=(name,), kind="update" if olds.get(name) else "add")
        for name in names
        if values[name] != (olds.get(name) or {})
    ]


def read_labels(values: Plain, body: Mapping[str, Any], prior: Mapping[str, Any]) -> None:
    """Puts what the server has into `values`: under labels only what the program set, all of it under effectiveLabels."""
    there = body.get("labels") or {}
    values["effectiveLabels"] = dict(there)
    values["labels"] = {key: there[key] for key in prior.get("labels") or {} if key in there}
    values["pulumiLabels"] = {key: there.get(key, "") for key in prior.get("pulumiLabels") or {}}


def read_annotations(values: Plain, body: Mapping[str, Any], prior: Mapping[str, Any]) -> None:
    """The same for annotations."""
    there = body.get("annotations") or {}
    values["effectiveAnnotations"] = dict(there)
    values["annotations"] = {key: there[key] for key in prior.get("annotations") or {} if key in there}
