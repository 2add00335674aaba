"""Long-running operations: stored, so that they outlive this process, and served at each API's own path."""

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any

from localcloud.clock import Clock
from localcloud.errors import ApiError, not_found
from localcloud.store import Store

if TYPE_CHECKING:
    from localcloud.shell import Api, Call

KEEP = 2000
"""Finished operations kept per API."""
MAX_WAIT_S = 60.0


class Operations:
    """`parent` is where the operation lives: projects/P/locations/L, or empty for operations/ID (Service Usage)."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._finished: dict[str, asyncio.Event] = {}
        self._count: dict[str, int] = {}

    def start(self, api: str, parent: str, metadata: dict[str, Any] | None = None, op_id: str = "") -> dict[str, Any]:
        """An operation with done=false."""
        name = f"{parent}/operations/" if parent else "operations/"
        operation: dict[str, Any] = {"name": name + (op_id or str(uuid.uuid4())), "done": False}
        if metadata is not None:
            operation["metadata"] = metadata
        self._put(api, operation)
        return operation

    def done(
        self,
        api: str,
        parent: str,
        response: dict[str, Any] | None = None,
        error: ApiError | None = None,
        metadata: dict[str, Any] | None = None,
        op_id: str = "",
    ) -> dict[str, Any]:
        """An operation that was finished by the time of the answer."""
        operation = self.start(api, parent, metadata, op_id)
        return self.finish(api, operation["name"], response=response, error=error)

    def finish(
        self,
        api: str,
        name: str,
        response: dict[str, Any] | None = None,
        error: ApiError | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Raises ApiError 404 for an operation that is not there."""
        operation = self.get(api, name)
        operation["done"] = True
        if metadata is not None:
            operation["metadata"] = metadata
        if error is not None:
            operation["error"] = error.rpc_status()
        else:
            operation["response"] = (
                response if response is not None else {"@type": "type.googleapis.com/google.protobuf.Empty"}
            )
        self._put(api, operation)
        if event := self._finished.pop(f"{api}:{name}", None):
            event.set()
        return operation

    def update(self, api: str, name: str, metadata: dict[str, Any]) -> None:
        operation = self.get(api, name)
        operation["metadata"] = metadata
        self._put(api, operation)

    def get(self, api: str, name: str) -> dict[str, Any]:
        found = self._store.get(f"operation:{api}", name)
        if found is None:
            raise not_found(f"Operation {name} not found.")
        found.pop("_at", None)
        return found

    def list(self, api: str, parent: str = "", *, done: bool | None = None) -> list[dict[str, Any]]:
        prefix = f"{parent}/operations/" if parent else "operations/"
        listed = [value for _, value in self._store.list(f"operation:{api}", prefix)]
        listed.sort(key=lambda value: value.pop("_at", 0), reverse=True)
        return [value for value in listed if done is None or value["done"] == done]

    async def wait(self, api: str, name: str, timeout_s: float) -> dict[str, Any]:
        """The operation once done, or as it is after `timeout_s`."""
        operation = self.get(api, name)
        if operation["done"]:
            return operation
        event = self._finished.setdefault(f"{api}:{name}", asyncio.Event())
        with contextlib.suppress(TimeoutError):  # the operation as it is by then is the answer
            await asyncio.wait_for(event.wait(), min(timeout_s, MAX_WAIT_S))
        return self.get(api, name)

    def delete(self, api: str, name: str) -> None:
        if not self._store.delete(f"operation:{api}", name):
            raise not_found(f"Operation {name} not found.")

    def _put(self, api: str, operation: dict[str, Any]) -> None:
        self._store.put(f"operation:{api}", operation["name"], {**operation, "_at": self._clock.now()})
        self._count[api] = self._count.get(api, 0) + 1
        if self._count[api] > KEEP:
            self._count[api] = 0
            self._trim(api)

    def _trim(self, api: str) -> None:
        rows = [(value["_at"], name) for name, value in self._store.list(f"operation:{api}") if value["done"]]
        for _, name in sorted(rows)[:-KEEP]:
            self._store.delete(f"operation:{api}", name)


def register(api: "Api", resource: str) -> None:
    """Serves get, list, delete and wait, as far as the document has them, at e.g. run.projects.locations.operations."""
    handlers = {"get": _get, "list": _list, "delete": _delete, "wait": _wait}
    for verb, handler in handlers.items():
        method_id = f"{resource}.operations.{verb}"
        if method_id in api.discovery.methods:
            api.method(method_id)(handler)


async def _get(call: "Call") -> dict[str, Any]:
    return call.cloud.operations.get(call.api.name, call.params["name"])


async def _list(call: "Call") -> dict[str, Any]:
    listed = call.cloud.operations.list(call.api.name, call.params.get("name", ""))
    page, token = call.page(listed)
    return {"operations": page, **({"nextPageToken": token} if token else {})}


async def _delete(call: "Call") -> dict[str, Any]:
    call.cloud.operations.delete(call.api.name, call.params["name"])
    return {}


async def _wait(call: "Call") -> dict[str, Any]:
    timeout = float(str(call.body.get("timeout", f"{MAX_WAIT_S}s")).rstrip("s"))
    return await call.cloud.operations.wait(call.api.name, call.params["name"], timeout)
