"""Long-running operations: waits for one, and says how it failed."""

import time
from typing import Any, Final

from localcloud.plugins.contract import PluginError
from localcloud.plugins.gcp.rest import DEFAULT_TIMEOUT_S, ApiError, Rest

POLL_S: Final = 10.0
# a local cloud answers at once: short pauses first, doubling up to the longest
LOOPBACK_POLL_S: Final = 0.05
LOOPBACK_LONGEST_POLL_S: Final = 1.0


class OperationFailed(PluginError):
    """The operation ended with an error."""


def wait(rest: Rest, service: str, operation: dict[str, Any], timeout_s: float = 0.0) -> dict[str, Any]:
    """Polls until done: at once, then every 10 s (`gcp:pollInterval`), or sooner where the service is on this machine.

    Returns the operation. Raises OperationFailed with the operation's error, PluginError at the end of `timeout_s`.
    """
    settings = rest.settings
    quick = settings.poll_interval_s is None and settings.loopback(service)
    pause = LOOPBACK_POLL_S if quick else settings.poll_interval_s or POLL_S
    end = time.monotonic() + (timeout_s or DEFAULT_TIMEOUT_S)
    first = True
    while not operation.get("done") and operation.get("name"):
        if not first:
            rest.wait(pause)
            pause = min(pause * 2, LOOPBACK_LONGEST_POLL_S) if quick else pause
        if time.monotonic() > end:
            raise PluginError(f"timeout while waiting for operation {operation['name']}")
        first = False
        operation = _poll(rest, service, operation)
    error = operation.get("error")
    if error:
        raise OperationFailed(f"Error code {error.get('code', 0)}, message: {error.get('message', '')}")
    return operation


def _poll(rest: Rest, service: str, operation: dict[str, Any]) -> dict[str, Any]:
    try:
        return rest.call("GET", service, operation["name"])
    except ApiError as error:
        if error.code == 404:  # not visible yet
            return operation
        raise
