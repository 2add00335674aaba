"""What the platform allows, as data with its source, and the one function that holds a job's shape to it.

A limit moves from time to time: change the number here, with the page and the month it was read.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from components.checks import in_range, matching, one_of, refusal

RUN_DOCS = "https://cloud.google.com/run/docs"
READ = "2026-08"
"""Month in which the pages below were read, where a limit does not say another."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A range that the platform holds, and where that is written."""

    low: float
    high: float
    unit: str
    source: str
    as_of: str = READ

    def check(self, name: str, argument: str, value: float, *, remedy: str = "") -> None:
        """Raises ValueError: `value` is out of the range."""
        in_range(name, argument, value, self.low, self.high, self.unit, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class Words:
    """A closed set of words that the platform knows, and where that is written."""

    words: Collection[str]
    source: str
    as_of: str = READ


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A GPU that a Cloud Run job can have: one per task. Upper bounds of CPU and memory are not published."""

    memory_gib: int
    """Memory of the GPU itself, GiB."""
    min_cpu: int
    min_task_memory_gib: int
    regions: Collection[str]
    invited_regions: Collection[str] = ()
    """Regions that need an invitation by Google."""
    source: str = f"{RUN_DOCS}/configuring/jobs/gpu"
    as_of: str = READ


CPU_MEMORY_GIB: Mapping[int, Limit] = MappingProxyType(
    {
        cpu: Limit(low=low, high=high, unit="GiB", source=f"{RUN_DOCS}/configuring/jobs/cpu")
        for cpu, low, high in [(1, 0.5, 4), (2, 0.5, 8), (4, 2, 16), (6, 4, 24), (8, 4, 32)]
    }
)
"""vCPU of a task without GPU -> memory it may have."""

TASKS = Limit(low=1, high=10_000, unit="tasks", source=f"{RUN_DOCS}/create-jobs")
RETRIES = Limit(low=0, high=10, unit="retries", source=f"{RUN_DOCS}/configuring/max-retries")
TASK_TIMEOUT = Limit(low=1, high=604_800, unit="s", source=f"{RUN_DOCS}/configuring/task-timeout")
"""168 hours for one attempt of one task; there is no limit on an execution as a whole."""
GPU_TASK_TIMEOUT = Limit(low=1, high=3_600, unit="s", source=f"{RUN_DOCS}/configuring/task-timeout")
GPU_TASK_TIMEOUT_PREVIEW = Limit(low=1, high=43_200, unit="s", source=f"{RUN_DOCS}/configuring/task-timeout")
"""12 hours, in preview: a project asks for it with `long_gpu_timeout`."""
EPHEMERAL_DISK = Limit(low=1, high=10, unit="GiB", source=f"{RUN_DOCS}/configuring/jobs/ephemeral-disk")
"""Default quota of one task; a project can ask for more."""
ENV_VARIABLES = Limit(
    low=0, high=1_000, unit="variables", source=f"{RUN_DOCS}/configuring/jobs/environment-variables", as_of="2026-11"
)
RESERVED_ENV = Words(
    words=("PORT", *(f"CLOUD_RUN_{word}" for word in ("JOB", "EXECUTION", "TASK_INDEX", "TASK_ATTEMPT", "TASK_COUNT"))),
    source=f"{RUN_DOCS}/reference/container-contract#env-vars",
    as_of="2026-11",
)
EGRESS = Words(
    words=("ALL_TRAFFIC", "PRIVATE_RANGES_ONLY"),
    source="https://cloud.google.com/run/docs/reference/rest/v2/VpcAccess#VpcEgress",
    as_of="2026-11",
)

JOB_NAME_LENGTH = Limit(
    low=1,
    high=63,
    unit="characters",
    source="https://github.com/terraform-google-modules/terraform-docs-samples/pull/171",
    as_of="2026-11",
)
AUTONAME_SUFFIX_LENGTH = 8
"""`-` and seven hexadecimal digits, which Pulumi adds to a name: https://www.pulumi.com/docs/iac/concepts/resources/names/ (2026-11)."""
ACCOUNT_ID_LENGTH = Limit(
    low=6,
    high=30,
    unit="characters",
    source="https://cloud.google.com/iam/docs/service-accounts-create",
)

WORKFLOW_DOCS = "https://cloud.google.com/workflows/quotas"
WORKFLOW_SOURCE = Limit(low=1, high=128 * 1024, unit="bytes", source=WORKFLOW_DOCS, as_of="2026-11")
WORKFLOW_EXPRESSION = Limit(low=1, high=400, unit="characters", source=WORKFLOW_DOCS, as_of="2026-11")
WORKFLOW_ASSIGNMENTS = Limit(low=1, high=50, unit="assignments of a step", source=WORKFLOW_DOCS, as_of="2026-11")
WORKFLOW_CONDITIONS = Limit(low=1, high=50, unit="conditions of a step", source=WORKFLOW_DOCS, as_of="2026-11")
WORKFLOW_VARIABLES = Limit(
    low=0,
    high=20,
    unit="environment variables",
    source="https://cloud.google.com/workflows/docs/use-environment-variables",
    as_of="2026-11",
)
CONNECTOR_TIMEOUT = Limit(
    low=60,
    high=31_536_000,
    unit="s",
    source="https://cloud.google.com/workflows/docs/reference/googleapis/batch/Overview",
    as_of="2026-11",
)

BATCH_DOCS = "https://cloud.google.com/batch/quotas"
BATCH_TASKS = Limit(low=1, high=100_000, unit="tasks", source=BATCH_DOCS, as_of="2026-11")
BATCH_PARALLELISM = Limit(low=1, high=5_000, unit="tasks at the same time", source=BATCH_DOCS, as_of="2026-11")
BATCH_RETRIES = Limit(
    low=0,
    high=10,
    unit="retries",
    source="https://cloud.google.com/batch/docs/automate-task-retries",
    as_of="2026-11",
)
BATCH_RUN = Limit(low=60, high=14 * 86_400, unit="s", source=BATCH_DOCS, as_of="2026-11")
"""Longest time that one attempt of a task may take: a job that runs for 14 days fails."""
BATCH_PREEMPTED = 50_001
"""Exit code of a task whose Spot machine was taken away: https://cloud.google.com/batch/docs/troubleshooting#reserved-exit-codes (2026-11)."""

_REGIONS_OF_TIER = {
    1: """asia-east1 asia-northeast1 asia-northeast2 europe-north1 europe-north2 europe-southwest1 europe-west1
        europe-west4 europe-west8 europe-west9 me-west1 northamerica-south1 us-central1 us-east1 us-east4 us-east5
        us-south1 us-west1""",
    2: """africa-south1 asia-east2 asia-northeast3 asia-south1 asia-south2 asia-southeast1 asia-southeast2
        australia-southeast1 australia-southeast2 europe-central2 europe-west10 europe-west12 europe-west2 europe-west3
        europe-west6 me-central1 me-central2 northamerica-northeast1 northamerica-northeast2 southamerica-east1
        southamerica-west1 us-west2 us-west3 us-west4""",
}
REGIONS: Mapping[str, int] = MappingProxyType(
    {region: tier for tier, regions in _REGIONS_OF_TIER.items() for region in regions.split()}
)
"""Region of Cloud Run -> its price tier. Source: https://cloud.google.com/run/docs/locations (2026-11)."""

ACCELERATORS: Mapping[str, Accelerator] = MappingProxyType(
    {
        "nvidia-l4": Accelerator(
            memory_gib=24,
            min_cpu=4,
            min_task_memory_gib=16,
            regions=("asia-south1", "asia-southeast1", "europe-west1", "europe-west4", "us-central1", "us-east4"),
            invited_regions=("asia-south1",),
        ),
        "nvidia-rtx-pro-6000": Accelerator(
            memory_gib=96,
            min_cpu=20,
            min_task_memory_gib=80,
            regions=("asia-south2", "asia-southeast1", "europe-west4", "us-central1"),
            invited_regions=("asia-south2",),
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class JobShape:
    """What a Cloud Run job asks of the platform, held to its limits when it is made.

    Raises:
        ValueError: any limit of this module is broken; the message names the argument and the way out.
    """

    name: str
    """Name of the component or key of the configuration, for errors."""
    location: str
    cpu: int
    """vCPU of a task: 1, 2, 4, 6 or 8; more with a GPU."""
    memory_gib: float
    """Memory of a task, GiB, in whole MiB. Files written count as memory."""
    timeout_s: int
    """Limit on one attempt of one task, seconds."""
    max_retries: int = 0
    task_count: int = 1
    parallelism: int | None = None
    """Tasks that run at the same time; None leaves it to the platform."""
    accelerator: str | None = None
    """GPU of a task, a key of ACCELERATORS."""
    long_gpu_timeout: bool = False
    """Whether the project takes part in the preview of GPU tasks of up to 12 hours."""
    env_names: Collection[str] = field(default=())

    def __post_init__(self) -> None:
        check_shape(self)

    @property
    def memory(self) -> str:
        """Memory in the spelling of Kubernetes, `32Gi` or `512Mi`: the platform gives back what it was given."""
        return f"{self.memory_gib:g}Gi" if self.memory_gib == int(self.memory_gib) else f"{self.memory_gib * 1024:g}Mi"


def check_shape(shape: JobShape) -> None:
    """Hold `shape` to every limit. Raises ValueError as JobShape does."""
    name = shape.name
    one_of(name, "location", shape.location, REGIONS, remedy="a new region of Cloud Run belongs into REGIONS")
    if shape.memory_gib * 1024 != int(shape.memory_gib * 1024):
        raise refusal(name, "memory_gib", "a whole number of MiB", shape.memory_gib)
    if shape.accelerator is None:
        _check_memory(name, shape.cpu, shape.memory_gib)
        TASK_TIMEOUT.check(name, "timeout_s", shape.timeout_s, remedy="split the work into more tasks")
    else:
        _check_accelerator(shape, shape.accelerator)
    RETRIES.check(name, "max_retries", shape.max_retries)
    TASKS.check(name, "task_count", shape.task_count, remedy="give each task more work")
    if shape.parallelism is not None:
        in_range(name, "parallelism", shape.parallelism, 1, shape.task_count, "tasks")
    ENV_VARIABLES.check(name, "env", len(shape.env_names))
    for variable in shape.env_names:
        described = "named by letters, digits and _, not starting with a digit"
        matching(name, "env", variable, r"[A-Za-z_][A-Za-z0-9_]*", described)
        if variable in RESERVED_ENV.words or variable.startswith("X_GOOGLE_"):
            raise refusal(name, "env", "free of names that the platform sets", variable)


def _check_memory(name: str, cpu: int, memory_gib: float) -> None:
    allowed = ", ".join(map(str, CPU_MEMORY_GIB))
    if cpu not in CPU_MEMORY_GIB:
        raise refusal(name, "cpu", f"one of {allowed} vCPU", cpu)
    limit = CPU_MEMORY_GIB[cpu]
    fitting = [str(count) for count, memory in CPU_MEMORY_GIB.items() if memory.low <= memory_gib <= memory.high]
    remedy = f"{memory_gib:g} GiB goes with cpu {' or '.join(fitting)}" if fitting else "no number of vCPU takes it"
    in_range(name, "memory_gib", memory_gib, limit.low, limit.high, f"GiB with {cpu} vCPU", remedy=remedy)


def _check_accelerator(shape: JobShape, accelerator: str) -> None:
    name = shape.name
    one_of(name, "accelerator", accelerator, ACCELERATORS)
    gpu = ACCELERATORS[accelerator]
    if shape.cpu < gpu.min_cpu:
        raise refusal(name, "cpu", f"{gpu.min_cpu} or more vCPU with {accelerator}", shape.cpu)
    if shape.memory_gib < gpu.min_task_memory_gib:
        raise refusal(name, "memory_gib", f"{gpu.min_task_memory_gib} GiB or more with {accelerator}", shape.memory_gib)
    one_of(name, "location", shape.location, gpu.regions, remedy=f"{accelerator} is nowhere else")
    limit = GPU_TASK_TIMEOUT_PREVIEW if shape.long_gpu_timeout else GPU_TASK_TIMEOUT
    remedy = "split the work into more tasks, or set long_gpu_timeout for the preview of 12 hours"
    limit.check(name, "timeout_s", shape.timeout_s, remedy=remedy)


def check_name(name: str) -> None:
    """Hold the name of a component that makes a job to what the job's own name may be.

    Raises:
        ValueError: not lower-case letters, digits and dashes, or too long once `-job` and Pulumi's suffix are added.
    """
    high = int(JOB_NAME_LENGTH.high) - AUTONAME_SUFFIX_LENGTH - len("-job")
    described = f"1..{high} lower-case letters, digits and dashes, starting with a letter"
    matching(name, "name", name, rf"[a-z][a-z0-9-]{{0,{high - 1}}}", described, remedy="a job's name ends at 63")


def check_account_id(name: str, account_id: str) -> None:
    """Raises ValueError: `account_id` is no id of a service account."""
    described = "6..30 lower-case letters, digits and dashes, starting with a letter and not ending with a dash"
    matching(name, "account_id", account_id, r"[a-z](?=.{5,29}$)[a-z0-9-]*[a-z0-9]", described)


def check_disk(name: str, argument: str, disk_gib: float, quota_gib: float | None = None) -> None:
    """Hold the disk of a task to the project's quota, GiB; without `quota_gib` to what every project has.

    Raises:
        ValueError: it is larger; the message says where the number comes from and what to do.
    """
    low, high = EPHEMERAL_DISK.low, quota_gib or EPHEMERAL_DISK.high
    source = f"default quota of {EPHEMERAL_DISK.as_of}, {EPHEMERAL_DISK.source}"
    remedy = f"ask for more quota and name it ({source})" if quota_gib is None else "ask for more quota"
    in_range(name, argument, disk_gib, low, high, EPHEMERAL_DISK.unit, remedy=remedy)
