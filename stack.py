"""The whole system on one screen."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pulumi

from components import heavy_runner
from components.checks import one_of
from components.foundation import Foundation
from components.heavy_runner import HeavyRunnerJob
from components.limits import REGIONS, JobShape
from components.names import derived_id, label_value
from components.workload_image import WorkloadImage, WorkloadImageArgs
from settings import HeavyRunner, Settings


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
            "apis": heavy_runner.APIS,
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

    pulumi.export("bucket", foundation.bucket)
    pulumi.export("repository", foundation.repository)
    pulumi.export("commands", {system: made["commands"]["longhaul"] for system, made in systems.items()})
    pulumi.export("longhaul", _exported(s, foundation, systems))


def check(s: Settings) -> None:
    """Hold every system to the limits of the platform. Raises ArgumentError, which names the key."""
    one_of("gcp:region", "location", s.region, REGIONS)
    if (h := s.heavy_runner) is not None:
        JobShape(
            name="longhaul:heavy_runner",
            location=s.region,
            cpu=h.cpu,
            memory_gib=h.memory_gib,
            timeout_s=h.task_timeout_s,
            max_retries=h.max_retries,
        )


def _deploy_heavy_runner(
    s: Settings, h: HeavyRunner, foundation: Foundation, labels: Mapping[str, str]
) -> dict[str, Any]:
    image = WorkloadImage("heavy-runner-image", _image(s, "heavy_runner", foundation))
    job = HeavyRunnerJob(
        "heavy-runner",
        {
            "image": image.ref,
            "project": s.project,
            "location": s.region,
            "account_id": derived_id(s.stack, "heavy"),
            "bucket": foundation.bucket,
            "cpu": h.cpu,
            "memory_gib": h.memory_gib,
            "task_timeout_s": h.task_timeout_s,
            "script_timeout_s": h.script_timeout_s,
            "max_retries": h.max_retries,
            "env": {**h.env.to_env(), **s.endpoints_of("storage").to_env()},
            "labels": {**labels, "system": "heavy"},
            "deletion_protection": s.deletion_protection,
            "operators": s.operators,
        },
        pulumi.ResourceOptions(depends_on=foundation.apis),
    )
    return {
        "job": job.job_name,
        "job_id": job.job_id,
        "location": job.location,
        "bucket": job.bucket,
        "service_account": job.service_account_email,
        "image": image.ref,
        "cpu": h.cpu,
        "memory_gib": h.memory_gib,
        "task_timeout_s": h.task_timeout_s,
        "script_timeout_s": h.script_timeout_s,
        "sandbox": asdict(h.sandbox),
        "commands": {"gcloud": job.gcloud_command, "longhaul": job.longhaul_command},
        "env_block": job.env_block,
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
