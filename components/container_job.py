"""What all Cloud Run jobs of this project share: identity, container, volumes, network, and who may start them."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_gcp import cloudrunv2, secretmanager, serviceaccount

from components.checks import pinned
from components.job_args import ContainerJobArgs, VolumeArgs, VpcArgs, check_job
from components.limits import JobShape


@dataclass(frozen=True)
class ContainerJob:
    """A job and its identity."""

    job: cloudrunv2.Job
    account: serviceaccount.Account
    member: pulumi.Output[str]
    """The identity as IAM names it, `serviceAccount:…`."""


def container_job(name: str, args: ContainerJobArgs, parent: pulumi.Resource) -> ContainerJob:
    """Declare the job `{name}-job`, its service account `{name}-sa` and its grants as children of `parent`.

    Both CPU and memory are set, variables are sorted, empty lists are left out and no launch stage is set without
    need: the platform would add or reorder them, and every preview would show it.

    Raises:
        ValueError: a limit of the platform is broken, or the image is not pinned.
    """
    shape = check_job(name, args)
    image = pinned(name, args["image"])
    child = pulumi.ResourceOptions(parent=parent)
    account = serviceaccount.Account(
        f"{name}-sa", account_id=args["account_id"], display_name=f"{name} of {pulumi.get_stack()}", opts=child
    )
    member = pulumi.Output.concat("serviceAccount:", account.email)
    readable = _grant_secrets(name, args, member, child)
    on_disk = any("disk_gib" in volume for volume in args.get("volumes", {}).values())
    labels = dict(args.get("labels", {})) or None
    job = cloudrunv2.Job(
        f"{name}-job",
        location=args["location"],
        labels=labels,
        deletion_protection=args.get("deletion_protection", True),
        # The one preview feature used here; the platform answers with the stage it finds sufficient.
        launch_stage="BETA" if on_disk else None,
        template=_execution(shape, labels, _task(name, shape, args, image, account.email)),
        opts=pulumi.ResourceOptions(
            parent=parent, depends_on=readable, ignore_changes=["launchStage"] if on_disk else None
        ),
    )
    _grant(name, job, args, child)
    return ContainerJob(job, account, member)


def _grant_secrets(
    name: str, args: ContainerJobArgs, member: pulumi.Output[str], child: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    return [
        secretmanager.SecretIamMember(
            f"{name}-secret-{label}",
            secret_id=secret,
            role="roles/secretmanager.secretAccessor",
            member=member,
            opts=child,
        )
        for label, secret in _secrets(args).items()
    ]


def _secrets(args: ContainerJobArgs) -> dict[str, pulumi.Input[str]]:
    """Secrets that the container reads, each once, by a label for the grant."""
    wanted: list[tuple[str, pulumi.Input[str]]] = [
        (variable.lower().replace("_", "-"), secret["secret"])
        for variable, secret in sorted(args.get("secrets", {}).items())
    ]
    for label, volume in sorted(args.get("volumes", {}).items()):
        if "secret" in volume:
            wanted.append((label, volume["secret"]["secret"]))
    found: dict[str, pulumi.Input[str]] = {}
    for label, secret in wanted:
        if not (isinstance(secret, str) and secret in found.values()):
            found[label] = secret
    return found


def _execution(
    shape: JobShape, labels: Mapping[str, str] | None, task: cloudrunv2.JobTemplateTemplateArgsDict
) -> cloudrunv2.JobTemplateArgsDict:
    execution: cloudrunv2.JobTemplateArgsDict = {"task_count": shape.task_count, "template": task}
    if labels:
        execution["labels"] = dict(labels)
    if shape.parallelism is not None:
        execution["parallelism"] = shape.parallelism
    return execution


def _task(
    name: str, shape: JobShape, args: ContainerJobArgs, image: pulumi.Input[str], email: pulumi.Input[str]
) -> cloudrunv2.JobTemplateTemplateArgsDict:
    task: cloudrunv2.JobTemplateTemplateArgsDict = {
        "service_account": email,
        "timeout": f"{shape.timeout_s}s",
        "max_retries": shape.max_retries,
        # Jobs always run in the second generation: https://cloud.google.com/run/docs/create-jobs (2026-08)
        "execution_environment": "EXECUTION_ENVIRONMENT_GEN2",
        "containers": [_container(shape, args, image)],
    }
    if args.get("volumes"):
        task["volumes"] = [_volume(label, volume) for label, volume in sorted(args["volumes"].items())]
    if "vpc" in args:
        task["vpc_access"] = _vpc(args["vpc"])
    if shape.accelerator is not None:
        task["node_selector"] = {"accelerator": shape.accelerator}
        # GPU jobs exist without zonal redundancy only: https://cloud.google.com/run/docs/configuring/jobs/gpu (2026-08)
        task["gpu_zonal_redundancy_disabled"] = True
    return task


def _container(
    shape: JobShape, args: ContainerJobArgs, image: pulumi.Input[str]
) -> cloudrunv2.JobTemplateTemplateContainerArgsDict:
    limit = {"cpu": str(shape.cpu), "memory": shape.memory}
    if shape.accelerator is not None:
        limit["nvidia.com/gpu"] = "1"
    values: dict[str, cloudrunv2.JobTemplateTemplateContainerEnvArgsDict] = {
        variable: {"name": variable, "value": value} for variable, value in args.get("env", {}).items()
    }
    for variable, secret in args.get("secrets", {}).items():
        reference: cloudrunv2.JobTemplateTemplateContainerEnvValueSourceSecretKeyRefArgsDict = {
            "secret": secret["secret"],
            "version": secret.get("version", "latest"),
        }
        values[variable] = {"name": variable, "value_source": {"secret_key_ref": reference}}
    container: cloudrunv2.JobTemplateTemplateContainerArgsDict = {"image": image, "resources": {"limits": limit}}
    if values:
        container["envs"] = [values[variable] for variable in sorted(values)]
    if args.get("args"):
        container["args"] = list(args["args"])
    if args.get("volumes"):
        container["volume_mounts"] = [
            {"name": label, "mount_path": volume["mount_path"]} for label, volume in sorted(args["volumes"].items())
        ]
    return container


def _volume(label: str, volume: VolumeArgs) -> cloudrunv2.JobTemplateTemplateVolumeArgsDict:
    if "bucket" in volume:
        mounted: cloudrunv2.JobTemplateTemplateVolumeGcsArgsDict = {"bucket": volume["bucket"]}
        if volume.get("read_only"):
            mounted["read_only"] = True
        if volume.get("mount_options"):
            mounted["mount_options"] = list(volume["mount_options"])
        return {"name": label, "gcs": mounted}
    if "secret" in volume:
        item: cloudrunv2.JobTemplateTemplateVolumeSecretItemArgsDict = {
            "path": volume["file"],
            "version": volume["secret"].get("version", "latest"),
        }
        return {"name": label, "secret": {"secret": volume["secret"]["secret"], "items": [item]}}
    if "disk_gib" in volume:
        return {"name": label, "empty_dir": {"medium": "DISK", "size_limit": f"{volume['disk_gib']}Gi"}}
    return {"name": label, "empty_dir": {"medium": "MEMORY", "size_limit": f"{volume['memory_gib'] * 1024:g}Mi"}}


def _vpc(vpc: VpcArgs) -> cloudrunv2.JobTemplateTemplateVpcAccessArgsDict:
    egress = vpc.get("egress", "PRIVATE_RANGES_ONLY")
    if "connector" in vpc:
        return {"egress": egress, "connector": vpc["connector"]}
    interface: cloudrunv2.JobTemplateTemplateVpcAccessNetworkInterfaceArgsDict = {}
    if "network" in vpc:
        interface["network"] = vpc["network"]
    if "subnetwork" in vpc:
        interface["subnetwork"] = vpc["subnetwork"]
    if vpc.get("tags"):
        interface["tags"] = list(vpc["tags"])
    return {"egress": egress, "network_interfaces": [interface]}


def _grant(name: str, job: cloudrunv2.Job, args: ContainerJobArgs, child: pulumi.ResourceOptions) -> None:
    # An execution that is started with overrides needs more than roles/run.invoker, and who waits for it must see it:
    # https://cloud.google.com/run/docs/execute/jobs (2026-08)
    grants = {
        f"invoker-{label}": ("roles/run.invoker", principal) for label, principal in args.get("invokers", {}).items()
    }
    for label, principal in args.get("operators", {}).items():
        grants[f"operator-{label}"] = ("roles/run.jobsExecutorWithOverrides", principal)
        grants[f"viewer-{label}"] = ("roles/run.viewer", principal)
    for role, (role_name, principal) in grants.items():
        cloudrunv2.JobIamMember(
            f"{name}-{role}", location=job.location, name=job.name, role=role_name, member=principal, opts=child
        )
