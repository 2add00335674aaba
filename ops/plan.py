"""What an operation of the engine does to each resource, and what earlier ones left in the state."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pulumi.automation import events

DELETING = frozenset({"delete", "replace", "delete-replaced", "create-replacement"})
"""Operations of the engine that take something away."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One resource that an operation touches."""

    op: str
    """The engine's word: create, update, replace, delete, same, refresh, …"""
    urn: str
    type: str
    keys: tuple[str, ...] = ()
    """Top-level inputs that differ."""
    replacing: tuple[str, ...] = ()
    """Inputs that force the replacement."""
    old: Mapping[str, Any] = field(default_factory=dict)
    """Inputs as they were, secrets left out by the engine."""
    new: Mapping[str, Any] = field(default_factory=dict)
    done: bool = True
    """False for a step of a plan, or one that has only begun."""

    @property
    def name(self) -> str:
        """The resource's name in the program."""
        return self.urn.rpartition("::")[2]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an operation did, or a preview says it would do."""

    changes: Mapping[str, int]
    """Operation -> number of resources."""
    steps: tuple[Step, ...]
    repaired: tuple[str, ...] = ()
    """Names of the resources whose earlier update had failed and that were refreshed first."""

    @property
    def is_quiet(self) -> bool:
        """Whether nothing differs."""
        return all(op == "same" or not count for op, count in self.changes.items())


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """What earlier operations left in a stack's state."""

    failed: tuple[str, ...]
    """URNs of resources whose last update failed."""
    pending: tuple[str, ...]
    """URNs of resources a crashed operation was at."""
    protected: tuple[str, ...]
    """URNs of resources that may not be deleted."""


def leftovers(deployment: Mapping[str, Any] | None) -> Leftovers:
    """Read them from the `deployment` of an exported state."""
    resources = (deployment or {}).get("resources") or []
    pending = (deployment or {}).get("pending_operations") or []
    return Leftovers(
        failed=tuple(r["urn"] for r in resources if r.get("initErrors")),
        pending=tuple(p["resource"]["urn"] for p in pending),
        protected=tuple(r["urn"] for r in resources if _is_protected(r)),
    )


def _is_protected(resource: Mapping[str, Any]) -> bool:
    held = resource.get("outputs") or resource.get("inputs") or {}
    return bool(resource.get("protect")) or held.get("deletionProtection") is True


def step_of(event: "events.EngineEvent", *, plan: bool = False) -> Step | None:
    """Return the step an engine event tells of; None for other events."""
    outputs = None if plan else event.res_outputs_event
    told = outputs or event.resource_pre_event
    metadata = told.metadata if told else None
    if metadata is None or metadata.type == "pulumi:pulumi:Stack" or metadata.type.startswith("pulumi:providers:"):
        return None
    detailed = metadata.detailed_diff or {}
    return Step(
        op=str(getattr(metadata.op, "value", metadata.op)),
        urn=metadata.urn,
        type=metadata.type,
        keys=tuple(metadata.diffs or ()),
        replacing=tuple(k for k, d in detailed.items() if str(getattr(d.diff_kind, "value", "")).endswith("replace")),
        old=dict(metadata.old.inputs or {}) if metadata.old else {},
        new=dict(metadata.new.inputs or {}) if metadata.new else {},
        done=outputs is not None,
    )
