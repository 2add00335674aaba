"""Where a run can go: the job of a stack, the job that a calling system's variables name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ops.clients import Clients
from ops.errors import BadRequest
from ops.fanout_jobs import FanoutWorkflow
from ops.jobs import CloudRunJob
from ops.outputs import Outputs, Stage
from ops.platforms import Platform
from ops.router import Place
from ops.store import Advance, BucketStore, Store

PARALLEL = 4
"""Files that move at once."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where runs go: a place for their files, and what runs their container."""

    place: Place
    store: Store
    platform: Platform
    cpu: float
    memory_gib: float
    outputs: Store | None = None
    """Where outputs go, if that is not `store`."""
    identity: Callable[[], str] = lambda: ""
    """Gives the account that runs are started as; empty where there is none or nobody tells."""


Bars = Callable[[str, int], Advance]
"""Called with a file's name and size, gives what is told how much of it has moved."""


def no_bars(_label: str, _size: int) -> Advance:
    """Show nothing."""
    return lambda _bytes: None


def from_outputs(outputs: Outputs) -> Target:
    """Return the job of a deployed stack. Raises BadRequest: it has no heavy runner."""
    system = outputs.require_heavy()
    clients = Clients(project=outputs.project, endpoints=outputs.endpoints)
    return Target(
        place=Place.JOB,
        store=BucketStore(clients, system.bucket),
        platform=CloudRunJob(clients, system.job_id),
        cpu=system.cpu,
        memory_gib=system.memory_gib,
        identity=clients.identity,
    )


def features(outputs: Outputs, *, delayed: bool = False) -> Target:
    """Return the feature pipeline's job of a deployed stack; `delayed`: what it starts may begin up to 12 h later.

    Raises BadRequest: it has none.
    """
    system = outputs.require_features()
    clients = Clients(project=outputs.project, endpoints=outputs.endpoints)
    return Target(
        place=Place.JOB,
        store=BucketStore(clients, outputs.bucket),
        platform=CloudRunJob(clients, system.job_id, delayed=delayed),
        cpu=system.cpu,
        memory_gib=system.memory_gib,
        outputs=BucketStore(clients, system.output_bucket),
        identity=clients.identity,
    )


def fanout(outputs: Outputs) -> Target:
    """Return the fan-out's workflow of a deployed stack; the shape is that of its tasks. Raises BadRequest: it has none."""
    system = outputs.require_fanout()
    clients = Clients(project=outputs.project, endpoints=outputs.endpoints)
    stage = system.stages.get("b") or Stage(memory_mib=8_192)
    return Target(
        place=Place.JOB,
        store=BucketStore(clients, outputs.bucket),
        platform=FanoutWorkflow(clients, system.workflow_id),
        cpu=stage.cpu_milli / 1_000,
        memory_gib=stage.memory_mib / 1_024,
        outputs=BucketStore(clients, system.bucket),
        identity=clients.identity,
    )


def from_env(environ: Mapping[str, str]) -> Target:
    """Return the job that the HEAVY_RUNNER_* variables of a calling system name.

    `LONGHAUL_{RUN,STORAGE,LOGGING,METADATA}_ENDPOINT` point it at other endpoints than Google's. The shape is only
    used for prices: `HEAVY_RUNNER_CPU` (default 8) and `HEAVY_RUNNER_MEMORY_GIB` (default 32).

    Raises BadRequest: not enabled, or a variable is missing.
    """
    if environ.get("HEAVY_RUNNER_ENABLED", "").lower() not in ("1", "true", "yes"):
        raise BadRequest("the heavy runner is not enabled", "set HEAVY_RUNNER_ENABLED=true and the stack's variables")
    names = ("PROJECT", "REGION", "JOB", "BUCKET")
    if missing := [f"HEAVY_RUNNER_{name}" for name in names if not environ.get(f"HEAVY_RUNNER_{name}")]:
        raise BadRequest(f"not set: {', '.join(missing)}", "paste the stack's block: longhaul env")
    project, region, job, bucket = (environ[f"HEAVY_RUNNER_{name}"] for name in names)
    services = ("run", "storage", "logging", "metadata")
    endpoints = {s: url for s in services if (url := environ.get(f"LONGHAUL_{s.upper()}_ENDPOINT"))}
    clients = Clients(project=project, endpoints=endpoints)
    return Target(
        place=Place.JOB,
        store=BucketStore(clients, bucket),
        platform=CloudRunJob(clients, f"projects/{project}/locations/{region}/jobs/{job}"),
        cpu=float(environ.get("HEAVY_RUNNER_CPU") or 8),
        memory_gib=float(environ.get("HEAVY_RUNNER_MEMORY_GIB") or 32),
        identity=clients.identity,
    )
