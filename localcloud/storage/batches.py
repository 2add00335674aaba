"""Many JSON calls in one request: multipart/mixed of application/http parts.

https://cloud.google.com/storage/docs/batch (2026-11)
"""

import re
import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from localcloud.errors import ApiError
from localcloud.shell import read_body
from localcloud.storage.framing import boundary_of, parse_headers
from localcloud.storage.problems import bad

MAX_CALLS = 100
NOT_IN_BATCH = re.compile(r"^/(upload|download|resumable|batch)\b|[?&]alt=media\b")
INHERITED = ("authorization", "host", "user-agent")
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


async def handle(request: Request, application: Application) -> Response:
    """Answers every part in turn. Raises ApiError 400 for what is no batch, 413 beyond 100 calls."""
    boundary = boundary_of(request.headers.get("content-type", ""))
    calls = split(await read_body(request), boundary)
    if len(calls) > MAX_CALLS:
        raise ApiError(
            413, "INVALID_ARGUMENT", f"The batch request contains {len(calls)} calls; at most {MAX_CALLS} are allowed."
        )
    mark = f"batch_{uuid.uuid4().hex}"
    parts = [await _answer(headers, call, request, application) for headers, call in calls]
    body = b"".join(f"--{mark}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{mark}--\r\n".encode()
    return Response(body, media_type=f"multipart/mixed; boundary={mark}")


def split(body: bytes, boundary: bytes) -> list[tuple[dict[str, str], bytes]]:
    """(part headers, HTTP request) of each part."""
    parts = []
    for piece in re.split(rb"(?:^|\r?\n)--" + re.escape(boundary), body)[1:]:
        if piece.startswith(b"--"):
            break
        head, call = _divide(piece.lstrip(b"\r\n"))
        parts.append((parse_headers(head), call))
    return parts


def _divide(text: bytes) -> tuple[bytes, bytes]:
    """At the first empty line."""
    found = re.search(rb"\r?\n\r?\n", text)
    return (text[: found.start()], text[found.end() :]) if found else (text, b"")


async def _answer(part: dict[str, str], call: bytes, outer: Request, application: Application) -> bytes:
    head, body = _divide(call)
    line, _, rest = head.partition(b"\n")
    words = line.decode("latin-1").split()
    if len(words) < 2:
        raise bad("Failed to parse batch request: a part has no request line.", "parseError")
    headers = {name: outer.headers[name] for name in INHERITED if name in outer.headers}
    headers.update(parse_headers(rest))
    body = body.rstrip(b"\r\n") if "content-length" not in headers else body[: int(headers["content-length"])]
    status, sent, content = await _call(words[0].upper(), words[1], headers, body, outer.scope, application)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in sent)]
    lines.append(f"content-length: {len(content)}") if not any(name == "content-length" for name, _ in sent) else None
    content_id = part.get("content-id", "").strip("<>")
    outside = f"Content-Type: application/http\r\nContent-ID: <response-{content_id}>\r\n\r\n"
    return outside.encode() + "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


async def _call(
    method: str, target: str, headers: dict[str, str], body: bytes, outer: Any, application: Application
) -> tuple[int, list[tuple[str, str]], bytes]:
    """One call through the application itself, as if it had come alone."""
    target = re.sub(r"^https?://[^/]+", "", target)
    if NOT_IN_BATCH.search(target):
        raise bad("Media and batches cannot be part of a batch.", "badRequest")
    path, _, query = target.partition("?")
    scope = {
        **outer,
        "method": method,
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
    }
    answer: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        answer.append(message)

    await application(scope, receive, send)
    sent = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer[0]["headers"]]
    content = b"".join(message.get("body", b"") for message in answer[1:])
    return int(answer[0]["status"]), sent, content
