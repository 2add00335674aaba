"""What the fan-out's two accounts and its operators may do, and how its machines reach the internet."""

import pulumi
from pulumi_gcp import artifactregistry, compute, projects, secretmanager, serviceaccount, storage

from components.batch_args import BatchFanoutArgs
from components.batch_stages import FanoutNetworkArgs
from components.grants import grant_bucket
from workloads.batch_fanout.contract import SYSTEM

INDEX_PREFIXES = (f"runs/{SYSTEM}/",)
"""Where the stack's bucket holds the index of runs."""


def grant_accounts(
    name: str,
    args: BatchFanoutArgs,
    runtime: serviceaccount.Account,
    runner: serviceaccount.Account,
    parent: pulumi.Resource,
) -> list[pulumi.Resource]:
    """Grant the tasks' account `runtime` and the workflow's account `runner` what they need; gives what a run waits for.

    https://cloud.google.com/batch/docs/get-started#prerequisites (2026-11)
    """
    child = pulumi.ResourceOptions(parent=parent)
    task, workflow = (pulumi.Output.concat("serviceAccount:", one.email) for one in (runtime, runner))
    granted: list[pulumi.Resource] = [
        projects.IAMMember(f"{name}-{label}", project=args["project"], role=role, member=member, opts=child)
        for label, role, member in (
            ("workflow-jobs", "roles/batch.jobsEditor", workflow),
            ("workflow-logs", "roles/logging.logWriter", workflow),
            ("reports", "roles/batch.agentReporter", task),
            ("logs", "roles/logging.logWriter", task),
        )
    ]
    granted.append(
        serviceaccount.IAMMember(
            f"{name}-workflow-acts-as",
            service_account_id=runtime.name,
            role="roles/iam.serviceAccountUser",
            member=workflow,
            opts=child,
        )
    )
    granted.append(
        artifactregistry.RepositoryIamMember(
            f"{name}-images",
            location=args.get("repository_location", args["location"]),
            repository=args["repository_id"],
            role="roles/artifactregistry.reader",
            member=task,
            opts=child,
        )
    )
    if "github_secret" in args:
        granted.append(
            secretmanager.SecretIamMember(
                f"{name}-github",
                secret_id=args["github_secret"],
                role="roles/secretmanager.secretAccessor",
                member=task,
                opts=child,
            )
        )
    _grant_data(name, args, task, parent)
    _grant_data(f"{name}-workflow", args, workflow, parent)
    grant_bucket(
        f"{name}-workflow-index",
        args["index_bucket"],
        workflow,
        reads=(),
        writes=INDEX_PREFIXES,
        parent=parent,
        # the data's grant lists its bucket already
        lists=args["index_bucket"] != args["bucket"],
    )
    return granted


def _grant_data(name: str, args: BatchFanoutArgs, member: pulumi.Input[str], parent: pulumi.Resource) -> None:
    """Objects under the prefix, or of the whole bucket where a condition is not possible.

    https://cloud.google.com/storage/docs/uniform-bucket-level-access#conditions (2026-11)
    """
    prefix = args.get("prefix", "fanout/")
    if args.get("uniform_access", True) and prefix:
        grant_bucket(f"{name}-data", args["bucket"], member, reads=(), writes=(prefix,), parent=parent)
        return
    for label, role in (("list", "roles/storage.legacyBucketReader"), ("write", "roles/storage.objectUser")):
        storage.BucketIAMMember(
            f"{name}-data-bucket-{label}",
            bucket=args["bucket"],
            role=role,
            member=member,
            opts=pulumi.ResourceOptions(parent=parent),
        )


def grant_operator(name: str, args: BatchFanoutArgs, principal: pulumi.Input[str], parent: pulumi.Resource) -> None:
    """Let `principal` start, watch and cancel runs and read results."""
    for label, role in (
        ("runs", "roles/workflows.invoker"),
        ("workflows", "roles/workflows.viewer"),
        # the least role that cancels a job
        ("jobs", "roles/batch.jobsEditor"),
    ):
        projects.IAMMember(
            f"{name}-{label}",
            project=args["project"],
            role=role,
            member=principal,
            opts=pulumi.ResourceOptions(parent=parent),
        )
    _grant_data(name, args, principal, parent)


def make_nat(name: str, location: str, network: FanoutNetworkArgs, parent: pulumi.Resource) -> None:
    """Declare router and NAT of `network`: https://cloud.google.com/nat/docs/ports-and-addresses (2026-11)."""
    child = pulumi.ResourceOptions(parent=parent)
    router = compute.Router(f"{name}-router", region=location, network=network["network"], opts=child)
    compute.RouterNat(
        f"{name}-nat",
        router=router.name,
        region=location,
        nat_ip_allocate_option="AUTO_ONLY",
        source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS",
        subnetworks=[{"name": network["subnetwork"], "source_ip_ranges_to_nats": ["ALL_IP_RANGES"]}],
        # Many machines that begin at once exhaust a fixed number of ports.
        enable_dynamic_port_allocation=True,
        enable_endpoint_independent_mapping=False,
        min_ports_per_vm=network.get("nat_min_ports", 64),
        max_ports_per_vm=65_536,
        opts=child,
    )
