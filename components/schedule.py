"""Executions of a job at set times: Cloud Scheduler jobs that call `:run` of the Run Admin API, and their identity."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_gcp import cloudrunv2, cloudscheduler, serviceaccount

from components.checks import matching

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
"""Scope that `:run` asks for: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs/run (2026-11)."""
RUN_API = "https://run.googleapis.com"


class ScheduleArgs(TypedDict):
    cron: str
    """When to start, as five fields of cron: `0 3 * * 1-5`."""
    time_zone: NotRequired[str]
    """Time zone of `cron`, such as Europe/Vienna. Default Etc/UTC."""
    only: NotRequired[Sequence[str]]
    """What to start of all that can be started. Default all of it."""
    delayed: NotRequired[bool]
    """Whether executions may begin up to 12 hours later, for about 30 % less. Default false."""
    paused: NotRequired[bool]
    """Whether nothing is started for now. Default false."""


def check_schedule(name: str, schedule: ScheduleArgs, known: Sequence[str]) -> None:
    """Raises ValueError: `cron` has not five fields, or `only` names what is not in `known`."""
    # Cloud Scheduler takes fields of digits, names and * , / -: https://cloud.google.com/scheduler/docs/configuring/cron-job-schedules (2026-11)
    matching(name, "schedule.cron", schedule["cron"], r"\S+( +\S+){4}", "five fields of cron, as in '0 3 * * *'")
    for one in schedule.get("only", ()):
        matching(name, "schedule.only", one, "|".join(known), f"some of {', '.join(known)}")


def schedule_runs(
    name: str,
    schedule: ScheduleArgs,
    account_id: str,
    job: cloudrunv2.Job,
    project: str,
    runs: Mapping[str, Mapping[str, str]],
    parent: pulumi.Resource,
) -> None:
    """Declare one Cloud Scheduler job for each of `runs` (label -> variables of the execution) as children of `parent`.

    They share an account that may start this job and nothing else. It holds roles/run.jobsExecutorWithOverrides,
    because roles/run.invoker does not let anybody name variables: https://cloud.google.com/run/docs/execute/jobs
    (2026-08). A token of OAuth, not OIDC, is what Google's own APIs take. A failed call is not repeated: an answer that
    was lost may have started the run.
    """
    child = pulumi.ResourceOptions(parent=parent)
    account = serviceaccount.Account(
        f"{name}-scheduler-sa",
        account_id=account_id,
        display_name=f"schedule of {name} of {pulumi.get_stack()}",
        opts=child,
    )
    allowed = cloudrunv2.JobIamMember(
        f"{name}-scheduler",
        location=job.location,
        name=job.name,
        role="roles/run.jobsExecutorWithOverrides",
        member=pulumi.Output.concat("serviceAccount:", account.email),
        opts=child,
    )
    uri = pulumi.Output.format(
        "{0}/v2/projects/{1}/locations/{2}/jobs/{3}:run", RUN_API, project, job.location, job.name
    )
    for label, variables in runs.items():
        cloudscheduler.Job(
            f"{name}-schedule-{label}",
            region=job.location,
            description=f"Starts {name} with {label}",
            schedule=schedule["cron"],
            time_zone=schedule.get("time_zone", "Etc/UTC"),
            paused=schedule.get("paused", False),
            retry_config={"retry_count": 0},
            http_target={
                "uri": uri,
                "http_method": "POST",
                "headers": {"Content-Type": "application/json"},
                "body": _body(variables, delayed=schedule.get("delayed", False)),
                "oauth_token": {"service_account_email": account.email, "scope": SCOPE},
            },
            opts=pulumi.ResourceOptions(parent=parent, depends_on=[allowed]),
        )


def _body(variables: Mapping[str, str], *, delayed: bool) -> str:
    env = [{"name": variable, "value": value} for variable, value in sorted(variables.items())]
    overrides: dict[str, Any] = {"containerOverrides": [{"env": env}]}
    if delayed:
        # https://cloud.google.com/run/docs/delayed-jobs (2026-09)
        overrides["delayExecution"] = True
    return base64.b64encode(json.dumps({"overrides": overrides}, separators=(",", ":")).encode()).decode()
