"""HeavyRunnerJob: runs a script on a large table with much memory, and always leaves a final state."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

import pulumi

from components.checks import in_range
from components.container_job import container_job
from components.grants import grant_bucket
from components.job_args import ContainerJobArgs
from workloads.heavy_runner.contract import (
    DEFAULT_SCRIPT_TIMEOUT_S,
    MAX_SCRIPT_TIMEOUT_S,
    MIN_SCRIPT_TIMEOUT_S,
    SYSTEM,
    VARIABLES,
)

APIS = ("iam.googleapis.com", "run.googleapis.com", "storage.googleapis.com")
"""APIs that the job needs."""

READ_PREFIXES = ("datasets/", "inputs/")
"""Where the bucket holds what a run reads."""
WRITE_PREFIXES = ("outputs/", f"runs/{SYSTEM}/")
"""Where a run leaves its outputs, its states and its index."""

FINAL_STATE_S = 60
"""Time between the script's limit and the task's, seconds: uploads and the final state."""


class HeavyRunnerJobArgs(TypedDict):
    image: pulumi.Input[str]
    """Container image, as HOST/PATH@sha256:DIGEST."""
    project: str
    """Project id."""
    location: str
    """Cloud Run region."""
    account_id: str
    """Id of the service account to create, 6 to 30 characters, unique in the project."""
    bucket: pulumi.Input[str]
    """Bucket of datasets, inputs, outputs and the run index."""
    cpu: NotRequired[int]
    """vCPU (1, 2, 4, 6 or 8). Default 8."""
    memory_gib: NotRequired[float]
    """Memory, GiB; 32 needs 8 vCPU. Files the script writes count. Default 32."""
    task_timeout_s: NotRequired[int]
    """Limit on the task, seconds (120 to 604,800). Default 1,800."""
    script_timeout_s: NotRequired[int]
    """Limit on the script, seconds (60 to 7,200, and 60 less than `task_timeout_s`). Default 1,740."""
    max_retries: NotRequired[int]
    """Retries of a task that failed (0 to 10). Default 0: whoever started the run decides."""
    env: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Further environment of the container: HeavyRunnerEnv(...).to_env(), Endpoints(...).to_env(). Default none."""
    labels: NotRequired[Mapping[str, str]]
    """Labels of job and executions, for cost reports. Default none."""
    deletion_protection: NotRequired[bool]
    """Whether the job refuses to be deleted or replaced. Default true."""
    operators: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Principals that may start, cancel and watch runs, as {label: principal}. Default none."""


class HeavyRunnerJob(pulumi.ComponentResource):
    """A Cloud Run job that runs one script on one table, with an identity of its own.

    Every run names its request in overrides, so whoever starts one needs roles/run.jobsExecutorWithOverrides, which
    operators get together with roles/run.viewer on this job. The job's identity may read datasets/ and inputs/, write
    outputs/ and runs/heavy/, and list the bucket: without the list, an object that is not there would read as 403.

    Raises:
        ValueError: a limit of the platform is broken, the image is not pinned, or the script's limit does not leave
            a minute of the task's.
    """

    job_name: pulumi.Output[str]
    """Name to give `gcloud run jobs execute`."""
    job_id: pulumi.Output[str]
    """Full name, projects/PROJECT/locations/REGION/jobs/NAME."""
    location: pulumi.Output[str]
    """Cloud Run region."""
    bucket: pulumi.Output[str]
    """Bucket of datasets, inputs, outputs and the run index."""
    service_account_email: pulumi.Output[str]
    """Identity of the container; the owner of a further resource grants it roles there."""
    gcloud_command: pulumi.Output[str]
    """Starts a run whose request lies at inputs/RUN_ID.json."""
    longhaul_command: pulumi.Output[str]
    """Uploads a table and a script, starts a run and brings the results back."""
    env_block: pulumi.Output[str]
    """Variables that a calling system sets, one a line, to paste."""

    def __init__(self, name: str, args: HeavyRunnerJobArgs, opts: pulumi.ResourceOptions | None = None):
        task_timeout_s = args.get("task_timeout_s", 1_800)
        script_timeout_s = args.get("script_timeout_s", DEFAULT_SCRIPT_TIMEOUT_S)
        in_range(
            name,
            "script_timeout_s",
            script_timeout_s,
            MIN_SCRIPT_TIMEOUT_S,
            min(MAX_SCRIPT_TIMEOUT_S, task_timeout_s - FINAL_STATE_S),
            "s",
            remedy=f"the last {FINAL_STATE_S} s of task_timeout_s are for uploads and the final state",
        )
        super().__init__("longhaul:index:HeavyRunnerJob", name, {}, opts)
        made = container_job(name, _job_args(args, task_timeout_s, script_timeout_s), self)
        grant_bucket(name, args["bucket"], made.member, reads=READ_PREFIXES, writes=WRITE_PREFIXES, parent=self)

        self.job_name = made.job.name
        self.location = made.job.location
        # The same text as the id, which a preview does not know yet.
        self.job_id = pulumi.Output.format(
            "projects/{0}/locations/{1}/jobs/{2}", args["project"], self.location, self.job_name
        )
        self.bucket = pulumi.Output.from_input(args["bucket"])
        self.service_account_email = made.account.email
        self.gcloud_command = pulumi.Output.format(
            "gcloud run jobs execute {0} --project {1} --region {2} --wait --update-env-vars "
            "INPUT_URI=gs://{3}/inputs/RUN_ID.json,OUTPUT_URI=gs://{3}/outputs/RUN_ID/",
            self.job_name,
            args["project"],
            self.location,
            self.bucket,
        )
        self.longhaul_command = pulumi.Output.format(
            "uv run longhaul run heavy --stack {0} --data DATA.csv --script SCRIPT.py", pulumi.get_stack()
        )
        self.env_block = pulumi.Output.format(
            "HEAVY_RUNNER_ENABLED=true\nHEAVY_RUNNER_JOB={0}\nHEAVY_RUNNER_REGION={1}\nHEAVY_RUNNER_BUCKET={2}\n"
            "HEAVY_RUNNER_PROJECT={3}\nHEAVY_RUNNER_SCRIPT_TIMEOUT_SECONDS={4}\n",
            self.job_name,
            self.location,
            self.bucket,
            args["project"],
            script_timeout_s,
        )
        self.register_outputs(
            {
                "job_name": self.job_name,
                "job_id": self.job_id,
                "location": self.location,
                "bucket": self.bucket,
                "service_account_email": self.service_account_email,
                "gcloud_command": self.gcloud_command,
                "longhaul_command": self.longhaul_command,
                "env_block": self.env_block,
            }
        )


def _job_args(args: HeavyRunnerJobArgs, task_timeout_s: int, script_timeout_s: int) -> ContainerJobArgs:
    cpu, memory_gib = args.get("cpu", 8), args.get("memory_gib", 32)
    return {
        "image": args["image"],
        "location": args["location"],
        "account_id": args["account_id"],
        "cpu": cpu,
        "memory_gib": memory_gib,
        "timeout_s": task_timeout_s,
        "max_retries": args.get("max_retries", 0),
        "env": {
            **args.get("env", {}),
            VARIABLES["bucket"]: args["bucket"],
            VARIABLES["image"]: args["image"],
            VARIABLES["cpu"]: str(cpu),
            VARIABLES["memory_mib"]: str(round(memory_gib * 1_024)),
            VARIABLES["script_timeout_s"]: str(script_timeout_s),
            VARIABLES["task_timeout_s"]: str(task_timeout_s),
        },
        "labels": args.get("labels", {}),
        "deletion_protection": args.get("deletion_protection", True),
        "operators": args.get("operators", {}),
    }
