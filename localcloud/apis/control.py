"""The control API: not one of Google's, for tools and tests. Reads are free, writes need the key of the state directory."""

import hmac
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from localcloud.cloud import Cloud
from localcloud.errors import ApiError, invalid, not_found, to_response
from localcloud.faults import FaultSettings
from localcloud.iam import members
from localcloud.shell import JsonResponse, read_json

HEADER = "X-Localcloud-Admin-Key"
MAX_TOKEN_S = 43_200

Answer = dict[str, Any]
Handler = Callable[[dict[str, Any]], Awaitable[Answer]]


def load_admin_key(path: Path) -> str:
    """Made on first use, readable by the owner only."""
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    return path.read_text().strip()


class Control:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._key = load_admin_key(cloud.settings.state / "admin.key")
        self._started = time.monotonic()
        self.asgi = Starlette(
            routes=[
                self._route("GET", "/healthz", self.healthz),
                self._route("GET", "/status", self.status),
                self._route("GET", "/jwks", self.jwks),
                self._route("GET", "/faults", self.faults),
                self._route("PUT", "/faults", self.set_faults),
                self._route("GET", "/clock", self.clock),
                self._route("PUT", "/clock", self.set_clock),
                self._route("POST", "/tokens", self.mint_token),
                self._route("POST", "/id-tokens", self.mint_id_token),
                self._route("POST", "/reset", self.reset),
                self._route("POST", "/shutdown", self.shutdown),
            ]
        )

    def _route(self, verb: str, path: str, handler: Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                if verb != "GET":
                    self._check_key(request)
                body = {} if verb == "GET" else await read_json(request)
                if not isinstance(body, dict):
                    raise invalid("The body must be a JSON object.")
                return JsonResponse(await handler(body))
            except ApiError as error:
                return to_response(error)

        return Route(path, endpoint, methods=[verb])

    def _check_key(self, request: Request) -> None:
        given = request.headers.get(HEADER, "")
        if not hmac.compare_digest(given.encode(), self._key.encode()):
            raise ApiError(
                403, "PERMISSION_DENIED", f"{HEADER} must be the content of admin.key in the state directory."
            )

    async def healthz(self, body: Answer) -> Answer:
        return {"status": "ok"}

    async def status(self, body: Answer) -> Answer:
        cloud = self._cloud
        settings = cloud.settings
        return {
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started, 1),
            "state": str(settings.state),
            "apis": {name: settings.url(name) for name in settings.ports},
            "projects": [project["projectId"] for project in cloud.projects.list()],
            "anonymous": settings.anonymous,
            "documents": cloud.store.kinds(),
            "unknown_roles": cloud.iam.unknown_roles(),
            "warnings": list(cloud.warnings.values()),
            "requests_failed_on_purpose": cloud.faults.injected,
            "clock_offset_s": cloud.clock.offset_s,
            "parts": {name: part.status() for name, part in cloud.parts.items() if hasattr(part, "status")},
        }

    async def jwks(self, body: Answer) -> Answer:
        return self._cloud.id_tokens.key_set()

    async def faults(self, body: Answer) -> Answer:
        settings: FaultSettings = self._cloud.faults.settings
        return {name: getattr(settings, name) for name in settings.__dataclass_fields__}

    async def set_faults(self, body: Answer) -> Answer:
        try:
            self._cloud.faults.update(body)
        except (TypeError, ValueError) as error:
            raise invalid(str(error)) from None
        return await self.faults({})

    async def clock(self, body: Answer) -> Answer:
        return {"now": self._cloud.clock.timestamp(), "offset_s": self._cloud.clock.offset_s}

    async def set_clock(self, body: Answer) -> Answer:
        clock = self._cloud.clock
        if set(body) not in ({"offset_s"}, {"advance_s"}) or not isinstance(next(iter(body.values())), int | float):
            raise invalid("The body must be {offset_s: number} or {advance_s: number}.")
        offset_s = float(body["offset_s"]) if "offset_s" in body else clock.offset_s + float(body["advance_s"])
        self._cloud.store.put("clock", "offset", {"s": offset_s})
        clock.move(offset_s)
        return await self.clock({})

    async def mint_token(self, body: Answer) -> Answer:
        member, ttl_s = body.get("member", ""), body.get("ttl_s", 3600)
        members.check(member)
        if not isinstance(ttl_s, int | float) or not 0 < ttl_s <= MAX_TOKEN_S:
            raise invalid(f"ttl_s must be more than 0 and at most {MAX_TOKEN_S} s, got {ttl_s}.")
        token = self._cloud.tokens.mint(member, ttl_s)
        return {"access_token": token, "expires_in": ttl_s, "token_type": "Bearer"}

    async def mint_id_token(self, body: Answer) -> Answer:
        account = self._cloud.iam.accounts.require(str(body.get("email", "")))
        if not isinstance(body.get("audience"), str):
            raise invalid("audience must be a string.")
        return {"token": self._cloud.id_tokens.mint(account, body["audience"])}

    async def reset(self, body: Answer) -> Answer:
        """Everything as on the first day: parts first, each with its own data, then the store."""
        for part in self._cloud.parts.values():
            if hasattr(part, "reset"):
                await part.reset()
        self._cloud.reset()
        return {}

    async def shutdown(self, body: Answer) -> Answer:
        daemon = self._cloud.parts.get("daemon")
        if daemon is None:
            raise not_found("There is no daemon to shut down.")
        daemon.stopping.set()
        return {}


def app(cloud: Cloud) -> Starlette:
    return Control(cloud).asgi
