"""Who is calling: access tokens, fixed tokens, anonymous callers, ID tokens."""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from localcloud.clock import Clock
from localcloud.errors import unauthenticated

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

PREFIX = "ya29.local."
ANONYMOUS = "allUsers"


@dataclass(frozen=True)
class Principal:
    """`member` as policies write it: user:A@B, serviceAccount:A@B, or allUsers for nobody known."""

    member: str

    @property
    def email(self) -> str:
        return self.member.partition(":")[2]

    @property
    def authenticated(self) -> bool:
        return self.member != ANONYMOUS


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def load_key(path: Path) -> bytes:
    """The 32-byte signing key at `path`, made on first use, readable by the owner only."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(secrets.token_bytes(32))
    return path.read_bytes()


class Tokens:
    """Access tokens that need no table: member, expiry and audience signed with the key of the state directory."""

    def __init__(self, key: bytes, clock: Clock | None = None) -> None:
        self._key = key
        self._clock = clock or Clock()

    def _sign(self, payload: str) -> str:
        return encode(hmac.new(self._key, payload.encode(), hashlib.sha256).digest())

    def mint(self, member: str, ttl_s: float = 3600, audience: str | None = None) -> str:
        claims: dict[str, Any] = {"member": member, "exp": self._clock.now() + ttl_s}
        if audience:
            claims["aud"] = audience
        payload = encode(json.dumps(claims, separators=(",", ":")).encode())
        return f"{PREFIX}{payload}.{self._sign(payload)}"

    def claims(self, token: str) -> dict[str, Any]:
        """Raises ApiError 401 for a token that is malformed, forged or expired."""
        payload, dot, signature = token.removeprefix(PREFIX).partition(".")
        if not token.startswith(PREFIX) or not dot or not hmac.compare_digest(signature, self._sign(payload)):
            raise unauthenticated()
        claims: dict[str, Any] = json.loads(decode(payload))
        if claims["exp"] <= self._clock.now():
            raise unauthenticated()
        return claims

    def verify(self, token: str) -> Principal:
        return Principal(self.claims(token)["member"])


def bearer(request: Request) -> str | None:
    """The token of an Authorization header (Bearer, or Basic as registries get it) or of ?access_token."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() == "basic":
        try:
            _, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise unauthenticated() from None
        return password or None
    return request.query_params.get("access_token") or request.query_params.get("oauth_token")


def caller(request: Request, cloud: "Cloud") -> Principal:
    """The caller of a request. Raises ApiError 401 where the settings or the token do not allow one."""
    return principal_of(bearer(request), cloud)


def principal_of(token: str | None, cloud: "Cloud") -> Principal:
    settings = cloud.settings
    if token is not None:
        if token in settings.accounts:
            return Principal(settings.accounts[token])
        if token.startswith(PREFIX):
            principal = cloud.tokens.verify(token)
            cloud.iam.check_alive(principal)
            return principal
    if settings.anonymous == "deny":
        if token is None:
            raise unauthenticated(
                "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or "
                "other valid authentication credential. "
                "See https://developers.google.com/identity/sign-in/web/devconsole-project."
            )
        raise unauthenticated()
    return Principal(settings.owner)
