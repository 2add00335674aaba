"""Settings of the local cloud: one JSON file over these defaults. Nothing is read from the environment."""

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from localcloud.faults import FaultSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
BASE_PORT = 8470
APIS = (
    "control",
    "run",
    "storage",
    "iam",
    "resourcemanager",
    "serviceusage",
    "artifactregistry",
    "registry",
    "logging",
    "metadata",
    "bigquery",
    "bigquerystorage",
    "secretmanager",
    "workflows",
    "workflowexecutions",
    "batch",
    "cloudscheduler",
    "monitoring",
    "cloudbilling",
)


class WrongSettings(ValueError):
    """A key that is not known, or a value of the wrong type."""


def default_ports() -> dict[str, int]:
    return {name: BASE_PORT + offset for offset, name in enumerate(APIS)}


@dataclass(frozen=True, kw_only=True)
class ProjectSettings:
    project_id: str
    number: int = 0
    """Project number; 0 makes one from the id."""
    services_enabled: tuple[str, ...] = ()
    """APIs enabled from the start, such as run.googleapis.com; ("all",) leaves nothing to enable."""


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """Ceilings for the containers of jobs. 0: what the host has."""

    docker_host: str = ""
    """Docker Engine socket, e.g. unix:///run/docker.sock; empty: the client's default."""
    mode: str = "auto"
    """auto (containers, else processes), containers, or processes."""
    max_memory_mib: int = 0
    max_cpus: float = 0.0
    max_tasks: int = 0
    """Tasks that run at once over all executions; 0: what `extra.run.max_parallel_tasks` says, 64 unless it is set."""
    termination_grace_s: float = 10.0
    """From SIGTERM to SIGKILL, https://cloud.google.com/run/docs/container-contract (2026-11)."""
    process_env: dict[str, str] = field(default_factory=dict)
    """Variables for the process fallback, e.g. PYTHONPATH."""


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    max_entries: int = 500_000
    """The oldest entries beyond this number are dropped. 1,000 to 100,000,000."""
    list_quota_per_minute: int = 0
    """entries.list a minute and project (60 in the cloud, https://cloud.google.com/logging/quotas, 2026-11); 0: none."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    state: Path
    host: str = "127.0.0.1"
    """Loopback only; anything else is refused."""
    ports: dict[str, int] = field(default_factory=default_ports)
    """Port per API; 0 takes a free one. An API that is absent here is not served."""
    region: str = "europe-west1"
    projects: tuple[ProjectSettings, ...] = (
        ProjectSettings(project_id="longhaul-local", number=100_000_000_001, services_enabled=()),
    )
    anonymous: str = "owner"
    """What a caller without a token, or with one that is not of this cloud, is: owner, or deny (401)."""
    owner: str = "user:deployer@longhaul.local"
    """Holds roles/owner on every project."""
    accounts: dict[str, str] = field(
        default_factory=lambda: {
            "local-deployer": "user:deployer@longhaul.local",
            "local-operator": "user:operator@longhaul.local",
        }
    )
    """Fixed access token -> member."""
    operator: str = "user:operator@longhaul.local"
    """Whose tokens the metadata server on port `metadata` gives."""
    check_services: bool = True
    """Answer 403 SERVICE_DISABLED for an API that a project has not enabled."""
    faults: FaultSettings = field(default_factory=FaultSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    logs: LogSettings = field(default_factory=LogSettings)
    image_hosts: dict[str, str] = field(default_factory=dict)
    """Further registry hosts to be read as this cloud's registry, host -> host."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Settings of parts that are not of the core, by part."""

    def __post_init__(self) -> None:
        if self.host not in ("127.0.0.1", "::1"):
            raise ValueError(f"settings: host must be a loopback address, got {self.host!r}")
        if self.anonymous not in ("owner", "deny"):
            raise ValueError(f"settings: anonymous must be owner or deny, got {self.anonymous!r}")
        unknown = set(self.ports) - set(APIS)
        if unknown:
            raise ValueError(f"settings: ports must name APIs of {', '.join(APIS)}, got {', '.join(sorted(unknown))}")
        taken = [port for port in self.ports.values() if port]
        if len(taken) != len(set(taken)):
            raise ValueError("settings: ports must differ from one another")
        if "control" not in self.ports:
            raise ValueError("settings: ports must contain control")

    def url(self, api: str) -> str:
        """Base URL of an API, without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.ports[api]}"

    def with_ports(self, bound: dict[str, int]) -> "Settings":
        """With the ports that are really served, and no others."""
        return replace(self, ports=bound)


def from_dict(state: Path, values: dict[str, Any]) -> Settings:
    """Raises ValueError for an unknown key or a value out of range."""
    known = {item.name for item in fields(Settings)} - {"state"}
    if unknown := set(values) - known:
        raise ValueError(f"settings: keys must be of {', '.join(sorted(known))}, got {', '.join(sorted(unknown))}")
    parts: dict[str, Any] = dict(values)
    if "projects" in parts:
        parts["projects"] = tuple(_project(item) for item in parts["projects"])
    for name, kind in (("faults", FaultSettings), ("runtime", RuntimeSettings), ("logs", LogSettings)):
        if name in parts:
            parts[name] = build(kind, name, parts[name])
    return Settings(state=state, **parts)


def build(kind: type[T], name: str, values: Any) -> T:
    """The dataclass `kind` from a JSON object, the part `name` of the settings. Raises WrongSettings for what it does not have."""
    known = sorted(item.name for item in fields(kind))
    if not isinstance(values, dict):
        raise WrongSettings(f"settings: {name} must be an object with keys of {', '.join(known)}, got {values!r}")
    if unknown := sorted(set(values) - set(known)):
        raise WrongSettings(f"settings: {name} must have keys of {', '.join(known)}, got {', '.join(unknown)}")
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except TypeError as error:
        raise WrongSettings(f"settings: {name} holds a value of the wrong type: {error}") from error


def _project(item: str | dict[str, Any]) -> ProjectSettings:
    if isinstance(item, str):
        return ProjectSettings(project_id=item)
    project = build(ProjectSettings, "projects", item)
    services = project.services_enabled
    return replace(project, services_enabled=(services,)) if isinstance(services, str) else project


def load(state: Path, file: Path | None = None) -> Settings:
    """Settings from a JSON file (an object with the fields of Settings); without one, the defaults."""
    values = json.loads(file.read_text()) if file else {}
    if not isinstance(values, dict):
        raise ValueError(f"settings: {file} must hold a JSON object")
    return from_dict(state, values)
