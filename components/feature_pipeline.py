"""FeaturePipelineJob: turns the feature tables of a currency pair into one wide, validated training file."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import NotRequired, TypedDict

import pulumi

from components.alerts import alert_on_failures
from components.checks import pinned, refusal
from components.container_job import ContainerJob, container_job
from components.feature_data import FeatureBuckets, FeatureDataArgs, check_data, feature_buckets, grant_datasets
from components.grants import grant_bucket
from components.job_args import ContainerJobArgs, check_job
from components.limits import check_account_id, check_disk
from components.schedule import ScheduleArgs, check_schedule, schedule_runs
from workloads.common.contract import RunStart
from workloads.feature_pipeline.contract import (
    PLATFORM_CPU,
    PLATFORM_MEMORY_GIB,
    SYSTEM,
    VARIABLES,
    FeatureEnv,
)

APIS = (
    "bigquery.googleapis.com",
    "bigquerystorage.googleapis.com",
    "iam.googleapis.com",
    "run.googleapis.com",
    "storage.googleapis.com",
)
"""APIs that the job needs."""
SCHEDULE_APIS = ("cloudscheduler.googleapis.com",)
"""APIs that a schedule needs besides."""
ALERT_APIS = ("monitoring.googleapis.com",)
"""APIs that an alert needs besides."""

INDEX_PREFIXES = (f"runs/{SYSTEM}/",)
"""Where the stack's bucket holds the index of runs."""
OUTPUT_PREFIXES = ("training_", "runs/")
"""Where the output bucket holds training files and what is told about each run."""
STAGING_PREFIXES = ("checkpoints/",)
"""Where the staging bucket holds tables that are extracted already."""
REPORT_PREFIXES = ("runs/",)
"""Where the `longhaul` command writes down how a run ended whose container could not."""

DISK_MOUNT = "/scratch"
"""Where a disk for the scratch space appears; the container uses a folder of it."""

REMEDY = (
    "Which pair failed and why: `uv run longhaul status`, then `uv run longhaul logs RUN`. Starting the pair again "
    "goes on where it stood."
)


class AlertArgs(TypedDict):
    channels: NotRequired[Sequence[pulumi.Input[str]]]
    """Notification channels, as projects/PROJECT/notificationChannels/ID. Default none: the console alone shows it."""


class FeaturePipelineJobArgs(TypedDict):
    image: pulumi.Input[str]
    """Container image, as HOST/PATH@sha256:DIGEST."""
    project: str
    """Project id; its BigQuery runs the reads."""
    location: str
    """Cloud Run region, also of buckets and datasets that are made here."""
    account_id: str
    """Id of the service account to create, 6 to 30 characters, unique in the project."""
    bucket: pulumi.Input[str]
    """Bucket of the run index."""
    features_dataset: str
    """Dataset of feature and target tables, DATASET or PROJECT.DATASET."""
    raw_dataset: str
    """Dataset of raw prices, DATASET or PROJECT.DATASET."""
    create_datasets: NotRequired[bool]
    """Whether the two datasets are made here, empty. Default false: they exist."""
    output_bucket: NotRequired[pulumi.Input[str]]
    """Bucket of the training files. Default: one is made."""
    staging_bucket: NotRequired[pulumi.Input[str]]
    """Bucket of the checkpoints. Default: one is made, whose objects expire after `staging_days`."""
    staging_days: NotRequired[int]
    """Age at which checkpoints are deleted, days (1 to 365). Default 7: BigQuery shows tables as they were so long ago
    at most, and a run that goes on reads them as they were when it began."""
    cpu: NotRequired[int]
    """vCPU (1, 2, 4, 6 or 8). Default 4."""
    memory_gib: NotRequired[float]
    """Memory, GiB (2 to 16 with 4 vCPU); the checkpoints count if `scratch` is `memory`. Default 12."""
    task_timeout_s: NotRequired[int]
    """Limit on the run of one pair, seconds (60 to 604,800). Default 7,200."""
    max_retries: NotRequired[int]
    """Retries of a task that failed (0 to 10). Default 0: whoever started the run decides."""
    scratch: NotRequired[str]
    """Where checkpoints lie on the way: `memory` or `disk`. Default memory."""
    scratch_gib: NotRequired[int]
    """Size of the disk, GiB (1 to 10, or to `disk_quota_gib`). Default 10; not used with `memory`."""
    disk_quota_gib: NotRequired[int]
    """Disk of a task that the project has quota for, GiB. Default 10, which every project has."""
    env: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Further environment of the container: FeatureEnv(...).to_env(), Endpoints(...).to_env(). Default none."""
    schedule: NotRequired[ScheduleArgs]
    """When pairs are started by themselves; `only` names some of them. Default never."""
    scheduler_account_id: NotRequired[str]
    """Id of the schedule's service account to create; needed with `schedule`."""
    alert: NotRequired[AlertArgs]
    """Alert on an execution that failed. Default none."""
    labels: NotRequired[Mapping[str, str]]
    """Labels of job, executions, buckets and datasets, for cost reports. Default none."""
    deletion_protection: NotRequired[bool]
    """Whether the job refuses to be deleted or replaced, and the engine to delete what holds data. Default true."""
    force_destroy: NotRequired[bool]
    """Whether `pulumi destroy` deletes buckets and datasets made here with what is in them. Default false."""
    operators: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Principals that may start, cancel and watch runs and read training files, as {label: principal}. Default none."""


class FeaturePipelineJob(pulumi.ComponentResource):
    """A Cloud Run job that makes the training file of one currency pair, with an identity of its own.

    Every execution names its pair in the override TARGET_PAIR, so whoever starts one needs
    roles/run.jobsExecutorWithOverrides, which operators get together with roles/run.viewer on this job; an execution
    without it makes the first pair. The job's identity reads the two datasets, starts queries and read sessions in
    the project, and writes training files, reports, checkpoints and its entries of the run index; it may list the
    three buckets, because without the list an object that is not there would read as 403.

    Raises:
        ValueError: a limit of the platform is broken, the image is not pinned, a setting of the container is out of
            range, the scratch disk is larger than its quota, or output and staging are one bucket.
    """

    job_name: pulumi.Output[str]
    """Name to give `gcloud run jobs execute`."""
    job_id: pulumi.Output[str]
    """Full name, projects/PROJECT/locations/REGION/jobs/NAME."""
    location: pulumi.Output[str]
    """Cloud Run region."""
    output_bucket: pulumi.Output[str]
    """Bucket of training files, reports and run records."""
    staging_bucket: pulumi.Output[str]
    """Bucket of checkpoints."""
    service_account_email: pulumi.Output[str]
    """Identity of the container; the owner of a further resource grants it roles there."""
    gcloud_command: pulumi.Output[str]
    """Runs one pair."""
    longhaul_command: pulumi.Output[str]
    """Runs one pair, shows how far it is and how it ended."""

    def __init__(self, name: str, args: FeaturePipelineJobArgs, opts: pulumi.ResourceOptions | None = None):
        told = _told(name, args)
        _check(name, args, told)
        super().__init__("longhaul:index:FeaturePipelineJob", name, {}, opts)
        data = _data_args(args)
        buckets = feature_buckets(name, data, self)
        made = container_job(name, _job_args(args, told, vars(buckets)), self)
        grant_datasets(name, data, made.member, self)
        self._grant_buckets(name, args, made, buckets)
        if "schedule" in args:
            self._schedule(name, args, made, told)
        if "alert" in args:
            labels = args.get("labels", {})
            alert_on_failures(name, made.job, args["alert"].get("channels", ()), REMEDY, labels, self)

        self.job_name = made.job.name
        self.location = made.job.location
        # The same text as the id, which a preview does not know yet.
        self.job_id = pulumi.Output.format(
            "projects/{0}/locations/{1}/jobs/{2}", args["project"], self.location, self.job_name
        )
        self.output_bucket, self.staging_bucket = buckets.output_bucket, buckets.staging_bucket
        self.service_account_email = made.account.email
        self.gcloud_command = pulumi.Output.format(
            "gcloud run jobs execute {0} --project {1} --region {2} --wait --update-env-vars TARGET_PAIR={3}",
            self.job_name,
            args["project"],
            self.location,
            told.pairs[0],
        )
        self.longhaul_command = pulumi.Output.format(
            "uv run longhaul run features --stack {0} --pairs {1}", pulumi.get_stack(), told.pairs[0]
        )
        self.register_outputs(
            {
                "job_name": self.job_name,
                "job_id": self.job_id,
                "location": self.location,
                "output_bucket": self.output_bucket,
                "staging_bucket": self.staging_bucket,
                "service_account_email": self.service_account_email,
                "gcloud_command": self.gcloud_command,
                "longhaul_command": self.longhaul_command,
            }
        )

    def _grant_buckets(
        self, name: str, args: FeaturePipelineJobArgs, made: ContainerJob, buckets: FeatureBuckets
    ) -> None:
        for label, bucket, prefixes in (
            ("index", args["bucket"], INDEX_PREFIXES),
            ("output", buckets.output_bucket, OUTPUT_PREFIXES),
            ("staging", buckets.staging_bucket, STAGING_PREFIXES),
        ):
            grant_bucket(f"{name}-{label}", bucket, made.member, reads=(), writes=prefixes, parent=self)
        for label, principal in args.get("operators", {}).items():
            grant_bucket(
                f"{name}-output-operator-{label}",
                buckets.output_bucket,
                principal,
                reads=OUTPUT_PREFIXES,
                writes=REPORT_PREFIXES,
                parent=self,
            )

    def _schedule(self, name: str, args: FeaturePipelineJobArgs, made: ContainerJob, told: FeatureEnv) -> None:
        schedule = args["schedule"]
        started_by = RunStart(started_by=f"schedule:{schedule['cron']}").to_env()
        pairs = schedule.get("only") or told.pairs
        runs = {pair: {VARIABLES["pair"]: pair, **started_by} for pair in pairs}
        schedule_runs(name, schedule, args["scheduler_account_id"], made.job, args["project"], runs, self)


def _told(name: str, args: FeaturePipelineJobArgs) -> FeatureEnv:
    """What the container will read from its environment, except what only the engine knows. Raises ValueError."""
    plain = {variable: value for variable, value in args.get("env", {}).items() if isinstance(value, str)}
    try:
        told = FeatureEnv.from_env({**plain, **_known(args), **dict.fromkeys(_FROM_ENGINE, "known-to-the-engine")})
    except ValueError as error:
        raise refusal(name, "env", "what FeatureEnv(...).to_env() gives", f"{error}") from error
    if not told.pairs:
        raise refusal(name, "env", "with one pair at least", "none")
    return told


_FROM_ENGINE = tuple(VARIABLES[item.name] for item in fields(FeatureBuckets))


def _known(args: FeaturePipelineJobArgs) -> dict[str, str]:
    known = {
        "project": args["project"],
        "features_dataset": args["features_dataset"],
        "raw_dataset": args["raw_dataset"],
        "cpu": f"{args.get('cpu', PLATFORM_CPU):g}",
        "memory_gib": f"{args.get('memory_gib', PLATFORM_MEMORY_GIB):g}",
        "scratch": args.get("scratch", "memory"),
    }
    if known["scratch"] == "disk":
        known["scratch_dir"] = f"{DISK_MOUNT}/features"
    return {VARIABLES[field]: value for field, value in known.items()}


def _check(name: str, args: FeaturePipelineJobArgs, told: FeatureEnv) -> None:
    if told.scratch == "disk":
        check_disk(name, "scratch_gib", args.get("scratch_gib", 10), args.get("disk_quota_gib"))
    check_data(name, _data_args(args))
    # container_job checks it too, but the buckets are there by then
    check_job(name, _job_args(args, told, {}))
    pinned(name, args["image"])
    if "schedule" in args:
        check_schedule(name, args["schedule"], told.pairs)
        if "scheduler_account_id" not in args:
            raise refusal(name, "scheduler_account_id", "set with schedule", "none")
        check_account_id(name, args["scheduler_account_id"])


def _data_args(args: FeaturePipelineJobArgs) -> FeatureDataArgs:
    return FeatureDataArgs(
        project=args["project"],
        location=args["location"],
        datasets={"features": args["features_dataset"], "raw": args["raw_dataset"]},
        create_datasets=args.get("create_datasets", False),
        output_bucket=args.get("output_bucket"),
        staging_bucket=args.get("staging_bucket"),
        staging_days=args.get("staging_days", 7),
        labels=args.get("labels", {}),
        protect=args.get("deletion_protection", True),
        force_destroy=args.get("force_destroy", False),
    )


def _job_args(
    args: FeaturePipelineJobArgs, told: FeatureEnv, buckets: Mapping[str, pulumi.Input[str]]
) -> ContainerJobArgs:
    job: ContainerJobArgs = {
        "image": args["image"],
        "location": args["location"],
        "account_id": args["account_id"],
        "cpu": args.get("cpu", int(PLATFORM_CPU)),
        "memory_gib": args.get("memory_gib", PLATFORM_MEMORY_GIB),
        "timeout_s": args.get("task_timeout_s", 7_200),
        "max_retries": args.get("max_retries", 0),
        "env": {
            **args.get("env", {}),
            **_known(args),
            VARIABLES["pair"]: told.pairs[0],
            VARIABLES["image"]: args["image"],
            VARIABLES["bucket"]: args["bucket"],
            **{VARIABLES[field]: bucket for field, bucket in buckets.items()},
        },
        "labels": args.get("labels", {}),
        "deletion_protection": args.get("deletion_protection", True),
        "operators": args.get("operators", {}),
    }
    if told.scratch == "disk":
        disk_gib = args.get("scratch_gib", 10)
        job["volumes"] = {"scratch": {"mount_path": DISK_MOUNT, "disk_gib": disk_gib}}
        if "disk_quota_gib" in args:
            job["volumes"]["scratch"]["disk_quota_gib"] = args["disk_quota_gib"]
    return job
