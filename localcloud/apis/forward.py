"""The proxy that gcloud needs: requests for another API's host are passed on to that API's port.

gcloud puts the region before the host of Cloud Run, so no address of this machine can be given to it directly. With
CLOUDSDK_PROXY_TYPE=http and CLOUDSDK_PROXY_ADDRESS/PORT set to the port of `run` it sends absolute URIs here, and those of
other APIs too. NAME.googleapis.com, NAME.emulator (any first label that is an API of this cloud) and 127.0.0.1:PORT are
understood; nothing is ever passed to another machine.
"""

import re
from typing import TYPE_CHECKING, Any

import httpx
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from localcloud.shell import App

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

_HOST = re.compile(r"(?:[a-z]+-[a-z]+\d+-)?([a-z]+)\.")
_ALIAS = {"cloudresourcemanager": "resourcemanager", "www": "storage"}
_HOP = {
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "te",
    "upgrade",
    "proxy-authorization",
    "content-length",
}


class Forward:
    """ASGI application: `own` for requests to this API's hosts, the other ports for the rest."""

    def __init__(self, cloud: "Cloud", own: App, name: str):
        self._cloud, self._own, self._name = cloud, own, name
        self._http: httpx.AsyncClient | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        target = self._target(scope) if scope["type"] == "http" else None
        if target is None:
            await self._own(scope, receive, send)
            return
        response = await self._pass(Request(scope, receive, send), target)
        await response(scope, receive, send)

    def _target(self, scope: Any) -> str | None:
        """Return the base URL of another API that is meant, None for this one."""
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        ports = self._cloud.settings.ports
        name, _, port = host.partition(":")
        if name in ("127.0.0.1", "localhost"):
            found = next((api for api, number in ports.items() if str(number) == port), self._name)
        else:
            label = _HOST.match(host)
            found = _ALIAS.get(label[1], label[1]) if label else self._name
        return self._cloud.settings.url(found) if found in ports and found != self._name else None

    async def _pass(self, request: Request, target: str) -> Response:
        if self._http is None:
            self._http = httpx.AsyncClient(timeout=httpx.Timeout(600, connect=5), trust_env=False)
        headers = [(name, value) for name, value in request.headers.items() if name not in _HOP]
        path = request.scope.get("raw_path", request.scope["path"].encode()).decode("latin-1").partition("?")[0]
        path = re.sub(r"^https?://[^/]*", "", path)
        query = request.scope["query_string"].decode("latin-1")
        url = f"{target}{path}" + (f"?{query}" if query else "")
        asked = self._http.build_request(request.method, url, headers=headers, content=request.stream())
        try:
            answer = await self._http.send(asked, stream=True)
        except httpx.TransportError as problem:
            return Response(f"the local cloud cannot reach {target}: {problem!r}", status_code=502)
        kept = {name: value for name, value in answer.headers.items() if name not in _HOP}
        return StreamingResponse(
            answer.aiter_raw(), status_code=answer.status_code, headers=kept, background=BackgroundTask(answer.aclose)
        )
