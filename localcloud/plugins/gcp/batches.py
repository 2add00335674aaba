"""Requests that arrive together and are answered by one call."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class Batches:
    """The first request for a key opens a window; at its end all requests of the window run as one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, list[tuple[Any, Future[Any]]]] = {}

    def submit(
        self,
        key: str,
        item: Any,
        run: Callable[[list[Any]], Any],
        window_s: float,
        wait: Callable[[float], None],
    ) -> Any:
        """What `run` gives for all items of the window. Raises what it raises; a batch that fails is run item by item."""
        mine: Future[Any] = Future()
        with self._lock:
            batch = self._open.get(key)
            first = batch is None
            if batch is None:
                batch = self._open[key] = []
            batch.append((item, mine))
        if not first:
            return mine.result()
        try:
            wait(window_s)
        except BaseException as error:
            self._close(key)
            for _, future in batch:
                future.set_exception(error)
            raise
        self._close(key)
        _finish(batch, run)
        return mine.result()

    def _close(self, key: str) -> None:
        with self._lock:
            del self._open[key]


def _finish(batch: list[tuple[Any, Future[Any]]], run: Callable[[list[Any]], Any]) -> None:
    try:
        result = run([item for item, _ in batch])
    except Exception as error:
        if len(batch) == 1:
            batch[0][1].set_exception(error)
            return
        # one bad request must not fail its neighbours
        for item, future in batch:
            _finish([(item, future)], run)
        return
    for _, future in batch:
        future.set_result(result)
