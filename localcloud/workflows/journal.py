"""What an execution has learnt from outside, in order: read again after a restart in place of asking once more.

An execution that is taken up again runs from its first step with these answers until they are used up, and goes on from
there. A call that was under way when the process died is made again: like in the cloud, at least once.
"""

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localcloud.store import Store

KIND = "workflow.journal"


class Journal:
    """Of one execution, by its full name."""

    def __init__(self, store: "Store", execution: str) -> None:
        self._store, self._execution = store, execution
        self._entries = [value for _, value in store.list(KIND, f"{execution}/")]
        self._at = 0

    def recorded(self, kind: str) -> dict[str, Any] | None:
        """The next entry, if there is one. Raises RuntimeError if it is of another kind: the definition was changed."""
        if self._at >= len(self._entries):
            return None
        entry = self._entries[self._at]
        if entry["kind"] != kind:
            raise RuntimeError(f"the record of {self._execution} has {entry['kind']} where {kind} is asked for")
        self._at += 1
        value: dict[str, Any] = _unpack(entry["value"])
        return value

    def add(self, kind: str, value: dict[str, Any]) -> None:
        entry = {"kind": kind, "value": _pack(value)}
        self._store.put(KIND, f"{self._execution}/{self._at:09d}", entry)
        self._entries.append(entry)
        self._at += 1

    def once(self, kind: str, value: Any) -> Any:
        """The value of the record; `value()` where it has none yet."""
        if (entry := self.recorded(kind)) is not None:
            return entry["is"]
        made = value()
        self.add(kind, {"is": made})
        return made


def forget(store: "Store", execution: str) -> None:
    """After the end of an execution."""
    with store.transaction():
        for name, _ in store.list(KIND, f"{execution}/"):
            store.delete(KIND, name)


def _pack(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: _pack(item) for key, item in value.items()}
    return [_pack(item) for item in value] if isinstance(value, list) else value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$bytes"}:
            return base64.b64decode(value["$bytes"])
        return {key: _unpack(item) for key, item in value.items()}
    return [_unpack(item) for item in value] if isinstance(value, list) else value
