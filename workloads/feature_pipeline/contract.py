"""What the feature pipeline's container is told and what it leaves behind: names, stages, codes, limits.

Imported by the stack, the longhaul command and the container, so it needs the standard library only.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from workloads.common.contract import Document, ExitCode

SYSTEM = "features"
"""Name of this system in the run index."""

PAIRS = (
    "eurusd", "gbpusd", "audusd", "nzdusd", "usdcad", "usdchf", "usdjpy", "eurgbp", "euraud",
    "eurnzd", "eurcad", "eurchf", "eurjpy", "gbpaud", "gbpnzd", "gbpcad", "gbpchf", "gbpjpy",
    "audnzd", "audcad", "audchf", "audjpy", "nzdcad", "nzdjpy", "cadjpy", "chfjpy",
)  # fmt: skip
"""The 26 currency pairs that are processed unless a stack names others."""

HORIZONS = (15, 30, 45, 60, 75, 90, 105)
"""Minutes ahead that the targets look; a target column ends in `h15` … `h105`."""

PAIR_PATTERN = re.compile(r"[a-z]{6}")

STATUS = "status.json"
MANIFEST = "manifest.json"
REPORT_JSON = "validation.json"
REPORT_PAGE = "validation.html"
SNAPSHOT = "snapshot.json"
"""In the staging bucket: what the run of a pair reads, and in the end that its training file is in place."""

PLATFORM_CPU = 4.0
PLATFORM_MEMORY_GIB = 12.0
"""Shape of the job unless a stack names another."""


class Stage(StrEnum):
    """The five stages, in their order. Each is timed, and a restart goes on where it was."""

    EXTRACT = "extract"
    MERGE = "merge"
    VALIDATE = "validate"
    BACKUP = "backup"
    CLEAN_UP = "clean_up"


class ErrorCode(StrEnum):
    """Why a pair ended in FAILED. A closed set; docs/feature-pipeline.md explains each."""

    SETTINGS_INVALID = "settings_invalid"
    TABLES_MISSING = "tables_missing"
    TABLE_UNREADABLE = "table_unreadable"
    SCHEMA_CHANGED = "schema_changed"
    KEY_INVALID = "key_invalid"
    MISALIGNED = "misaligned"
    TOO_LARGE = "too_large"
    MERGE_FAILED = "merge_failed"
    VALIDATION_FAILED = "validation_failed"
    OUTPUT_CHANGED = "output_changed"
    HELD_BY_OTHER = "held_by_other"
    PERMISSION_DENIED = "permission_denied"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    DISK_FULL = "disk_full"
    TERMINATED = "terminated"
    INTERNAL_ERROR = "internal_error"
    # written by the reader, for a container that could not write its own end
    OUT_OF_MEMORY = "out_of_memory"
    TASK_TIMEOUT = "task_timeout"
    CANCELLED = "cancelled"
    LOST = "lost"
    NOT_STARTED = "not_started"

    @property
    def exit_code(self) -> ExitCode:
        """How the container exits with this code."""
        return ExitCode.BAD_REQUEST if self in _RETRY_IS_USELESS else ExitCode.RETRY


_RETRY_IS_USELESS = frozenset(
    {
        ErrorCode.SETTINGS_INVALID,
        ErrorCode.TABLES_MISSING,
        ErrorCode.KEY_INVALID,
        ErrorCode.MISALIGNED,
        ErrorCode.TOO_LARGE,
        ErrorCode.VALIDATION_FAILED,
        ErrorCode.PERMISSION_DENIED,
        ErrorCode.OUTPUT_CHANGED,
        ErrorCode.HELD_BY_OTHER,
    }
)


def training_object(pair: str) -> str:
    """Object name of the training file of `pair` in the output bucket."""
    return f"training_{pair}.parquet"


def records_prefix(pair: str, run_id: str) -> str:
    """Prefix of record, manifest and report of one run in the output bucket, with `/` at its end."""
    return f"runs/{pair}/{run_id}/"


def checkpoints_prefix(pair: str) -> str:
    """Prefix of the checkpoints of `pair` in the staging bucket, with `/` at its end."""
    return f"checkpoints/{pair}/"


def snapshot_object(pair: str) -> str:
    """Object name of the snapshot of `pair` in the staging bucket."""
    return f"{checkpoints_prefix(pair)}{SNAPSHOT}"


def checkpoint_object(pair: str, snapshot: str, table: str) -> str:
    """Object name of one checkpoint; its manifest entry lies beside it with `.json` at the end."""
    return f"{checkpoints_prefix(pair)}{snapshot}/{table}.parquet"


@dataclass(frozen=True, kw_only=True)
class Status(Document):
    """`status.json` of one pair: renewed every heartbeat while RUNNING, final as SUCCEEDED or FAILED."""

    state: str
    pair: str
    run_id: str
    stage: str = Stage.EXTRACT
    started_at: str = ""
    heartbeat_at: str = ""
    ended_at: str = ""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds each stage has taken."""
    tables_done: int = 0
    tables_total: int = 0
    tables_per_minute: float = 0.0
    eta_s: float | None = None
    bytes_done: int = 0
    bytes_total: int = 0
    peak_memory_mib: int = 0
    message: str = ""
    error_code: str = ""
    hint: str = ""
    """What to do about the error."""
    warnings: Sequence[str] = ()
    checks: Mapping[str, bool] = field(default_factory=dict)
    """The validation's checklist once it has run."""
    execution: str = ""


@dataclass(frozen=True, kw_only=True)
class FeatureEnv:
    """What the stack tells the container; `pair` and `run_id` are the overrides of one execution."""

    project: str
    """Project whose BigQuery runs the reads."""
    features_dataset: str
    """Dataset of the feature tables and target tables, PROJECT.DATASET or DATASET."""
    raw_dataset: str
    """Dataset of the raw prices, which some shared tables come from, PROJECT.DATASET or DATASET."""
    output_bucket: str
    """Bucket of the training files, without gs://."""
    staging_bucket: str
    """Bucket of the checkpoints, without gs://."""
    pair: str = ""
    """Currency pair, six lower-case letters (TARGET_PAIR)."""
    run_id: str = ""
    """Name of the run; empty: made from the time."""
    pairs: tuple[str, ...] = PAIRS
    """All pairs of the stack: the families of tables that one pair has and another lacks are found by them."""
    target_table: str = "targets_{pair}"
    """Name of the table whose key gives rows and order, with {pair}."""
    pair_tables: str = r"(?P<family>\w+)_{pair}"
    """Regular expression that a pair's feature tables match whole, with {pair}."""
    shared_tables: str = r"shared_\w+"
    """Regular expression that tables used by every pair match whole; empty: none."""
    key_column: str = "interval_time"
    """Column all tables share."""
    horizons: tuple[int, ...] = HORIZONS
    """Minutes ahead that every target must have."""
    io_threads: int = 16
    """Tables read at once, 1 to 64. Default 16: reading waits for the network."""
    workers: int = 0
    """Tables aligned and encoded at once, 0 to 64; 0 (default): as many as the container has CPUs."""
    scratch: str = "memory"
    """Where checkpoints lie on the way: `memory` (the container's file system) or `disk` (a mounted volume)."""
    scratch_dir: str = "/tmp/features"  # noqa: S108  # the container's own, emptied at the start
    """Folder of the scratch space."""
    missing_allowed: tuple[str, ...] = ()
    """Tables that may be missing or empty, by name. Default none: a missing table fails the run."""
    min_rows: int = 1
    """Fewest rows of a valid training file."""
    min_columns: int = 2
    """Fewest columns of a valid training file."""
    max_null_ratio: float = 0.8
    """Largest share of nulls and NaN in a feature column before it is a finding (0 to 1). Default 0.8."""
    policy_missing: str = "null"
    policy_duplicate: str = "first"
    policy_extra: str = "drop"
    """What to do with rows that do not fit the target table: see `align.Policies`."""
    expected_tables_per_minute: float = 10.0
    """Rate below half of which a warning says what holds it up. Default 10: what the first users saw."""
    keep: bool = False
    """Keep the checkpoints after the upload is verified."""
    memory_gib: float = PLATFORM_MEMORY_GIB
    cpu: float = PLATFORM_CPU
    """Shape of the job, for the record's cost."""
    image: str = ""
    """The container's own image by digest, for the record."""
    bucket: str = ""
    """Bucket of the run index, without gs://; empty: no index is kept."""
    merge_tries: int = 3
    """How often the merge is started again after it was killed or could not write, 1 to 10. Default 3."""

    def __post_init__(self) -> None:
        problems = [*self._missing(), *self._out_of_range()]
        if problems:
            raise ValueError("; ".join(problems))

    def _missing(self) -> list[str]:
        names = ("project", "features_dataset", "raw_dataset", "output_bucket", "staging_bucket", "key_column")
        found = [f"{name}: must not be empty" for name in names if not getattr(self, name)]
        for pair in (*self.pairs, *([self.pair] if self.pair else [])):
            if not PAIR_PATTERN.fullmatch(pair):
                found.append(f"pair: must be six lower-case letters such as eurusd, got {pair[:20]!r}")
        for name in ("target_table", "pair_tables"):
            if "{pair}" not in getattr(self, name):
                found.append(f"{name}: must contain {{pair}}, got {getattr(self, name)!r}")
        for name in ("pair_tables", "shared_tables"):
            try:
                re.compile(getattr(self, name).replace("{pair}", "eurusd"))
            except re.error as error:
                found.append(f"{name}: is no regular expression ({error}), got {getattr(self, name)!r}")
        return found

    def _out_of_range(self) -> list[str]:
        ranges = {
            "io_threads": (1, 64),
            "workers": (0, 64),
            "max_null_ratio": (0, 1),
            "min_rows": (0, 10**12),
            "min_columns": (1, 10**6),
            "expected_tables_per_minute": (0, 10**6),
            "merge_tries": (1, 10),
        }
        found = [
            f"{name}: must be {low} to {high}, got {getattr(self, name)}"
            for name, (low, high) in ranges.items()
            if not low <= getattr(self, name) <= high
        ]
        choices = {
            "scratch": ("memory", "disk"),
            "policy_missing": ("null", "error"),
            "policy_duplicate": ("first", "last", "error"),
            "policy_extra": ("drop", "error"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                found.append(f"{name}: must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not self.horizons or any(horizon <= 0 for horizon in self.horizons):
            found.append(f"horizons: must be one or more minutes above 0, got {self.horizons}")
        return found

    def to_env(self) -> dict[str, str]:
        """Variables of the job; what has its default is left out."""
        env = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default:
                env[_variable(item.name)] = _text(value)
        return env

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises ValueError naming every variable that is missing, no number or out of range."""
        values: dict[str, Any] = {}
        problems = []
        for item in fields(cls):
            text = env.get(_variable(item.name), "")
            if not text:
                continue
            try:
                values[item.name] = _parse(str(item.type), text)
            except ValueError:
                problems.append(f"{_variable(item.name)}: must be {_KINDS[str(item.type)]}, got {text[:40]!r}")
        for name in ("project", "features_dataset", "raw_dataset", "output_bucket", "staging_bucket"):
            if name not in values:
                problems.append(f"{_variable(name)}: must be set")
        if problems:
            raise ValueError("; ".join(problems))
        return cls(**values)


def _variable(name: str) -> str:
    return {"pair": "TARGET_PAIR", "run_id": "RUN_ID", "project": "FEATURES_PROJECT"}.get(
        name, f"FEATURES_{name.upper()}"
    )


VARIABLES = {item.name: _variable(item.name) for item in fields(FeatureEnv)}
"""Field of FeatureEnv -> its variable, for a stack whose buckets and image are known to the engine only."""

_KINDS = {
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'bool'>": "true or false",
    "tuple[int, ...]": "whole numbers with commas between",
}


def _parse(kind: str, text: str) -> Any:
    match kind:
        case "<class 'int'>":
            return int(text)
        case "<class 'float'>":
            return float(text)
        case "<class 'bool'>":
            if text.lower() not in ("true", "false"):
                raise ValueError(text)
            return text.lower() == "true"
        case "tuple[int, ...]":
            return tuple(int(part) for part in text.split(","))
        case "tuple[str, ...]":
            return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)
