"""What the stack gives the command: the one export `longhaul`, checked."""

import json
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ops import stackfile
from ops.environment import Project
from ops.errors import BadRequest, OpsError
from ops.router import MAX_BYTES, MAX_ROWS

EXPORT = "longhaul"


class NotDeployed(BadRequest):
    """The stack is there, but nothing of it is."""

    def __init__(self, stack: str) -> None:
        super().__init__(f"stack {stack} is not deployed", f"longhaul up --stack {stack}")


class _Model(BaseModel):
    # a newer stack may export more than this command knows
    model_config = ConfigDict(frozen=True, extra="ignore")


class Sandbox(_Model):
    """What the sandbox on the operator's machine takes."""

    max_bytes: int = MAX_BYTES
    max_rows: int = MAX_ROWS
    memory_gib: float = 8


class Heavy(_Model):
    """The heavy runner's job, and what it may use."""

    job: str
    job_id: str
    """projects/…/locations/…/jobs/…"""
    location: str
    bucket: str
    service_account: str
    image: str
    cpu: float
    memory_gib: float
    task_timeout_s: int
    script_timeout_s: int
    sandbox: Sandbox = Sandbox()
    commands: dict[str, str] = Field(default_factory=dict)
    env_block: str = ""


class Features(_Model):
    """The feature pipeline's job, and what it reads and writes."""

    job: str
    job_id: str
    """projects/…/locations/…/jobs/…"""
    location: str
    output_bucket: str
    staging_bucket: str
    service_account: str
    image: str
    cpu: float
    memory_gib: float
    task_timeout_s: int
    pairs: list[str]
    features_dataset: str
    raw_dataset: str
    commands: dict[str, str] = Field(default_factory=dict)


class Stage(_Model):
    """Shape of one stage's tasks."""

    cpu_milli: int = 2_000
    memory_mib: int = 4_096


class Fanout(_Model):
    """The fan-out's workflow, and where it reads and writes."""

    workflow: str
    workflow_id: str
    """projects/…/locations/…/workflows/…"""
    location: str
    bucket: str
    prefix: str
    service_account: str
    workflow_account: str
    image: str
    max_parallelism: int
    spot: bool = False
    stages: dict[str, Stage] = Field(default_factory=dict)
    """Stage (a, b, c) -> its shape."""
    job_templates: dict[str, str] = Field(default_factory=dict)
    commands: dict[str, str] = Field(default_factory=dict)


class Systems(_Model):
    heavy: Heavy | None = None
    features: Features | None = None
    fanout: Fanout | None = None


class Outputs(_Model):
    """The export `longhaul` of one stack."""

    project: str
    region: str
    stack: str
    bucket: str
    """The stack's bucket: run index and the heavy runner's files."""
    repository: str = ""
    endpoints: dict[str, str] = Field(default_factory=dict)
    """Service -> base URL without a path; {} in the real cloud."""
    operators: list[str] = Field(default_factory=list)
    systems: Systems = Systems()

    def require_heavy(self) -> Heavy:
        """Return the heavy runner. Raises BadRequest: the stack has none."""
        if self.systems.heavy is None:
            raise BadRequest(f"stack {self.stack} has no heavy runner", "deploy one: longhaul up --stack " + self.stack)
        return self.systems.heavy

    def require_features(self) -> Features:
        """Return the feature pipeline. Raises BadRequest: the stack has none."""
        if self.systems.features is None:
            remedy = f"give it longhaul:feature_pipeline, then: longhaul up --stack {self.stack}"
            raise BadRequest(f"stack {self.stack} has no feature pipeline", remedy)
        return self.systems.features

    def require_fanout(self) -> Fanout:
        """Return the fan-out. Raises BadRequest: the stack has none."""
        if self.systems.fanout is None:
            remedy = f"give it longhaul:batch_fanout, then: longhaul up --stack {self.stack}"
            raise BadRequest(f"stack {self.stack} has no fan-out", remedy)
        return self.systems.fanout


def read(project: Project, stack: str) -> Outputs:
    """Return the export of `stack`; from the cache if the stack's state has not changed since.

    Raises BadRequest: no such stack, or it is not deployed. OpsError: the engine does not answer.
    """
    local = stackfile.load(project, stack).is_local
    environ = project.engine_environ(local=local)
    state = _state_file(project, stack, environ.get("PULUMI_BACKEND_URL", ""))
    if state is not None and not state.is_file():
        raise NotDeployed(stack)
    cache = project.scratch / "cache" / f"outputs-{stack}.json"
    version = f"{state}@{state.stat().st_mtime_ns}" if state else ""
    if version and (cached := _from_cache(cache, version)) is not None:
        return cached
    outputs = parse(_ask_engine(project, stack, environ), stack)
    if version:
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = cache.with_suffix(".new")
        temporary.write_text(json.dumps({"version": version, "outputs": outputs.model_dump()}), encoding="utf-8")
        temporary.replace(cache)
    return outputs


def parse(exports: object, stack: str) -> Outputs:
    """Check the exports of a stack. Raises BadRequest: not deployed, or deployed by another version."""
    if not isinstance(exports, dict) or EXPORT not in exports:
        raise NotDeployed(stack)
    try:
        return Outputs.model_validate(exports[EXPORT])
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRequest(
            f"the export {EXPORT!r} of stack {stack} does not fit this command: {where}: {first['msg']}",
            f"bring the stack up to date: longhaul up --stack {stack}",
        ) from exc


def _state_file(project: Project, stack: str, backend: str) -> Path | None:
    # only a backend in the file system has a state whose age can be seen without asking for the state itself
    if not backend.startswith("file://"):
        return None
    parts = urlsplit(backend)
    return Path(parts.netloc + parts.path).expanduser() / ".pulumi" / "stacks" / project.name / f"{stack}.json"


def _from_cache(cache: Path, version: str) -> Outputs | None:
    try:
        held = json.loads(cache.read_text(encoding="utf-8"))
        return Outputs.model_validate(held["outputs"]) if held["version"] == version else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ask_engine(project: Project, stack: str, environ: dict[str, str]) -> object:
    command = ["pulumi", "stack", "output", "--json", "--stack", stack, "--non-interactive"]
    try:
        done = subprocess.run(command, cwd=project.root, env=environ, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words and a checked stack name
    except FileNotFoundError as exc:
        raise OpsError("the pulumi engine is not on PATH", "install Pulumi, or run `make setup`") from exc
    if done.returncode:
        message = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
        if "no stack named" in done.stderr:
            raise NotDeployed(stack)
        raise OpsError(f"pulumi stack output: {message}", f"longhaul doctor --stack {stack}")
    return json.loads(done.stdout or "{}")
