"""The whole system on one screen."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, cast

import pulumi

from components import feature_pipeline, heavy_runner
from components.checks import one_of
from components.feature_pipeline import FeaturePipelineJob, FeaturePipelineJobArgs
from components.foundation import Foundation
from components.heavy_runner import HeavyRunnerJob, HeavyRunnerJobArgs
from components.limits import REGIONS, JobShape, check_disk
from components.names import derived_id, label_value
from components.workload_image import WorkloadImage, WorkloadImageArgs
from settings import FeaturePipeline, HeavyRunner, Settings


def deploy(s: Settings) -> None:
    """Declare the stack that `s` describes. Raises ArgumentError, before the first resource, if the platform forbids it."""
    check(s)
    labels = {**s.labels, "app": "longhaul", "stack": label_value(s.stack)}
    repository_id = derived_id(s.stack, "images", 63)
    own_pins = [pin for pin in s.images.values() if pin.startswith(f"{s.registry_host}/{s.project}/{repository_id}/")]

    foundation = Foundation(
        "foundation",
        {
            "project": s.project,
            "location": s.region,
            "registry": s.registry_host,
            "repository_id": repository_id,
            "apis": _apis(s),
            "expiring_prefixes": heavy_runner.READ_PREFIXES,
            "expire_after_days": s.retention.expire_after_days,
            "keep_versions": s.retention.keep_versions,
            "untagged_after_days": s.retention.untagged_after_days,
            "kept_digests": [*s.retention.kept_digests, *(pin.rpartition("@")[2] for pin in own_pins)],
            "labels": labels,
            "force_destroy": s.force_destroy,
            "protect": s.deletion_protection,
            "image_readers": s.image_readers,
            "operators": s.operators,
        },
    )
    systems = {}
    if s.heavy_runner is not None:
        systems["heavy"] = _deploy_heavy_runner(s, s.heavy_runner, foundation, labels)
    if s.feature_pipeline is not None:
        systems["features"] = _deploy_feature_pipeline(s, s.feature_pipeline, foundation, labels)

    pulumi.export("bucket", foundation.bucket)
    pulumi.export("repository", foundation.repository)
    pulumi.export("commands", {system: made["commands"]["longhaul"] for system, made in systems.items()})
    pulumi.export("longhaul", _exported(s, foundation, systems))


def check(s: Settings) -> None:
    """Hold every system to the limits of the platform. Raises ArgumentError, which names the key."""
    one_of("gcp:region", "location", s.region, REGIONS)
    if (h := s.heavy_runner) is not None:
        _check_shape("longhaul:heavy_runner", s, h)
    if (f := s.feature_pipeline) is not None:
        _check_shape("longhaul:feature_pipeline", s, f)
        check_disk("longhaul:feature_pipeline", "scratch_gib", f.scratch_gib, f.disk_quota_gib)


def _check_shape(key: str, s: Settings, job: HeavyRunner | FeaturePipeline) -> None:
    JobShape(
        name=key,
        location=s.region,
        cpu=job.cpu,
        memory_gib=job.memory_gib,
        timeout_s=job.task_timeout_s,
        max_retries=job.max_retries,
    )


def _apis(s: Settings) -> list[str]:
    apis = {*heavy_runner.APIS}
    if (f := s.feature_pipeline) is not None:
        apis |= {*feature_pipeline.APIS}
        apis |= {*feature_pipeline.SCHEDULE_APIS} if f.schedule else set()
        apis |= {*feature_pipeline.ALERT_APIS} if f.alert else set()
    return sorted(apis)


def _deploy_heavy_runner(
    s: Settings, h: HeavyRunner, foundation: Foundation, labels: Mapping[str, str]
) -> dict[str, Any]:
    image = WorkloadImage("heavy-runner-image", _image(s, "heavy_runner", foundation))
    args = {
        **_given(h, HeavyRunnerJobArgs),
        "image": image.ref,
        "project": s.project,
        "location": s.region,
        "account_id": derived_id(s.stack, "heavy"),
        "bucket": foundation.bucket,
        "env": {**h.env.to_env(), **s.endpoints_of("storage").to_env()},
        "labels": {**labels, "system": "heavy"},
        "deletion_protection": s.deletion_protection,
        "operators": s.operators,
    }
    job = HeavyRunnerJob(
        "heavy-runner", cast(HeavyRunnerJobArgs, args), pulumi.ResourceOptions(depends_on=foundation.apis)
    )
    more = {
        "bucket": job.bucket,
        "script_timeout_s": h.script_timeout_s,
        "sandbox": asdict(h.sandbox),
        "env_block": job.env_block,
    }
    return {**_exported_job(job, image, h), **more}


def _deploy_feature_pipeline(
    s: Settings, f: FeaturePipeline, foundation: Foundation, labels: Mapping[str, str]
) -> dict[str, Any]:
    image = WorkloadImage("feature-pipeline-image", _image(s, "feature_pipeline", foundation))
    endpoints = s.endpoints_of("storage", "bigquery", "bigquery_storage")
    args = {
        **_given(f, FeaturePipelineJobArgs),
        "image": image.ref,
        "project": s.project,
        "location": s.region,
        "account_id": derived_id(s.stack, "features"),
        "scheduler_account_id": derived_id(s.stack, "features-cron"),
        "bucket": foundation.bucket,
        "env": {**f.contract(s.project).to_env(), **endpoints.to_env()},
        "labels": {**labels, "system": "features"},
        "deletion_protection": s.deletion_protection,
        "force_destroy": s.force_destroy,
        "operators": s.operators,
    }
    job = FeaturePipelineJob(
        "feature-pipeline", cast(FeaturePipelineJobArgs, args), pulumi.ResourceOptions(depends_on=foundation.apis)
    )
    more = {
        "output_bucket": job.output_bucket,
        "staging_bucket": job.staging_bucket,
        "pairs": list(f.pairs),
        "features_dataset": f.features_dataset,
        "raw_dataset": f.raw_dataset,
    }
    return {**_exported_job(job, image, f), **more}


def _given(settings: object, args: type) -> Any:
    """What `settings` say of the arguments with the same name; what they leave empty is for the component to choose."""
    said = {name: getattr(settings, name, None) for name in args.__annotations__}
    return {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in said.items()
        if value not in (None, "")
    }


def _exported_job(
    job: HeavyRunnerJob | FeaturePipelineJob, image: WorkloadImage, shape: HeavyRunner | FeaturePipeline
) -> dict[str, Any]:
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


def _exported(s: Settings, foundation: Foundation, systems: Mapping[str, Any]) -> dict[str, Any]:
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


def _image(s: Settings, workload: str, foundation: Foundation) -> WorkloadImageArgs:
    args: WorkloadImageArgs = {"workload": workload, "repository": foundation.repository}
    if workload in s.images:
        args["pin"] = s.images[workload]
    if s.build.base_image:
        args["base_image"] = s.build.base_image
    if s.build.network:
        args["network"] = s.build.network
    return args
