"""What Cloud Run refuses of a job, with the sources of the numbers."""

import re
from typing import Any

from localcloud.errors import ApiError, violations
from localcloud.run import quantities

MEMORY_OF_CPU = {1: (512, 4096), 2: (512, 8192), 4: (2048, 16384), 6: (4096, 24576), 8: (4096, 32768)}
"""CPUs -> least and most memory, MiB. https://cloud.google.com/run/docs/configuring/jobs/cpu (2026-08)."""
GPU = {"nvidia-l4": (4, 16384), "nvidia-rtx-pro-6000": (20, 81920)}
"""Accelerator -> least CPUs, least memory in MiB. https://cloud.google.com/run/docs/configuring/jobs/gpu (2026-08)."""
GPU_REGIONS = {
    "nvidia-l4": ("asia-southeast1", "asia-south1", "europe-west1", "europe-west4", "us-east4", "us-central1"),
    "nvidia-rtx-pro-6000": ("us-central1", "europe-west4", "asia-southeast1", "asia-south2"),
}
"""Same page."""
MAX_TASKS = 10_000
"""https://cloud.google.com/run/docs/create-jobs (2026-08)."""
MAX_RETRIES = 10
"""https://cloud.google.com/run/docs/configuring/max-retries (2026-08)."""
MAX_TIMEOUT_S = 604_800
"""7 days, https://cloud.google.com/run/docs/configuring/task-timeout (2026-08)."""
MAX_GPU_TIMEOUT_S = 43_200
"""12 hours in preview, else 1 hour; same page (2026-08). The longer one is let through."""
MAX_ENV_BYTES = 32_768
"""Length of one variable's value. https://cloud.google.com/run/quotas (2026-08)."""
RESERVED_ENV = re.compile(r"X_GOOGLE_.*|CLOUD_RUN_(JOB|EXECUTION|TASK_INDEX|TASK_ATTEMPT|TASK_COUNT)")
"""https://cloud.google.com/run/docs/configuring/jobs/environment-variables (2026-08)."""
NAMESPACES = ("run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev")
"""Not allowed in labels and annotations of v2, by its discovery document."""

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"[-_a-z0-9]{0,63}")
_LABEL_KEY = re.compile(r"[a-z][-_a-z0-9]{0,62}")


class Violations:
    """Collects what is wrong, by field."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def add(self, field: str, text: str) -> None:
        self.found.append((field, f"{field}: {text}"))

    def error(self) -> ApiError | None:
        return violations(self.found) if self.found else None


def check_job(job: dict[str, Any], location: str) -> None:
    """Raises ApiError 400 that names every field that is wrong."""
    wrong = Violations()
    _labels(wrong, job, "labels", "annotations")
    template = job.get("template")
    if not template or not template.get("template"):
        wrong.add("template.template", "must be set.")
    else:
        _execution(wrong, template, location)
    if error := wrong.error():
        raise error


def _execution(wrong: Violations, template: dict[str, Any], location: str) -> None:
    count, parallelism = template.get("taskCount", 1), template.get("parallelism", 0)
    if not 0 <= count <= MAX_TASKS:
        wrong.add("template.task_count", f"must be between 1 and {MAX_TASKS}, got {count}.")
    if parallelism < 0 or (count and parallelism > count):
        wrong.add("template.parallelism", f"must be between 0 and task_count ({count}), got {parallelism}.")
    task, gpu = template["template"], _gpu(template["template"])
    if not 0 <= task.get("maxRetries", 3) <= MAX_RETRIES:
        wrong.add("template.template.max_retries", f"must be between 0 and {MAX_RETRIES}, got {task['maxRetries']}.")
    _timeout(wrong, "template.template.timeout", task.get("timeout", "600s"), gpu)
    if task.get("executionEnvironment") == "EXECUTION_ENVIRONMENT_GEN1":
        wrong.add("template.template.execution_environment", "jobs run in the second generation only.")
    containers = task.get("containers") or []
    if len(containers) != 1:
        wrong.add("template.template.containers", f"must hold one container, got {len(containers)}.")
    names = {volume.get("name", ""): volume for volume in task.get("volumes", [])}
    for number, container in enumerate(containers):
        _container(wrong, container, f"template.template.containers[{number}]", names)
        _resources(wrong, container, task, f"template.template.containers[{number}].resources.limits")
    _volumes(wrong, task.get("volumes", []))
    _network(wrong, task.get("vpcAccess", {}))
    _accelerator(wrong, task, gpu, location)


def _timeout(wrong: Violations, field: str, text: str, gpu: int) -> None:
    most = MAX_GPU_TIMEOUT_S if gpu else MAX_TIMEOUT_S
    try:
        ok = 1 <= quantities.seconds(text) <= most
    except ValueError:
        ok = False
    if not ok:
        wrong.add(field, f"must be between 1s and {most}s, got {text}.")


def _container(wrong: Violations, container: dict[str, Any], at: str, volumes: dict[str, Any]) -> None:
    if not container.get("image"):
        wrong.add(f"{at}.image", "must be set.")
    elif not re.fullmatch(r"[A-Za-z0-9][\w./:@-]*", container["image"]):
        wrong.add(f"{at}.image", f"Expected a valid container image, got {container['image']!r}.")
    if (name := container.get("name")) and not _DNS_LABEL.fullmatch(name):
        wrong.add(f"{at}.name", f"must be a DNS label, got {name!r}.")
    if container.get("ports"):
        wrong.add(f"{at}.ports", "are not supported for jobs.")
    for probe in ("livenessProbe", "readinessProbe"):
        if container.get(probe):
            wrong.add(f"{at}.{probe}", "is not supported for jobs.")
    check_env(wrong, container.get("env", []), f"{at}.env")
    for number, mount in enumerate(container.get("volumeMounts", [])):
        if mount.get("name") not in volumes:
            wrong.add(f"{at}.volume_mounts[{number}].name", f"no volume is named {mount.get('name')!r}.")
        if not str(mount.get("mountPath", "")).startswith("/"):
            wrong.add(f"{at}.volume_mounts[{number}].mount_path", "must be an absolute path.")


def check_env(wrong: Violations, env: list[dict[str, Any]], at: str) -> None:
    """Add what is wrong with a list of variables."""
    seen: set[str] = set()
    for number, entry in enumerate(env):
        name = entry.get("name", "")
        if not re.fullmatch(r"[^=\0]+", name):
            wrong.add(f"{at}[{number}].name", f"must be a name without '=', got {name!r}.")
        elif RESERVED_ENV.fullmatch(name):
            wrong.add(f"{at}[{number}].name", f"{name} is reserved and set by Cloud Run.")
        if name in seen:
            wrong.add(f"{at}[{number}].name", f"{name} is given twice.")
        seen.add(name)
        if entry.get("value") and entry.get("valueSource"):
            wrong.add(f"{at}[{number}]", "value and value_source exclude each other.")
        if len(entry.get("value", "").encode()) > MAX_ENV_BYTES:
            wrong.add(f"{at}[{number}].value", f"must be at most {MAX_ENV_BYTES} bytes long.")


def _resources(wrong: Violations, container: dict[str, Any], task: dict[str, Any], at: str) -> None:
    limits = container.get("resources", {}).get("limits") or {}
    for key in sorted(set(limits) - {"cpu", "memory", "nvidia.com/gpu"}):
        wrong.add(f"{at}.{key}", "only cpu, memory and nvidia.com/gpu are supported.")
    try:
        cpus = quantities.cpus(str(limits.get("cpu", "1")))
    except ValueError:
        wrong.add(f"{at}.cpu", f"Invalid value specified for cpu: {limits['cpu']!r}.")
        return
    try:
        memory = quantities.memory_mib(str(limits.get("memory", "512Mi")))
    except ValueError:
        wrong.add(f"{at}.memory", f"Invalid value specified for memory: {limits['memory']!r}.")
        return
    if not _gpu(task):
        _pair(wrong, cpus, memory, at)


def _pair(wrong: Violations, cpus: float, memory: float, at: str) -> None:
    if cpus < 1:
        wrong.add(
            f"{at}.cpu",
            "Invalid value specified for cpu. Total cpu < 1 is not supported with gen2 execution environment.",
        )
        return
    bounds = MEMORY_OF_CPU.get(int(cpus)) if cpus == int(cpus) else None
    if bounds is None:
        allowed = ", ".join(map(str, MEMORY_OF_CPU))
        wrong.add(f"{at}.cpu", f"Invalid value specified for cpu. Must be one of {allowed}, got {cpus:g}.")
    elif memory < 512:
        text = "Invalid value specified for memory. Total memory < 512 Mi is not supported with gen2 execution environment."
        wrong.add(f"{at}.memory", text)
    elif not bounds[0] <= memory <= bounds[1]:
        text = f"Invalid value specified for memory. For {cpus:g} CPU must be between {bounds[0]}Mi and {bounds[1]}Mi"
        wrong.add(f"{at}.memory", f"{text}, got {memory:g}Mi.")


def _gpu(task: dict[str, Any]) -> int:
    containers = task.get("containers") or [{}]
    count = str((containers[0].get("resources", {}).get("limits") or {}).get("nvidia.com/gpu", "0"))
    return int(count) if count.isdigit() else 0


def _accelerator(wrong: Violations, task: dict[str, Any], gpu: int, location: str) -> None:
    kind = task.get("nodeSelector", {}).get("accelerator", "")
    at = "template.template.node_selector.accelerator"
    if not gpu:
        if kind:
            wrong.add(at, f"{kind} needs a limit of nvidia.com/gpu.")
        return
    if gpu != 1:
        wrong.add("template.template.containers[0].resources.limits.nvidia.com/gpu", f"must be 1, got {gpu}.")
    if kind not in GPU:
        wrong.add(at, f"must be one of {', '.join(GPU)}, got {kind!r}.")
        return
    if location not in GPU_REGIONS[kind]:
        wrong.add(at, f"{kind} is offered in {', '.join(GPU_REGIONS[kind])}, not in {location}.")
    if not task.get("gpuZonalRedundancyDisabled"):
        wrong.add("template.template.gpu_zonal_redundancy_disabled", "must be true for jobs with a GPU.")
    limits = task["containers"][0]["resources"]["limits"]
    try:
        cpus, memory = (
            quantities.cpus(str(limits.get("cpu", "1"))),
            quantities.memory_mib(limits.get("memory", "512Mi")),
        )
    except ValueError:
        return  # _resources has named it
    if cpus < GPU[kind][0] or memory < GPU[kind][1]:
        text = (
            f"{kind} needs at least {GPU[kind][0]} CPU and {GPU[kind][1]}Mi of memory, got {cpus:g} and {memory:g}Mi."
        )
        wrong.add("template.template.containers[0].resources.limits", text)


def _volumes(wrong: Violations, volumes: list[dict[str, Any]]) -> None:
    sources = ("secret", "cloudSqlInstance", "emptyDir", "nfs", "gcs", "filestore")
    seen: set[str] = set()
    for number, volume in enumerate(volumes):
        at = f"template.template.volumes[{number}]"
        name = volume.get("name", "")
        if not _DNS_LABEL.fullmatch(name) or name in seen:
            wrong.add(f"{at}.name", f"must be a DNS label of its own, got {name!r}.")
        seen.add(name)
        if sum(source in volume for source in sources) != 1:
            wrong.add(at, f"must have exactly one of {', '.join(sources)}.")


def _network(wrong: Violations, access: dict[str, Any]) -> None:
    interfaces = access.get("networkInterfaces", [])
    if access.get("connector") and interfaces:
        wrong.add("template.template.vpc_access", "connector and network_interfaces exclude each other.")
    if len(interfaces) > 1:
        wrong.add("template.template.vpc_access.network_interfaces", f"must hold one interface, got {len(interfaces)}.")


def _labels(wrong: Violations, job: dict[str, Any], labels: str, annotations: str) -> None:
    for key, value in job.get(labels, {}).items():
        if key.partition("/")[0] in NAMESPACES:
            wrong.add(f"{labels}.{key}", "labels of this namespace are not supported by v2.")
        elif not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            wrong.add(f"{labels}.{key}", "keys and values may hold lower-case letters, digits, - and _ (63 at most).")
    for key in job.get(annotations, {}):
        if key.partition("/")[0] in NAMESPACES:
            wrong.add(f"{annotations}.{key}", "annotations of this namespace are not supported by v2.")


def check_overrides(overrides: dict[str, Any], task: dict[str, Any]) -> None:
    """Raises ApiError 400 for overrides of `:run` that do not fit the job's task template."""
    wrong = Violations()
    names = [container.get("name", "") for container in task["containers"]]
    if not 0 <= overrides.get("taskCount", 1) <= MAX_TASKS:
        wrong.add("overrides.task_count", f"must be between 1 and {MAX_TASKS}, got {overrides['taskCount']}.")
    if "timeout" in overrides:
        _timeout(wrong, "overrides.timeout", overrides["timeout"], _gpu(task))
    for number, entry in enumerate(overrides.get("containerOverrides", [])):
        at = f"overrides.container_overrides[{number}]"
        if (name := entry.get("name")) and name not in names:
            wrong.add(f"{at}.name", f"the job has no container named {name!r}.")
        if entry.get("args") and entry.get("clearArgs"):
            wrong.add(f"{at}.clear_args", "args and clear_args exclude each other.")
        check_env(wrong, entry.get("env", []), f"{at}.env")
    if error := wrong.error():
        raise error
