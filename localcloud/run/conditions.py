"""Conditions as Cloud Run writes them; reasons are the enums of the discovery document of run.v2."""

from typing import Any, Literal

State = Literal["CONDITION_PENDING", "CONDITION_RECONCILING", "CONDITION_FAILED", "CONDITION_SUCCEEDED"]
Condition = dict[str, Any]

CONTAINER_FAILED = "The container exited with an error."
TIMEOUT = "The configured timeout was reached."
MEMORY = "The configured memory limit was reached."


def condition(kind: str, state: State, at: str, message: str = "", **reason: str) -> Condition:
    """Make one condition.

    Args:
        at: time of the transition, RFC 3339.
        reason: at most one of reason, executionReason; severity.
    """
    made = {"type": kind, "state": state, "lastTransitionTime": at} | reason
    return made | ({"message": message} if message else {})


def put(conditions: list[Condition], new: Condition) -> list[Condition]:
    """Return the list with the condition of the same type replaced, or the new one at its end."""
    kept = [new if old["type"] == new["type"] else old for old in conditions]
    return kept if new in kept else [*kept, new]


def find(conditions: list[Condition], kind: str) -> Condition | None:
    return next((item for item in conditions if item["type"] == kind), None)


def seconds(duration: float) -> str:
    """Write a duration as these messages do: 38.22s, 2m49.01s."""
    minutes, rest = divmod(round(duration, 2), 60)
    text = f"{rest:.2f}".rstrip("0").rstrip(".") + "s"
    return f"{int(minutes)}m{text}" if minutes else text
