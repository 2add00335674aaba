"""For tests: a whole local cloud as a process on free ports."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localcloud.settings import APIS

READY_TIMEOUT_S = 30.0


@dataclass
class LocalCloud:
    """`start()`, use `url("run")`, `stop()`; `kill()` is kill -9. Ports are taken at the first start and kept after."""

    state: Path
    config: dict[str, Any] = field(default_factory=dict)
    cwd: Path = field(default_factory=lambda: Path(__file__).resolve().parent.parent)
    process: subprocess.Popen[bytes] | None = None
    ports: dict[str, int] = field(default_factory=dict)

    def start(self) -> "LocalCloud":
        self.state.mkdir(parents=True, exist_ok=True)
        ports = self.ports or dict.fromkeys(self.config.get("ports", APIS), 0)
        file = self.state.parent / f"{self.state.name}-config.json"
        file.write_text(json.dumps({**self.config, "ports": {**dict.fromkeys(ports, 0), **ports}}))
        (self.state / "ports.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "localcloud", "serve", "--state", str(self.state), "--config", str(file)]
        self.process = subprocess.Popen(command, cwd=self.cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # noqa: S603 - our own module
        self._wait_ready()
        return self

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        process = self.process
        while process is not None and time.monotonic() < deadline:
            if process.poll() is not None:
                output = process.stdout.read().decode() if process.stdout else ""
                raise RuntimeError(f"the local cloud ended with {process.returncode}: {output}")
            with contextlib.suppress(OSError, ValueError):
                self.ports = json.loads((self.state / "ports.json").read_text())
                urllib.request.urlopen(f"{self.url('control')}/healthz", timeout=2).close()  # noqa: S310 - http on loopback
                return
            time.sleep(0.05)
        raise TimeoutError(f"the local cloud was not ready in {READY_TIMEOUT_S} s")

    def url(self, api: str) -> str:
        return f"http://127.0.0.1:{self.ports[api]}"

    @property
    def admin_key(self) -> str:
        return (self.state / "admin.key").read_text().strip()

    def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A call of the control API with the admin key. Raises urllib.error.HTTPError."""
        request = urllib.request.Request(  # noqa: S310 - http on loopback
            f"{self.url('control')}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Localcloud-Admin-Key": self.admin_key, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - http on loopback
            answer: dict[str, Any] = json.load(response)
        return answer

    def token(self, member: str, ttl_s: int = 3600) -> str:
        return str(self.control("POST", "/tokens", {"member": member, "ttl_s": ttl_s})["access_token"])

    def kill(self) -> None:
        """As a crash: nothing is stopped in order."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self._reap()

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self._reap()

    def _reap(self) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        self.process = None


@contextlib.contextmanager
def local_cloud(state: Path, config: dict[str, Any] | None = None) -> Iterator[LocalCloud]:
    cloud = LocalCloud(state, config or {})
    try:
        yield cloud.start()
    finally:
        cloud.stop()
