"""RFC 3339 times with up to nine digits of a second."""

import re
from datetime import UTC, datetime

RFC3339 = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:?\d\d)$", re.IGNORECASE)


def nanoseconds(text: str) -> int:
    """Since 1970. Raises ValueError for anything else."""
    found = RFC3339.match(text)
    if found is None:
        raise ValueError(f"time must be RFC 3339, got {text!r}")
    zone = "+00:00" if found.group(3).upper() == "Z" else found.group(3)
    moment = datetime.fromisoformat(found.group(1).upper() + zone)
    return int(moment.timestamp()) * 1_000_000_000 + int((found.group(2) or "0").ljust(9, "0"))


def from_nanoseconds(value: int) -> str:
    seconds, rest = divmod(value, 1_000_000_000)
    base = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{rest:09d}".rstrip("0")
    return f"{base}.{digits}Z" if digits else f"{base}Z"
