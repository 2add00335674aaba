"""A Docker engine: one that is reachable, or a private one that the set-up starts and `make docker-down` stops."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tools import apt
from tools.common import Done, Machine, StepError, call, lock, processes_with, say, unmount

DEFAULT_HOST = "unix:///var/run/docker.sock"
START_TIMEOUT_S = 60.0
"""A first start makes the data root and needs 1-2 s; a start after a power cut may check layers first."""
STOP_TIMEOUT_S = 45.0
"""The daemon gives its containers 15 s."""


def engine(m: Machine) -> Done:
    """Find or start an engine; without one, say what to install and choose processes instead of containers."""
    own = f"unix://{socket_path(m)}"
    asked = m.env.get("DOCKER_HOST", "")
    if asked and asked != own:
        if answers(m, asked):
            return _found(m, asked, "the engine that DOCKER_HOST names")
        raise StepError(f"DOCKER_HOST={asked} does not answer: start that engine, or unset DOCKER_HOST")
    for host in (DEFAULT_HOST, _context_host(m)):
        if host and host != own and answers(m, host):
            return _found(m, host, f"the engine at {host}")
    try:
        return _private(m, own)
    except StepError as err:
        return Done(detail=f"no containers, jobs run as processes instead. {err}")


def _found(m: Machine, host: str, what: str) -> Done:
    client = _client(m, host)
    ours = m.local / "bin" / "docker"
    if str(client) == shutil.which("docker", path=m.path):
        ours.unlink(missing_ok=True)
    elif not ours.exists() or ours.resolve() != client.resolve():
        ours.parent.mkdir(exist_ok=True)
        ours.unlink(missing_ok=True)
        ours.symlink_to(client)
        say("docker", f"{client} goes first on PATH: the docker command before it cannot build here")
    return Done(detail=what, env={"DOCKER_HOST": host}, program=client)


def _client(m: Machine, host: str) -> Path:
    """The first docker command on PATH that this engine understands and that can build with BuildKit."""
    folders = [Path(folder) for folder in m.path.split(os.pathsep)]
    candidates = [folder / "docker" for folder in folders if (folder / "docker").exists()]
    for candidate in candidates:
        with contextlib.suppress(StepError):
            argv: list[str | Path] = [candidate, "--host", host, "version", "--format", "{{.Client.Version}}"]
            version = call(m, "docker", argv, timeout_s=30).strip().splitlines()[-1]
            # up to 20.10 the client had BuildKit built in; since then it is the buildx plugin
            if int(version.split(".")[0]) > 20:
                call(m, "docker", [candidate, "buildx", "version"], timeout_s=30)
            return candidate
    found = ", ".join(map(str, candidates)) or "none"
    raise StepError(f"no docker command that can build (found: {found}): install docker.io, or the buildx plugin")


def _private(m: Machine, host: str) -> Done:
    if answers(m, host):
        return _found(m, host, f"the private engine at {socket_path(m)}")
    if not m.is_root:
        raise StepError(
            "To have containers, install Docker and let this user reach it (docs.docker.com/engine/install)"
        )
    # Debian 13 has the command and its builder in packages of their own, Debian 12 in docker.io itself
    apt.install(m, "docker", ["docker.io"], where_known=("docker-cli", "docker-buildx"))
    if answers(m, DEFAULT_HOST):
        # where the init system is alive, Debian's package has just started an engine of its own
        return _found(m, DEFAULT_HOST, "Debian's own engine, installed just now")
    with lock(m, "docker", "docker"):
        if not answers(m, host):
            _clear_dead(m)
            _start(m, host)
    return _found(m, host, f"the private engine at {socket_path(m)} (stop it with: make docker-down)")


def socket_path(m: Machine) -> Path:
    return m.run / "docker.sock"


def pid_path(m: Machine) -> Path:
    return m.run / "docker.pid"


def answers(m: Machine, host: str) -> bool:
    """Whether an engine answers at `host` within 5 s."""
    kind, _, address = host.partition("://")
    if kind != "unix":
        try:
            call(m, "docker", ["docker", "--host", host, "version"], timeout_s=15)
        except (StepError, FileNotFoundError):
            return False
        return True
    connection = http.client.HTTPConnection("localhost", timeout=5)
    try:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(5)
        connection.sock.connect(address)
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _context_host(m: Machine) -> str:
    """The engine that a plain `docker` would use, such as a desktop's."""
    if shutil.which("docker") is None:
        return ""
    argv = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    with contextlib.suppress(StepError):
        return call(m, "docker", argv, timeout_s=15).strip()
    return ""


def running_pid(m: Machine) -> int | None:
    """The process of our private engine; never one of somebody else."""
    try:
        pid = int(pid_path(m).read_text())
    except (OSError, ValueError):
        return None
    return pid if pid in processes_with(f"unix://{socket_path(m)}") else None


def _clear_dead(m: Machine) -> None:
    pid = running_pid(m)
    if pid is not None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:  # it may be starting, begun by a set-up that was killed
            if answers(m, f"unix://{socket_path(m)}"):
                return
            time.sleep(0.2)
        say("docker", f"the private engine (process {pid}) does not answer; ending it")
        _stop(pid)
    containerd = m.run / "exec" / "containerd"
    # a daemon whose socket was removed under it holds the data root; a containerd outlives its killed daemon for a
    # while; the next daemon would wait for either in vain
    for word in (str(m.cache / "docker"), str(containerd / "containerd.toml")):
        for pid in processes_with(word):
            _stop(pid)
    for left in (pid_path(m), socket_path(m), containerd / "containerd.pid", containerd / "containerd.sock"):
        left.unlink(missing_ok=True)


def _start(m: Machine, host: str) -> None:
    if answers(m, host):
        return
    program = shutil.which("dockerd") or "/usr/sbin/dockerd"
    say("docker", "starting a private engine (2 s)")
    m.run.mkdir(parents=True, exist_ok=True)
    log = m.cache / "log" / "dockerd.log"
    argv = [program, "--bridge=none", "--iptables=false", "--host", host]
    argv += ["--data-root", str(m.cache / "docker"), "--exec-root", str(m.run / "exec"), "--pidfile", str(pid_path(m))]
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if answers(m, host):
            return
        if daemon.poll() is not None:
            break
        time.sleep(0.1)
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    if daemon.poll() is None:
        _stop(daemon.pid)
    raise StepError(f"dockerd does not start here (containers need a privileged machine): {''.join(last)[:300]}")


def _stop(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):  # only a daemon of this very call is our child
                os.waitpid(pid, os.WNOHANG)
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)


def down(m: Machine) -> str:
    """Stop the private engine, and only that one; its images stay in the cache."""
    with lock(m, "docker", "docker"):
        pid = running_pid(m)
        if pid is None:
            return "no private Docker engine runs"
        _stop(pid)
        unmount(m.cache / "docker")  # a daemon that was killed earlier has left its data root mounted on itself
        return f"stopped the private Docker engine (process {pid}); its images stay in {m.cache / 'docker'}"
