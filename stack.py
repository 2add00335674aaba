"""The whole system on one screen."""

from dataclasses import asdict
from typing import Any, cast

import pulumi

from components import heavy_runner
from components.batch_fanout import BatchFanout
from components.feature_pipeline import FeaturePipelineJob, FeaturePipelineJobArgs
from components.foundation import Foundation
from components.heavy_runner import HeavyRunnerJob, HeavyRunnerJobArgs
from components.names import derived_id
from components.workload_image import WorkloadImage
from settings import Fanout, FeaturePipeline, HeavyRunner, Settings
from wiring import (
    FANOUT,
    apis,
    check,
    exported,
    exported_fanout,
    exported_job,
    fanout_args,
    given,
    image_args,
    kept_digests,
    labels_of,
    repository_id,
)


def deploy(s: Settings) -> None:
    """Declare the stack that `s` describes. Raises ArgumentError, before the first resource, if the platform forbids it."""
    check(s)
    foundation = Foundation(
        "foundation",
        {
            "project": s.project,
            "location": s.region,
            "registry": s.registry_host,
            "repository_id": repository_id(s),
            "apis": apis(s),
            "expiring_prefixes": heavy_runner.READ_PREFIXES,
            "expire_after_days": s.retention.expire_after_days,
            "keep_versions": s.retention.keep_versions,
            "untagged_after_days": s.retention.untagged_after_days,
            "kept_digests": kept_digests(s),
            "labels": labels_of(s),
            "force_destroy": s.force_destroy,
            "protect": s.deletion_protection,
            "image_readers": s.image_readers,
            "operators": s.operators,
        },
    )
    systems = {}
    if s.heavy_runner is not None:
        systems["heavy"] = _deploy_heavy_runner(s, s.heavy_runner, foundation)
    if s.feature_pipeline is not None:
        systems["features"] = _deploy_feature_pipeline(s, s.feature_pipeline, foundation)
    if s.batch_fanout is not None:
        systems["fanout"] = _deploy_batch_fanout(s, s.batch_fanout, foundation)

    pulumi.export("bucket", foundation.bucket)
    pulumi.export("repository", foundation.repository)
    pulumi.export("commands", {system: made["commands"]["longhaul"] for system, made in systems.items()})
    pulumi.export("longhaul", exported(s, foundation, systems))


def _deploy_heavy_runner(s: Settings, h: HeavyRunner, foundation: Foundation) -> dict[str, Any]:
    image = WorkloadImage("heavy-runner-image", image_args(s, "heavy_runner", foundation))
    args = {
        **given(h, HeavyRunnerJobArgs),
        "image": image.ref,
        "project": s.project,
        "location": s.region,
        "account_id": derived_id(s.stack, "heavy"),
        "bucket": foundation.bucket,
        "env": {**h.env.to_env(), **s.endpoints_of("storage").to_env()},
        "labels": labels_of(s, "heavy"),
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
    return {**exported_job(job, image, h), **more}


def _deploy_feature_pipeline(s: Settings, f: FeaturePipeline, foundation: Foundation) -> dict[str, Any]:
    image = WorkloadImage("feature-pipeline-image", image_args(s, "feature_pipeline", foundation))
    endpoints = s.endpoints_of("storage", "bigquery", "bigquery_storage")
    args = {
        **given(f, FeaturePipelineJobArgs),
        "image": image.ref,
        "project": s.project,
        "location": s.region,
        "account_id": derived_id(s.stack, "features"),
        "scheduler_account_id": derived_id(s.stack, "features-cron"),
        "bucket": foundation.bucket,
        "env": {**f.contract(s.project).to_env(), **endpoints.to_env()},
        "labels": labels_of(s, "features"),
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
    return {**exported_job(job, image, f), **more}


def _deploy_batch_fanout(s: Settings, f: Fanout, foundation: Foundation) -> dict[str, Any]:
    image = WorkloadImage("batch-fanout-image", image_args(s, "batch_fanout", foundation))
    known = {"image": image.ref, "bucket": foundation.bucket, "index_bucket": foundation.bucket}
    args = fanout_args(s, f, known)
    fanout = BatchFanout(FANOUT, args, pulumi.ResourceOptions(depends_on=foundation.apis))
    return exported_fanout(fanout, args, image)
