"""Stack configuration, read once and checked before anything is declared.

What Pulumi.<stack>.yaml may say is what the dataclasses below have: a key they do not know, a key that is missing and a
value out of range all raise, and the message names the key.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_type_hints

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env, is_config_secret

from workloads.common.contract import Endpoints
from workloads.feature_pipeline.contract import HORIZONS, PAIRS, PLATFORM_CPU, PLATFORM_MEMORY_GIB, FeatureEnv
from workloads.heavy_runner.contract import DEFAULT_SCRIPT_TIMEOUT_S, HeavyRunnerEnv

T = TypeVar("T")

NAMESPACE = "longhaul"

SERVICES = (
    *(service.name for service in fields(Endpoints)),
    *("artifact_registry", "batch", "billing", "iam", "metadata", "resource_manager", "run", "service_usage"),
    *("workflow_executions", "workflows"),
)
"""Services that `longhaul:endpoints` may name."""

WORKLOADS = ("batch_fanout", "feature_pipeline", "heavy_runner")
"""Workloads with an image, which `longhaul:images` may pin."""

SET_BY_STACK = frozenset({"bucket", "cpu", "image", "memory_mib", "script_timeout_s", "task_timeout_s"})
"""Fields of HeavyRunnerEnv that have a key of their own or follow from resources."""

_LABEL = r"[a-z][a-z0-9_-]{0,62}"
_LABEL_VALUE = r"[a-z0-9_-]{0,63}"
_GRANTEE = r"[a-z][a-z0-9-]{0,20}"
_PRINCIPAL = r"(user|group|serviceAccount|domain|principal|principalSet):\S+"
_URL = r"https?://[^/\s]+"


class SettingsError(pulumi.RunError, ValueError):
    """A stack file is not as it must be. The engine shows its text alone, without a traceback."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """How images are built; a stack that pins all of its images needs none of it."""

    base_image: str = ""
    """`BASE_IMAGE` of the Dockerfiles. Default theirs, python:3.13-slim-trixie."""
    network: str = ""
    """Network of the build's RUN steps, `host` where the engine has no bridge. Default the engine's own."""


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What is kept for how long."""

    expire_after_days: int = 30
    """Age at which datasets and inputs of runs are deleted, days (1 to 3,650). Default 30."""
    keep_versions: int = 20
    """Versions of each image that are never deleted (1 to 1,000). Default 20."""
    untagged_after_days: int = 90
    """Age at which images without a tag are deleted, days (1 to 3,650). Default 90."""
    kept_digests: tuple[str, ...] = ()
    """Digests that another stack pins from this stack's repository, as sha256:…. Default none."""

    def __post_init__(self) -> None:
        _between("expire_after_days", self.expire_after_days, 1, 3_650, "days")
        _between("keep_versions", self.keep_versions, 1, 1_000, "versions")
        _between("untagged_after_days", self.untagged_after_days, 1, 3_650, "days")
        for digest in self.kept_digests:
            _like("kept_digests", digest, r"sha256:[0-9a-f]{64}", "sha256:DIGEST")


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """What the container on the operator's own machine takes instead of the job."""

    max_bytes: int = 50_000_000
    """A table of this size goes to the job, bytes. Default 50 MB."""
    max_rows: int = 50_000
    """A table of so many rows goes to the job. Default 50,000."""
    memory_gib: float = 8
    """Memory of the container, GiB (0.5 to 512); clamped to what the machine has. Default 8."""

    def __post_init__(self) -> None:
        _between("max_bytes", self.max_bytes, 0, 10**15, "bytes")
        _between("max_rows", self.max_rows, 0, 10**12, "rows")
        _between("memory_gib", self.memory_gib, 0.5, 512, "GiB")


@dataclass(frozen=True, kw_only=True)
class HeavyRunner:
    """The heavy runner's job."""

    cpu: int = 8
    """vCPU (1, 2, 4, 6 or 8). Default 8."""
    memory_gib: float = 32
    """Memory, GiB; 32 needs 8 vCPU. Default 32."""
    task_timeout_s: int = 1_800
    """Limit on the task, seconds (120 to 604,800). Default 1,800."""
    script_timeout_s: int = DEFAULT_SCRIPT_TIMEOUT_S
    """Limit on the script, seconds (60 to 7,200, and 60 less than `task_timeout_s`). Default 1,740."""
    max_retries: int = 0
    """Retries of a task that failed (0 to 10). Default 0."""
    sandbox: Sandbox = field(default_factory=Sandbox)
    env: HeavyRunnerEnv = field(default_factory=HeavyRunnerEnv)
    """What else the container is told; the fields that the stack knows itself are refused here."""

    def __post_init__(self) -> None:
        HeavyRunnerEnv(script_timeout_s=self.script_timeout_s, task_timeout_s=self.task_timeout_s)
        _between("script_timeout_s", self.script_timeout_s, 60, self.task_timeout_s - 60, "s")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When runs start by themselves."""

    cron: str
    """Five fields of cron, as in `0 3 * * 1-5`."""
    time_zone: str = "Etc/UTC"
    """Time zone of `cron`. Default Etc/UTC."""
    only: tuple[str, ...] = ()
    """What is started, of all that can be. Default all of it."""
    delayed: bool = False
    """Whether executions may begin up to 12 hours later, for about 30 % less. Default false."""
    paused: bool = False
    """Whether nothing is started for now. Default false."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Who is told of an execution that failed."""

    channels: tuple[str, ...] = ()
    """Notification channels, as projects/PROJECT/notificationChannels/ID. Default none: the console alone shows it."""


@dataclass(frozen=True, kw_only=True)
class FeaturePipeline:
    """The feature pipeline's job. What is not explained here is in workloads/feature_pipeline/contract.py."""

    features_dataset: str
    """Dataset of feature and target tables, DATASET or PROJECT.DATASET."""
    raw_dataset: str
    """Dataset of raw prices, DATASET or PROJECT.DATASET."""
    create_datasets: bool = False
    """Whether the stack makes the two datasets. Default false: they exist."""
    output_bucket: str = ""
    """Bucket of the training files. Default: the stack makes one."""
    staging_bucket: str = ""
    """Bucket of the checkpoints. Default: the stack makes one."""
    staging_days: int = 7
    """Age at which checkpoints are deleted, days (1 to 365). Default 7."""
    cpu: int = int(PLATFORM_CPU)
    """vCPU (1, 2, 4, 6 or 8). Default 4."""
    memory_gib: float = PLATFORM_MEMORY_GIB
    """Memory, GiB (2 to 16 with 4 vCPU). Default 12."""
    task_timeout_s: int = 7_200
    """Limit on the run of one pair, seconds (60 to 604,800). Default 7,200."""
    max_retries: int = 0
    """Retries of a task that failed (0 to 10). Default 0."""
    scratch: str = "memory"
    """Where checkpoints lie on the way: `memory` or `disk`. Default memory."""
    scratch_gib: int = 10
    """Size of the disk, GiB (1 to 10, or to `disk_quota_gib`). Default 10."""
    disk_quota_gib: int = 10
    """Disk of a task that the project has quota for, GiB. Default 10."""
    pairs: tuple[str, ...] = PAIRS
    """Currency pairs of the stack, the first one that of an execution which names none. Default 26."""
    key_column: str = "interval_time"
    """Column all tables share. Default interval_time."""
    horizons: tuple[int, ...] = HORIZONS
    """Minutes ahead that every target must have. Default 15, 30, … 105."""
    target_table: str = FeatureEnv.target_table
    pair_tables: str = FeatureEnv.pair_tables
    shared_tables: str = FeatureEnv.shared_tables
    io_threads: int = FeatureEnv.io_threads
    workers: int = FeatureEnv.workers
    missing_allowed: tuple[str, ...] = ()
    """Tables that may be missing or empty. Default none: a missing table fails the run."""
    min_rows: int = FeatureEnv.min_rows
    min_columns: int = FeatureEnv.min_columns
    max_null_ratio: float = FeatureEnv.max_null_ratio
    policy_missing: str = FeatureEnv.policy_missing
    policy_duplicate: str = FeatureEnv.policy_duplicate
    policy_extra: str = FeatureEnv.policy_extra
    expected_tables_per_minute: float = FeatureEnv.expected_tables_per_minute
    schedule: Schedule | None = None
    """None: nothing starts by itself."""
    alert: Alert | None = None
    """None: nobody is told of a failure."""

    def __post_init__(self) -> None:
        _between("staging_days", self.staging_days, 1, 365, "days")
        _between("task_timeout_s", self.task_timeout_s, 60, 604_800, "s")
        _between("disk_quota_gib", self.disk_quota_gib, 1, 10_000, "GiB")
        if not self.pairs:
            raise ValueError("pairs must be one or more, got none")
        self.contract("any")

    def contract(self, project: str) -> FeatureEnv:
        """What the container is told, but for the buckets, which the engine knows. Raises ValueError: out of range."""
        shared = {item.name for item in fields(FeatureEnv)} & {item.name for item in fields(self)}
        told = {name: getattr(self, name) for name in shared - {"output_bucket", "staging_bucket"}}
        return FeatureEnv(project=project, output_bucket="later", staging_bucket="later", **told)


@dataclass(frozen=True, kw_only=True)
class FanoutStage:
    """Shape of one stage of the fan-out."""

    cpu_milli: int | None = None
    """CPU of a task, thousandths of a vCPU (250 to 224,000). Default 2,000."""
    memory_mib: int | None = None
    """Memory of a task, MiB (128 to 4,000,000). Default 4,096, and 8,192 in stage B."""
    machine_type: str = ""
    """Machine type, such as `e2-standard-2`. Default: Batch picks one that the task fits on."""
    max_retries: int | None = None
    """Retries of a task that exited with 1 or lost its Spot machine (0 to 10). Default 3."""
    timeout_s: int | None = None
    """Limit on one attempt of a task, seconds (60 to 1,209,600). Default 3,600."""
    boot_disk_gib: int | None = None
    """Boot disk of a machine, GiB (30 to 65,536). Default Batch's own."""


@dataclass(frozen=True, kw_only=True)
class FanoutNetwork:
    """Network of the fan-out's machines, which have no external address in it."""

    network: str
    """projects/PROJECT/global/networks/NAME."""
    subnetwork: str
    """projects/PROJECT/regions/REGION/subnetworks/NAME; it needs Private Google Access."""
    nat: bool = False
    """Whether the stack makes a router with NAT for it. Default false: there is one, or none is needed."""
    nat_min_ports: int | None = None
    """Ports that a machine has at least (32 to 65,536, a power of two). Default 64."""


@dataclass(frozen=True, kw_only=True)
class Fanout:
    """The fan-out. The component holds these values to their ranges before anything is declared."""

    bucket: str = ""
    """Existing bucket of inputs and results. Default: the stack's own."""
    uniform_access: bool = True
    """Whether that bucket has uniform bucket-level access. Default true."""
    prefix: str = "fanout/"
    """Prefix of all runs in the bucket, with `/` at its end. Default `fanout/`."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Further environment of the tasks: FANOUT_MODEL, FANOUT_FORMAT, FANOUT_TABLE. Default none."""
    stage_a: FanoutStage | None = None
    """The dispatcher. Default 2 vCPU, 4 GiB."""
    stage_b: FanoutStage | None = None
    """The tasks. Default 2 vCPU, 8 GiB each."""
    stage_c: FanoutStage | None = None
    """The gather. Default 2 vCPU, 4 GiB."""
    gather: bool = True
    """Whether stage C gathers the results. Default true."""
    spot: bool = False
    """Whether tasks run on Spot machines. Default false."""
    max_parallelism: int = 100
    """Tasks at the same time unless a run says another number (1 to 5,000). Default 100."""
    poll_s: int | None = None
    """First pause between two looks at a job, seconds (1 to 300). Default 5."""
    job_wait_s: int | None = None
    """Longest wait for one job, seconds (60 to 31,536,000). Default 1,382,400."""
    github_secret: str = ""
    """Id of an existing secret with the token that clones a private repository. Default none."""
    github_repo: str = ""
    """Repository that every run clones unless it names another, OWNER/REPOSITORY. Default none."""
    network: FanoutNetwork | None = None
    """None: the project's default network, with external addresses."""
    alert: Alert | None = None
    """None: nobody is told of a failure."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one stack is."""

    project: str
    """Project id, from gcp:project."""
    region: str
    """Region of everything, from gcp:region."""
    stack: str
    deletion_protection: bool
    """Whether jobs refuse to be deleted or replaced, and the engine to delete bucket and repository."""
    operators: Mapping[str, str]
    """Principals that use the `longhaul` command, as {label: principal}."""
    force_destroy: bool = False
    """Whether `pulumi destroy` deletes the bucket with its objects. Default false."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels for cost reports on everything that has labels. Default none but stack and system."""
    registry: str = ""
    """Host of the image registry. Default REGION-docker.pkg.dev."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Workload -> HOST/PATH@sha256:DIGEST; a workload that is not here is built. Default none."""
    image_readers: Mapping[str, str] = field(default_factory=dict)
    """Principals that may pull this stack's images, as {label: principal}. Default none."""
    build: Build = field(default_factory=Build)
    retention: Retention = field(default_factory=Retention)
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """Service -> base URL without path, for a local cloud. Default none, which is the real one."""
    heavy_runner: HeavyRunner | None = None
    """None: the stack has no heavy runner."""
    feature_pipeline: FeaturePipeline | None = None
    """None: the stack has no feature pipeline."""
    batch_fanout: Fanout | None = None
    """None: the stack has no fan-out."""

    def __post_init__(self) -> None:
        if self.force_destroy and self.deletion_protection:
            raise ValueError("force_destroy must be false while deletion_protection is true, got true")
        _each(
            "labels", self.labels, _LABEL, _LABEL_VALUE, "1..63 lower-case letters, digits, _ and -, as in {team: core}"
        )
        _each("operators", self.operators, _GRANTEE, _PRINCIPAL, "user:, group:, serviceAccount:… by label")
        _each("image_readers", self.image_readers, _GRANTEE, _PRINCIPAL, "user:, group:, serviceAccount:… by label")
        pins = f"HOST/PATH@sha256:DIGEST by {', '.join(WORKLOADS)}"
        _each("images", self.images, "|".join(WORKLOADS), r"\S+/\S+@sha256:[0-9a-f]{64}", pins)
        _each("endpoints", self.endpoints, "|".join(SERVICES), _URL, f"http://HOST:PORT by {', '.join(SERVICES)}")

    @property
    def registry_host(self) -> str:
        return self.registry or f"{self.region}-docker.pkg.dev"

    def endpoints_of(self, *services: str) -> Endpoints:
        """The endpoints of `services` for a container that calls them."""
        return Endpoints(**{service: self.endpoints.get(service) for service in services})


def load() -> Settings:
    """Read the configuration of the current stack.

    Raises:
        pulumi.ConfigMissingError: gcp:project or gcp:region is missing.
        SettingsError: any other key is missing, unknown, of another type or out of range.
    """
    gcp, own = pulumi.Config("gcp"), pulumi.Config(NAMESPACE)
    prefix = f"{NAMESPACE}:"
    hints = get_type_hints(Settings)
    raw: dict[str, Any] = {}
    for key in {**get_config_env(), **CONFIG.get()}:
        if not key.startswith(prefix):
            continue
        if is_config_secret(key):
            raise SettingsError(f"{key}: value must be plain, got a secret; containers get a secret by its name")
        name = key.removeprefix(prefix)
        is_text = hints.get(name, str) is str
        raw[name] = own.require(name) if is_text else own.require_object(name)
    given = {"project": gcp.require("project"), "region": gcp.require("region"), "stack": pulumi.get_stack()}
    return _parse(Settings, raw, prefix, refused=given, given=given)


def _parse(
    cls: type[T], raw: object, path: str, *, refused: Collection[str] = (), given: Mapping[str, Any] | None = None
) -> T:
    """A dataclass from what the file says under `path`, strict about keys and types."""
    here = path.rstrip(":.")
    if not isinstance(raw, Mapping):
        raise SettingsError(f"{here}: value must be a map, got {raw!r}")
    known = {item.name: item for item in fields(cls) if item.name not in refused}  # type: ignore[arg-type]  # T is one of our dataclasses
    for name in raw:
        if name not in known:
            raise SettingsError(f"{path}{name}: key must be one of {', '.join(sorted(known))}, got {name!r}")
    for name, item in known.items():
        if name not in raw and item.default is MISSING and item.default_factory is MISSING:
            raise SettingsError(f"{path}{name}: key must be set, got none")
    hints = get_type_hints(cls)
    values = {name: _value(hints[name], value, f"{path}{name}") for name, value in raw.items()}
    try:
        return cls(**{**values, **(given or {})})
    except ValueError as error:
        raise SettingsError(f"{path if path.endswith(':') else f'{here}: '}{error}") from error


def _value(hint: Any, value: object, path: str) -> Any:
    if isinstance(hint, UnionType):
        (hint,) = (one for one in get_args(hint) if one is not NoneType)
    if is_dataclass(hint) and isinstance(hint, type):
        return _parse(hint, value, f"{path}.", refused=SET_BY_STACK if hint is HeavyRunnerEnv else ())
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (bool, int, float, str):
        if type(value) is not hint:
            raise SettingsError(f"{path}: value must be of type {hint.__name__}, got {value!r}")
        return value
    if hint == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise SettingsError(f"{path}: value must be a list of strings, got {value!r}")
        return tuple(value)
    if hint == tuple[int, ...]:
        if not isinstance(value, list) or not all(type(item) is int for item in value):
            raise SettingsError(f"{path}: value must be a list of whole numbers, got {value!r}")
        return tuple(value)
    if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value.values()):
        raise SettingsError(f"{path}: value must be a map of strings, got {value!r}")
    return dict(value)


def _between(argument: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:
        raise ValueError(f"{argument} must be {low:,}..{high:,} {unit}, got {value:,}")


def _like(argument: str, value: str, pattern: str, must: str) -> None:
    if not re.fullmatch(pattern, value):
        raise ValueError(f"{argument} must be {must}, got {value!r}")


def _each(argument: str, values: Mapping[str, str], key: str, value: str, must: str) -> None:
    for name, text in values.items():
        _like(argument, name, key, must)
        _like(f"{argument}.{name}", text, value, must)
