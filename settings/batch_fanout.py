"""Settings of the fan-out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from settings.shared import Alert


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
