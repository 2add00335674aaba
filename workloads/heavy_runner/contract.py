"""What the heavy runner's container is told and what it leaves behind: names, states, codes, limits.

Imported by the stack, the longhaul command and the container, so it needs the standard library only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from workloads.common.contract import Document, ExitCode, RunState, check_run_id

SYSTEM = "heavy"
"""Name of this system in the run index."""

PROTOCOL_VERSION = "1.0"
"""Version of request, status and error documents; a request of another major version is refused."""

STATUS = "status.json"
ERROR = "error.json"
EXECUTION_LOG = "artifacts/execution_log.txt"
READ_SETTINGS = "data/read.json"
METRICS = "data/metrics.json"
SCORED_ROWS = "data/scored_rows.csv"
ALIGNMENT_CHECK = "data/alignment_check.json"

DATASET_NAME = "cleaned_data.csv"
SCRIPT_NAME = "ml_script.py"
DATA_PATH = f"data/{DATASET_NAME}"
"""Where the dataset lies under the run folder unless the request says otherwise."""

MIN_SCRIPT_TIMEOUT_S = 60
MAX_SCRIPT_TIMEOUT_S = 7_200
DEFAULT_SCRIPT_TIMEOUT_S = 1_740
"""29 minutes: a minute less than the default task timeout, for uploads and the final state."""


TASK_END_RESERVE_S = 60
"""What the script leaves of a known task timeout for uploads and the final state, seconds."""

SCRIPT_VARIABLES = (
    "HEAVY_RUNNER_RUN_ID",
    "HEAVY_RUNNER_ATTEMPT",
    "HEAVY_RUNNER_DATA_PATH",
    "HEAVY_RUNNER_READ_SEP",
    "HEAVY_RUNNER_READ_DECIMAL",
    "HEAVY_RUNNER_READ_ENCODING",
    "HEAVY_RUNNER_SAFE_MODE",
    "HEAVY_RUNNER_SCRIPT_TIMEOUT_SECONDS",
    "HEAVY_RUNNER_MEMORY_MIB",
    "HEAVY_RUNNER_CPUS",
)
"""What the script finds in its environment about its run."""


class ErrorCode(StrEnum):
    """Why a run ended in FAILED. A closed set: a client may switch on it; docs/heavy-runner.md explains each."""

    REQUEST_UNREADABLE = "request_unreadable"
    REQUEST_INVALID = "request_invalid"
    PROTOCOL_MISMATCH = "protocol_mismatch"
    PATH_ESCAPE = "path_escape"
    INPUT_MISSING = "input_missing"
    INPUT_UNREADABLE = "input_unreadable"
    INPUT_CHANGED = "input_changed"
    INPUT_TOO_LARGE = "input_too_large"
    READ_MISMATCH = "read_mismatch"
    SCRIPT_ERROR = "script_error"
    SCRIPT_KILLED = "script_killed"
    SCRIPT_TIMEOUT = "script_timeout"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    MISSING_REQUIRED_OUTPUTS = "missing_required_outputs"
    PERMISSION_LOST = "permission_lost"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    TERMINATED = "terminated"
    INTERNAL_ERROR = "internal_error"
    # written by the reader, for a container that could not write its own end
    CANCELLED = "cancelled"
    TASK_TIMEOUT = "task_timeout"
    LOST = "lost"
    NOT_STARTED = "not_started"

    @property
    def exit_code(self) -> ExitCode:
        """How the container exits with this code."""
        return ExitCode.BAD_REQUEST if self in _REQUEST_IS_WRONG else ExitCode.RETRY


_REQUEST_IS_WRONG = frozenset(
    {
        ErrorCode.REQUEST_UNREADABLE,
        ErrorCode.REQUEST_INVALID,
        ErrorCode.PROTOCOL_MISMATCH,
        ErrorCode.PATH_ESCAPE,
        ErrorCode.INPUT_MISSING,
        ErrorCode.INPUT_UNREADABLE,
        ErrorCode.INPUT_TOO_LARGE,
        ErrorCode.READ_MISMATCH,
        ErrorCode.MISSING_REQUIRED_OUTPUTS,
    }
)


class Phase(StrEnum):
    """What a RUNNING run is doing."""

    REQUEST = "request"
    STAGING = "staging"
    SCRIPT = "script"
    UPLOADING = "uploading"
    DONE = "done"


def request_object(run_id: str) -> str:
    """Object name of the request."""
    return f"inputs/{check_run_id(run_id)}.json"


def dataset_object(run_id: str, name: str = DATASET_NAME) -> str:
    """Object name of the dataset."""
    return f"datasets/{check_run_id(run_id)}/{name}"


def script_object(run_id: str, name: str = SCRIPT_NAME) -> str:
    """Object name of the script."""
    return f"inputs/{check_run_id(run_id)}/{name}"


def support_object(run_id: str, path: str) -> str:
    """Object name of a support file that the script finds at `path` under the run folder."""
    return f"inputs/{check_run_id(run_id)}/support/{path}"


def outputs_prefix(run_id: str, attempt: int | None = None) -> str:
    """Prefix of everything the run leaves behind, with `/` at its end; an attempt has a prefix of its own."""
    prefix = f"outputs/{check_run_id(run_id)}/"
    return prefix if attempt is None else f"{prefix}{attempt_folder(attempt)}"


def attempt_folder(attempt: int) -> str:
    """Folder of one attempt under the output URI: `attempt_2/`."""
    if attempt < 1:
        raise ValueError(f"attempt: must be 1 or more, got {attempt}")
    return f"attempt_{attempt}/"


def request_document(
    run_id: str,
    root: str,
    *,
    script_timeout_s: int | None = None,
    attempt: int | None = None,
    read: Mapping[str, str] | None = None,
    support_files: Sequence[str] = (),
    required_outputs: Sequence[str] = (),
    safe_mode: bool = False,
    data_path: str = DATA_PATH,
    dataset_uri: str = "",
    code_uri: str = "",
    output_uri: str = "",
) -> dict[str, Any]:
    """The request JSON of a run whose files lie in the standard layout under `root` (`gs://BUCKET` or a folder).

    `support_files` are paths under the run folder; `dataset_uri`, `code_uri` and `output_uri` replace the
    standard places if given.
    """
    base = root.rstrip("/")
    document: dict[str, Any] = {
        "protocol_version": PROTOCOL_VERSION,
        "run_id": check_run_id(run_id),
        "dataset_uri": dataset_uri or f"{base}/{dataset_object(run_id)}",
        "output_uri": output_uri or f"{base}/{outputs_prefix(run_id)}",
        "code_uri": code_uri or f"{base}/{script_object(run_id)}",
        "data_path": data_path,
        "read": dict(read or {}),
        "support_files": [{"uri": f"{base}/{support_object(run_id, path)}", "path": path} for path in support_files],
        "required_outputs": list(required_outputs),
        "safe_mode": safe_mode,
    }
    if attempt is not None:
        document["attempt"] = attempt
    if script_timeout_s is not None:
        document["script_timeout_seconds"] = script_timeout_s
    return document


@dataclass(frozen=True, kw_only=True)
class Status(Document):
    """`status.json`: renewed every heartbeat while RUNNING, written a last time as SUCCEEDED or FAILED."""

    state: str
    run_id: str = ""
    phase: str = Phase.REQUEST
    started_at: str = ""
    """RFC 3339, UTC."""
    heartbeat_at: str = ""
    ended_at: str = ""
    attempt: int | None = None
    """Attempt the request named; the platform's own retries are in `task_attempt`."""
    task_attempt: int = 0
    execution: str = ""
    output_uri: str = ""
    message: str = ""
    error_code: str = ""
    script_exit_code: int | None = None
    """Exit code of the script; a negative number is the signal that ended it; null if it never ended."""
    bytes_done: int = 0
    """Bytes staged or uploaded in this phase."""
    bytes_total: int = 0
    memory_mib: int = 0
    """Memory in use at the heartbeat, MiB."""
    peak_memory_mib: int = 0
    memory_limit_mib: int = 0
    """The container's memory limit, MiB; 0 if there is none."""
    protocol_version: str = PROTOCOL_VERSION


@dataclass(frozen=True, kw_only=True)
class ErrorReport(Document):
    """`error.json`: present exactly when the run FAILED."""

    code: str
    """A value of ErrorCode."""
    message: str
    """What happened, in one sentence, without secrets."""
    hint: str
    """What to do about it."""
    run_id: str = ""
    attempt: int | None = None
    at: str = ""
    """RFC 3339, UTC."""
    log_tail: Sequence[str] = field(default_factory=tuple)
    """Last lines of the script's output, oldest first."""
    details: Mapping[str, Any] = field(default_factory=dict)
    protocol_version: str = PROTOCOL_VERSION


def end_by_platform(status: Status, code: ErrorCode, message: str, hint: str, at: str) -> tuple[Status, ErrorReport]:
    """The final documents for a container that could not write its own, such as one killed for its memory.

    `status` is the last one the container wrote. Raises ValueError if that is final already.
    """
    if RunState(status.state).is_final:
        raise ValueError(f"status: run {status.run_id} has ended as {status.state} already")
    values = {item.name: getattr(status, item.name) for item in fields(status)}
    values |= {"state": RunState.FAILED, "phase": Phase.DONE, "ended_at": at, "error_code": code, "message": message}
    report = ErrorReport(code=code, message=message, hint=hint, run_id=status.run_id, attempt=status.attempt, at=at)
    return Status(**values), report


@dataclass(frozen=True, kw_only=True)
class HeavyRunnerEnv:
    """What the stack tells the container once, for all runs."""

    bucket: str = ""
    """Bucket of the run index, without gs://; empty means that no index is kept."""
    image: str = ""
    """The container's own image by digest, for the run record."""
    script_timeout_s: int = DEFAULT_SCRIPT_TIMEOUT_S
    """Longest time the script may take, seconds (1 to 7,200). Default 1,740. A request may ask for another within 60
    to 7,200; what it asks is clamped to that, and to `task_timeout_s` less a minute and what staging took."""
    task_timeout_s: int = 0
    """The platform's own limit on the task, seconds; 0 if unknown."""
    cpu: int = 0
    """vCPU of the job, for the record's cost; 0 if unknown. The container may see fewer, as on the local cloud."""
    memory_mib: int = 0
    """Memory of the job, MiB, for the record's cost, and for a platform that does not show it in a cgroup; 0 means: read the cgroup."""
    memory_reserve_mib: int = 256
    """Memory kept back for the supervisor, MiB (64 to 4,096). Default 256; never more than a quarter of the limit."""
    run_dir: str = "/tmp/run"  # noqa: S108  # the contract's own place; emptied at the start
    """Folder the script runs in; emptied at the start."""
    log_head_kib: int = 1_024
    """First part of the script's output kept in the execution log, KiB (16 to 8,192). Default 1,024."""
    log_tail_kib: int = 1_024
    """Last part of the script's output kept in the execution log, KiB (16 to 8,192). Default 1,024."""
    log_live_mib: int = 16
    """Script output passed on to the platform's log, MiB (1 to 1,024). Default 16; the cut is named."""
    max_processes: int = 4_096
    """Processes and threads the script may have (16 to 32,768). Default 4,096."""
    max_file_gib: int = 32
    """Largest file the script may write, GiB (1 to 1,024). Default 32."""

    def __post_init__(self) -> None:
        _check_range("script_timeout_s", self.script_timeout_s, 1, MAX_SCRIPT_TIMEOUT_S, "seconds")
        _check_range("task_timeout_s", self.task_timeout_s, 0, 604_800, "seconds")
        _check_range("cpu", self.cpu, 0, 1_024, "vCPU")
        _check_range("memory_mib", self.memory_mib, 0, 1_048_576, "MiB")
        _check_range("memory_reserve_mib", self.memory_reserve_mib, 64, 4_096, "MiB")
        _check_range("log_head_kib", self.log_head_kib, 16, 8_192, "KiB")
        _check_range("log_tail_kib", self.log_tail_kib, 16, 8_192, "KiB")
        _check_range("log_live_mib", self.log_live_mib, 1, 1_024, "MiB")
        _check_range("max_processes", self.max_processes, 16, 32_768, "processes")
        _check_range("max_file_gib", self.max_file_gib, 1, 1_024, "GiB")

    def to_env(self) -> dict[str, str]:
        """Variables of the job; values that are empty or 0 are left out."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {VARIABLES[name]: str(value) for name, value in values.items() if value}

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises ValueError naming the variable that is no number or out of range."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            text = env.get(VARIABLES[item.name], "")
            if not text:
                continue
            if item.type is int and not text.isdecimal():
                raise ValueError(f"{VARIABLES[item.name]}: must be a whole number, got {text[:40]!r}")
            values[item.name] = int(text) if item.type is int else text
        return cls(**values)


VARIABLES = {
    "bucket": "HEAVY_RUNNER_BUCKET",
    "image": "HEAVY_RUNNER_IMAGE",
    "script_timeout_s": "HEAVY_RUNNER_SCRIPT_TIMEOUT_SECONDS",
    "task_timeout_s": "HEAVY_RUNNER_TASK_TIMEOUT_SECONDS",
    "cpu": "HEAVY_RUNNER_JOB_CPU",
    "memory_mib": "HEAVY_RUNNER_MEMORY_MIB",
    "memory_reserve_mib": "HEAVY_RUNNER_MEMORY_RESERVE_MIB",
    "run_dir": "HEAVY_RUNNER_RUN_DIR",
    "log_head_kib": "HEAVY_RUNNER_LOG_HEAD_KIB",
    "log_tail_kib": "HEAVY_RUNNER_LOG_TAIL_KIB",
    "log_live_mib": "HEAVY_RUNNER_LOG_LIVE_MIB",
    "max_processes": "HEAVY_RUNNER_MAX_PROCESSES",
    "max_file_gib": "HEAVY_RUNNER_MAX_FILE_GIB",
}
"""Field of HeavyRunnerEnv -> its variable, for a stack whose bucket and image are known to the engine only."""


@dataclass(frozen=True, kw_only=True)
class RunVariables:
    """What changes from run to run: the overrides of one execution."""

    input_uri: str
    """The request: gs:// object or path of a file."""
    output_uri: str = ""
    """Where the outputs go, gs:// prefix or folder; replaces the request's `output_uri`."""

    def to_env(self) -> dict[str, str]:
        pairs = {"INPUT_URI": self.input_uri, "OUTPUT_URI": self.output_uri}
        return {name: value for name, value in pairs.items() if value}

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        return cls(input_uri=env.get("INPUT_URI", ""), output_uri=env.get("OUTPUT_URI", ""))


def _check_range(name: str, value: int, low: int, high: int, unit: str) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name}: must be {low:,} to {high:,} {unit}, got {value:,}")
