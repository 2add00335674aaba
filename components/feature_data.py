"""Where the feature pipeline reads and writes: two datasets, a bucket of results, a bucket of work in progress."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_gcp import bigquery, projects, storage

from components.checks import in_range, matching, refusal

DATASET = r"([a-z][a-z0-9:.-]{4,}[a-z0-9]\.)?\w{1,1024}"
"""DATASET or PROJECT.DATASET: https://cloud.google.com/bigquery/docs/datasets#dataset-naming (2026-11)."""
DATASET_ROLE = "roles/bigquery.dataViewer"
PROJECT_ROLES = {"jobs": "roles/bigquery.jobUser", "sessions": "roles/bigquery.readSessionUser"}
"""Roles that exist at a project only: queries of INFORMATION_SCHEMA, and read sessions, are made there."""


@dataclass(frozen=True, kw_only=True)
class FeatureDataArgs:
    """See the arguments of FeaturePipelineJob."""

    project: str
    location: str
    datasets: Mapping[str, str]
    create_datasets: bool
    output_bucket: pulumi.Input[str] | None
    staging_bucket: pulumi.Input[str] | None
    staging_days: int
    labels: Mapping[str, str]
    protect: bool
    force_destroy: bool


@dataclass(frozen=True)
class FeatureBuckets:
    """Names of the two buckets."""

    output_bucket: pulumi.Output[str]
    staging_bucket: pulumi.Output[str]


def check_data(name: str, args: FeatureDataArgs) -> None:
    """Raises ValueError: a dataset is none or to be made elsewhere, the two buckets are one, or the age is out of range."""
    in_range(name, "staging_days", args.staging_days, 1, 365, "days")
    if isinstance(args.output_bucket, str) and args.output_bucket == args.staging_bucket:
        remedy = "checkpoints expire, training files do not"
        raise refusal(name, "staging_bucket", "another bucket than output_bucket", repr(args.staging_bucket), remedy)
    for label, dataset in args.datasets.items():
        argument = f"{label}_dataset"
        matching(name, argument, dataset, DATASET, "DATASET or PROJECT.DATASET")
        if args.create_datasets and _split(dataset, args.project)[0] != args.project:
            remedy = "or set create_datasets to false"
            raise refusal(name, argument, f"in project {args.project}", repr(dataset), remedy)


def feature_buckets(name: str, args: FeatureDataArgs, parent: pulumi.Resource) -> FeatureBuckets:
    """Declare the buckets that are not given, `{name}-output` and `{name}-staging`, as children of `parent`.

    Checkpoints expire, and are gone at once when they are deleted: kept for the seven days of soft deletion, the work
    of each run would be paid for a week: https://cloud.google.com/storage/docs/soft-delete (2026-11).
    """
    output, staging = args.output_bucket, args.staging_bucket
    if output is None:
        output = _bucket(f"{name}-output", args, parent)
    if staging is None:
        staging = _bucket(f"{name}-staging", args, parent, expire_after_days=args.staging_days)
    return FeatureBuckets(pulumi.Output.from_input(output), pulumi.Output.from_input(staging))


def _bucket(
    name: str, args: FeatureDataArgs, parent: pulumi.Resource, expire_after_days: int | None = None
) -> pulumi.Output[str]:
    rules: list[storage.BucketLifecycleRuleArgsDict] | None = None
    deleted: storage.BucketSoftDeletePolicyArgsDict | None = None
    if expire_after_days is not None:
        rules = [{"action": {"type": "Delete"}, "condition": {"age": expire_after_days}}]
        deleted = {"retention_duration_seconds": 0}
    return storage.Bucket(
        name,
        location=args.location.upper(),
        uniform_bucket_level_access=True,
        public_access_prevention="enforced",
        force_destroy=args.force_destroy,
        lifecycle_rules=rules,
        soft_delete_policy=deleted,
        labels=dict(args.labels),
        opts=pulumi.ResourceOptions(parent=parent, protect=args.protect),
    ).name


def grant_datasets(name: str, args: FeatureDataArgs, member: pulumi.Input[str], parent: pulumi.Resource) -> None:
    """Let `member` read the datasets, and run queries and read sessions in the project.

    Declares the datasets too, if they are to be made.
    """
    child = pulumi.ResourceOptions(parent=parent)
    for label, dataset in _once(args.datasets).items():
        project, dataset_id = _split(dataset, args.project)
        known: pulumi.Input[str] = dataset_id
        if args.create_datasets:
            known = bigquery.Dataset(
                f"{name}-{label}",
                dataset_id=dataset_id,
                project=project,
                location=args.location,
                description=f"{label} of {name}",
                delete_contents_on_destroy=args.force_destroy,
                labels=dict(args.labels),
                opts=pulumi.ResourceOptions(parent=parent, protect=args.protect),
            ).dataset_id
        bigquery.DatasetIamMember(
            f"{name}-{label}-viewer", project=project, dataset_id=known, role=DATASET_ROLE, member=member, opts=child
        )
    for label, role in PROJECT_ROLES.items():
        projects.IAMMember(f"{name}-bigquery-{label}", project=args.project, role=role, member=member, opts=child)


def _once(datasets: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for label, dataset in datasets.items():
        if dataset not in found.values():
            found[label] = dataset
    return found


def _split(dataset: str, home: str) -> tuple[str, str]:
    project, _, dataset_id = dataset.rpartition(".")
    return project or home, dataset_id
