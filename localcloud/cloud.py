"""What every part of the local cloud shares."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.iam.engine import Iam
from localcloud.id_tokens import IdTokens
from localcloud.identity import Tokens, load_key
from localcloud.logs import Logs
from localcloud.operations import Operations
from localcloud.projects import Projects
from localcloud.settings import Settings
from localcloud.store import Store

log = logging.getLogger("localcloud")


class Cloud:
    """One local cloud over one state directory. Make it on the event-loop thread.

    Parts that others need (`run`, `storage`, …) put themselves into `parts` under their name; one with `status()` is shown by
    the control API, one with `async reset()` is asked to drop its data on a reset.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        settings.state.mkdir(parents=True, exist_ok=True)
        os.chmod(settings.state, 0o700)
        self.store = Store(settings.state / "state.sqlite3")
        self.clock = Clock(offset_s=(self.store.get("clock", "offset") or {"s": 0.0})["s"])
        self.faults = Faults(settings.faults)
        self.tokens = Tokens(load_key(settings.state / "token.key"), self.clock)
        self.id_tokens = IdTokens(settings.state / "id-token.pem", self.clock)
        self.iam = Iam(self.store, self.clock, self.faults)
        self.projects = Projects(self.store, self.clock, settings)
        self.operations = Operations(self.store, self.clock)
        self.logs = Logs(self.store, self.clock, settings.logs.max_entries)
        self.parts: dict[str, Any] = {}
        self.warnings: dict[str, str] = {}
        """What a user should know, by a stable key; shown by the control API's status."""
        self.projects.seed(self.iam)

    def warn(self, key: str, text: str) -> None:
        if self.warnings.get(key) != text:
            log.warning("%s", text)
        self.warnings[key] = text

    def directory(self, name: str) -> Path:
        """A folder of a part inside the state directory, made if missing."""
        path = self.settings.state / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def write_json(self, name: str, value: Any) -> None:
        """A file of the state directory, replaced in one step."""
        path = self.settings.state / name
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(value, indent=1) + "\n")
        temporary.replace(path)

    def reset(self) -> None:
        """Forgets every resource, grant and log entry, and makes the projects of the settings anew."""
        with self.store.transaction():
            self.store.db.execute("DELETE FROM documents")
            self.store.db.execute("DELETE FROM logs")
        self.iam.forget()
        self.projects.forget()
        self.faults.update(self.settings.faults.__dict__)
        self.clock.move(0.0)
        self.warnings.clear()
        self.projects.seed(self.iam)

    def close(self) -> None:
        self.store.close()
