"""Who holds a stack whose state is kept in files."""

import json
import os
import socket
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit


def holders(backend: str, stack: str) -> list[str]:
    """Return `USER@HOST (pid N) since TIME` for each lock on `stack`; [] for a backend that is not file://."""
    if not backend.startswith("file://"):
        return []
    parts = urlsplit(backend)
    folder = Path(parts.netloc + parts.path).expanduser() / ".pulumi" / "locks"
    return [_who(path) for path in sorted(folder.glob(f"**/{stack}/*.json"))]


def _who(path: Path) -> str:
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
        since = datetime.fromisoformat(lock["timestamp"]).isoformat(timespec="seconds")
        return f"{lock['username']}@{lock['hostname']} (pid {lock['pid']}) since {since}"
    except (OSError, ValueError, KeyError):
        return f"an unreadable lock {path}"


def still_running(who: str) -> bool:
    """Whether the process of a holder may be alive: it runs here, or it is of another machine."""
    if f"@{socket.gethostname()} " not in who:
        return not who.startswith("an unreadable lock")
    pid = int(who.partition("(pid ")[2].partition(")")[0])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
