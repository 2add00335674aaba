"""What Batch refuses, and the values that it fills in.

Limits: https://cloud.google.com/batch/quotas and the discovery document of batch.v1 (2026-11).
"""

import json
import re
import shlex
from typing import Any

from localcloud.errors import ApiError, invalid
from localcloud.run import quantities

JOB_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
MAX_TASKS = 100_000
MAX_PARALLELISM = 5_000
DEFAULT_PARALLELISM = 1_000
MAX_RETRIES = 10
MAX_RUNNABLES = 100
MAX_JOB_BYTES = 1 << 20
MAX_RUN_S = 14 * 86_400
SECRET = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+")
SPOT = ("SPOT", "PREEMPTIBLE")
GROUP = "group0"

Job = dict[str, Any]


def check_id(job_id: str) -> None:
    if not JOB_ID.fullmatch(job_id):
        raise invalid(
            f"Job ID {job_id!r} is invalid: it must be at most 63 lowercase letters, digits and hyphens, begin with a letter and "
            "not end with a hyphen.",
            "job_id",
        )


def normalised(job: Job) -> Job:
    """The job as it is stored, with what Batch fills in. Raises ApiError 400, or 501 for what is not there locally."""
    if len(json.dumps(job)) > MAX_JOB_BYTES:
        raise invalid(f"The job's definition is larger than {MAX_JOB_BYTES} bytes.", "job")
    groups = job.get("taskGroups", [])
    if len(groups) != 1:
        raise invalid(f"A job must have exactly one task group, got {len(groups)}.", "job.task_groups")
    policy = _allocation(job.get("allocationPolicy", {}))
    made = {**job, "taskGroups": [_group(groups[0])], "allocationPolicy": policy}
    made["priority"] = str(_between(job.get("priority", 0), 0, 99, "job.priority"))
    made["logsPolicy"] = _logs(job.get("logsPolicy", {}))
    return made


def _between(value: Any, low: int, high: int, field: str) -> int:
    if not low <= int(value) <= high:
        raise invalid(f"{field} must be {low} to {high}, got {value}.", field)
    return int(value)


def _group(group: dict[str, Any]) -> dict[str, Any]:
    where = "job.task_groups[0]"
    count = _between(group.get("taskCount", 1), 1, MAX_TASKS, f"{where}.task_count")
    parallelism = int(group.get("parallelism", 0)) or min(count, DEFAULT_PARALLELISM)
    _between(parallelism, 1, MAX_PARALLELISM, f"{where}.parallelism")
    environments = group.get("taskEnvironments", [])
    if environments and len(environments) != count:
        raise invalid(
            f"{where}.task_environments must have one entry per task ({count}), got {len(environments)}.",
            f"{where}.task_environments",
        )
    for environment in environments:
        _environment(environment, f"{where}.task_environments")
    made = {**group, "name": GROUP, "taskCount": str(count), "parallelism": str(min(parallelism, count))}
    if "taskCountPerNode" in group:
        made["taskCountPerNode"] = str(
            _between(group["taskCountPerNode"], 1, 20 * parallelism, f"{where}.task_count_per_node")
        )
    return made | {"taskSpec": _spec(group.get("taskSpec", {}), f"{where}.task_spec")}


def _spec(spec: dict[str, Any], where: str) -> dict[str, Any]:
    runnables = spec.get("runnables", [])
    if not 1 <= len(runnables) <= MAX_RUNNABLES:
        raise invalid(f"A task must have 1 to {MAX_RUNNABLES} runnables, got {len(runnables)}.", f"{where}.runnables")
    for number, runnable in enumerate(runnables):
        _runnable(runnable, f"{where}.runnables[{number}]")
    if spec.get("volumes"):
        kind = next((key for key in spec["volumes"][0] if key in ("gcs", "nfs", "deviceName")), "unknown")
        raise _absent(f"{where}.volumes: volumes of kind {kind} are not mounted")
    _environment(spec.get("environment", {}), f"{where}.environment")
    _between(spec.get("maxRetryCount", 0), 0, MAX_RETRIES, f"{where}.max_retry_count")
    if "maxRunDuration" in spec:
        _duration(spec["maxRunDuration"], f"{where}.max_run_duration")
    for policy in spec.get("lifecyclePolicies", []):
        _lifecycle(policy, f"{where}.lifecycle_policies")
    resource = spec.get("computeResource", {})
    filled = {"cpuMilli": str(resource.get("cpuMilli", 2000)), "memoryMib": str(resource.get("memoryMib", 2000))}
    for key, value in filled.items():
        _between(value, 1, 10_000_000, f"{where}.compute_resource.{key}")
    return {**spec, "computeResource": {**resource, **filled}}


def _runnable(runnable: dict[str, Any], where: str) -> None:
    kinds = [kind for kind in ("container", "script", "barrier") if kind in runnable]
    if len(kinds) != 1:
        raise invalid(f"{where} must be one of container, script and barrier.", where)
    if kinds[0] != "container":
        raise _absent(f"{where}.{kinds[0]}: there is no virtual machine for it, use a container")
    if runnable.get("background"):
        raise _absent(f"{where}.background")
    if "timeout" in runnable:
        _duration(runnable["timeout"], f"{where}.timeout")
    _environment(runnable.get("environment", {}), f"{where}.environment")
    container = runnable["container"]
    if not container.get("imageUri"):
        raise invalid(f"{where}.container.image_uri must be set.", f"{where}.container.image_uri")
    for field in ("volumes", "username", "password"):
        if container.get(field):
            raise _absent(f"{where}.container.{field}")
    options(container, where)


def _absent(what: str) -> ApiError:
    return ApiError(501, "UNIMPLEMENTED", f"{what}: not supported by the local cloud's Batch.")


def options(container: dict[str, Any], where: str = "") -> dict[str, str]:
    """The options of `docker run` that are served: {"workdir": DIR, "entrypoint": PROGRAM}. Raises ApiError 501 for others."""
    found: dict[str, str] = {}
    words = iter(shlex.split(container.get("options", "")))
    for word in words:
        name, given, value = word.partition("=")
        if name in ("--rm", "--init"):
            continue
        if name in ("--network", "--net", "--workdir", "-w", "--entrypoint"):
            value = value if given else next(words, "")
            if name in ("--network", "--net"):
                if value != "host":
                    raise _absent(f"{where}.container.options: {name} {value}")
            else:
                found["entrypoint" if name == "--entrypoint" else "workdir"] = value
            continue
        raise _absent(f"{where}.container.options: {name}")
    return found


def _environment(environment: dict[str, Any], where: str) -> None:
    if environment.get("encryptedVariables"):
        raise _absent(f"{where}.encrypted_variables")
    for name, version in environment.get("secretVariables", {}).items():
        if not SECRET.fullmatch(version):
            raise invalid(
                f"{where}.secret_variables[{name}] must be projects/P/secrets/S/versions/V.",
                f"{where}.secret_variables",
            )
    for name in (*environment.get("variables", {}), *environment.get("secretVariables", {})):
        if not name or "=" in name:
            raise invalid(f"{where}: {name!r} is no name of a variable.", where)


def _duration(text: str, field: str) -> None:
    if not 0 < quantities.seconds(text) <= MAX_RUN_S:
        raise invalid(f"{field} must be more than 0 and at most {MAX_RUN_S} seconds, got {text}.", field)


def _lifecycle(policy: dict[str, Any], where: str) -> None:
    codes = policy.get("actionCondition", {}).get("exitCodes", [])
    if policy.get("action") not in ("RETRY_TASK", "FAIL_TASK"):
        raise invalid(f"{where}.action must be RETRY_TASK or FAIL_TASK.", f"{where}.action")
    if not codes or any(not 1 <= code <= 59_999 for code in codes):
        raise invalid(
            f"{where}.action_condition.exit_codes must be 1 to 59999, one at least.", f"{where}.action_condition"
        )


def _allocation(policy: dict[str, Any]) -> dict[str, Any]:
    instances = policy.get("instances", [])
    if len(instances) > 1:
        raise invalid("allocation_policy.instances must have one entry at most.", "job.allocation_policy.instances")
    if instances and "policy" in instances[0]:
        filled = {"provisioningModel": "STANDARD"} | instances[0]["policy"]
        return {**policy, "instances": [{**instances[0], "policy": filled}]}
    return policy


def _logs(policy: dict[str, Any]) -> dict[str, Any]:
    destination = policy.get("destination", "DESTINATION_UNSPECIFIED")
    if destination == "PATH":
        raise _absent("job.logs_policy.destination PATH")
    return policy


def spot(job: Job) -> bool:
    """Whether its machines may be taken away."""
    return model(job) in SPOT


def model(job: Job) -> str:
    instances = job["allocationPolicy"].get("instances", [])
    return str(instances[0].get("policy", {}).get("provisioningModel", "STANDARD")) if instances else "STANDARD"


def machine_type(job: Job) -> str:
    """The machine type that was asked for, or the one of that many CPUs of a family that Batch picks from by default."""
    instances = job["allocationPolicy"].get("instances", [])
    asked = instances[0].get("policy", {}).get("machineType") if instances else ""
    cpus = -(-int(job["taskGroups"][0]["taskSpec"]["computeResource"]["cpuMilli"]) // 1000)
    return str(asked or f"e2-standard-{next((size for size in (2, 4, 8, 16, 32) if size >= cpus), cpus)}")
