"""The Batch jobs of a fan-out: one definition for the workflow and for a job that somebody creates by hand."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import pulumi

from components.checks import in_range, matching
from components.limits import BATCH_PREEMPTED, BATCH_RETRIES, BATCH_RUN
from workloads.batch_fanout.contract import VARIABLES, Stage
from workloads.common.contract import ExitCode

GROUP = "group0"


class StageArgs(TypedDict):
    cpu_milli: NotRequired[int]
    """CPU of a task, thousandths of a vCPU (250 to 224,000). Default 2,000."""
    memory_mib: NotRequired[int]
    """Memory of a task, MiB (128 to 4,000,000). Default 4,096, and 8,192 in stage B."""
    machine_type: NotRequired[str]
    """Machine type, such as `e2-standard-2`. Default: Batch picks one that the task fits on."""
    max_retries: NotRequired[int]
    """Retries of a task that exited with 1 or lost its Spot machine (0 to 10). Default 3."""
    timeout_s: NotRequired[int]
    """Limit on one attempt of a task, seconds (60 to 1,209,600). Default 3,600."""
    boot_disk_gib: NotRequired[int]
    """Boot disk of a machine, GiB (30 to 65,536), where the image is larger than Batch's own default allows. Default
    Batch's own."""


class FanoutNetworkArgs(TypedDict):
    network: pulumi.Input[str]
    """Network of the machines, projects/PROJECT/global/networks/NAME."""
    subnetwork: pulumi.Input[str]
    """Subnetwork of the machines, projects/PROJECT/regions/REGION/subnetworks/NAME; it needs Private Google Access."""
    nat: NotRequired[bool]
    """Whether a router with NAT is made for the network: machines have no external address, and without NAT they reach
    Google alone, no GitHub. Default false: there is one, or none is needed."""
    nat_min_ports: NotRequired[int]
    """Ports that a machine has at least (32 to 65,536, a power of two); they grow with its connections. Default 64."""


DEFAULTS: Mapping[str, StageArgs] = {
    "a": {"memory_mib": 4_096},
    "b": {"memory_mib": 8_192},
    "c": {"memory_mib": 4_096},
}


def check_stage(name: str, stage: str, args: StageArgs) -> None:
    """Raises ValueError: an argument of stage `stage` is out of range."""
    where = f"{name}: stage_{stage}"
    in_range(where, "cpu_milli", args.get("cpu_milli", 2_000), 250, 224_000, "thousandths of a vCPU")
    in_range(where, "memory_mib", args.get("memory_mib", 4_096), 128, 4_000_000, "MiB")
    in_range(where, "boot_disk_gib", args.get("boot_disk_gib", 30), 30, 65_536, "GiB")
    BATCH_RETRIES.check(where, "max_retries", args.get("max_retries", 3))
    BATCH_RUN.check(where, "timeout_s", args.get("timeout_s", 3_600), remedy="split the work into more tasks")
    if "machine_type" in args:
        described = "a machine type such as e2-standard-2"
        matching(where, "machine_type", args["machine_type"], r"[a-z][a-z0-9]*(-[a-z0-9]+)+", described)


def job_body(
    args: StageArgs,
    *,
    commands: Sequence[str],
    count: int | str,
    parallelism: int | str,
    image: str,
    account: str,
    variables: Mapping[str, str],
    labels: Mapping[str, str],
    network: tuple[str, str] | None,
    spot: bool = False,
) -> dict[str, Any]:
    """A Batch job: https://cloud.google.com/batch/docs/reference/rest/v1/projects.locations.jobs (2026-11).

    A task is retried after exit code 1 and after its Spot machine was taken away, and never after 2. Every text may be
    an expression of Workflows.
    """
    policy: dict[str, Any] = {"provisioningModel": "SPOT" if spot else "STANDARD"}
    if "machine_type" in args:
        policy["machineType"] = args["machine_type"]
    if "boot_disk_gib" in args:
        policy["bootDisk"] = {"sizeGb": args["boot_disk_gib"]}
    allocation: dict[str, Any] = {
        "instances": [{"policy": policy}],
        "serviceAccount": {"email": account},
        "labels": dict(labels),
    }
    if network is not None:
        interface = {"network": network[0], "subnetwork": network[1], "noExternalIpAddress": True}
        allocation["network"] = {"networkInterfaces": [interface]}
    group = {
        "taskCount": count,
        "parallelism": parallelism,
        "taskSpec": {
            "runnables": [{"container": {"imageUri": image, "commands": list(commands)}}],
            "environment": {"variables": dict(variables)},
            "computeResource": {
                "cpuMilli": args.get("cpu_milli", 2_000),
                "memoryMib": args.get("memory_mib", 4_096),
            },
            "maxRetryCount": args.get("max_retries", 3),
            "maxRunDuration": f"{args.get('timeout_s', 3_600)}s",
            "lifecyclePolicies": [
                _policy("RETRY_TASK", int(ExitCode.RETRY), BATCH_PREEMPTED),
                _policy("FAIL_TASK", int(ExitCode.BAD_REQUEST)),
            ],
        },
    }
    return {
        "taskGroups": [group],
        "allocationPolicy": allocation,
        "labels": dict(labels),
        "logsPolicy": {"destination": "CLOUD_LOGGING"},
    }


def _policy(action: str, *codes: int) -> dict[str, Any]:
    return {"action": action, "actionCondition": {"exitCodes": list(codes)}}


class StageValues(TypedDict):
    """What differs between a run of the workflow and a job created by hand: expressions there, values here."""

    bucket: str
    root: str
    run_id: str
    image: str
    account: str
    repository: str
    git_ref: str
    count: str
    seed: str
    tasks: int | str
    parallelism: int | str
    generation: str
    index_map: str


def stage_inputs(stage: str, v: StageValues, *, secret: str, project: str) -> tuple[list[str], dict[str, str]]:
    """Arguments and variables of the container in `stage`: a, b or c. `root` and what follows it are joined by `join`."""
    inputs, results = _join(v["root"], "inputs/"), _join(v["root"], "results/")
    common = {"bucket": v["bucket"], "job_id": v["run_id"], "image": v["image"]}
    if stage == "a":
        more = {"out_prefix": inputs, "github_repo": v["repository"], "git_ref": v["git_ref"], "project": project}
        if secret:
            more["github_secret"] = secret
        commands = [Stage.DISPATCH.value, "--count", v["count"], "--seed", v["seed"]]
    elif stage == "b":
        more = {
            "in_prefix": inputs,
            "out_prefix": results,
            "manifest_generation": v["generation"],
            "index_map": v["index_map"],
        }
        commands = [Stage.RUN.value]
    else:
        manifest = _join(v["root"], "inputs/manifest.json")
        more = {"in_prefix": results, "out_prefix": _join(v["root"], "outputs/"), "manifest": manifest}
        commands = [Stage.GATHER.value]
    return commands, {VARIABLES[field]: value for field, value in {**common, **more}.items()}


def _join(root: str, name: str) -> str:
    """`name` under `root`, which may be an expression of Workflows."""
    return f'${{{root[2:-1]} + "{name}"}}' if root.startswith("${") else f"{root}{name}"
