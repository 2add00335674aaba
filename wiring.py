"""What stack.py needs beside systems and grants: the settings as arguments, limits before the first resource, exports."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, cast

from components import batch_fanout, feature_pipeline, heavy_runner
from components.batch_args import BatchFanoutArgs, check_fanout, stages_of
from components.batch_fanout import BatchFanout
from components.checks import ArgumentError, one_of
from components.feature_pipeline import FeaturePipelineJob
from components.foundation import Foundation
from components.heavy_runner import HeavyRunnerJob
from components.limits import REGIONS, JobShape, check_disk
from components.names import derived_id, label_value
from components.workload_image import WorkloadImage, WorkloadImageArgs
from settings import Fanout, FeaturePipeline, HeavyRunner, Settings

FANOUT = "batch-fanout"
"""Name of the fan-out's component."""

UNKNOWN_IMAGE = f"known/after@sha256:{'0' * 64}"
"""In place of an image that is not built yet, where arguments are checked before the first resource."""


def check(s: Settings) -> None:
    """Hold every system to the limits of the platform. Raises ArgumentError, which names the key."""
    one_of("gcp:region", "location", s.region, REGIONS)
    if (h := s.heavy_runner) is not None:
        _check_shape("longhaul:heavy_runner", s, h)
    if (f := s.feature_pipeline) is not None:
        _check_shape("longhaul:feature_pipeline", s, f)
        check_disk("longhaul:feature_pipeline", "scratch_gib", f.scratch_gib, f.disk_quota_gib)
    if s.batch_fanout is not None:
        later = {"image": UNKNOWN_IMAGE, "bucket": "later", "index_bucket": "later"}
        try:
            check_fanout(FANOUT, fanout_args(s, s.batch_fanout, later))
        except ArgumentError as error:
            raise ArgumentError(f"longhaul:batch_fanout{str(error).removeprefix(FANOUT)}") from error


def _check_shape(key: str, s: Settings, job: HeavyRunner | FeaturePipeline) -> None:
    JobShape(
        name=key,
        location=s.region,
        cpu=job.cpu,
        memory_gib=job.memory_gib,
        timeout_s=job.task_timeout_s,
        max_retries=job.max_retries,
    )


def apis(s: Settings) -> list[str]:
    """The APIs that the stack's systems need."""
    found = {*heavy_runner.APIS}
    if (f := s.feature_pipeline) is not None:
        found |= {*feature_pipeline.APIS}
        found |= {*feature_pipeline.SCHEDULE_APIS} if f.schedule else set()
        found |= {*feature_pipeline.ALERT_APIS} if f.alert else set()
    if (b := s.batch_fanout) is not None:
        found |= {*batch_fanout.APIS}
        found |= {*batch_fanout.SECRET_APIS} if b.github_secret else set()
        found |= {*batch_fanout.ALERT_APIS} if b.alert else set()
    return sorted(found)


def labels_of(s: Settings, system: str = "") -> dict[str, str]:
    """Labels for cost reports: of the stack, or of one of its systems."""
    of_stack = {**s.labels, "app": "longhaul", "stack": label_value(s.stack)}
    return {**of_stack, "system": system} if system else of_stack


def repository_id(s: Settings) -> str:
    """Id of the stack's own image repository."""
    return derived_id(s.stack, "images", 63)


def kept_digests(s: Settings) -> list[str]:
    """Digests that no cleanup of the stack's repository takes."""
    own = f"{s.registry_host}/{s.project}/{repository_id(s)}/"
    return [*s.retention.kept_digests, *(pin.rpartition("@")[2] for pin in s.images.values() if pin.startswith(own))]


def given(settings: object, args: type) -> Any:
    """What `settings` say of the arguments with the same name; what they leave empty is for the component to choose."""
    return _said({name: getattr(settings, name, None) for name in args.__annotations__})


def _said(values: Mapping[str, object]) -> dict[str, Any]:
    plain = {
        name: _said(asdict(value)) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in values.items()
    }
    return {name: value for name, value in plain.items() if value not in (None, "")}


def fanout_args(s: Settings, f: Fanout, known: Mapping[str, Any]) -> BatchFanoutArgs:
    """Arguments of the fan-out. `known` are image, bucket and index_bucket, which the engine gives."""
    args = {
        **known,
        **given(f, BatchFanoutArgs),
        "project": s.project,
        "location": s.region,
        "account_id": derived_id(s.stack, "fanout-tasks"),
        "workflow_account_id": derived_id(s.stack, "fanout-flow"),
        "repository_id": repository_id(s),
        "env": {**f.env, **s.endpoints_of("storage", "secret_manager").to_env()},
        "labels": labels_of(s, "fanout"),
        "deletion_protection": s.deletion_protection,
        "operators": s.operators,
    }
    return cast(BatchFanoutArgs, args)


def image_args(s: Settings, workload: str, foundation: Foundation) -> WorkloadImageArgs:
    """How the image of a workload comes to be: built from this tree, or as the stack pins it."""
    args: WorkloadImageArgs = {"workload": workload, "repository": foundation.repository}
    if workload in s.images:
        args["pin"] = s.images[workload]
    if s.build.base_image:
        args["base_image"] = s.build.base_image
    if s.build.network:
        args["network"] = s.build.network
    return args


def exported(s: Settings, foundation: Foundation, systems: Mapping[str, Any]) -> dict[str, Any]:
    """What the `longhaul` command knows of a stack."""
    return {
        "project": s.project,
        "region": s.region,
        "stack": s.stack,
        "bucket": foundation.bucket,
        "repository": foundation.repository,
        "endpoints": dict(s.endpoints),
        "operators": sorted(s.operators.values()),
        "systems": systems,
    }


def exported_job(
    job: HeavyRunnerJob | FeaturePipelineJob, image: WorkloadImage, shape: HeavyRunner | FeaturePipeline
) -> dict[str, Any]:
    """What it knows of a Cloud Run job."""
    return {
        "job": job.job_name,
        "job_id": job.job_id,
        "location": job.location,
        "service_account": job.service_account_email,
        "image": image.ref,
        "cpu": shape.cpu,
        "memory_gib": shape.memory_gib,
        "task_timeout_s": shape.task_timeout_s,
        "commands": {"gcloud": job.gcloud_command, "longhaul": job.longhaul_command},
    }


def exported_fanout(fanout: BatchFanout, args: BatchFanoutArgs, image: WorkloadImage) -> dict[str, Any]:
    """What it knows of the fan-out."""
    return {
        "workflow": fanout.workflow_name,
        "workflow_id": fanout.workflow_id,
        "location": fanout.location,
        "bucket": fanout.bucket,
        "prefix": args.get("prefix", "fanout/"),
        "service_account": fanout.service_account_email,
        "workflow_account": fanout.workflow_account_email,
        "image": image.ref,
        "max_parallelism": args.get("max_parallelism", 100),
        "spot": args.get("spot", False),
        "stages": stages_of(args),
        "job_templates": fanout.job_templates,
        "commands": {"gcloud": fanout.gcloud_command, "longhaul": fanout.longhaul_command},
    }
