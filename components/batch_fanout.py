"""BatchFanout: N inputs, N parallel tasks, one gathered result, driven by a workflow that runs again only what failed."""

import json
from collections.abc import Mapping

import pulumi
from pulumi_gcp import serviceaccount, workflows

from components.alerts import alert_on_failed_workflows
from components.batch_args import BatchFanoutArgs, check_fanout
from components.batch_grants import grant_accounts, grant_operator, make_nat
from components.batch_jobs import job_templates, workflow_source
from components.batch_workflow import check_source

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

REMEDY = (
    "Which tasks failed and why is in the execution's error: `uv run longhaul status`, then `uv run longhaul logs RUN`. "
    "`uv run longhaul run fanout --rerun-failed RUN` runs those tasks again and nothing else."
)


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
        check_fanout(name, args)
        source = workflow_source(args)
        check_source(name, source)
        super().__init__("longhaul:index:BatchFanout", name, {}, opts)
        runtime = self._account(f"{name}-sa", args["account_id"], f"tasks of {name}")
        runner = self._account(f"{name}-workflow-sa", args["workflow_account_id"], f"workflow of {name}")
        granted = grant_accounts(name, args, runtime, runner, self)
        if "network" in args and args["network"].get("nat", False):
            make_nat(name, args["location"], args["network"], self)
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
            grant_operator(f"{name}-operator-{label}", args, principal, self)
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
        self.job_templates = pulumi.Output.all(**values).apply(lambda known: job_templates(args, known))
        self.register_outputs({key: getattr(self, key) for key in type(self).__annotations__})


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
