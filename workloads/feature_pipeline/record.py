"""`run_metadata.json` of the feature pipeline."""

from typing import TYPE_CHECKING, Any

from workloads.common.contract import RunRecord, RunState, job_cost_usd
from workloads.common.logs import rfc3339
from workloads.common.memory import MIB, cpu_count, own_memory
from workloads.feature_pipeline.backup import training_uri
from workloads.feature_pipeline.contract import SYSTEM
from workloads.feature_pipeline.extract import totals
from workloads.feature_pipeline.failure import RunFailure

if TYPE_CHECKING:
    from workloads.feature_pipeline.run import FeatureRun


def make(run: "FeatureRun", state: RunState, failure: RunFailure | None) -> RunRecord:
    """The record of a run at its end."""
    env = run.env
    return RunRecord(
        system=SYSTEM,
        run_id=run.run_id,
        state=state,
        start=rfc3339(run.started),
        end=rfc3339(run.now()),
        image=env.image,
        arguments=_arguments(run),
        started_by=run.start.started_by,
        execution=run.task.execution,
        attempt=run.task.attempt,
        counts=_counts(run),
        cost_usd=job_cost_usd(env.cpu, env.memory_gib, run.elapsed_s) if run.task.execution else None,
        runtime=run.runtime,
        details={
            "error_code": failure.code if failure else None,
            "error": dict(failure.details) if failure else {},
            "stage_seconds": run.stage_seconds(),
            "snapshot_time": run.snapshot.snapshot_time if run.snapshot else None,
            "resumed": run.resumed,
            "training_file": _training_file(run),
            "merge": {name: value for name, value in run.merged.items() if name != "renamed"},
            "renamed_tables": len(run.merged.get("renamed", {})),
            "missing": list(run.manifest.missing) if run.manifest else [],
            "empty": list(run.manifest.empty) if run.manifest else [],
            "checks": dict(run.checks),
            "warnings": list(run.warnings),
            "kept_checkpoints": env.keep,
            "resources": {
                "cpus": cpu_count(),
                "memory_limit_mib": (run.memory.limit or 0) // MIB,
                "memory_peak_mib": run.peak_mib,
                "memory_source": run.memory.source,
                "process_peak_mib": own_memory()[1] // MIB,
                "merge_peak_mib": run.merged.get("peak_bytes", 0) // MIB,
            },
        },
    )


def _arguments(run: "FeatureRun") -> dict[str, Any]:
    names = (
        "pair", "project", "features_dataset", "raw_dataset", "output_bucket", "staging_bucket", "key_column",
        "horizons", "missing_allowed", "policy_missing", "policy_duplicate", "policy_extra", "scratch", "keep",
    )  # fmt: skip
    return {name: getattr(run.env, name) for name in names}


def _counts(run: "FeatureRun") -> dict[str, Any]:
    entries = run.manifest.tables if run.manifest else {}
    rate = run.rate
    return {
        "tables": len(entries),
        "tables_extracted": rate.done if rate else 0,
        "tables_reused": rate.reused if rate else 0,
        "checkpoint_bytes": sum(entry.size for entry in entries.values()),
        "rows": run.merged.get("rows", 0),
        "columns": run.merged.get("columns", 0),
        "bytes": run.uploaded.size if run.uploaded else run.merged.get("bytes", 0),
        "rows_not_fitting": totals(entries),
    }


def _training_file(run: "FeatureRun") -> dict[str, Any] | None:
    if run.uploaded is None:
        return None
    uploaded = run.uploaded
    return {
        "uri": training_uri(run.env),
        "generation": uploaded.generation,
        "bytes": uploaded.size,
        "crc32c": uploaded.crc32c,
    }
