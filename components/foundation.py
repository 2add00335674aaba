"""Foundation: what a stack has once, whatever it runs: APIs, image repository, bucket, its operators' grants there."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi
from pulumi_gcp import artifactregistry, projects, storage

from components.checks import in_range, matching, one_of, refusal
from components.limits import REGIONS

APIS = (
    "artifactregistry.googleapis.com",
    # the provider reads the project's state and policy through it
    "cloudresourcemanager.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "storage.googleapis.com",
)
"""APIs that the foundation itself calls."""

DAY_S = 86_400


class FoundationArgs(TypedDict):
    project: str
    """Project id."""
    location: str
    """Region of repository and bucket."""
    registry: str
    """Host of the image registry, such as europe-west1-docker.pkg.dev."""
    repository_id: str
    """Id of the repository in project and region."""
    apis: NotRequired[Sequence[str]]
    """APIs to enable besides the foundation's own, such as run.googleapis.com. Default none."""
    expiring_prefixes: NotRequired[Sequence[str]]
    """Prefixes of the bucket whose objects expire, such as `inputs/`. Default none."""
    expire_after_days: NotRequired[int]
    """Age at which objects under `expiring_prefixes` are deleted, days (1 to 3,650). Default 30."""
    keep_versions: NotRequired[int]
    """Versions of each image that are never deleted, the most recent ones (1 to 1,000). Default 20."""
    untagged_after_days: NotRequired[int]
    """Age at which versions without a tag are deleted, days (1 to 3,650). Default 90."""
    kept_digests: NotRequired[Sequence[str]]
    """Digests, as sha256:…, of versions that are never deleted: those that stacks pin. Default none."""
    labels: NotRequired[Mapping[str, str]]
    """Labels of repository and bucket, for cost reports. Default none."""
    force_destroy: NotRequired[bool]
    """Whether `pulumi destroy` deletes a bucket with its objects. Default false."""
    protect: NotRequired[bool]
    """Whether the engine refuses to delete repository and bucket. Default true."""
    image_readers: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Principals that may pull images, such as the Cloud Run agent of another project, as {label: principal}.
    Default none; the agent of this project needs no grant."""
    operators: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Principals that use the `longhaul` command, as {label: principal}. Default none."""


class Foundation(pulumi.ComponentResource):
    """APIs, image repository and bucket of a stack.

    APIs stay enabled when the stack is destroyed, because others in the project may use them. What a stack pins
    survives the repository's cleanup three times over: only versions without a tag are deleted, and every build has a
    tag of its own; the most recent versions of each image stay; and the digests handed in stay by name.

    Operators get roles/storage.objectUser on the bucket, where runs begin and end, and roles/logging.viewer on the
    project, since logs exist nowhere else.

    Raises:
        ValueError: an unknown region, an age or count out of range, or a digest that is none.
    """

    bucket: pulumi.Output[str]
    """Name of the stack's bucket."""
    repository: pulumi.Output[str]
    """Where images are pushed: HOST/PROJECT/REPOSITORY."""

    def __init__(self, name: str, args: FoundationArgs, opts: pulumi.ResourceOptions | None = None):
        _check(name, args)
        super().__init__("longhaul:index:Foundation", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.apis: list[pulumi.Resource] = [
            projects.Service(
                f"{name}-api-{api.removesuffix('.googleapis.com')}", service=api, disable_on_destroy=False, opts=child
            )
            for api in sorted({*APIS, *args.get("apis", ())})
        ]
        # That an API is enabled is no value that another resource could be given.
        enabled = pulumi.ResourceOptions(parent=self, depends_on=self.apis)
        kept = pulumi.ResourceOptions(parent=self, depends_on=self.apis, protect=args.get("protect", True))
        labels = dict(args.get("labels", {}))
        repository = artifactregistry.Repository(
            f"{name}-images",
            location=args["location"],
            repository_id=args["repository_id"],
            format="DOCKER",
            description="Images of this stack's workloads",
            cleanup_policies=_cleanup(args),
            labels=labels,
            opts=kept,
        )
        bucket = storage.Bucket(
            f"{name}-runs",
            location=args["location"].upper(),
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            force_destroy=args.get("force_destroy", False),
            lifecycle_rules=_lifecycle(args),
            labels=labels,
            opts=kept,
        )
        self._grant(name, args, repository, bucket, enabled)
        self.bucket = bucket.name
        self.repository = pulumi.Output.concat(args["registry"], "/", args["project"], "/", repository.repository_id)
        self.register_outputs({"bucket": self.bucket, "repository": self.repository})

    def _grant(
        self,
        name: str,
        args: FoundationArgs,
        repository: artifactregistry.Repository,
        bucket: storage.Bucket,
        enabled: pulumi.ResourceOptions,
    ) -> None:
        for label, principal in args.get("image_readers", {}).items():
            artifactregistry.RepositoryIamMember(
                f"{name}-image-reader-{label}",
                location=repository.location,
                repository=repository.repository_id,
                role="roles/artifactregistry.reader",
                member=principal,
                opts=enabled,
            )
        for label, principal in args.get("operators", {}).items():
            storage.BucketIAMMember(
                f"{name}-runs-operator-{label}",
                bucket=bucket.name,
                role="roles/storage.objectUser",
                member=principal,
                opts=enabled,
            )
            projects.IAMMember(
                f"{name}-logs-operator-{label}",
                project=args["project"],
                role="roles/logging.viewer",
                member=principal,
                opts=enabled,
            )


def _check(name: str, args: FoundationArgs) -> None:
    one_of(name, "location", args["location"], REGIONS, remedy="a new region of Cloud Run belongs into REGIONS")
    # https://cloud.google.com/artifact-registry/docs/repositories/create-repos (2026-08)
    described = "1..63 lower-case letters, digits and dashes, starting with a letter and not ending with a dash"
    matching(name, "repository_id", args["repository_id"], r"[a-z](?=.{0,62}$)([a-z0-9-]*[a-z0-9])?", described)
    in_range(name, "expire_after_days", args.get("expire_after_days", 30), 1, 3_650, "days")
    in_range(name, "untagged_after_days", args.get("untagged_after_days", 90), 1, 3_650, "days")
    in_range(name, "keep_versions", args.get("keep_versions", 20), 1, 1_000, "versions")
    for digest in args.get("kept_digests", ()):
        matching(name, "kept_digests", digest, r"sha256:[0-9a-f]{64}", "sha256:DIGEST")
    if args.get("force_destroy", False) and args.get("protect", True):
        raise refusal(name, "force_destroy", "false while the bucket is protected", "true", "set protect to false")


def _cleanup(args: FoundationArgs) -> list[artifactregistry.RepositoryCleanupPolicyArgsDict]:
    # A version that a keep policy names outlives every delete policy:
    # https://cloud.google.com/artifact-registry/docs/repositories/cleanup-policy-overview (2026-11)
    policies: list[artifactregistry.RepositoryCleanupPolicyArgsDict] = [
        {
            "id": "delete-untagged",
            "action": "DELETE",
            "condition": {
                "tag_state": "UNTAGGED",
                "older_than": f"{args.get('untagged_after_days', 90) * DAY_S}s",
            },
        },
        {
            "id": "keep-most-recent",
            "action": "KEEP",
            "most_recent_versions": {"keep_count": args.get("keep_versions", 20)},
        },
    ]
    if args.get("kept_digests"):
        kept = sorted(set(args["kept_digests"]))
        policies.append({"id": "keep-pinned", "action": "KEEP", "condition": {"version_name_prefixes": kept}})
    return policies


def _lifecycle(args: FoundationArgs) -> list[storage.BucketLifecycleRuleArgsDict] | None:
    if not args.get("expiring_prefixes"):
        return None
    return [
        {
            "action": {"type": "Delete"},
            "condition": {
                "age": args.get("expire_after_days", 30),
                "matches_prefixes": sorted(set(args["expiring_prefixes"])),
            },
        }
    ]
