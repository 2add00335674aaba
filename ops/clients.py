"""The one place that makes Google clients: for the endpoints of a stack, or for the real cloud."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import tenacity

from ops.errors import OpsError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.auth.transport.requests import AuthorizedSession
    from google.cloud.storage import Client as StorageClient

SCOPE = "https://www.googleapis.com/auth/cloud-platform"

_PUBLIC = {
    "batch": "https://batch.googleapis.com",
    "logging": "https://logging.googleapis.com",
    "run": "https://run.googleapis.com",
    "workflow_executions": "https://workflowexecutions.googleapis.com",
}
_TIMEOUT_S = 60
_PASSING = frozenset({429, 500, 502, 503, 504})


class ApiError(OpsError):
    """An API of Google refused or failed a request."""

    def __init__(self, code: int, status: str, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.code = code
        """HTTP status."""
        self.status = status
        """Google's word for it, `PERMISSION_DENIED` say."""


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Clients for one project. Nothing is contacted before the first call."""

    project: str
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """Service (run, storage, logging, metadata) -> base URL; what is missing is the real cloud."""

    @cached_property
    def credentials(self) -> "Credentials":
        """From the metadata server of the endpoints if they name one, else Application Default Credentials.

        Raises OpsError: there are none.
        """
        if address := self.endpoints.get("metadata"):
            from ops.metadata import MetadataCredentials

            return MetadataCredentials(address)
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError

        try:
            found, _ = google.auth.default(scopes=[SCOPE])
        except DefaultCredentialsError as exc:
            raise OpsError("no Google credentials found", "gcloud auth application-default login") from exc
        return found

    def token(self) -> str:
        """Return an access token. Raises OpsError: the credentials give none."""
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        try:
            if not self.credentials.valid:
                self.credentials.refresh(Request())
        except GoogleAuthError as exc:
            raise OpsError(f"no access token: {exc}", "gcloud auth application-default login") from exc
        return str(self.credentials.token)

    def identity(self) -> str:
        """Return the account of the credentials as `user:…` or `serviceAccount:…`; empty if they do not tell."""
        from google.auth.exceptions import GoogleAuthError

        try:
            email = str(getattr(self.credentials, "service_account_email", "") or "")
        except GoogleAuthError:
            return ""
        if not email or email == "default":
            return ""
        return email if ":" in email else f"{_kind(email)}:{email}"

    @cached_property
    def storage(self) -> "StorageClient":
        """Google's Cloud Storage client."""
        from google.api_core.client_options import ClientOptions
        from google.cloud import storage

        address = self.endpoints.get("storage")
        options = ClientOptions(api_endpoint=address) if address else None
        return storage.Client(project=self.project, credentials=self.credentials, client_options=options)

    @cached_property
    def _session(self) -> "AuthorizedSession":
        from google.auth.transport.requests import AuthorizedSession

        return AuthorizedSession(self.credentials)

    def call(
        self,
        service: str,
        verb: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> dict[str, Any]:
        """Send one REST request and return its JSON.

        What passes by itself (429, 5xx, a broken connection) is sent again up to four times with growing pauses, if
        the request is `repeatable`; one that starts something is sent again only after 429 and 503, which say that
        nothing was done.

        Raises ApiError: refused. OpsError: unreachable.
        """
        import requests
        from google.auth.exceptions import GoogleAuthError

        base = self.endpoints.get(service) or _PUBLIC[service]
        passing = _PASSING if repeatable else frozenset({429, 503})

        def again(exc: BaseException) -> bool:
            broken = isinstance(exc, requests.ConnectionError) and repeatable
            return broken or (isinstance(exc, ApiError) and exc.code in passing)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(again),
            stop=tenacity.stop_after_attempt(5),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=8),
            reraise=True,
        )
        try:
            return retrying(self._once, verb, f"{base}{path}", body, query)
        except requests.RequestException as exc:
            raise OpsError(f"{base} does not answer", "is it up? longhaul doctor tells") from exc
        except GoogleAuthError as exc:
            raise OpsError(f"no access token: {exc}", "longhaul doctor tells what is missing") from exc

    def _once(
        self, verb: str, url: str, body: Mapping[str, Any] | None, query: Mapping[str, str] | None
    ) -> dict[str, Any]:
        answer = self._session.request(verb, url, json=body, params=query, timeout=_TIMEOUT_S)
        if answer.ok:
            found: dict[str, Any] = answer.json() if answer.content else {}
            return found
        raise _refusal(answer.status_code, answer.text)


def _kind(email: str) -> str:
    return "serviceAccount" if email.endswith(".gserviceaccount.com") else "user"


def _refusal(code: int, text: str) -> ApiError:
    import json

    try:
        error = json.loads(text)["error"]
        status, message = str(error.get("status", "")), str(error["message"])
    except (ValueError, KeyError, TypeError):
        status, message = "", text.strip()[:300] or f"HTTP {code}"
    return ApiError(code, status, f"{code} {status}: {message}".replace("  ", " "), remedy_for(code))


def remedy_for(code: int) -> str:
    """What a person can do about an HTTP status; empty where the message has to be enough."""
    return {
        401: "log in: gcloud auth application-default login",
        403: "ask for the role that holds it; `operators` of the stack get what this command needs",
        404: "is the stack up to date? longhaul up",
        429: "too many requests: try again in a minute",
    }.get(code, "")
