"""What a machine and a stack need for the command, looked at one by one; each finding says what to run."""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ops import stackfile
from ops.environment import Project
from ops.errors import OpsError
from ops.outputs import NotDeployed, Outputs, read
from ops.sandbox import docker_answers

if TYPE_CHECKING:
    from ops.clients import Clients
    from ops.outputs import Features, Heavy


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    """What to run; empty if nothing is wrong."""


def examine(project: Project, stack: str) -> Iterator[Finding]:
    """Yield a finding for each thing the command needs for `stack`. Nothing is changed."""
    file = stackfile.load(project, stack)
    environ = project.engine_environ(local=file.is_local)
    yield _engine(environ)
    yield _docker(environ)
    if file.is_local:
        yield _local_cloud(project, stack)
    outputs: Outputs | None = None
    try:
        outputs = read(project, stack)
        yield Finding(name="stack", ok=True, detail=f"{stack} is deployed in {outputs.project}")
    except NotDeployed as exc:
        yield Finding(name="stack", ok=False, detail=str(exc), remedy=exc.remedy)
    except OpsError as exc:
        yield Finding(name="stack", ok=False, detail=str(exc), remedy=exc.remedy)
    if outputs is not None:
        yield from _cloud(outputs)


def _engine(environ: Mapping[str, str]) -> Finding:
    binary = shutil.which("pulumi", path=environ.get("PATH"))
    if binary is None:
        return Finding(name="engine", ok=False, detail="no pulumi on PATH", remedy="install Pulumi, or: make setup")
    done = subprocess.run([binary, "version"], env=dict(environ), capture_output=True, text=True, check=False)  # noqa: S603 - found on PATH
    return Finding(name="engine", ok=done.returncode == 0, detail=f"pulumi {done.stdout.strip()} ({binary})")


def _docker(environ: Mapping[str, str]) -> Finding:
    if docker_answers(environ):
        return Finding(
            name="docker", ok=True, detail=f"answers at {environ.get('DOCKER_HOST') or 'its default socket'}"
        )
    detail = "no container engine answers; the sandbox falls back to plain processes"
    return Finding(name="docker", ok=False, detail=detail, remedy="start Docker, or: make setup")


def _local_cloud(project: Project, stack: str) -> Finding:
    from ops.local import LocalCloud

    cloud = LocalCloud(project, stack)
    if cloud.is_up():
        return Finding(name="local cloud", ok=True, detail=f"up, process {cloud.pid()}")
    return Finding(name="local cloud", ok=False, detail="down", remedy="longhaul local up")


def _cloud(outputs: Outputs) -> Iterator[Finding]:
    from ops.clients import Clients

    clients = Clients(project=outputs.project, endpoints=outputs.endpoints)

    def token() -> str:
        clients.token()
        return f"access token for {clients.identity() or 'the application default credentials'}"

    yield _checked("credentials", token)
    jobs = {"job": outputs.systems.heavy, "feature job": outputs.systems.features}
    for name, system in jobs.items():
        if system is not None:
            yield _checked(name, partial(_job, clients, system))
    if not any(jobs.values()):
        return
    yield _checked("bucket", partial(_bucket, clients, outputs.bucket))
    if outputs.systems.features is not None:
        yield _checked("output bucket", partial(_bucket, clients, outputs.systems.features.output_bucket))

    def logs() -> str:
        body = {"resourceNames": [f"projects/{outputs.project}"], "pageSize": 1}
        clients.call("logging", "POST", "/v2/entries:list", body=body)
        return "can be read"

    yield _checked("logs", logs)


def _job(clients: "Clients", system: "Heavy | Features") -> str:
    found = clients.call("run", "GET", f"/v2/{system.job_id}")
    return f"{system.job} in {system.location}, generation {found.get('generation', '?')}"


def _bucket(clients: "Clients", name: str) -> str:
    from ops.store import BucketStore

    count = sum(1 for _ in BucketStore(clients, name).list("runs/"))
    return f"gs://{name}, {count} objects of runs"


def _checked(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name=name, ok=True, detail=look())
    except OpsError as exc:
        return Finding(name=name, ok=False, detail=str(exc), remedy=exc.remedy)
