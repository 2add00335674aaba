"""Settings of the feature pipeline."""

from dataclasses import dataclass, fields

from settings.checks import between
from settings.shared import Alert, Schedule
from workloads.feature_pipeline.contract import HORIZONS, PAIRS, PLATFORM_CPU, PLATFORM_MEMORY_GIB, FeatureEnv


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
        between("staging_days", self.staging_days, 1, 365, "days")
        between("task_timeout_s", self.task_timeout_s, 60, 604_800, "s")
        between("disk_quota_gib", self.disk_quota_gib, 1, 10_000, "GiB")
        if not self.pairs:
            raise ValueError("pairs must be one or more, got none")
        self.contract("any")

    def contract(self, project: str) -> FeatureEnv:
        """What the container is told, but for the buckets, which the engine knows. Raises ValueError: out of range."""
        shared = {item.name for item in fields(FeatureEnv)} & {item.name for item in fields(self)}
        told = {name: getattr(self, name) for name in shared - {"output_bucket", "staging_bucket"}}
        return FeatureEnv(project=project, output_bucket="later", staging_bucket="later", **told)
