"""Arguments of the fan-out, and the check that holds them to what platform and containers accept."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi

from components.batch_stages import DEFAULTS, FanoutNetworkArgs, StageArgs, check_stage
from components.batch_workflow import safe_text
from components.checks import in_range, matching, pinned, refusal
from components.limits import BATCH_PARALLELISM, CONNECTOR_TIMEOUT, check_account_id, check_name
from workloads.batch_fanout.contract import REPO_PATTERN, VARIABLES, FanoutEnv

JOB_WAIT_S = 16 * 86_400
"""Longest wait for one Batch job, seconds: as long as Batch itself lets it queue (2 days) and run (14 days)."""


class FanoutAlertArgs(TypedDict):
    channels: NotRequired[Sequence[pulumi.Input[str]]]
    """Notification channels, as projects/PROJECT/notificationChannels/ID. Default none: the console alone shows it."""


class BatchFanoutArgs(TypedDict):
    image: pulumi.Input[str]
    """Container image, as HOST/PATH@sha256:DIGEST."""
    project: str
    """Project id."""
    location: str
    """Region of workflow and jobs."""
    account_id: str
    """Id of the service account to create for the tasks, 6 to 30 characters, unique in the project."""
    workflow_account_id: str
    """Id of the service account to create for the workflow, 6 to 30 characters, unique in the project."""
    bucket: pulumi.Input[str]
    """Name of an existing bucket for inputs and results; it is never made, changed or deleted here."""
    index_bucket: pulumi.Input[str]
    """Bucket of the run index."""
    repository_id: pulumi.Input[str]
    """Id of the image's repository in Artifact Registry."""
    repository_location: NotRequired[str]
    """Location of that repository. Default `location`."""
    prefix: NotRequired[str]
    """Prefix of all runs in `bucket`, with `/` at its end, or empty. Default `fanout/`."""
    uniform_access: NotRequired[bool]
    """Whether `bucket` has uniform bucket-level access. Without it no condition is possible and both accounts can use
    the whole bucket. Default true."""
    env: NotRequired[Mapping[str, str]]
    """Further environment of the tasks: Endpoints(...).to_env(), FANOUT_MODEL, FANOUT_FORMAT. Default none."""
    stage_a: NotRequired[StageArgs]
    """Shape of the dispatcher. Default 2 vCPU and 4 GiB."""
    stage_b: NotRequired[StageArgs]
    """Shape of a task. Default 2 vCPU and 8 GiB."""
    stage_c: NotRequired[StageArgs]
    """Shape of the gather. Default 2 vCPU and 4 GiB."""
    gather: NotRequired[bool]
    """Whether stage C gathers the results. Default true."""
    spot: NotRequired[bool]
    """Whether tasks run on Spot machines. What is lost to them beyond its retries runs in a second job on standard
    ones. Default false."""
    max_parallelism: NotRequired[int]
    """Tasks at the same time unless a run says another number (1 to 5,000). Default 100."""
    job_wait_s: NotRequired[int]
    """Longest wait for one job, seconds (60 to 31,536,000). Default 1,382,400: Batch itself ends a job before that."""
    poll_s: NotRequired[int]
    """First pause between two looks at a job, seconds (1 to 300); pauses grow. Default 5."""
    github_secret: NotRequired[str]
    """Id of an existing secret in the project with the token that clones a private repository. Default none."""
    github_repo: NotRequired[str]
    """Repository that every run clones unless it names another, OWNER/REPOSITORY. Default none."""
    network: NotRequired[FanoutNetworkArgs]
    """Network of machines without external addresses. Default the project's default network, with addresses."""
    alert: NotRequired[FanoutAlertArgs]
    """Alert on an execution that failed. Default none."""
    labels: NotRequired[Mapping[str, str]]
    """Labels of workflow, jobs and machines, for cost reports. Default none."""
    deletion_protection: NotRequired[bool]
    """Whether the workflow refuses to be deleted. Default true."""
    operators: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Principals that may start, cancel and watch runs and read results, as {label: principal}. Default none."""


def check_fanout(name: str, args: BatchFanoutArgs) -> None:
    """Raises ValueError: an argument is out of range."""
    check_name(name)
    check_account_id(name, args["account_id"])
    check_account_id(name, args["workflow_account_id"])
    if args["account_id"] == args["workflow_account_id"]:
        raise refusal(name, "workflow_account_id", "another account than account_id", repr(args["account_id"]))
    pinned(name, args["image"])
    for stage, shape in stages_of(args).items():
        check_stage(name, stage, shape)
    BATCH_PARALLELISM.check(name, "max_parallelism", args.get("max_parallelism", 100))
    CONNECTOR_TIMEOUT.check(name, "job_wait_s", args.get("job_wait_s", JOB_WAIT_S))
    in_range(name, "poll_s", args.get("poll_s", 5), 1, 300, "s")
    described = "empty, or letters, digits, `.`, `_`, `-` and `/` with `/` at the end"
    matching(name, "prefix", args.get("prefix", "fanout/"), r"([A-Za-z0-9._-]+/)*", described)
    if "github_repo" in args:
        matching(name, "github_repo", args["github_repo"], REPO_PATTERN.pattern, "OWNER/REPOSITORY")
        if "github_secret" not in args:
            raise refusal(name, "github_secret", "set with github_repo", "none", "a private repository needs a token")
    if "github_secret" in args:
        matching(name, "github_secret", args["github_secret"], r"[A-Za-z0-9_-]{1,255}", "the id of a secret")
    if "network" in args:
        in_range(name, "network.nat_min_ports", args["network"].get("nat_min_ports", 64), 32, 65_536, "ports")
    for variable, value in {**args.get("env", {}), **args.get("labels", {})}.items():
        safe_text(name, variable, value)
    _check_env(name, args.get("env", {}))


def _check_env(name: str, env: Mapping[str, str]) -> None:
    """What the workflow decides cannot be set for all runs, and the container's own check must pass."""
    decided = {VARIABLES[field] for field in ("bucket", "in_prefix", "out_prefix", "job_id", "manifest", "index_map")}
    if taken := sorted(decided & set(env)):
        raise refusal(name, "env", "free of what every run decides", taken[0])
    try:
        FanoutEnv.from_env({**env, VARIABLES["bucket"]: "known-to-the-engine"})
    except ValueError as error:
        raise refusal(name, "env", "what the tasks accept", str(error)) from error


def stages_of(args: BatchFanoutArgs) -> dict[str, StageArgs]:
    """Stage (a, b, c) -> its shape."""
    given = {"a": args.get("stage_a"), "b": args.get("stage_b"), "c": args.get("stage_c")}
    return {stage: {**DEFAULTS[stage], **(shape or {})} for stage, shape in given.items()}
