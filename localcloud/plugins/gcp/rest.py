"""HTTP calls as the real provider makes them: the same queries and headers, the same retries, the same error texts."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from localcloud.plugins.contract import PluginError
from localcloud.plugins.gcp.config import Settings

if TYPE_CHECKING:
    import httpx

RETRIED: Final = frozenset({429, 500, 502, 503})
FIRST_PAUSES_S: Final = (0.5, 1.0)  # each later pause is the sum of the two before it: 1.5, 2.5, 4, 6.5 …
LONGEST_PAUSE_S: Final = 10.0
DEFAULT_TIMEOUT_S: Final = 20 * 60.0
GOOGLE_CLIENTS: Final = frozenset(
    {"storage", "iamBeta", "resourceManager", "serviceUsage", "cloudBilling", "storageUpload"}
)
USER_AGENT: Final = "Pulumi/3.0 longhaul-local-stand-in (for pulumi-gcp/10.2.0)"


class ApiError(PluginError):
    """An HTTP error answer, in the words of Google's Go client."""

    def __init__(self, code: int, body: str) -> None:
        self.code = code
        self.body = body
        super().__init__(_error_text(code, body))


def _error_text(code: int, body: str) -> str:
    try:
        error = json.loads(body)["error"]
        message, details = error.get("message", ""), error.get("details")
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"googleapi: got HTTP response code {code} with body: {body[:2000]}"
    text = f"googleapi: Error {code}: {message}"
    if details:
        text += f"\nDetails:\n{json.dumps(details, indent=2)}\n"
    reasons = [item.get("reason", "") for item in error.get("errors") or []]
    word = ", ".join(reason for reason in reasons if reason) or error.get("status", "")
    return f"{text}, {word}" if word else text


def pauses() -> Iterator[float]:
    """The pauses between attempts, in seconds."""
    before, pause = FIRST_PAUSES_S
    yield before
    while True:
        yield min(pause, LONGEST_PAUSE_S)
        before, pause = pause, before + pause


class Rest:
    """Calls with one provider's settings. Safe for several threads; `cancel` ends all waiting."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._cancelled = threading.Event()
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Ends every wait and every later call with an error."""
        self._cancelled.set()

    def wait(self, seconds: float) -> None:
        """Waits. Raises PluginError once cancelled."""
        if self._cancelled.wait(seconds):
            raise PluginError("cancelled")

    def call(
        self,
        method: str,
        service: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        timeout_s: float = 0.0,
    ) -> dict[str, Any]:
        """One call, its JSON answer. Raises ApiError for an error answer after the retries, PluginError if nothing answers."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if content is not None else {}
        url = f"{self.settings.base(service)}{path}"
        text = self.send(method, service, url, query=query, content=content, headers=headers, timeout_s=timeout_s)
        return json.loads(text) if text.strip() else {}

    def send(
        self,
        method: str,
        service: str,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 0.0,
    ) -> str:
        """One call with raw content; retries as `call` does."""
        full = f"{url}{'&' if '?' in url else '?'}{urlencode({**_standard(service), **(query or {})}, safe='/:,')}"
        end = time.monotonic() + (timeout_s or DEFAULT_TIMEOUT_S)
        for pause in pauses():
            response = self._once(method, full, content, {**self._headers(), **(headers or {})})
            if response.status_code < 400:
                return response.text
            error = ApiError(response.status_code, response.text)
            if not _retried(error) or time.monotonic() + pause > end:
                raise error
            self.wait(pause)
        raise AssertionError("pauses() does not end")

    def _headers(self) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.settings.token}", "User-Agent": USER_AGENT}
        if self.settings.billing_project:
            headers["X-Goog-User-Project"] = self.settings.billing_project
        return headers

    def _once(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> "httpx.Response":
        import httpx  # a preview makes no call, so it should not pay for the import

        self.wait(0)
        with self._lock:
            if self._client is None:
                limits = httpx.Limits(max_connections=32, max_keepalive_connections=32, keepalive_expiry=4)
                # no proxy and no .netrc: the endpoint is the local cloud
                self._client = httpx.Client(timeout=self.settings.request_timeout_s, trust_env=False, limits=limits)
        try:
            return self._client.request(method, url, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise PluginError(f"{method} {url.split('?')[0]}: {error}; is the local cloud running?") from error


def _standard(service: str) -> dict[str, str]:
    return {"alt": "json", "prettyPrint": "false"} if service in GOOGLE_CLIENTS else {"alt": "json"}


def _retried(error: ApiError) -> bool:
    return error.code in RETRIED or (error.code == 409 and "operationInProgress" in error.body)
