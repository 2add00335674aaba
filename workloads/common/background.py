"""Work that the main thread can walk away from, so that a hanging transfer never costs the final state."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from workloads.common.storage import Interrupted, Stop

T = TypeVar("T")


def interruptible(work: Callable[[], T], stop: Stop, *, grace_s: float, poll_s: float = 0.05) -> T:
    """Do `work` in a thread and give what it gives or raise what it raises.

    After `stop` it has `grace_s` seconds left; then Interrupted is raised and the thread is left behind: it ends with
    the process.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body, daemon=True, name="transfer")
    thread.start()
    until: float | None = None
    while thread.is_alive():
        thread.join(poll_s)
        if stop.is_set() and until is None:
            until = time.monotonic() + grace_s
        if until is not None and time.monotonic() >= until and thread.is_alive():
            raise Interrupted
    if errors:
        raise errors[0]
    return results[0]
