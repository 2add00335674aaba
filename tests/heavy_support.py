"""One script in the heavy runner's container, and everything it leaves behind."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TAG = "longhaul-test/heavy-runner"
BASE_IMAGE = "longhaul/base:trixie"
RUN_S = 120
BUILD_S = 900


@dataclass(frozen=True)
class Engine:
    """A docker command that builds, and the engine behind it."""

    program: str

    def __call__(self, *args: str, timeout: float = RUN_S, check: bool = True) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "DOCKER_BUILDKIT": "1"}
        done = subprocess.run([self.program, *args], capture_output=True, text=True, timeout=timeout, env=env)
        if check and done.returncode:
            raise RuntimeError(f"docker {args[0]} failed: {done.stderr[-2_000:]}")
        return done


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one container did and left."""

    exit_code: int
    records: list[dict[str, Any]]
    outputs: Path
    stderr: str = ""

    def json(self, name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.outputs / name).read_text())
        return loaded

    @property
    def status(self) -> dict[str, Any]:
        return self.json("status.json")

    @property
    def error(self) -> dict[str, Any]:
        return self.json("error.json")

    @property
    def record(self) -> dict[str, Any]:
        return self.json("run_metadata.json")

    @property
    def log(self) -> str:
        return (self.outputs / "artifacts" / "execution_log.txt").read_text(errors="replace")

    def lines(self, source: str) -> list[str]:
        return [record["message"] for record in self.records if record["source"] == source]

    def has_failed(self, code: str) -> bool:
        """FAILED with this code, told the same by status, error and record."""
        told = (self.status["state"], self.status["error_code"], self.error["code"], self.record["state"])
        return told == ("FAILED", code, code, "FAILED")


@dataclass(frozen=True)
class Job:
    """One container, prepared: its folders, and the arguments that start it."""

    engine: Engine
    image: str
    folder: Path
    name: str
    options: Sequence[str] = field(default_factory=list)

    def run(self, timeout: float = RUN_S) -> Result:
        done = self.engine("run", *self.arguments(), timeout=timeout, check=False)
        return self.result(done.returncode, done.stdout, done.stderr)

    def start(self) -> None:
        self.engine("run", "--detach", *[argument for argument in self.arguments() if argument != "--rm"])

    def result(self, exit_code: int, stdout: str, stderr: str = "") -> Result:
        records = [json.loads(line) for line in stdout.splitlines()]
        return Result(exit_code=exit_code, records=records, outputs=self.folder / "output", stderr=stderr)

    def arguments(self) -> list[str]:
        mounts = ["-v", f"{self.folder}/data:/data:ro", "-v", f"{self.folder}/output:/output"]
        return ["--rm", "--name", self.name, "--network", "host", *mounts, *self.options, self.image]


def find_engine() -> Engine:
    """The first docker command that reaches an engine; raises RuntimeError saying what to do."""
    candidates = [shutil.which("docker"), str(ROOT / ".local/bin/docker"), "/usr/bin/docker"]
    said = "there is no docker command"
    for program in dict.fromkeys(filter(None, candidates)):
        if not Path(program).exists():
            continue
        found = Engine(program)
        asked = found("version", "--format", "{{.Server.Version}}", check=False)
        if asked.returncode == 0:
            return found
        said = asked.stderr.strip().splitlines()[-1] if asked.stderr.strip() else said
    raise RuntimeError(f"a Docker engine is needed (`make setup`, then `. .local/env.sh`): {said}")


def build_image(engine: Engine, workload: str = "heavy_runner", tag: str = TAG) -> str:
    """Build a workload's image, on the local base image if there is one; gives its tag."""
    known = engine("image", "inspect", BASE_IMAGE, check=False).returncode == 0
    base = ["--build-arg", f"BASE_IMAGE={BASE_IMAGE}"] if known else []
    context = ROOT / "workloads"
    dockerfile = str(context / f"{workload}.Dockerfile")
    said = ""
    for program in dict.fromkeys([engine.program, "/usr/bin/docker"]):
        build = ["build", "--network", "host", *base, "-f", dockerfile, "-t", tag, str(context)]
        done = Engine(program)(*build, timeout=BUILD_S, check=False)
        if done.returncode == 0:
            return tag
        said = done.stderr[-2_000:]
    raise RuntimeError(f"the image of {workload} cannot be built: {said}")
