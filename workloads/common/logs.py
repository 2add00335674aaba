"""One JSON record a line on stdout, as Cloud Logging parses it; readable text on a terminal.

Source: https://cloud.google.com/run/docs/logging#using-json (2026-08).
"""

import json
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import BinaryIO, Literal

Severity = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

MAX_MESSAGE_CHARS = 8_192
"""A longer message is cut and says so: Cloud Logging refuses entries over 256 KiB."""

_CONTROL = {code: None for code in (*range(9), *range(11, 32), 127)}


def utc_now() -> datetime:
    return datetime.now(UTC)


def rfc3339(at: datetime) -> str:
    """`2026-01-31T23:59:59.123456Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Log:
    """Writes records of one source; safe to share between threads.

    Every record carries `source`; text that comes from elsewhere, such as a script's output, goes through `relay`
    and is only ever the value of `message`, so that it cannot pass for a record of ours.
    """

    def __init__(
        self,
        out: BinaryIO | None = None,
        *,
        source: str,
        now: Callable[[], datetime] = utc_now,
        readable: bool | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        self._out = out or sys.stdout.buffer
        self._source = source
        self._now = now
        self._readable = self._out.isatty() if readable is None else readable
        self._fields: dict[str, object] = dict(fields or {})
        self._lock = threading.Lock()
        self._broken = False

    def bind(self, **fields: object) -> None:
        """Add fields, such as the run id, to every record from here on."""
        self._fields.update(fields)

    def info(self, message: str, **fields: object) -> None:
        self._emit([self._record("INFO", message, self._source, fields)])

    def warning(self, message: str, **fields: object) -> None:
        self._emit([self._record("WARNING", message, self._source, fields)])

    def error(self, message: str, **fields: object) -> None:
        self._emit([self._record("ERROR", message, self._source, fields)])

    def relay(self, lines: Iterable[str], *, source: str, severity: Severity = "INFO", **fields: object) -> None:
        """Pass on lines of another program under its own source name."""
        self._emit([self._record(severity, line, source, fields) for line in lines])

    def _record(self, severity: Severity, message: str, source: str, fields: Mapping[str, object]) -> dict[str, object]:
        if len(message) > MAX_MESSAGE_CHARS:
            message = f"{message[:MAX_MESSAGE_CHARS]} [cut: {len(message):,} characters]"
        known = {"severity": severity, "message": message, "time": rfc3339(self._now()), "source": source}
        return {**self._fields, **fields, **known}

    def _emit(self, records: list[dict[str, object]]) -> None:
        encode = self._as_text if self._readable else _as_json
        data = "".join(encode(record) for record in records).encode()
        with self._lock:
            if self._broken:
                return
            try:
                self._out.write(data)
                self._out.flush()
            except (BrokenPipeError, ValueError):
                # Nobody reads any more; the run and its final state matter more than its log.
                self._broken = True

    def _as_text(self, record: dict[str, object]) -> str:
        message = str(record["message"]).translate(_CONTROL)
        mark = "" if record["severity"] == "INFO" else f"{record['severity']}: "
        return f"{str(record['time'])[11:19]} {record['source']:>10} | {mark}{message}\n"


def _as_json(record: dict[str, object]) -> str:
    return json.dumps(record, default=str) + "\n"
