"""Builds and pushes with a Docker engine, through its command-line client, and reads what the client prints."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from localcloud.plugins.contract import PluginError

TAIL_LINES: Final = 40
MOST_LINES: Final = 5000
LONGEST_LINE: Final = 500
PROBE_S: Final = 10.0
DIGEST: Final = re.compile(r"digest: (sha256:[0-9a-f]{64})")


@dataclass(frozen=True, kw_only=True)
class Build:
    """What to build, with paths resolved."""

    image: str
    context: Path
    dockerfile: Path
    args: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    target: str = ""
    network: str = ""
    add_hosts: Sequence[str] = ()
    cache_from: Sequence[str] = ()
    buildkit: bool = True


@dataclass(frozen=True, kw_only=True)
class Login:
    """Credentials of a registry, for one push; never written to argv or state."""

    server: str
    username: str = field(repr=False)
    password: str = field(repr=False)


class Builder:
    """One engine. `cancel` kills what runs."""

    def __init__(self, host: str, say: Callable[[str], None]) -> None:
        self._env = {**os.environ, **({"DOCKER_HOST": host} if host else {})}
        self._say = say
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._cancelled = False

    def cancel(self) -> None:
        """Kills running builds and pushes; later ones fail at once."""
        with self._lock:
            self._cancelled = True
            for process in self._running:
                os.killpg(process.pid, signal.SIGKILL)

    def reachable(self) -> bool:
        """Whether an engine answers within ten seconds."""
        return any(self._probe([client, "version", "--format", "{{.Server.Version}}"]) for client in _clients())

    def _probe(self, command: list[str]) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - a Docker client found on PATH
                command, env=self._env, capture_output=True, text=True, timeout=PROBE_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    def _client(self, buildkit: bool) -> str:
        for client in _clients():
            version = self._probe([client, "version", "--format", "{{.Client.Version}}"])
            # since 23 the client builds with BuildKit only through the buildx plugin
            built_in = version.split(".")[0].isdigit() and int(version.split(".")[0]) < 23
            if version and (not buildkit or built_in or self._probe([client, "buildx", "version"])):
                return client
        raise PluginError(
            "no Docker client on PATH can build with BuildKit: install docker-buildx, or Debian's docker.io"
        )

    def build(self, build: Build) -> str:
        """Builds; returns the image's id. Raises PluginError with the end of the output."""
        with tempfile.TemporaryDirectory(prefix="longhaul-build-") as folder:
            id_file = Path(folder) / "id"
            command = [self._client(build.buildkit), "build", "--iidfile", str(id_file), *_options(build)]
            # values by environment: they may be secret, and argv is readable by all
            env = {**self._env, **build.args, "DOCKER_BUILDKIT": "1" if build.buildkit else "0"}
            self._run("docker build", command, env)
            return id_file.read_text().strip()

    def push(self, image: str, login: Login | None) -> str:
        """Pushes; returns the digest of the manifest. Raises PluginError with the end of the output."""
        with _credentials(login) as env:
            lines = self._run("docker push", [self._client(buildkit=False), "push", image], {**self._env, **env})
        found = [match[1] for line in lines if (match := DIGEST.search(line))]
        if not found:
            raise PluginError(f"docker push {image} printed no digest")
        return found[-1]

    def _run(self, what: str, command: list[str], env: Mapping[str, str]) -> list[str]:
        with self._lock:
            if self._cancelled:
                raise PluginError("cancelled")
            process = subprocess.Popen(  # noqa: S603 - arguments are ours, not a shell's
                command,
                env=dict(env),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running.add(process)
        try:
            tail = self._follow(process)
            code = process.wait()
        finally:
            with self._lock:
                self._running.discard(process)
        if self._cancelled:
            raise PluginError("cancelled")
        if code != 0:
            raise PluginError(f"{what} failed with exit code {code}; the end of its output:\n" + "\n".join(tail))
        return list(tail)

    def _follow(self, process: subprocess.Popen[str]) -> deque[str]:
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        if process.stdout is None:
            raise AssertionError("started with a pipe")
        for number, line in enumerate(process.stdout):
            text = line.rstrip()[:LONGEST_LINE]
            if text:
                tail.append(text)
            if text and number < MOST_LINES:
                self._say(text)
        return tail


def _clients() -> list[str]:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = [shutil.which("docker", path=folder) for folder in folders if folder]
    return list(dict.fromkeys(path for path in found if path))


def _options(build: Build) -> list[str]:
    options = ["--file", str(build.dockerfile), "--tag", build.image]
    options += ["--progress", "plain"] if build.buildkit else []
    for name in sorted(build.args):
        options += ["--build-arg", name]
    for name, value in (("platform", build.platform), ("target", build.target), ("network", build.network)):
        options += [f"--{name}", value] if value else []
    for host in build.add_hosts:
        options += ["--add-host", host]
    for image in build.cache_from:
        options += ["--cache-from", image]
    return [*options, str(build.context)]


@contextmanager
def _credentials(login: Login | None) -> Iterator[dict[str, str]]:
    if login is None:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="longhaul-login-") as folder:
        token = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
        file = Path(folder) / "config.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"auths": {login.server: {"auth": token}}}))
        yield {"DOCKER_CONFIG": folder}
