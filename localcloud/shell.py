"""The HTTP side of an API: routes from the discovery document, checks, identity, faults, errors in Google's form."""

import json
import logging
import time
import uuid
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from localcloud import errors, masks
from localcloud.discovery import Discovery, Method
from localcloud.errors import ApiError
from localcloud.identity import Principal, caller
from localcloud.listener import Listener as Listener

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

log = logging.getLogger("localcloud.http")
MAX_BODY_BYTES = 32 * 1024 * 1024
"""Of a JSON body; what streams bytes reads the request itself."""


class Service(Protocol):
    """A part that runs beside the HTTP servers."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class JsonResponse(Response):
    media_type = "application/json; charset=UTF-8"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass
class Call:
    """One request of a method: checked, with its caller."""

    api: "Api"
    method: Method
    cloud: "Cloud"
    request: Request
    principal: Principal
    params: dict[str, str]
    """Path parameters by the document's names (name, parent) and its flat ids (projectsId, jobsId)."""
    query: dict[str, Any]
    body: dict[str, Any] = field(default_factory=dict)
    """Checked; empty where the method takes none or `raw` was asked for."""

    def require(self, permission: str, resource: str, **attributes: Any) -> None:
        """Raises ApiError 403 unless the caller holds `permission` on `resource` or above it."""
        self.cloud.iam.require(self.principal, permission, resource, **attributes)

    def page(self, items: Sequence[Any], default: int = 100, maximum: int = 1000) -> tuple[list[Any], str]:
        """The asked-for page of a full list, and the token of the next (empty: none)."""
        return paginate(items, self.query.get("pageSize"), self.query.get("pageToken"), default, maximum)


Handler = Callable[[Call], Awaitable[dict[str, Any] | Response]]


@dataclass(frozen=True)
class Route:
    method: Method
    handler: Handler
    permission: str | None
    on: Callable[[Call], str] | None
    raw: bool
    required: bool


def paginate(
    items: Sequence[Any], size: Any, token: str | None, default: int = 100, maximum: int = 1000
) -> tuple[list[Any], str]:
    number = int(size or 0)
    if number < 0:
        raise errors.invalid("page_size must not be negative.", "page_size")
    number = min(number or default, maximum)
    try:
        start = int(token) if token else 0
    except ValueError:
        raise errors.invalid("Invalid page token.", "page_token") from None
    end = start + number
    return list(items[start:end]), str(end) if end < len(items) else ""


class Api:
    """One version of one API. Several may share a port (see `App`)."""

    def __init__(self, name: str, discovery: Discovery, *, service: str = "", style: str = "google") -> None:
        self.name = name
        self.discovery = discovery
        self.service = service or discovery.service
        self.style = style
        self.routes: dict[str, Route] = {}

    def method(
        self,
        method_id: str,
        *,
        permission: str | None = None,
        on: Callable[[Call], str] | None = None,
        raw: bool = False,
        required: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Registers a handler. `permission` is required on `on(call)` (default: the path's resource, name or parent).

        `raw`: the handler reads the body itself. `required`: fields that the document describes as "Required." must be there.
        """

        def register(handler: Handler) -> Handler:
            method = self.discovery.method(method_id)
            self.routes[method_id] = Route(method, handler, permission, on, raw, required)
            return handler

        return register

    def app(self, cloud: "Cloud") -> "App":
        return App(cloud, [self])


def _specific_first(method: Method) -> tuple[bool, int]:
    tail = method.path.rsplit("}", 1)[-1]
    return (":" not in tail and "/" not in tail, -len(method.path))


class App:
    """ASGI application of one port: one API, or several that share it."""

    def __init__(
        self,
        cloud: "Cloud",
        apis: Sequence[Api],
        fallback: Callable[[Request], Awaitable[Response | None]] | None = None,
    ) -> None:
        self.cloud = cloud
        self._fallback = fallback
        self._by_verb: dict[str, list[tuple[Api, Method]]] = {}
        for api in apis:
            for method in sorted(api.discovery.methods.values(), key=_specific_first):
                self._by_verb.setdefault(method.verb, []).append((api, method))
        for found in self._by_verb.values():
            # Logging serves one path by several methods (logs.list, projects.logs.list): the one that is here answers
            found.sort(key=lambda item: item[1].id not in item[0].routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        request = Request(scope, receive, send)
        response = await self._respond(request)
        request_id = uuid.uuid4().hex[:16]
        response.headers["x-request-id"] = request_id
        if log.isEnabledFor(logging.DEBUG):
            spent = (time.perf_counter() - began) * 1000
            log.debug("%s %s %s %.1f ms %s", request.method, scope["path"], response.status_code, spent, request_id)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        style = "google"
        try:
            found = self._find(request.method, raw_path(request))
            if found is None:
                other = await self._fallback(request) if self._fallback else None
                return other or self._unknown(request)
            api, method, params = found
            style = api.style
            return await self._serve(request, api, method, params)
        except ApiError as error:
            return errors.to_response(error, style)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            log.exception("%s %s", request.method, request.scope["path"])
            return errors.to_response(
                ApiError(500, "INTERNAL", "Internal error encountered. See the local cloud's log."), style
            )

    def _find(self, verb: str, path: str) -> tuple[Api, Method, dict[str, str]] | None:
        for api, method in self._by_verb.get(verb, ()):
            params = method.match(path)
            if params is not None:
                return api, method, params
        return None

    def _unknown(self, request: Request) -> Response:
        message = f"The requested URL {request.scope['path']} was not found on this server."
        return errors.to_response(ApiError(404, "NOT_FOUND", message))

    async def _serve(self, request: Request, api: Api, method: Method, params: dict[str, str]) -> Response:
        self.cloud.faults.maybe_fail(api.name)
        route = api.routes.get(method.id)
        if route is None:
            raise errors.unimplemented(f"Method {method.id}")
        principal = caller(request, self.cloud)
        pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        query = api.discovery.check_query(method, pairs)
        call = Call(api, method, self.cloud, request, principal, self.cloud.projects.normalise(params), query)
        self.cloud.projects.check_service(api.service, call)
        if method.request and not route.raw:
            given = await read_json(request)
            call.body = api.discovery.check(method.request, given, method.id, required=route.required)
        if route.permission is not None:
            call.require(route.permission, route.on(call) if route.on else default_resource(call))
        answer = await route.handler(call)
        if isinstance(answer, Response):
            return answer
        fields = next((value for key, value in pairs if key in ("fields", "$fields")), "")
        return JsonResponse(masks.select(answer, fields) if fields else answer)


def default_resource(call: Call) -> str:
    for key in ("resource", "name", "parent"):
        if key in call.params:
            return call.params[key]
    raise LookupError(f"{call.method.id}: register with on=, its path has no name, resource or parent")


def raw_path(request: Request) -> str:
    """Path without the leading slash, still percent-encoded; of an absolute-form request line too."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return raw.decode("latin-1").partition("?")[0].lstrip("/")


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """The body, gunzipped where the client sent it so. Raises ApiError 413 beyond `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise ApiError(413, "INVALID_ARGUMENT", f"Request payload size exceeds the limit: {limit} bytes.")
    if request.headers.get("content-encoding", "").lower() != "gzip":
        return bytes(body)
    try:
        inflater = zlib.decompressobj(wbits=31)
        plain = inflater.decompress(bytes(body), limit)
    except zlib.error as error:
        raise errors.invalid(f"Could not decode the gzip body: {error}.") from None
    if inflater.unconsumed_tail:
        raise ApiError(413, "INVALID_ARGUMENT", f"Request payload size exceeds the limit: {limit} bytes.")
    return plain


async def read_json(request: Request) -> Any:
    """The JSON body; nothing at all reads as an empty message."""
    body = await read_body(request)
    if not body.strip():
        return {}
    try:
        parsed = json.loads(body, parse_constant=_no_constant)
        if b"\\u" in body:
            json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise errors.invalid("Invalid JSON payload received. A string is not valid Unicode.") from None
    except RecursionError:
        raise errors.invalid("Invalid JSON payload received. It is nested too deeply.") from None
    except ValueError as error:
        raise errors.invalid(f"Invalid JSON payload received. {error}") from None
    return parsed


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON.")
