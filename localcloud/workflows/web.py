"""HTTP requests of workflows: the http.* functions, and what connectors send.

https://cloud.google.com/workflows/docs/reference/stdlib/http/request and
https://cloud.google.com/workflows/docs/http-requests (2026-11).
"""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import httpx

from localcloud.workflows import limits
from localcloud.workflows.errors import WorkflowError, error
from localcloud.workflows.expressions import kind
from localcloud.workflows.values import plain

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

DEFAULT_TIMEOUT_S = 300.0
MAX_TIMEOUT_S = 1800.0
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_ARGUMENTS = frozenset({"url", "method", "headers", "body", "query", "auth", "timeout"})
_HOST = re.compile(r"(?:[a-z]+-[a-z]+\d+-)?([a-z]+)\.googleapis\.com")
_PORTS = {"cloudresourcemanager": "resourcemanager", "iamcredentials": "iam"}
_WWW = {"storage": "storage", "upload": "storage", "bigquery": "bigquery"}


class Web:
    """Sends requests with the identity of one workflow's service account."""

    def __init__(self, cloud: "Cloud", email: str, http: httpx.AsyncClient) -> None:
        self._cloud, self._email, self._http = cloud, email, http

    async def call(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """One of http.get, http.post, …: {body, code, headers}. Raises WorkflowError."""
        unknown = sorted(set(arguments) - _ARGUMENTS)
        if unknown:
            raise error("ValueError", f"http.{method}: unknown argument {unknown[0]}")
        verb = str(arguments.get("method", "GET")).upper() if method == "request" else method.upper()
        url = arguments.get("url")
        if verb not in METHODS or not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise error(
                "ValueError", f"http.{method}: needs a url that begins with http:// or https://, and a known method"
            )
        headers = {key: str(value) for key, value in (arguments.get("headers") or {}).items()}
        headers |= self._auth(arguments.get("auth"), url)
        timeout = arguments.get("timeout", DEFAULT_TIMEOUT_S)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= MAX_TIMEOUT_S:
            raise error(
                "ValueError",
                f"http.{method}: timeout must be more than 0 and at most {MAX_TIMEOUT_S:g}, got {timeout!r}",
            )
        content, headers = encoded(arguments.get("body"), headers)
        return await self.send(verb, url, query_of(arguments.get("query")), headers, content, float(timeout))

    async def send(
        self,
        verb: str,
        url: str,
        query: list[tuple[str, str]],
        headers: dict[str, str],
        content: bytes | None,
        timeout_s: float,
    ) -> dict[str, Any]:
        """Send one request. Raises WorkflowError with HttpError, ConnectionError, ConnectionFailedError, TimeoutError."""
        target = self.local(url)
        if query:
            target += ("&" if urlsplit(target).query else "?") + urlencode(query)
        try:
            async with self._http.stream(verb, target, headers=headers, content=content, timeout=timeout_s) as answer:
                body = bytearray()
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > limits.RESPONSE_BYTES:
                        raise error("ResourceLimitError", f"HTTP response is larger than {limits.RESPONSE_BYTES} bytes")
        except httpx.TimeoutException as problem:
            raise error("TimeoutError", f"timeout of {timeout_s:g} seconds exceeded: {verb} {url}") from problem
        except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL) as problem:
            raise error("ConnectionFailedError", f"could not connect to {url}: {problem}") from problem
        except httpx.HTTPError as problem:
            raise error("ConnectionError", f"connection to {url} broke: {problem!r}") from problem
        return _result(answer, bytes(body))

    def _auth(self, auth: Any, url: str) -> dict[str, str]:
        if auth is None:
            return {}
        if not isinstance(auth, dict) or auth.get("type") not in ("OIDC", "OAuth2"):
            raise error("ValueError", "auth: type must be OIDC or OAuth2")
        if auth["type"] == "OAuth2":
            return self.bearer()
        account = self._cloud.iam.accounts.get(self._email)
        if account is None:
            raise error("AuthError", f"service account {self._email} does not exist")
        audience = auth.get("audience") or urlunsplit(urlsplit(url)._replace(query="", fragment=""))
        return {"Authorization": f"Bearer {self._cloud.id_tokens.mint(account['account'], str(audience))}"}

    def bearer(self) -> dict[str, str]:
        """The header that carries an access token of the workflow's account. Raises WorkflowError with AuthError."""
        if self._cloud.iam.accounts.get(self._email) is None:
            raise error("AuthError", f"service account {self._email} does not exist")
        return {"Authorization": f"Bearer {self._cloud.tokens.mint(f'serviceAccount:{self._email}', 3600)}"}

    def local(self, url: str) -> str:
        """The address here of one of Google's. Raises WorkflowError for an API that is not served here."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not host.endswith(".googleapis.com"):
            return url
        found = _HOST.fullmatch(host)
        name = _WWW.get(parts.path.split("/")[1], "") if host == "www.googleapis.com" else (found[1] if found else "")
        port = _PORTS.get(name, name)
        if port not in self._cloud.settings.ports:
            raise error("ConnectionFailedError", f"could not connect to {host}: not served by this local cloud")
        return self._cloud.settings.url(port) + urlunsplit(parts._replace(scheme="", netloc=""))


def encoded(body: Any, headers: dict[str, str]) -> tuple[bytes | None, dict[str, str]]:
    """The bytes of a body, and the headers with its type where none was given. Raises WorkflowError."""
    given = next((value for key, value in headers.items() if key.lower() == "content-type"), "")
    if body is None:
        return None, headers
    if isinstance(body, bytes):
        return body, headers
    if given.startswith("application/x-www-form-urlencoded") and isinstance(body, dict):
        return urlencode({key: str(value) for key, value in body.items()}).encode(), headers
    if isinstance(body, str):
        return body.encode(), headers if given else {**headers, "Content-Type": "text/plain; charset=utf-8"}
    try:
        content = json.dumps(plain(body), ensure_ascii=False).encode()
    except TypeError as problem:
        raise error("TypeError", f"body cannot be written as JSON: {problem}") from problem
    return content, headers if given else {**headers, "Content-Type": "application/json; charset=utf-8"}


def query_of(query: Any) -> list[tuple[str, str]]:
    """Raises WorkflowError for what is no map of plain values or lists of them."""
    if query is None:
        return []
    if not isinstance(query, dict):
        raise error("TypeError", f"query must be a map, got {kind(query)}")
    pairs = []
    for key, value in query.items():
        for item in value if isinstance(value, list) else [value]:
            pairs.append((key, ("true" if item else "false") if isinstance(item, bool) else str(plain(item))))
    return pairs


def _result(answer: httpx.Response, content: bytes) -> dict[str, Any]:
    headers = {"-".join(part.capitalize() for part in key.split("-")): value for key, value in answer.headers.items()}
    result = {
        "body": decoded(answer.headers.get("content-type", ""), content),
        "code": answer.status_code,
        "headers": headers,
    }
    if answer.status_code >= 400:
        text = f"HTTP server responded with error code {answer.status_code}"
        raise WorkflowError({"message": text, "tags": ["HttpError"], **result})
    return result


def decoded(content_type: str, content: bytes) -> Any:
    """JSON as values, text as a string, anything else as bytes; nothing as null."""
    kind_of = content_type.partition(";")[0].strip().lower()
    if not content:
        return None
    if kind_of == "application/json" or kind_of.endswith("+json"):
        try:
            return json.loads(content)
        except ValueError:
            return content.decode("utf-8", "replace")
    if kind_of.startswith("text/") or kind_of in ("", "application/xml", "application/x-yaml"):
        return content.decode("utf-8", "replace")
    return content
