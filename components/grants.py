"""Grants on a bucket, limited to prefixes, for the identity of a job."""

from collections.abc import Sequence

import pulumi
from pulumi_gcp import storage


def grant_bucket(
    name: str,
    bucket: pulumi.Input[str],
    member: pulumi.Input[str],
    *,
    reads: Sequence[str],
    writes: Sequence[str],
    parent: pulumi.Resource,
    lists: bool = True,
) -> None:
    """Let `member` list `bucket`, read objects under `reads`, and read and replace objects under `writes`.

    A condition on a prefix never grants the list, and without the list an object that is not there reads as 403
    instead of 404; so the list is granted for the whole bucket: https://cloud.google.com/storage/docs/access-control/iam-roles
    (2026-08). `lists` false: another grant of the same member has it, and two resources for one grant would take it
    from each other.
    """
    child = pulumi.ResourceOptions(parent=parent)
    if lists:
        storage.BucketIAMMember(
            f"{name}-bucket-list", bucket=bucket, role="roles/storage.legacyBucketReader", member=member, opts=child
        )
    for label, role, prefixes in (
        ("read", "roles/storage.objectViewer", reads),
        ("write", "roles/storage.objectUser", writes),
    ):
        if not prefixes:
            continue
        condition: storage.BucketIAMMemberConditionArgsDict = {
            "title": f"{name}-{label}",
            "description": f"Objects under {', '.join(prefixes)}",
            "expression": under_prefixes(bucket, prefixes),
        }
        storage.BucketIAMMember(
            f"{name}-bucket-{label}", bucket=bucket, role=role, member=member, condition=condition, opts=child
        )


def under_prefixes(bucket: pulumi.Input[str], prefixes: Sequence[str]) -> pulumi.Output[str]:
    """Condition of IAM that holds for objects of `bucket` under one of `prefixes`.

    https://cloud.google.com/iam/docs/conditions-resource-attributes#resource-name (2026-08)
    """

    def expression(known: str) -> str:
        return " || ".join(f'resource.name.startsWith("projects/_/buckets/{known}/objects/{one}")' for one in prefixes)

    return pulumi.Output.from_input(bucket).apply(expression)
