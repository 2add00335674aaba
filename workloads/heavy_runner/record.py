"""`run_metadata.json` of the heavy runner."""

from typing import TYPE_CHECKING, Any

from workloads.common.contract import RunRecord, RunState, job_cost_usd
from workloads.common.logs import rfc3339
from workloads.common.memory import MIB, cpu_count, own_memory
from workloads.heavy_runner.contract import SYSTEM
from workloads.heavy_runner.failure import RunFailure
from workloads.heavy_runner.request import Request

if TYPE_CHECKING:
    from workloads.heavy_runner.run import HeavyRun


def make(run: "HeavyRun", state: RunState, failure: RunFailure | None) -> RunRecord:
    """The record of a run at its end."""
    request = run.request
    cpus = cpu_count()
    return RunRecord(
        system=SYSTEM,
        run_id=request.run_id if request else "",
        state=state,
        start=rfc3339(run.started),
        end=rfc3339(run.now()),
        image=run.env.image,
        arguments=_arguments(run, request) if isinstance(request, Request) else {"input_uri": run.input_uri},
        started_by=run.start.started_by,
        execution=run.task.execution,
        attempt=run.task.attempt,
        counts={
            "inputs": len(run.inputs),
            "input_bytes": sum(blob.size for _, blob in run.inputs),
            "outputs": len(run.uploaded),
            "output_bytes": sum(run.uploaded.values()),
            "not_uploaded": run.found.skipped_count,
            "log_lines": run.capture.lines if run.capture else 0,
            "log_bytes": run.capture.total_bytes if run.capture else 0,
        },
        cost_usd=_cost_usd(run, cpus),
        runtime=run.host.runtime,
        details={
            "error_code": failure.code if failure else None,
            "timings": {**run.timings, "total_s": round(run.elapsed_s, 3)},
            "resources": _resources(run, cpus),
            "sandbox": _sandbox(run),
            "inputs": [
                {"uri": blob.uri, "path": one.path, "bytes": blob.size, "generation": blob.generation}
                for one, blob in run.inputs[:1_000]
            ],
            "outputs": dict(list(run.uploaded.items())[:1_000]),
            "not_uploaded": run.found.skipped,
            "missing": run.found.missing,
            "log_cut_bytes": run.capture.cut_bytes if run.capture else 0,
        },
    )


def _cost_usd(run: "HeavyRun", cpus: float) -> float | None:
    """List price by the job's shape, which a local cloud may not have room for; by what is here if nobody told it."""
    if not run.task.execution:
        return None
    memory_mib = run.env.memory_mib or (run.memory.limit or 0) / MIB
    return job_cost_usd(run.env.cpu or cpus, memory_mib / 1_024, run.elapsed_s)


def _arguments(run: "HeavyRun", request: Request) -> dict[str, Any]:
    return {
        "input_uri": run.input_uri,
        "output_uri": run.output_uri,
        "dataset_uri": request.dataset_uri,
        "code_uri": request.code_uri,
        "data_path": request.data_path,
        "read": request.read.model_dump(),
        "read_checked": run.read_checked,
        "support_files": len(request.support_files),
        "required_outputs": request.required_outputs,
        "script_timeout_seconds": request.script_timeout_seconds,
        "attempt": request.attempt,
        "safe_mode": request.safe_mode,
        "protocol_version": request.protocol_version,
        "ignored_fields": request.unknown,
    }


def _resources(run: "HeavyRun", cpus: float) -> dict[str, Any]:
    return {
        "cpus": cpus,
        "memory_limit_mib": (run.memory.limit or 0) // MIB,
        "memory_reserve_mib": run.reserve // MIB,
        "memory_peak_mib": run.peak_mib,
        "memory_source": run.memory.source,
        "supervisor_peak_mib": own_memory()[1] // MIB,
    }


def _sandbox(run: "HeavyRun") -> dict[str, Any]:
    reduced = not run.host.script_uid
    return {
        "reduced": reduced,
        "reason": "the supervisor does not run as root of the image, so the script shares its user" if reduced else "",
        "script_uid": run.host.script_uid or None,
        "leftovers_ended": run.outcome.leftovers if run.outcome else 0,
    }
