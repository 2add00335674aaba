"""Resources of the local cloud in one SQLite file.

Write-ahead log with synchronous=NORMAL: what was answered to a client survives the death of this process at any moment
(a power cut may lose the last transactions, https://www.sqlite.org/pragma.html#pragma_synchronous, 2026-11).
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1


class SchemaError(RuntimeError):
    """The file was written by another version of the local cloud."""


class Store:
    """Documents by (kind, name). One connection, used only from the event-loop thread. Names sort bytewise."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=True)
        self._depth = 0
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA busy_timeout=2000")
        self._check_schema(path)

    def _check_schema(self, path: Path) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise SchemaError(
                f"{path}: schema version must be {SCHEMA_VERSION}, got {version}; "
                "remove the state directory or use the version that wrote it"
            )
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS documents"
            " (kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID"
        )
        self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    @property
    def db(self) -> sqlite3.Connection:
        """For tables of one's own (same file, same transaction); create them with IF NOT EXISTS."""
        return self._db

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        row = self._db.execute("SELECT value FROM documents WHERE kind=? AND name=?", (kind, name)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, kind: str, name: str, value: dict[str, Any]) -> None:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, name, text))

    def delete(self, kind: str, name: str) -> bool:
        """True if it was there."""
        return self._db.execute("DELETE FROM documents WHERE kind=? AND name=?", (kind, name)).rowcount > 0

    def list(
        self, kind: str, prefix: str = "", start_after: str = "", limit: int | None = None
    ) -> list[tuple[str, dict[str, Any]]]:
        """Names that begin with `prefix` and sort after `start_after`, in order, at most `limit`."""
        rows = self._db.execute(
            "SELECT name, value FROM documents WHERE kind=? AND name>=? AND name>? AND name<? ORDER BY name LIMIT ?",
            (kind, prefix, start_after, prefix + "\U0010ffff", -1 if limit is None else limit),
        )
        return [(name, json.loads(value)) for name, value in rows]

    def count(self, kind: str) -> int:
        (number,) = self._db.execute("SELECT count(*) FROM documents WHERE kind=?", (kind,)).fetchone()
        return int(number)

    def kinds(self) -> dict[str, int]:
        """Kind -> number of documents."""
        return dict(self._db.execute("SELECT kind, count(*) FROM documents GROUP BY kind"))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nests (the outermost commits). Do not await inside."""
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        self._db.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        else:
            self._db.execute("COMMIT")
        finally:
            self._depth = 0

    def close(self) -> None:
        self._db.close()
