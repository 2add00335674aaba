"""Alert on executions of a job or workflow that failed."""

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_gcp import cloudrunv2, monitoring, workflows

METRIC = "run.googleapis.com/job/completed_execution_count"
"""Executions that ended, by result: https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-run (2026-11)."""
WORKFLOW_METRIC = "workflows.googleapis.com/finished_execution_count"
"""Executions that ended, by status: https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-workflows (2026-11)."""
WINDOW_S = 300
"""Executions are counted over this time, seconds."""
AUTO_CLOSE_S = 86_400
"""An incident without a further failure is closed after this time, seconds."""


def alert_on_failures(
    name: str,
    job: cloudrunv2.Job,
    channels: Sequence[pulumi.Input[str]],
    remedy: str,
    labels: Mapping[str, str],
    parent: pulumi.Resource,
) -> None:
    """Declare the policy `{name}-failed` as a child of `parent`: one incident as soon as an execution of `job` fails.

    `channels` are notification channels, projects/PROJECT/notificationChannels/ID; without any, incidents show in the
    console alone. `remedy` is what the notification tells whoever gets it.
    """
    failures = pulumi.Output.format(
        'resource.type = "cloud_run_job" AND resource.labels.job_name = "{0}" '
        'AND metric.type = "' + METRIC + '" AND metric.labels.result = "failed"',
        job.name,
    )
    _declare(name, failures, channels, remedy, labels, parent)


def alert_on_failed_workflows(
    name: str,
    workflow: workflows.Workflow,
    channels: Sequence[pulumi.Input[str]],
    remedy: str,
    labels: Mapping[str, str],
    parent: pulumi.Resource,
) -> None:
    """Declare the policy `{name}-failed` as alert_on_failures does: one incident as soon as an execution fails."""
    failures = pulumi.Output.format(
        'resource.type = "workflows.googleapis.com/Workflow" AND resource.labels.workflow_id = "{0}" '
        'AND metric.type = "' + WORKFLOW_METRIC + '" AND metric.labels.status = "FAILED"',
        workflow.name,
    )
    _declare(name, failures, channels, remedy, labels, parent)


def _declare(
    name: str,
    failures: pulumi.Input[str],
    channels: Sequence[pulumi.Input[str]],
    remedy: str,
    labels: Mapping[str, str],
    parent: pulumi.Resource,
) -> None:
    monitoring.AlertPolicy(
        f"{name}-failed",
        display_name=f"{name} of {pulumi.get_stack()}: an execution failed",
        combiner="OR",
        conditions=[
            {
                "display_name": "an execution failed",
                "condition_threshold": {
                    "filter": failures,
                    "comparison": "COMPARISON_GT",
                    "threshold_value": 0,
                    "duration": "0s",
                    "aggregations": [
                        {
                            "alignment_period": f"{WINDOW_S}s",
                            "per_series_aligner": "ALIGN_DELTA",
                            "cross_series_reducer": "REDUCE_SUM",
                        }
                    ],
                },
            }
        ],
        alert_strategy={"auto_close": f"{AUTO_CLOSE_S}s"},
        documentation={"content": remedy, "mime_type": "text/markdown"},
        notification_channels=list(channels),
        user_labels=dict(labels),
        opts=pulumi.ResourceOptions(parent=parent),
    )
