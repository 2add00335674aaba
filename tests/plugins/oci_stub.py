"""A registry in memory, as much of the OCI distribution API as a push needs."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Registry:
    """`manifests` by PATH:TAG and by digest, `blobs` by digest, `calls` as `METHOD path`."""

    host: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)


def _handler(registry: Registry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self, code: int, data: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data

        def _do(self) -> None:
            split = urlsplit(self.path)
            registry.calls.append(f"{self.command} {split.path}")
            query = {key: values[0] for key, values in parse_qs(split.query).items()}
            body = self._body()
            if found := re.fullmatch(r"/v2/(.+)/blobs/(sha256:\w+)", split.path):
                return self._stored(registry.blobs.get(found[2]), found[2])
            if found := re.fullmatch(r"/v2/(.+)/blobs/uploads/(\w*)", split.path):
                return self._upload(found[1], found[2], query, body)
            if found := re.fullmatch(r"/v2/(.+)/manifests/(.+)", split.path):
                return self._manifest(found[1], found[2], body)
            return self._answer(200 if split.path == "/v2/" else 404)

        def _stored(self, data: bytes | None, digest: str) -> None:
            if data is None:
                return self._answer(404)
            return self._answer(200, data, Docker_Content_Digest=digest)

        def _upload(self, path: str, name: str, query: dict[str, str], body: bytes) -> None:
            name = name or f"u{len(registry.uploads)}"
            registry.uploads[name] = registry.uploads.get(name, b"") + body
            if self.command != "PUT":
                size = len(registry.uploads[name])
                location = f"/v2/{path}/blobs/uploads/{name}?_state=x"
                return self._answer(202, Location=location, Range=f"0-{max(size - 1, 0)}", Docker_Upload_UUID=name)
            data = registry.uploads.pop(name)
            assert query["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
            registry.blobs[query["digest"]] = data
            return self._answer(201, Location=f"/v2/{path}/blobs/{query['digest']}")

        def _manifest(self, path: str, reference: str, body: bytes) -> None:
            if self.command in ("GET", "HEAD"):
                return self._stored(registry.manifests.get(f"{path}:{reference}"), reference)
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            registry.manifests[f"{path}:{reference}"] = registry.manifests[digest] = body
            return self._answer(201, Docker_Content_Digest=digest, Location=f"/v2/{path}/manifests/{digest}")

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = _do

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet: calls are kept in the registry."""

    return Handler


@contextmanager
def running() -> Iterator[Registry]:
    """A registry on a free loopback port."""
    registry = Registry()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(registry))
    registry.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
