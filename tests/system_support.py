"""A local cloud of its own with a stack on it, for the system tests."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import yaml

from ops import targets
from ops.automation import Stack
from ops.environment import Project
from ops.local import LocalCloud
from ops.outputs import Outputs, read
from ops.request import Request
from workloads.heavy_runner.contract import RunVariables, request_object

ROOT = Path(__file__).parent.parent
DEPLOYER = {"Authorization": "Bearer local-deployer"}

KEPT = frozenset(
    f"longhaul:{name}"
    for name in ("endpoints", "registry", "build", "deletion_protection", "force_destroy", "operators")
)
"""Keys of the stack file, beside the provider's, that every system needs."""

SHAPE = {"cpu": 1, "memory_gib": 1, "task_timeout_s": 150, "script_timeout_s": 60}
"""Small, so that a script is out of memory and out of time soon."""


@dataclass(frozen=True)
class Lab:
    """A project folder beside the checkout, whose stacks are pointed at a local cloud on free ports."""

    folder: Path

    @cached_property
    def project(self) -> Project:
        return Project(root=self.folder, environ=dict(os.environ))

    @cached_property
    def cloud(self) -> LocalCloud:
        return LocalCloud(self.project)

    def stack(self, name: str = "local") -> Stack:
        return Stack(self.project, name)

    def outputs(self, stack: str = "local") -> Outputs:
        return read(self.project, stack)

    def longhaul(self, *words: str | Path, timeout_s: float = 200) -> "subprocess.CompletedProcess[str]":
        """Call the command as a person would."""
        command = [sys.executable, "-m", "ops.cli", "--project", str(self.folder), *map(str, words)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        return subprocess.run(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def json(self, *words: str | Path, code: int = 0) -> Any:
        """Call the command with --json, hold its exit code, and return what it printed."""
        done = self.longhaul(*words, "--json")
        assert done.returncode == code, f"{words}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def write_stack(self, name: str, changes: Mapping[str, Any]) -> None:
        """Write the file of a stack: that of `local` with changes."""
        document = yaml.safe_load((self.folder / "Pulumi.local.yaml").read_text())
        document["config"] |= changes
        (self.folder / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    def rest(self, service: str, verb: str, path: str, body: Any = None) -> Any:
        """Ask an API of the local cloud as the deployer."""
        url = f"http://127.0.0.1:{self.cloud.ports()[service]}{path}"
        answer = httpx.request(verb, url, json=body, headers=DEPLOYER, timeout=30, trust_env=False)
        answer.raise_for_status()
        return answer.json() if answer.content else {}

    def execution(self, run_id: str, stack: str = "local") -> dict[str, Any]:
        """Return the execution of a run as Cloud Run shows it."""
        names = self.json("status", run_id, "--stack", stack)["platform"]
        return dict(self.rest("run", "GET", f"/v2/{names['execution']}"))

    def object(self, run_id: str, name: str) -> dict[str, Any]:
        """Return a JSON document of a run's outputs from the bucket."""
        path = f"outputs/{run_id}/{name}".replace("/", "%2F")
        found = self.rest("storage", "GET", f"/storage/v1/b/{self.outputs().bucket}/o/{path}?alt=media")
        assert isinstance(found, dict)
        return found

    def containers(self) -> list[str]:
        """Return the ids of the containers that this local cloud runs, the newest first."""
        return self.docker("ps", "--quiet", "--no-trunc", "--filter", f"label=localcloud.state={self.mark}").split()

    @property
    def mark(self) -> str:
        """Return what the local cloud labels its containers with."""
        return hashlib.sha256(str(self.cloud.state.resolve()).encode()).hexdigest()[:10]

    def start_by_hand(self, run_id: str, table: Path, script: Path, *, lose_table: bool = False) -> str:
        """Start a run as `gcloud run jobs execute` does, without an index, and return the execution's name."""
        outputs = self.outputs()
        target = targets.from_outputs(outputs)
        request = Request(data=table, script=script)
        for name, path in request.files(run_id):
            if path == table and lose_table:
                continue
            target.store.upload(name, path, lambda _bytes: None)
        document = json.dumps(request.document(run_id, target.store.uri, None))
        target.store.write(request_object(run_id), document.encode())
        env = RunVariables(input_uri=f"{target.store.uri}/{request_object(run_id)}").to_env()
        return target.platform.start(run_id, "", env)["execution"]

    def docker(self, *words: str) -> str:
        """Call the container engine and return what it says."""
        environ = self.project.engine_environ(local=True)
        docker = shutil.which("docker", path=environ["PATH"])
        assert docker is not None
        return subprocess.run([docker, *words], env=environ, capture_output=True, text=True, check=True).stdout


def remove_images(lab: Lab) -> None:
    """Take the names off the container engine that this lab's registry gave its images."""
    host = yaml.safe_load((lab.folder / "Pulumi.local.yaml").read_text())["config"]["longhaul:registry"]
    form = "{{.Repository}} {{.Tag}} {{.Digest}}"
    listed = lab.docker("images", "--digests", "--format", form, "--filter", f"reference={host}/*/*/*")
    for line in listed.splitlines():
        repository, tag, digest = line.split()
        lab.docker("image", "rm", f"{repository}@{digest}" if tag == "<none>" else f"{repository}:{tag}")


@contextmanager
def a_cloud(folder: Path) -> Iterator[Lab]:
    """A local cloud that runs, and leaves nothing behind."""
    lab = make_lab(folder)
    lab.cloud.up()
    yield lab
    lab.cloud.down()
    assert not lab.containers()
    remove_images(lab)


def make_lab(folder: Path) -> Lab:
    """Write the project: this checkout's program, its stack file on free ports, and its set-up with a state of its own."""
    set_up = ROOT / ".local" / "env.sh"
    assert set_up.is_file(), "the system tests need the set-up: run `make setup` first"
    own = folder / ".local"
    (own / "pulumi").mkdir(parents=True)
    (own / "home").mkdir()
    if (plugins := ROOT / ".local" / "pulumi-home" / "plugins").exists():
        (own / "home" / "plugins").symlink_to(plugins.resolve())
    lines = [f"export PULUMI_BACKEND_URL=file://{own}/pulumi", f"export PULUMI_HOME={own}/home"]
    (own / "env.sh").write_text(set_up.read_text() + "\n".join(lines) + "\n")
    (folder / "Pulumi.yaml").write_text((ROOT / "Pulumi.yaml").read_text() + f"main: {ROOT}\n")
    document = yaml.safe_load(on_free_ports((ROOT / "Pulumi.local.yaml").read_text()))
    # what these tests are about, without the images of the other systems
    document["config"] = {
        key: value for key, value in document["config"].items() if key.startswith("gcp:") or key in KEPT
    }
    (folder / "Pulumi.local.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    lab = Lab(folder)
    lab.write_stack("local", {"longhaul:heavy_runner": SHAPE})
    return lab


def on_free_ports(text: str) -> str:
    """Replace every port of loopback, the same one by the same one."""
    sockets: list[socket.socket] = []
    ports: dict[str, int] = {}
    for old in sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", text))):
        free = socket.create_server(("127.0.0.1", 0))
        sockets.append(free)
        ports[old] = free.getsockname()[1]
    for free in sockets:
        free.close()
    for old, new in ports.items():
        text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    return text


def until(true: Callable[[], Any], *, within_s: float = 60, every_s: float = 0.3) -> Any:
    """Wait for something to be true, and return it."""
    deadline = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(every_s)
    return found
