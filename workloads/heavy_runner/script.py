"""The script's surroundings, and what its end means."""

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from workloads.common.memory import MIB
from workloads.heavy_runner.contract import (
    MAX_SCRIPT_TIMEOUT_S,
    MIN_SCRIPT_TIMEOUT_S,
    TASK_END_RESERVE_S,
    ErrorCode,
)
from workloads.heavy_runner.failure import RunFailure
from workloads.heavy_runner.process import End, Outcome
from workloads.heavy_runner.request import Request
from workloads.heavy_runner.staging import HOME, TMP

PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "LD_LIBRARY_PATH")
"""All that the script gets of the supervisor's own environment."""

_FULL_BYTES = 1 << 20
"""Less room than this in the run folder counts as a full disk."""


def timeout_of(request: Request, *, default_s: int, task_timeout_s: int, elapsed_s: float) -> float:
    """Seconds the script gets: what the request asks within the range allowed, and never past the task's own end."""
    wanted: float = default_s
    if request.script_timeout_seconds is not None:
        wanted = min(max(request.script_timeout_seconds, MIN_SCRIPT_TIMEOUT_S), MAX_SCRIPT_TIMEOUT_S)
    if task_timeout_s:
        wanted = min(wanted, max(1.0, task_timeout_s - TASK_END_RESERVE_S - elapsed_s))
    return wanted


def settings_of(request: Request) -> dict[str, object]:
    """What `data/read.json` says."""
    return {"data_path": request.data_path, "safe_mode": request.safe_mode, **request.read.model_dump()}


def environment(
    request: Request, run_dir: Path, *, base: Mapping[str, str], timeout_s: float, memory_bytes: int | None, cpus: float
) -> dict[str, str]:
    """The script's whole environment: an allow-list, its own folders, and what it may want to know of its run."""
    threads = str(max(1, math.floor(cpus)))
    own = {
        "HOME": str(run_dir / HOME),
        "TMPDIR": str(run_dir / TMP),
        "XDG_CACHE_HOME": str(run_dir / TMP / "cache"),
        "MPLCONFIGDIR": str(run_dir / TMP / "matplotlib"),
        "MPLBACKEND": "Agg",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",
        # A library that asks the machine for its CPUs sees the host's, and starts far too many threads.
        "OMP_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait make a shared CPU many times slower
        "OPENBLAS_NUM_THREADS": threads,
        "LOKY_MAX_CPU_COUNT": threads,
        "POLARS_MAX_THREADS": threads,
        "PYTHON_CPU_COUNT": threads,
        "HEAVY_RUNNER_RUN_ID": request.run_id,
        "HEAVY_RUNNER_ATTEMPT": str(request.attempt or 1),
        "HEAVY_RUNNER_DATA_PATH": request.data_path,
        "HEAVY_RUNNER_READ_SEP": request.read.sep,
        "HEAVY_RUNNER_READ_DECIMAL": request.read.decimal,
        "HEAVY_RUNNER_READ_ENCODING": request.read.encoding,
        "HEAVY_RUNNER_SAFE_MODE": "true" if request.safe_mode else "false",
        "HEAVY_RUNNER_SCRIPT_TIMEOUT_SECONDS": f"{timeout_s:.0f}",
        "HEAVY_RUNNER_MEMORY_MIB": str((memory_bytes or 0) // MIB),
        "HEAVY_RUNNER_CPUS": f"{cpus:g}",
    }
    passed = {name: base[name] for name in PASSED_ON if name in base}
    return {"LANG": "C.UTF-8", **passed, **own}


def command(script: Path) -> list[str]:
    """How the script is started."""
    return [sys.executable, "-u", str(script)]


def judge(
    outcome: Outcome, *, timeout_s: float, memory_bytes: int | None, reserve_bytes: int, log_tail: str, run_dir: Path
) -> RunFailure | None:
    """What the script's end means; None if it did its work."""
    limit_mib, reserve_mib = (memory_bytes or 0) // MIB, reserve_bytes // MIB
    peak_mib = outcome.peak_bytes // MIB
    memory_hint = (
        "Read the table in chunks or with narrower types, use fewer processes, or give the job more memory; "
        "files under /tmp count as memory too."
    )
    if outcome.end is End.MEMORY:
        return RunFailure(
            ErrorCode.OUT_OF_MEMORY,
            f"The script was ended at {peak_mib:,} MiB in use: the container has {limit_mib:,} MiB, of which "
            f"{reserve_mib:,} MiB are kept back.",
            memory_hint,
            peak_mib=peak_mib,
            ended_by="supervisor",
        )
    if outcome.oom_kills:
        return RunFailure(
            ErrorCode.OUT_OF_MEMORY,
            f"The kernel ended {outcome.oom_kills} process(es) of the script: the container's {limit_mib:,} MiB "
            "were used up faster than it could be stopped.",
            memory_hint,
            peak_mib=peak_mib,
            ended_by="kernel",
        )
    if outcome.end is End.TIMEOUT:
        return RunFailure(
            ErrorCode.SCRIPT_TIMEOUT,
            f"The script was ended after {timeout_s:,.0f} s.",
            "Ask for more with script_timeout_seconds (and --task-timeout), or set safe_mode to do less.",
        )
    if outcome.end is End.STOPPED:
        return terminated()
    if outcome.exit_code == 0:
        return None
    return _judge_exit(outcome, log_tail, run_dir)


def terminated() -> RunFailure:
    """The platform sent SIGTERM."""
    return RunFailure(
        ErrorCode.TERMINATED,
        "The platform stopped the container: the execution was cancelled or ran past its task timeout.",
        "If nobody cancelled it, raise the task timeout or lower script_timeout_seconds.",
    )


def _judge_exit(outcome: Outcome, log_tail: str, run_dir: Path) -> RunFailure:
    if _is_full(run_dir) or "No space left on device" in log_tail:
        return RunFailure(
            ErrorCode.DISK_FULL,
            f"The script ended with {outcome.exit_code} and the run folder is full.",
            "Write less, or give the job more memory: on Cloud Run files are held in it.",
            script_exit_code=outcome.exit_code,
        )
    if outcome.exit_code < 0:
        return RunFailure(
            ErrorCode.SCRIPT_KILLED,
            f"The script was ended by signal {-outcome.exit_code}.",
            "A crash of native code leaves its trace in the last lines of the log.",
            script_exit_code=outcome.exit_code,
        )
    return RunFailure(
        ErrorCode.SCRIPT_ERROR,
        f"The script ended with exit code {outcome.exit_code}.",
        "The last lines of the log say why; the whole of it is artifacts/execution_log.txt.",
        script_exit_code=outcome.exit_code,
    )


def _is_full(run_dir: Path) -> bool:
    found = os.statvfs(run_dir)
    return found.f_bavail * found.f_frsize < _FULL_BYTES
