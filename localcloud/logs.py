"""Log entries: written by the Logging API and by the runtime, bounded in number."""

import json
import secrets
import sqlite3
from typing import Any

from localcloud.clock import Clock
from localcloud.store import Store


class Logs:
    """In the store's file; sorted by timestamp, then by arrival."""

    def __init__(self, store: Store, clock: Clock, max_entries: int) -> None:
        self._db: sqlite3.Connection = store.db
        self._store = store
        self._clock = clock
        self._max = max_entries
        self._since_trim = 0
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS logs (id INTEGER PRIMARY KEY, project TEXT NOT NULL, at TEXT NOT NULL,"
            " insert_id TEXT NOT NULL, log TEXT NOT NULL, entry TEXT NOT NULL, UNIQUE (project, log, at, insert_id))"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS logs_at ON logs (project, at, id)")

    def write(self, entries: list[dict[str, Any]]) -> None:
        """Entries with logName projects/P/logs/L; timestamp, receiveTimestamp and insertId are filled in if missing.

        An entry with the same log, timestamp and insertId as one that is there is a duplicate and dropped.
        """
        now = self._clock.timestamp()
        rows = []
        for entry in entries:
            full = {"insertId": secrets.token_hex(8), "timestamp": now, "receiveTimestamp": now, **entry}
            project = full["logName"].split("/")[1]
            text = json.dumps(full, separators=(",", ":"), ensure_ascii=False)
            rows.append((project, full["timestamp"], full["insertId"], full["logName"], text))
        with self._store.transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO logs (project, at, insert_id, log, entry) VALUES (?, ?, ?, ?, ?)", rows
            )
        self._since_trim += len(rows)
        if self._since_trim >= self._max // 10:
            self._trim()

    def _trim(self) -> None:
        self._since_trim = 0
        self._db.execute("DELETE FROM logs WHERE id <= (SELECT max(id) FROM logs) - ?", (self._max,))
