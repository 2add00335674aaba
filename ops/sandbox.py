"""The sandbox: the runner's image as a container on this machine, or, without a container engine, its code as a process.

Both read and write a folder that is laid out like the bucket, so that everything above this module is the same.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ops.errors import OpsError
from ops.platforms import Follow, LogLine, Phase, View
from ops.router import Place
from ops.store import FolderStore
from ops.targets import Target

LABEL = "longhaul.sandbox"

_STOP_S = 10
_LOG_LOOK_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a sandboxed run may use."""

    cpu: float
    memory_mib: int

    @classmethod
    def clamped(cls, memory_gib: float, cpu: float = 8) -> "Shape":
        """Return `cpu` and `memory_gib`, or what this machine has of it."""
        host_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        return cls(cpu=min(cpu, os.cpu_count() or 1), memory_mib=min(int(memory_gib * 1024), host_mib))


class ContainerSandbox:
    """Containers of the Docker engine that the environment names."""

    runtime = "container"

    def __init__(self, image: str, folder: Path, shape: Shape, environ: Mapping[str, str]) -> None:
        self.image, self._folder, self._shape, self._environ = image, folder, shape, environ

    def start(self, run_id: str, token: str, env: Mapping[str, str]) -> dict[str, str]:
        variables = {**env, "HEAVY_RUNNER_IMAGE": self.image, "HEAVY_RUNNER_MEMORY_MIB": str(self._shape.memory_mib)}
        memory = f"{self._shape.memory_mib}m"
        command = ["run", "--detach", "--name", f"longhaul-{run_id}-{token[:8]}", "--label", f"{LABEL}={token}"]
        # as on Cloud Run, files count as memory; the folder has one path on both sides, so a URI names one file
        command += ["--memory", memory, "--memory-swap", memory, "--cpus", f"{self._shape.cpu:g}", "--read-only"]
        command += ["--network", "none", "--volume", f"{self._folder}:{self._folder}"]
        for path in ("/tmp", "/var/tmp", "/run"):  # noqa: S108 - the container's own
            command += ["--tmpfs", f"{path}:rw,exec,nosuid,nodev,mode=1777,size={memory}"]
        for name, value in sorted(variables.items()):
            command += ["--env", f"{name}={value}"]
        done = self._docker([*command, self.image])
        return {"container": done.strip()}

    def find(self, token: str) -> dict[str, str] | None:
        found = self._docker(["ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL}={token}"]).split()
        return {"container": found[0]} if found else None

    def view(self, names: Mapping[str, str]) -> View:
        try:
            state = json.loads(self._docker(["inspect", "--format", "{{json .State}}", names["container"]]))
        except OpsError as exc:
            if "no such object" in str(exc).lower():
                return View(phase=Phase.GONE, message="the container has been removed")
            raise
        return container_view(state)

    def cancel(self, names: Mapping[str, str]) -> None:
        self._docker(["stop", "--time", str(_STOP_S), names["container"]])

    def logs(self, names: Mapping[str, str], *, follow: Follow | None = None) -> Iterator[LogLine]:
        if self.view(names).phase == Phase.GONE:
            return
        command = [self._binary(), "logs", *(["--follow"] if follow else []), names["container"]]
        with subprocess.Popen(  # noqa: S603 - fixed words and a container id
            command,
            env=dict(self._environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as client:
            for line in client.stdout or ():
                yield log_line(line)

    def tidy(self, names: Mapping[str, str]) -> None:
        if self.view(names).phase not in (Phase.PENDING, Phase.RUNNING, Phase.GONE):
            self._docker(["rm", "--volumes", names["container"]], missing_ok=True)

    def _binary(self) -> str:
        if (found := shutil.which("docker", path=self._environ.get("PATH"))) is None:
            raise OpsError("there is no docker command on PATH", "install Docker, or run `make setup`")
        return found

    def _docker(self, command: list[str], *, missing_ok: bool = False) -> str:
        done = subprocess.run(  # noqa: S603 - fixed words, checked run ids and the stack's image
            [self._binary(), *command], env=dict(self._environ), capture_output=True, text=True, check=False
        )
        if done.returncode and not missing_ok:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise OpsError(f"docker {command[0]}: {lines[0]}", "longhaul doctor tells what is missing")
        return done.stdout


def container_view(state: Mapping[str, object]) -> View:
    """Return what the State of `docker inspect` means."""
    end = _time(state.get("FinishedAt"))
    if state.get("Status") in ("created", "restarting"):
        phase = Phase.PENDING
    elif state.get("Running"):
        phase, end = Phase.RUNNING, None
    else:
        phase = Phase.SUCCEEDED if state.get("ExitCode") == 0 else Phase.FAILED
    code = int(str(state.get("ExitCode", 0)))
    return View(
        phase=phase,
        message=str(state.get("Error") or ""),
        exit_code=code if phase.has_ended else None,
        signal=code - 128 if phase.has_ended and code > 128 else 0,
        out_of_memory=bool(state.get("OOMKilled")),
        start=_time(state.get("StartedAt")),
        end=end,
    )


def log_line(text: str) -> LogLine:
    """Return a line of a container: one of our JSON records, or plain text."""
    text = text.rstrip("\n")
    if text.startswith("{"):
        try:
            record = json.loads(text)
            return LogLine(time=str(record["time"]), severity=str(record["severity"]), message=str(record["message"]))
        except (ValueError, KeyError, TypeError):
            pass  # the script's own line that happens to begin like a record
    return LogLine(time="", severity="DEFAULT", message=text)


class ProcessSandbox:
    """The runner's code as a process of this machine: for looking, where no container engine is to be had."""

    runtime = "process"

    def __init__(self, folder: Path, shape: Shape, environ: Mapping[str, str], code: Path) -> None:
        self._folder, self._shape, self._environ, self._code = folder, shape, environ, code

    def start(self, run_id: str, token: str, env: Mapping[str, str]) -> dict[str, str]:
        home = self._folder / "process" / f"{run_id}-{token[:8]}"
        home.mkdir(parents=True)
        variables = {
            **self._environ,
            **env,
            "PYTHONPATH": str(self._code),
            "HEAVY_RUNNER_RUN_DIR": str(home / "run"),
            "HEAVY_RUNNER_MEMORY_MIB": str(self._shape.memory_mib),
        }
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "workloads.heavy_runner"],
                cwd=home,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return {"pid": str(process.pid), "began": _began(process.pid), "log": str(home / "log")}

    def find(self, token: str) -> dict[str, str] | None:
        return None

    def view(self, names: Mapping[str, str]) -> View:
        pid = int(names["pid"])
        code: int | None = None
        try:
            ended, raw = os.waitpid(pid, os.WNOHANG)
            code = os.waitstatus_to_exitcode(raw) if ended else None
        except ChildProcessError:
            pass  # started by an earlier command
        if code is None and _began(pid) == names["began"]:
            return View(phase=Phase.RUNNING)
        if code is None:
            return View(phase=Phase.GONE, message="the process has ended")
        phase = Phase.FAILED if code else Phase.SUCCEEDED
        return View(phase=phase, exit_code=code if code >= 0 else None, signal=max(-code, 0))

    def cancel(self, names: Mapping[str, str]) -> None:
        if _began(int(names["pid"])) == names["began"]:
            os.kill(int(names["pid"]), signal.SIGTERM)

    def logs(self, names: Mapping[str, str], *, follow: Follow | None = None) -> Iterator[LogLine]:
        with Path(names["log"]).open(encoding="utf-8", errors="replace") as log:
            last_look, part = follow is None, ""
            while True:
                while line := log.readline():
                    part += line
                    if part.endswith("\n"):
                        yield log_line(part)
                        part = ""
                if last_look or follow is None:
                    return
                last_look = not follow(_LOG_LOOK_S)

    def tidy(self, names: Mapping[str, str]) -> None:
        if self.view(names).phase != Phase.RUNNING:
            shutil.rmtree(Path(names["log"]).parent / "run", ignore_errors=True)


def _began(pid: int) -> str:
    # a process id is used again after a while; with the start time it names one process
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(str(text)) if text and not str(text).startswith("0001-") else None


def docker_answers(environ: Mapping[str, str]) -> bool:
    """Whether there is a docker command and an engine behind it."""
    binary = shutil.which("docker", path=environ.get("PATH"))
    if binary is None:
        return False
    command = [binary, "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(command, env=dict(environ), capture_output=True, check=False, timeout=20).returncode == 0  # noqa: S603 - fixed words


def make(folder: Path, image: str, memory_gib: float, environ: Mapping[str, str], code: Path) -> Target:
    """Return the sandbox in `folder`: containers of `image`, or processes of `code` where no engine answers.

    Raises OpsError: an engine, but no image.
    """
    shape = Shape.clamped(memory_gib)
    folder.mkdir(parents=True, exist_ok=True)
    platform: ContainerSandbox | ProcessSandbox
    if docker_answers(environ):
        if not image:
            raise OpsError("the sandbox has no image", "deploy the stack, or build it: make images")
        platform = ContainerSandbox(image, folder, shape, environ)
    else:
        platform = ProcessSandbox(folder, shape, environ, code)
    return Target(
        place=Place.SANDBOX,
        store=FolderStore(folder),
        platform=platform,
        cpu=shape.cpu,
        memory_gib=shape.memory_mib / 1024,
    )
