"""Limits of Workflows. Source: https://cloud.google.com/workflows/quotas (2026-11)."""

import json
from typing import Any

from localcloud.workflows.errors import Fatal, error

SOURCE_BYTES = 128 * 1024
EXPRESSION_CHARS = 400
ASSIGNMENTS = 50
CONDITIONS = 50
STEPS_IN_WORKFLOW = 100_000
CALL_DEPTH = 20
STRING_BYTES = 256 * 1024
MEMORY_BYTES = 512 * 1024
"""All variables of an execution together."""
RESPONSE_BYTES = 2 * 1024 * 1024
ARGUMENT_BYTES = 32 * 1024


def size(value: Any) -> int:
    """Bytes that `value` counts for, as JSON."""
    if isinstance(value, bytes):
        return len(value)
    return len(json.dumps(value, default=lambda other: other.hex() if isinstance(other, bytes) else str(other)))


def check_string(value: Any) -> None:
    """Raise the documented error for a string that is too long."""
    if isinstance(value, str) and len(value) > STRING_BYTES // 4 and len(value.encode()) > STRING_BYTES:
        raise error("ResourceLimitError", f"string of {len(value.encode())} bytes exceeds the limit of {STRING_BYTES}")


def check_memory(total: int) -> None:
    """Raise the documented error when all variables together are too large."""
    if total > MEMORY_BYTES:
        raise error(
            "ResourceLimitError", f"memory usage limit exceeded: variables take {total} bytes of {MEMORY_BYTES}"
        )


def check_steps(count: int) -> None:
    """End the execution that has run too many steps."""
    if count > STEPS_IN_WORKFLOW:
        raise Fatal({"message": f"step limit exceeded: {STEPS_IN_WORKFLOW} steps", "tags": ["ResourceLimitError"]})
