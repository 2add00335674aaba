"""A real object server for the tests of our own client, and one that answers what a test tells it to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from localcloud.testing import local_cloud
from workloads.common.gcs import GcsStore
from workloads.common.tokens import Anonymous

BUCKET = "test-bucket"


@contextmanager
def object_server(folder: Path) -> Iterator[str]:
    """The local cloud's storage and nothing else of it, with one empty bucket; gives its base URL."""
    settings = {"ports": ["control", "storage"], "projects": [{"project_id": "p", "services_enabled": "all"}]}
    with local_cloud(folder / "cloud", settings) as cloud:
        url = cloud.url("storage")
        httpx.post(f"{url}/storage/v1/b?project=p", json={"name": BUCKET}).raise_for_status()
        yield url


def store(url: str, **options: object) -> GcsStore:
    """Our client without an identity."""
    return GcsStore(lambda http: Anonymous(), endpoint=url, **options)  # type: ignore[arg-type]  # options of a test


Answer = tuple[int, dict[str, str], bytes]


class Script:
    """Answers requests one after the other as told; keeps what was asked."""

    def __init__(self, answer: Callable[[str, str, dict[str, str], bytes], Answer]) -> None:
        self.answer = answer
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []


@contextmanager
def scripted_server(script: Script) -> Iterator[str]:
    """An HTTP server on loopback whose answers are the script's; a body cut short closes the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = (self.command, self.path, dict(self.headers), body)
            script.seen.append(asked)
            status, headers, data = script.answer(*asked)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
            if int(headers.get("Content-Length", len(data))) > len(data):
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = _any

        def log_message(self, *args: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def problem(status: int, message: str) -> Answer:
    """An error as Google writes it."""
    return status, {}, json.dumps({"error": {"code": status, "message": message}}).encode()
