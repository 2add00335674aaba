"""Access tokens: from the metadata server on Google's platforms, from the user's own credentials elsewhere.

The metadata server is asked directly: importing google.auth costs 0.15 s and 15 MiB in every start, for one GET whose
form is fixed. Source: https://cloud.google.com/compute/docs/access/authenticate-workloads#applications (2026-08).
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import urllib3

STORAGE_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"

_EARLY_S = 60
"""A token is renewed this long before it ends, so that it lives through the request it is sent with."""


class TokenError(Exception):
    """No token could be had; a retry may help."""


class NoIdentity(TokenError):
    """There are no credentials, or they are refused: a retry cannot help."""


class Tokens(Protocol):
    """Where a client gets its bearer token."""

    def get(self) -> str | None:
        """A valid token, or None for a client without identity."""

    def forget(self) -> None:
        """The service refused the token: get another one next time."""


class Anonymous:
    """No identity at all: for tests against a server that asks for none."""

    def get(self) -> str | None:
        return None

    def forget(self) -> None:
        return None


class MetadataTokens:
    """The identity this task runs as."""

    def __init__(self, http: "urllib3.PoolManager", host: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    def get(self) -> str | None:
        with self._lock:
            if not self._token or self._clock() >= self._until:
                self._renew()
            return self._token

    def forget(self) -> None:
        with self._lock:
            self._token = ""

    def _renew(self) -> None:
        from urllib3.exceptions import HTTPError

        try:
            answer = self._http.request("GET", self._url, headers={"Metadata-Flavor": "Google"}, timeout=5.0, retries=3)
        except HTTPError as error:
            raise TokenError(f"the metadata server does not answer: {type(error).__name__}") from error
        if answer.status != 200:
            raise TokenError(f"the metadata server answered {answer.status} to the request for a token")
        body = json.loads(answer.data)
        self._token = str(body["access_token"])
        self._until = self._clock() + max(0.0, float(body["expires_in"]) - _EARLY_S)


class UserTokens:
    """Application default credentials: a person's login, or a key file. They are looked for when first asked."""

    def __init__(self, http: "urllib3.PoolManager", scope: str = STORAGE_SCOPE) -> None:
        self._http = http
        self._scope = scope
        self._lock = threading.Lock()
        self._credentials: Any = None
        self._stale = False

    def get(self) -> str | None:
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.auth.transport.urllib3 import Request

        with self._lock:
            request = Request(self._http)
            try:
                if self._credentials is None:
                    self._credentials = self._find(request)
                if self._stale or not self._credentials.valid:
                    self._credentials.refresh(request)
                    self._stale = False
            except GoogleAuthError as error:
                if isinstance(error, TransportError) or error.retryable:
                    raise TokenError("Google's service of tokens does not answer") from error
                said = str(error.args[0] if error.args else error)[:300]
                raise NoIdentity(f"no use can be made of Google credentials: {said}") from error
            return str(self._credentials.token)

    def forget(self) -> None:
        with self._lock:
            self._stale = True

    def _find(self, request: Any) -> Any:
        import google.auth

        return google.auth.default(scopes=[self._scope], request=request)[0]


def find_tokens(env: Mapping[str, str], http: "urllib3.PoolManager", scope: str = STORAGE_SCOPE) -> Tokens:
    """The task's own identity where a metadata server is known to be, else the user's credentials for `scope`."""
    host = env.get("GCE_METADATA_HOST")
    on_platform = env.get("CLOUD_RUN_JOB") or env.get("BATCH_JOB_ID")
    if env.get("GOOGLE_APPLICATION_CREDENTIALS") or not (host or on_platform):
        return UserTokens(http, scope)
    return MetadataTokens(http, host or "metadata.google.internal")
