"""What every system agrees on: exit codes, task, endpoints, run index, run record, heartbeat.

Imported by the stack, the longhaul command and the containers, so it needs the standard library only.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

CONTRACT_VERSION = "1"
"""Version of the documents below; a reader refuses a major version it does not know."""

HEARTBEAT_INTERVAL_S = 10
"""A running task renews its status this often, seconds."""

LOST_AFTER_INTERVALS = 5
"""A RUNNING status whose heartbeat is older than this many intervals counts as LOST."""

RUN_METADATA = "run_metadata.json"
"""Name of the run record, beside the outputs of every run."""

RUN_ID_PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""1 to 63 letters, digits, dots, dashes and underscores; a letter or digit at both ends."""


class ExitCode(IntEnum):
    """How a container ends. Batch lifecycle policies and Cloud Run retries look at nothing else."""

    DONE = 0
    """The work is complete."""
    RETRY = 1
    """Failed; a retry may help."""
    BAD_REQUEST = 2
    """The request is wrong; a retry cannot help."""


class RunState(StrEnum):
    """States of a run."""

    STARTING = "STARTING"
    """The index is written, the platform has not shown a task yet."""
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"
    """Never written by a task: what a reader calls RUNNING without a heartbeat."""

    @property
    def is_final(self) -> bool:
        return self not in (RunState.STARTING, RunState.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Which task of which execution this process is, as Cloud Run or Batch tells it.

    Sources: https://cloud.google.com/run/docs/container-contract#jobs-env-vars and
    https://cloud.google.com/batch/docs/reference/rest/v1/projects.locations.jobs#runnable (2026-08).
    """

    index: int = 0
    """Index of this task, 0 to count - 1."""
    count: int = 1
    """Number of tasks of the execution, 1 or more."""
    attempt: int = 0
    """How often the platform retried this task, 0 for the first start."""
    execution: str = ""
    """Name of the execution or Batch job; empty outside a platform."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the platform's variables; absent ones mean a single task outside a platform."""
        return cls(
            index=int(env.get("CLOUD_RUN_TASK_INDEX") or env.get("BATCH_TASK_INDEX") or 0),
            count=int(env.get("CLOUD_RUN_TASK_COUNT") or env.get("BATCH_TASK_COUNT") or 1),
            attempt=int(env.get("CLOUD_RUN_TASK_ATTEMPT") or env.get("BATCH_TASK_RETRY_ATTEMPT") or 0),
            execution=env.get("CLOUD_RUN_EXECUTION") or env.get("BATCH_JOB_ID") or "",
        )


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Base URLs of the services a container calls; None is the real Google Cloud.

    A URL has a scheme and a host and no path: `http://127.0.0.1:8472`.
    """

    storage: str | None = None
    bigquery: str | None = None
    bigquery_storage: str | None = None
    secret_manager: str | None = None
    logging: str | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            url = getattr(self, item.name)
            if url is not None and not re.fullmatch(r"https?://[^/\s]+", url):
                raise ValueError(f"{item.name}: endpoint must be http(s)://HOST[:PORT] without a path, got {url!r}")

    def to_env(self) -> dict[str, str]:
        """Only the endpoints that are set, so that a job in the real cloud carries none."""
        return {_endpoint_variable(name): url for name, url in asdict(self).items() if url is not None}

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        return cls(**{item.name: env.get(_endpoint_variable(item.name)) or None for item in fields(cls)})


def _endpoint_variable(name: str) -> str:
    return f"LONGHAUL_{name.upper()}_ENDPOINT"


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """Who started this run: the variables a starter passes as overrides of one execution."""

    token: str = ""
    """The `start_token` of the index the starter wrote; empty when nobody wrote one."""
    started_by: str = ""
    """Who or what started the run, for the record: `user:…`, `schedule:…`."""

    def to_env(self) -> dict[str, str]:
        pairs = {"RUN_START_TOKEN": self.token, "RUN_STARTED_BY": self.started_by}
        return {name: value for name, value in pairs.items() if value}

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        return cls(token=env.get("RUN_START_TOKEN", ""), started_by=env.get("RUN_STARTED_BY", ""))


VCPU_SECOND_USD = 0.000018
GIB_SECOND_USD = 0.000002
"""List price of Cloud Run jobs, tier 1 regions, US dollars: https://cloud.google.com/run/pricing (2026-08)."""
MINIMUM_BILLED_S = 60
"""A task is billed for a minute at least, seconds: https://cloud.google.com/run/pricing (2026-08)."""


def job_cost_usd(cpu: float, memory_gib: float, seconds: float) -> float:
    """List price of one task of a Cloud Run job with this shape, without free tier and without GPU, US dollars."""
    return round(max(seconds, MINIMUM_BILLED_S) * (cpu * VCPU_SECOND_USD + memory_gib * GIB_SECOND_USD), 6)


class Document:
    """A frozen dataclass that is kept as a JSON object."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def to_json(self) -> bytes:
        """As indented JSON."""
        return to_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read it again; fields of a newer version are dropped. Raises ValueError naming what is missing."""
        return from_json(cls, data)


def check_run_id(run_id: str) -> str:
    """Give `run_id` back, or raise ValueError saying what a run id looks like."""
    if not RUN_ID_PATTERN.fullmatch(run_id):
        raise ValueError(
            "run_id: must be 1 to 63 letters, digits, '.', '-' or '_' with a letter or digit at both ends, "
            f"got {run_id[:80]!r}"
        )
    return run_id


def new_run_id(now: datetime, entropy: bytes) -> str:
    """A run id that sorts by time: `20260131-235959-0a1b2c3d`, from UTC `now` and 4 or more random bytes."""
    if len(entropy) < 4:
        raise ValueError(f"entropy: must be 4 or more bytes, got {len(entropy)}")
    return f"{now:%Y%m%d-%H%M%S}-{entropy[:4].hex()}"


def index_object(system: str, run_id: str) -> str:
    """Object name of a run's index in the stack's bucket."""
    return f"runs/{system}/{check_run_id(run_id)}.json"


@dataclass(frozen=True, kw_only=True)
class RunIndex(Document):
    """The small object every start writes first (`if_generation_match=0`), and every command finds a run by."""

    system: str
    """`heavy`, `features`, `loadgen`, `fanout` or `gpu`."""
    run_id: str
    start_token: str
    """Random text of the start that holds the run id; a task with another token does not run."""
    started_by: str
    started_at: str
    """RFC 3339, UTC."""
    state: str = RunState.STARTING
    """State as of the last write of the index; the newest state is in the run's own status object."""
    output_uri: str = ""
    """Where the run's outputs, status and record lie: gs:// prefix or folder, with `/` at its end."""
    platform: Mapping[str, Any] = field(default_factory=dict)
    """Names the platform knows the run by, such as `{"job": …, "execution": "projects/…"}`."""
    contract_version: str = CONTRACT_VERSION


@dataclass(frozen=True, kw_only=True)
class RunRecord(Document):
    """`run_metadata.json`: what ran, for whom, with what, and how it ended. Written once, at the end."""

    system: str
    run_id: str
    state: str
    start: str
    """RFC 3339, UTC."""
    end: str
    image: str
    """Image reference by digest; empty if nobody told the container."""
    arguments: Mapping[str, Any]
    """What the run was asked to do, without secrets."""
    started_by: str = ""
    execution: str = ""
    attempt: int = 0
    counts: Mapping[str, Any] = field(default_factory=dict)
    """Files, bytes, rows, and whatever else the system counts."""
    cost_usd: float | None = None
    """List price of what was used, US dollars; None where no price applies."""
    runtime: str = "container"
    """`container` or `process`."""
    contract_version: str = CONTRACT_VERSION
    details: Mapping[str, Any] = field(default_factory=dict)
    """What only this system records."""


def to_json(document: "DataclassInstance") -> bytes:
    """A dataclass as indented JSON with a line feed at its end."""
    return (json.dumps(asdict(document), indent=2, ensure_ascii=False) + "\n").encode()


def from_json(cls: type[T], data: bytes) -> T:
    """A dataclass from JSON; fields it does not know are dropped, so that an older reader reads a newer document.

    Raises ValueError naming what is missing.
    """
    raw = json.loads(data)
    if not isinstance(raw, dict):
        raise ValueError(f"{cls.__name__}: must be a JSON object, got {type(raw).__name__}")
    known = {item.name for item in fields(cls)}
    try:
        return cls(**{name: value for name, value in raw.items() if name in known})
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from error
