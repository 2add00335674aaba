"""Arguments of a Cloud Run job, and the check that holds them to the platform's limits."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi

from components.checks import matching, one_of, refusal
from components.limits import EGRESS, JobShape, check_account_id, check_disk, check_name


class SecretArgs(TypedDict):
    secret: pulumi.Input[str]
    """Id of the secret in the job's project. Its value appears in the container alone."""
    version: NotRequired[str]
    """Version to use. Default `latest`, read anew by every execution."""


class VolumeArgs(TypedDict):
    mount_path: str
    """Folder of the container at which the volume appears."""
    bucket: NotRequired[pulumi.Input[str]]
    """Cloud Storage bucket to mount."""
    read_only: NotRequired[bool]
    """Whether the bucket is mounted read-only. Default false."""
    mount_options: NotRequired[Sequence[str]]
    """Options of Cloud Storage FUSE, such as `implicit-dirs`. Default none."""
    memory_gib: NotRequired[float]
    """Size of a volume in memory, GiB; what is written counts as memory of the task."""
    disk_gib: NotRequired[int]
    """Size of a disk that lives as long as the task, GiB (1 to 10, or to `disk_quota_gib`)."""
    disk_quota_gib: NotRequired[int]
    """Disk of a task that the project has quota for, GiB. Default 10, which every project has."""
    secret: NotRequired[SecretArgs]
    """Secret that appears as the file named by `file`."""
    file: NotRequired[str]
    """Name of the secret's file under `mount_path`."""


class VpcArgs(TypedDict):
    network: NotRequired[pulumi.Input[str]]
    """Network that tasks join directly."""
    subnetwork: NotRequired[pulumi.Input[str]]
    """Subnetwork that tasks join directly."""
    tags: NotRequired[Sequence[str]]
    """Network tags of the tasks. Default none."""
    connector: NotRequired[pulumi.Input[str]]
    """Serverless VPC Access connector, instead of network and subnetwork."""
    egress: NotRequired[str]
    """What goes through the network: ALL_TRAFFIC or PRIVATE_RANGES_ONLY. Default PRIVATE_RANGES_ONLY."""


class ContainerJobArgs(TypedDict):
    image: pulumi.Input[str]
    """Container image, as HOST/PATH@sha256:DIGEST."""
    location: str
    """Cloud Run region."""
    account_id: str
    """Id of the service account to create, 6 to 30 characters, unique in the project."""
    cpu: int
    """vCPU of a task."""
    memory_gib: float
    """Memory of a task, GiB."""
    timeout_s: int
    """Limit on one attempt of one task, seconds (1 to 604,800)."""
    max_retries: NotRequired[int]
    """Retries of a task that failed (0 to 10). Default 0."""
    task_count: NotRequired[int]
    """Tasks of an execution (1 to 10,000). Default 1."""
    parallelism: NotRequired[int]
    """Tasks that run at the same time. Default: as many as the platform allows."""
    env: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Environment of the container. Default none."""
    secrets: NotRequired[Mapping[str, SecretArgs]]
    """Variables that get the value of a secret, as {variable: secret}. Default none."""
    volumes: NotRequired[Mapping[str, VolumeArgs]]
    """Volumes, as {name: volume}. Default none."""
    vpc: NotRequired[VpcArgs]
    """Network that tasks reach. Default the internet alone."""
    accelerator: NotRequired[str]
    """GPU of a task: nvidia-l4 or nvidia-rtx-pro-6000. Default none."""
    long_gpu_timeout: NotRequired[bool]
    """Whether the project takes part in the preview of GPU tasks of up to 12 hours. Default false."""
    args: NotRequired[Sequence[str]]
    """Arguments of the container's entry point. Default none."""
    labels: NotRequired[Mapping[str, str]]
    """Labels of job and executions, for cost reports. Default none."""
    deletion_protection: NotRequired[bool]
    """Whether the job refuses to be deleted or replaced. Default true."""
    invokers: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Principals that may start an execution as it is, as {label: principal}. Default none."""
    operators: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Principals that may start it with overrides, cancel and watch it, as {label: principal}. Default none."""


def check_job(name: str, args: ContainerJobArgs) -> JobShape:
    """Hold the arguments of a job to the platform's limits.

    Raises:
        ValueError: names the argument, the range, the value and the way out.
    """
    check_name(name)
    check_account_id(name, args["account_id"])
    for label, volume in args.get("volumes", {}).items():
        _check_volume(name, label, volume)
    if "vpc" in args:
        _check_vpc(name, args["vpc"])
    return JobShape(
        name=name,
        location=args["location"],
        cpu=args["cpu"],
        memory_gib=args["memory_gib"],
        timeout_s=args["timeout_s"],
        max_retries=args.get("max_retries", 0),
        task_count=args.get("task_count", 1),
        parallelism=args.get("parallelism"),
        accelerator=args.get("accelerator"),
        long_gpu_timeout=args.get("long_gpu_timeout", False),
        env_names=[*args.get("env", {}), *args.get("secrets", {})],
    )


def _check_volume(name: str, label: str, volume: VolumeArgs) -> None:
    kinds = [kind for kind in ("bucket", "memory_gib", "disk_gib", "secret") if kind in volume]
    argument = f"volumes.{label}"
    matching(
        name, "volumes", label, r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", "named by lower-case letters, digits and dashes"
    )
    if len(kinds) != 1:
        raise refusal(name, argument, "one of bucket, memory_gib, disk_gib, secret", " and ".join(kinds) or "none")
    if not volume["mount_path"].startswith("/"):
        raise refusal(name, f"{argument}.mount_path", "an absolute path", repr(volume["mount_path"]))
    if "disk_gib" in volume:
        check_disk(name, f"{argument}.disk_gib", volume["disk_gib"], volume.get("disk_quota_gib"))
    if "secret" in volume and "file" not in volume:
        raise refusal(name, f"{argument}.file", "the name of the secret's file", "none")


def _check_vpc(name: str, vpc: VpcArgs) -> None:
    direct = [key for key in ("network", "subnetwork", "tags") if key in vpc]
    if "connector" in vpc and direct:
        remedy = "a connector and direct access exclude each other: keep one"
        raise refusal(name, "vpc", "connector, or network and subnetwork", f"connector and {direct[0]}", remedy)
    if "connector" not in vpc and not {"network", "subnetwork"} & set(vpc):
        raise refusal(name, "vpc", "connector, or network and subnetwork", "neither")
    egress = vpc.get("egress", "PRIVATE_RANGES_ONLY")
    remedy = f"the API wants {egress.upper().replace('-', '_')}"
    one_of(name, "vpc.egress", egress, EGRESS.words, remedy=remedy)
