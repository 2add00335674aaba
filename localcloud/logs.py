"""Log entries: written by the Logging API and by the runtime, bounded in number."""

import asyncio
import json
import re
import secrets
import sqlite3
from typing import Any

from localcloud.clock import Clock
from localcloud.log_filter import Filter
from localcloud.log_match import Bounds
from localcloud.store import Store
from localcloud.times import nanoseconds

EXECUTION_LABEL = "run.googleapis.com/execution_name"
EXECUTION_FIELD = f"labels.{EXECUTION_LABEL}"
SLICE = 500
"""Rows looked at between two turns of the event loop: about 2 ms."""
PLAIN = re.compile(r"^(?=.*[a-z_/])(?![\d.+-]+e)[\w./-]{3,}$", re.ASCII | re.IGNORECASE)
"""Values that JSON has as they are, and that are no numbers, which may be written in several ways."""

Position = tuple[int, int]
"""Time in ns and row: where an entry stands in the order."""


class Logs:
    """In the store's file; sorted by timestamp, then by arrival."""

    def __init__(self, store: Store, clock: Clock, max_entries: int) -> None:
        self._db: sqlite3.Connection = store.db
        self._store = store
        self._clock = clock
        self._max = max_entries
        self._since_trim = 0
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS logs (id INTEGER PRIMARY KEY, project TEXT NOT NULL, at INTEGER NOT NULL,"
            " log TEXT NOT NULL, insert_id TEXT NOT NULL, execution TEXT NOT NULL, entry TEXT NOT NULL,"
            " UNIQUE (log, at, insert_id))"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS logs_at ON logs (project, at, id)")
        self._db.execute("CREATE INDEX IF NOT EXISTS logs_execution ON logs (project, execution, at, id)")

    def write(self, entries: list[dict[str, Any]]) -> None:
        """Entries with logName projects/P/logs/L; timestamp, receiveTimestamp and insertId are filled in if missing.

        An entry with the same log, timestamp and insertId as one that is there is a duplicate and dropped.
        Raises ValueError for a timestamp that is not RFC 3339.
        """
        now = self._clock.timestamp()
        rows = []
        for entry in entries:
            full = {"insertId": secrets.token_hex(8), "timestamp": now, "receiveTimestamp": now, **entry}
            project = full["logName"].split("/")[1]
            execution = full.get("labels", {}).get(EXECUTION_LABEL, "").lower()
            text = json.dumps(full, separators=(",", ":"), ensure_ascii=False)
            rows.append((project, nanoseconds(full["timestamp"]), full["logName"], full["insertId"], execution, text))
        with self._store.transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO logs (project, at, log, insert_id, execution, entry) VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
        self._since_trim += len(rows)
        if self._since_trim >= self._max // 10:
            self._trim()

    async def read(
        self, project: str, query: Filter, limit: int, *, newest_first: bool = False, after: Position | None = None
    ) -> list[tuple[Position, dict[str, Any]]]:
        """Up to `limit` matching entries in order, from behind `after`. Others are served between two slices of the search."""
        found: list[tuple[Position, dict[str, Any]]] = []
        needles = _needles(query.bounds)
        while True:
            rows = self._slice(project, query.bounds, newest_first, after)
            for at, row, text in rows:
                if needles and not all(needle in text.lower() for needle in needles):
                    continue
                entry = json.loads(text)
                if query.test(entry):
                    found.append(((at, row), entry))
                    if len(found) == limit:
                        return found
            if len(rows) < SLICE:
                return found
            after = rows[-1][:2]
            await asyncio.sleep(0)

    def _slice(
        self, project: str, bounds: Bounds, newest_first: bool, after: Position | None
    ) -> list[tuple[int, int, str]]:
        where, values = _where(project, bounds)
        if after is not None:
            where.append(f"(at, id) {'<' if newest_first else '>'} (?, ?)")
            values += after
        order = "DESC" if newest_first else "ASC"
        statement = (
            f"SELECT at, id, entry FROM logs WHERE {' AND '.join(where)} ORDER BY at {order}, id {order} LIMIT {SLICE}"  # noqa: S608 - fixed parts
        )
        return self._db.execute(statement, values).fetchall()

    def names(self, project: str) -> list[str]:
        """The logs that have entries."""
        rows = self._db.execute("SELECT DISTINCT log FROM logs WHERE project=? ORDER BY log", (project,))
        return [name for (name,) in rows]

    def delete(self, log: str) -> int:
        return self._db.execute("DELETE FROM logs WHERE log=?", (log,)).rowcount

    def _trim(self) -> None:
        self._since_trim = 0
        self._db.execute("DELETE FROM logs WHERE id <= (SELECT max(id) FROM logs) - ?", (self._max,))


def _where(project: str, bounds: Bounds) -> tuple[list[str], list[Any]]:
    where = ["project = ?"]
    values: list[Any] = [project]
    if bounds.since is not None:
        where.append("at >= ?")
        values.append(bounds.since)
    if bounds.until is not None:
        where.append("at <= ?")
        values.append(bounds.until)
    # the language compares without case, so the column is lower case
    for field, value in bounds.equal:
        if field == EXECUTION_FIELD:
            where.append("execution = ?")
            values.append(value.lower())
    return where, values


def _needles(bounds: Bounds) -> list[str]:
    """Texts that the JSON of every matching entry has, whatever its case: spares reading most of what does not match."""
    return [value.lower() for _, value in bounds.equal if PLAIN.match(value)]
