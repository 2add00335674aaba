"""BatchFanout: N inputs, N parallel tasks, one gathered result, driven by a workflow that runs again only what failed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_gcp import artifactregistry, compute, projects, secretmanager, serviceaccount, storage, workflows

from components.alerts import alert_on_failed_workflows
from components.batch_stages import (
    DEFAULTS,
    FanoutNetworkArgs,
    StageArgs,
    StageValues,
    check_stage,
    job_body,
    stage_inputs,
)
from components.batch_workflow import check_source, render, safe_text
from components.checks import in_range, matching, pinned, refusal
from components.grants import grant_bucket
from components.limits import BATCH_PARALLELISM, CONNECTOR_TIMEOUT, WORKFLOW_VARIABLES, check_account_id, check_name
from workloads.batch_fanout.contract import REPO_PATTERN, SYSTEM, VARIABLES, FanoutEnv

APIS = (
    "batch.googleapis.com",
    "compute.googleapis.com",
    "iam.googleapis.com",
    "storage.googleapis.com",
    "workflowexecutions.googleapis.com",
    "workflows.googleapis.com",
)
"""APIs that the fan-out needs."""
SECRET_APIS = ("secretmanager.googleapis.com",)
"""APIs that a GitHub token needs besides."""
ALERT_APIS = ("monitoring.googleapis.com",)
"""APIs that an alert needs besides."""

INDEX_PREFIXES = (f"runs/{SYSTEM}/",)
"""Where the stack's bucket holds the index of runs."""

JOB_WAIT_S = 16 * 86_400
"""Longest wait for one Batch job, seconds: as long as Batch itself lets it queue (2 days) and run (14 days)."""

REMEDY = (
    "Which tasks failed and why is in the execution's error: `uv run longhaul status`, then `uv run longhaul logs RUN`. "
    "`uv run longhaul run fanout --rerun-failed RUN` runs those tasks again and nothing else."
)


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


class BatchFanout(pulumi.ComponentResource):
    """A workflow that makes N inputs, runs a Batch task on each, and gathers their results.

    The workflow's account may create jobs, act as the tasks' account and nobody else, and write objects under the
    prefix and the run index; the tasks' account may report to Batch, log, pull from the one repository, use objects
    under the prefix and read the one secret. Both list the bucket, because without the list a missing object reads as
    403. Batch and Workflows have no policies of their own, so creating jobs, reporting and logging are granted on the
    project; an operator who may create jobs cannot run them as the tasks' account.

    Raises:
        ValueError: a limit of the platform is broken, the image is not pinned, or the workflow's source would be
            refused.
    """

    workflow_name: pulumi.Output[str]
    """Name to give `gcloud workflows run`."""
    workflow_id: pulumi.Output[str]
    """Full name, projects/PROJECT/locations/REGION/workflows/NAME."""
    location: pulumi.Output[str]
    """Region of workflow and jobs."""
    bucket: pulumi.Output[str]
    """Bucket of inputs and results."""
    service_account_email: pulumi.Output[str]
    """Identity of the tasks; the owner of a further resource grants it roles there."""
    workflow_account_email: pulumi.Output[str]
    """Identity of the workflow."""
    gcloud_command: pulumi.Output[str]
    """Starts a run of 10 tasks."""
    longhaul_command: pulumi.Output[str]
    """Starts a run, shows how far it is and brings the results."""
    job_templates: pulumi.Output[Mapping[str, str]]
    """Stage (a, b or c) -> a Batch job as JSON for `gcloud batch jobs submit --config`, with RUN_ID, COUNT and SEED to
    replace."""

    def __init__(self, name: str, args: BatchFanoutArgs, opts: pulumi.ResourceOptions | None = None):
        _check(name, args)
        source = workflow_source(args)
        check_source(name, source)
        super().__init__("longhaul:index:BatchFanout", name, {}, opts)
        runtime = self._account(f"{name}-sa", args["account_id"], f"tasks of {name}")
        runner = self._account(f"{name}-workflow-sa", args["workflow_account_id"], f"workflow of {name}")
        granted = self._grant(name, args, runtime, runner)
        if "network" in args and args["network"].get("nat", False):
            self._nat(name, args, args["network"])
        values = _engine_values(args, runtime)
        workflow = workflows.Workflow(
            f"{name}-workflow",
            region=args["location"],
            description="Dispatch, run, gather: see docs/batch-fanout.md",
            service_account=runner.id,
            source_contents=source,
            user_env_vars=values,
            call_log_level="LOG_ERRORS_ONLY",
            deletion_protection=args.get("deletion_protection", True),
            labels=dict(args.get("labels", {})) or None,
            # An execution that begins before its grants would fail.
            opts=pulumi.ResourceOptions(parent=self, depends_on=granted),
        )
        for label, principal in args.get("operators", {}).items():
            self._grant_operator(f"{name}-operator-{label}", args, principal)
        if "alert" in args:
            channels, labels = args["alert"].get("channels", ()), args.get("labels", {})
            alert_on_failed_workflows(name, workflow, channels, REMEDY, labels, self)
        self._tell(args, workflow, runtime, runner, values)

    def _account(self, name: str, account_id: str, what: str) -> serviceaccount.Account:
        return serviceaccount.Account(
            name,
            account_id=account_id,
            display_name=f"{what} of {pulumi.get_stack()}",
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _grant(
        self, name: str, args: BatchFanoutArgs, runtime: serviceaccount.Account, runner: serviceaccount.Account
    ) -> list[pulumi.Resource]:
        """https://cloud.google.com/batch/docs/get-started#prerequisites (2026-11)."""
        child = pulumi.ResourceOptions(parent=self)
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
        self._grant_data(name, args, task)
        self._grant_data(f"{name}-workflow", args, workflow)
        grant_bucket(
            f"{name}-workflow-index", args["index_bucket"], workflow, reads=(), writes=INDEX_PREFIXES, parent=self
        )
        return granted

    def _grant_data(self, name: str, args: BatchFanoutArgs, member: pulumi.Input[str]) -> None:
        """Objects under the prefix, or of the whole bucket where a condition is not possible.

        https://cloud.google.com/storage/docs/uniform-bucket-level-access#conditions (2026-11)
        """
        prefix = args.get("prefix", "fanout/")
        if args.get("uniform_access", True) and prefix:
            grant_bucket(f"{name}-data", args["bucket"], member, reads=(), writes=(prefix,), parent=self)
            return
        for label, role in (("list", "roles/storage.legacyBucketReader"), ("write", "roles/storage.objectUser")):
            storage.BucketIAMMember(
                f"{name}-data-bucket-{label}",
                bucket=args["bucket"],
                role=role,
                member=member,
                opts=pulumi.ResourceOptions(parent=self),
            )

    def _grant_operator(self, name: str, args: BatchFanoutArgs, principal: pulumi.Input[str]) -> None:
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
                opts=pulumi.ResourceOptions(parent=self),
            )
        self._grant_data(name, args, principal)

    def _nat(self, name: str, args: BatchFanoutArgs, network: FanoutNetworkArgs) -> None:
        child = pulumi.ResourceOptions(parent=self)
        router = compute.Router(f"{name}-router", region=args["location"], network=network["network"], opts=child)
        compute.RouterNat(
            f"{name}-nat",
            router=router.name,
            region=args["location"],
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

    def _tell(
        self,
        args: BatchFanoutArgs,
        workflow: workflows.Workflow,
        runtime: serviceaccount.Account,
        runner: serviceaccount.Account,
        values: Mapping[str, pulumi.Input[str]],
    ) -> None:
        self.workflow_name = workflow.name
        self.location = pulumi.Output.from_input(args["location"])
        # The same text as the id, which a preview does not know yet.
        self.workflow_id = pulumi.Output.format(
            "projects/{0}/locations/{1}/workflows/{2}", args["project"], args["location"], workflow.name
        )
        self.bucket = pulumi.Output.from_input(args["bucket"])
        self.service_account_email, self.workflow_account_email = runtime.email, runner.email
        self.gcloud_command = pulumi.Output.format(
            "gcloud workflows run {0} --project {1} --location {2} --data '{3}'",
            workflow.name,
            args["project"],
            args["location"],
            json.dumps({"count": 10, "seed": 1}),
        )
        self.longhaul_command = pulumi.Output.format(
            "uv run longhaul run fanout --stack {0} --count 200 --seed 1", pulumi.get_stack()
        )
        self.job_templates = pulumi.Output.all(**values).apply(lambda known: _job_templates(args, known))
        self.register_outputs({key: getattr(self, key) for key in type(self).__annotations__})


def _check(name: str, args: BatchFanoutArgs) -> None:
    check_name(name)
    check_account_id(name, args["account_id"])
    check_account_id(name, args["workflow_account_id"])
    if args["account_id"] == args["workflow_account_id"]:
        raise refusal(name, "workflow_account_id", "another account than account_id", repr(args["account_id"]))
    pinned(name, args["image"])
    for stage, shape in _stages(args).items():
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
    WORKFLOW_VARIABLES.check(name, "workflow", len(_ENGINE_KNOWS))
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


_ENGINE_KNOWS = ("BUCKET", "IMAGE", "INDEX_BUCKET", "NETWORK", "RUNTIME_ACCOUNT", "SUBNETWORK")


def _engine_values(args: BatchFanoutArgs, runtime: serviceaccount.Account) -> dict[str, pulumi.Input[str]]:
    """Variables of the workflow: what only the engine knows."""
    values: dict[str, pulumi.Input[str]] = {
        "BUCKET": args["bucket"],
        "IMAGE": args["image"],
        "INDEX_BUCKET": args["index_bucket"],
        "RUNTIME_ACCOUNT": runtime.email,
    }
    if "network" in args:
        values |= {"NETWORK": args["network"]["network"], "SUBNETWORK": args["network"]["subnetwork"]}
    return values


def _stages(args: BatchFanoutArgs) -> dict[str, StageArgs]:
    given = {"a": args.get("stage_a"), "b": args.get("stage_b"), "c": args.get("stage_c")}
    return {stage: {**DEFAULTS[stage], **(shape or {})} for stage, shape in given.items()}


def _bodies(args: BatchFanoutArgs, values: StageValues, network: tuple[str, str] | None) -> dict[str, Any]:
    """Stage -> its job; `b_standard` is stage B on standard machines."""
    bodies = {}
    for key, stage, spot in (
        ("a", "a", False),
        ("b", "b", args.get("spot", False)),
        ("b_standard", "b", False),
        ("c", "c", False),
    ):
        secret = args.get("github_secret", "none")
        commands, variables = stage_inputs(stage, values, secret=secret, project=args["project"])
        bodies[key] = job_body(
            _stages(args)[stage],
            commands=commands,
            count=values["tasks"] if stage == "b" else 1,
            parallelism=values["parallelism"] if stage == "b" else 1,
            image=values["image"],
            account=values["account"],
            variables={**args.get("env", {}), **variables},
            labels={**args.get("labels", {}), "stage": key.replace("_", "-")},
            network=network,
            spot=spot,
        )
    return bodies


_EXPRESSIONS: StageValues = {
    "bucket": "${run.bucket}",
    "root": "${run.root}",
    "run_id": "${run.run_id}",
    "image": "${run.image}",
    "account": "${run.account}",
    "repository": "${run.repository}",
    "git_ref": "${run.git_ref}",
    "count": "${string(run.count)}",
    "seed": "${string(run.seed)}",
    "tasks": "${tasks}",
    "parallelism": "${parallelism}",
    "generation": "${generation}",
    "index_map": "${index_map}",
}


def workflow_source(args: BatchFanoutArgs) -> str:
    """The workflow's source: the same for the same arguments, whatever the engine knows later."""
    network = ('${sys.get_env("NETWORK")}', '${sys.get_env("SUBNETWORK")}') if "network" in args else None
    return render(
        {
            "bodies": _bodies(args, _EXPRESSIONS, network),
            "prefix": args.get("prefix", "fanout/"),
            "github_repo": args.get("github_repo", ""),
            "max_parallelism": args.get("max_parallelism", 100),
            "job_wait_s": args.get("job_wait_s", JOB_WAIT_S),
            "poll_s": args.get("poll_s", 5),
            "spot": args.get("spot", False),
            "gather": args.get("gather", True),
            "table": args.get("env", {}).get(VARIABLES["table"], "parquet"),
        }
    )


def _job_templates(args: BatchFanoutArgs, known: Mapping[str, str]) -> dict[str, str]:
    values: StageValues = {
        "bucket": known["BUCKET"],
        "root": f"{args.get('prefix', 'fanout/')}manual/RUN_ID/",
        "run_id": "RUN_ID",
        "image": known["IMAGE"],
        "account": known["RUNTIME_ACCOUNT"],
        "repository": args.get("github_repo", ""),
        "git_ref": "",
        "count": "COUNT",
        "seed": "SEED",
        "tasks": 1,
        "parallelism": 1,
        "generation": "",
        "index_map": "",
    }
    network = (known["NETWORK"], known["SUBNETWORK"]) if "network" in args else None
    bodies = _bodies(args, values, network)
    return {stage: json.dumps(bodies[stage], indent=2) for stage in ("a", "b", "c")}
