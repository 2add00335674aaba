"""From a task's output to log entries, as Cloud Run's agent does it."""

import json
from collections import deque
from typing import Any, Protocol

from localcloud.runtime.base import LogLine
from localcloud.times import nanoseconds

SEVERITIES = frozenset(["DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"])
_SPECIAL = {
    "logging.googleapis.com/insertId": "insertId",
    "logging.googleapis.com/labels": "labels",
    "logging.googleapis.com/operation": "operation",
    "logging.googleapis.com/sourceLocation": "sourceLocation",
    "logging.googleapis.com/spanId": "spanId",
    "logging.googleapis.com/trace": "trace",
    "logging.googleapis.com/trace_sampled": "traceSampled",
    "httpRequest": "httpRequest",
}
"""Fields of a JSON line that become fields of the entry. https://cloud.google.com/logging/docs/structured-logging (2026-08)."""
_OVERHEAD_BYTES = 256
"""What an entry takes in the store besides its text, about; so that many short lines are bounded too."""
_KINDS = dict.fromkeys(_SPECIAL.values(), dict) | {"insertId": str, "spanId": str, "trace": str, "traceSampled": bool}


class Writer(Protocol):
    """Takes entries; must be in the same transaction as `Sink.taken` is stored."""

    def __call__(self, entries: list[dict[str, Any]]) -> None: ...


def entry_of(line: LogLine) -> dict[str, Any]:
    """Return the payload, severity and time of one line."""
    text = line.data.decode("utf-8", "replace")
    entry: dict[str, Any] = {"timestamp": line.time}
    if text.startswith("{"):
        try:
            payload = json.loads(text)
        except ValueError:
            payload = None
        if isinstance(payload, dict):
            return _structured(entry, payload)
    return entry | {"textPayload": text}


def _structured(entry: dict[str, Any], payload: dict[str, Any]) -> dict[str, Any]:
    severity = str(payload.get("severity", "")).upper()
    if severity in SEVERITIES:
        entry["severity"] = severity
        del payload["severity"]
    for name in ("time", "timestamp"):
        if isinstance(payload.get(name), str):
            try:
                nanoseconds(payload[name])
            except ValueError:
                continue  # stays what it is: a field of the payload
            entry["timestamp"] = payload.pop(name)
            break
    for name, field in _SPECIAL.items():
        if name in payload and isinstance(payload[name], _KINDS[field]):
            entry[field] = payload.pop(name)
    if set(payload) == {"message"} and isinstance(payload["message"], str):
        return entry | {"textPayload": payload["message"]}
    return entry | {"jsonPayload": payload}


class Sink:
    """Writes the lines of one attempt, bounded in size.

    Args:
        common: logName's project, resource and labels of every entry.
        key: of the attempt; makes insert ids that are the same if a line is read twice.
        limit_bytes: output that is stored; `tail_bytes` of what comes later is stored at its end.
        stored_bytes: what was stored of this attempt before a restart.
    """

    def __init__(
        self, write: Writer, project: str, common: dict[str, Any], key: str,
        *, limit_bytes: int, tail_bytes: int, stored_bytes: int = 0,
    ):  # fmt: skip
        self._write, self._project, self._common, self._key = write, project, common, key
        self._limit, self._tail_bytes, self.stored_bytes = limit_bytes, tail_bytes, stored_bytes
        self._tail: deque[LogLine] = deque()
        self._tail_size = self._dropped_lines = self._dropped_bytes = 0
        self._last, self._same = "", 0

    def take(self, lines: list[LogLine]) -> None:
        """Store what fits."""
        entries = []
        for line in lines:
            size = len(line.data) + _OVERHEAD_BYTES
            if self.stored_bytes + size <= self._limit:
                self.stored_bytes += size
                entries.append(self._entry(line))
            else:
                if not self._dropped_lines:
                    entries.append(self._cut_note(line))
                self._drop(line)
        if entries:
            self._write(entries)

    def finish(self) -> None:
        """Store the end of what was dropped, and how much was."""
        if not self._dropped_lines:
            return
        lost_lines, lost_bytes = self._dropped_lines - len(self._tail), self._dropped_bytes - self._tail_size
        last = self._tail[-1].time if self._tail else ""
        entries = [self._entry(line) for line in self._tail]
        text = f"{lost_lines} lines ({lost_bytes} bytes) of this attempt's output were not stored."
        self._write([*entries, self.system_entry(text, "WARNING", last)])
        self._tail.clear()
        self._dropped_lines = 0

    def system(self, text: str, severity: str, at: str) -> None:
        """Store a line of the platform's own."""
        self._write([self.system_entry(text, severity, at)])

    def system_entry(self, text: str, severity: str, at: str) -> dict[str, Any]:
        entry = {"textPayload": text, "severity": severity, "insertId": f"{self._key}-{len(text)}-{severity}"}
        log = f"projects/{self._project}/logs/run.googleapis.com%2Fvarlog%2Fsystem"
        return self._common | entry | {"logName": log} | ({"timestamp": at} if at else {})

    def _drop(self, line: LogLine) -> None:
        self._dropped_lines += 1
        self._dropped_bytes += len(line.data)
        self._tail.append(line)
        self._tail_size += len(line.data)
        while self._tail and self._tail_size > self._tail_bytes:
            self._tail_size -= len(self._tail.popleft().data)

    def _cut_note(self, line: LogLine) -> dict[str, Any]:
        text = (
            f"The output of this attempt passed {self._limit} bytes of storage: from here on only its last {self._tail_bytes} "
            "bytes are stored (setting extra.run.log_mib_per_attempt of the local cloud)."
        )
        return self.system_entry(text, "WARNING", line.time)

    def _entry(self, line: LogLine) -> dict[str, Any]:
        entry = entry_of(line)
        self._same = self._same + 1 if line.time == self._last else 0
        self._last = line.time
        entry.setdefault("insertId", f"{self._key}-{line.time}-{line.stream}-{self._same}")
        log = f"projects/{self._project}/logs/run.googleapis.com%2F{line.stream}"
        labels = self._common["labels"] | (entry.get("labels") if isinstance(entry.get("labels"), dict) else {})
        return self._common | entry | {"logName": log, "labels": labels}
