"""A fan-out on the platform: one execution of its workflow, and the Batch jobs that follow from the execution's id."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.clients import ApiError, Clients
from ops.errors import OpsError
from ops.jobs import read_log
from ops.platforms import Follow, LogLine, Phase, View
from workloads.batch_fanout.contract import JOB_STAGES, batch_job_id

ARGUMENT = "argument"
"""Name under which `start` is given the execution's argument, as JSON."""

_FINDABLE = 50
_PHASES = {"ACTIVE": Phase.RUNNING, "QUEUED": Phase.PENDING, "SUCCEEDED": Phase.SUCCEEDED, "CANCELLED": Phase.CANCELLED}
_JOB_ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


@dataclass(frozen=True, kw_only=True)
class StageView:
    """One stage's Batch job as the platform counts it."""

    stage: str
    """a, b, b-standard or c."""
    job: str
    """projects/…/locations/…/jobs/…"""
    uid: str
    state: str
    tasks: int
    parallelism: int
    """Tasks that may run at the same time."""
    done: int
    failed: int
    seconds: float
    """How long the job has run."""

    @property
    def has_ended(self) -> bool:
        """Whether none of its tasks will run any more."""
        return self.state in _JOB_ENDED

    def __str__(self) -> str:
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"stage {self.stage} {self.state}: {self.done:,}/{self.tasks:,} tasks{failed}"


class FanoutWorkflow:
    """The workflow of a stack, in the cloud or in a local cloud: only the endpoints of `clients` differ."""

    runtime = "workflow"

    def __init__(self, clients: Clients, workflow_id: str) -> None:
        self._clients, self.workflow_id = clients, workflow_id

    def start(self, run_id: str, token: str, env: Mapping[str, str]) -> dict[str, str]:
        path = f"/v1/{self.workflow_id}/executions"
        try:
            made = self._clients.call(
                "workflow_executions", "POST", path, body={"argument": env[ARGUMENT]}, repeatable=False
            )
        except OpsError as exc:
            # the answer was lost, perhaps not the request
            refused = isinstance(exc, ApiError) and exc.code < 500
            if refused or (names := self.find(token)) is None:
                raise
            return names
        return {"execution": str(made["name"])}

    def find(self, token: str) -> dict[str, str] | None:
        query = {"view": "FULL", "pageSize": str(_FINDABLE)}
        answer = self._clients.call("workflow_executions", "GET", f"/v1/{self.workflow_id}/executions", query=query)
        for execution in answer.get("executions", []):
            if _document(execution.get("argument")).get("startToken") == token:
                return {"execution": str(execution["name"])}
        return None

    def view(self, names: Mapping[str, str]) -> View:
        try:
            execution = self._clients.call("workflow_executions", "GET", f"/v1/{names['execution']}")
        except ApiError as exc:
            if exc.code == 404:
                return View(phase=Phase.GONE, message="the platform does not know the execution any more")
            raise
        phase = _PHASES.get(str(execution.get("state")), Phase.FAILED)
        message = failure(execution)
        if not phase.has_ended and (stages := self.stages(names)):
            message = str(stages[-1])
        return View(
            phase=phase,
            reason=str(execution.get("state", "")),
            message=message,
            start=_time(execution.get("startTime")),
            end=_time(execution.get("endTime")),
        )

    def stages(self, names: Mapping[str, str]) -> list[StageView]:
        """Return the stages whose job exists, in their order."""
        found = [(stage, self._job(name)) for stage, name in jobs_of(names["execution"]).items()]
        return [stage_view(stage, job) for stage, job in found if job is not None]

    def _job(self, name: str) -> dict[str, Any] | None:
        try:
            return self._clients.call("batch", "GET", f"/v1/{name}")
        except ApiError as exc:
            if exc.code == 404:
                return None
            raise

    def cancel(self, names: Mapping[str, str]) -> None:
        """Cancel the execution first, so that it makes no further job, then the jobs, which outlive it."""
        self._end("workflow_executions", names["execution"])
        # twice: a job that was being made meanwhile is there at the second look
        for _ in range(2):
            for stage in self.stages(names):
                if not stage.has_ended:
                    self._end("batch", stage.job)

    def _end(self, service: str, name: str) -> None:
        try:
            self._clients.call(service, "POST", f"/v1/{name}:cancel", body={})
        except ApiError as exc:
            # 400, 404 and 409: it has ended, or is gone; who cancels has what they wanted
            if exc.code not in (400, 404, 409):
                raise

    def logs(self, names: Mapping[str, str], *, follow: Follow | None = None) -> Iterator[LogLine]:
        def where() -> str:
            # every stage's job has an id of its own, known once the job exists
            uids = " OR ".join(f'labels.job_uid="{stage.uid}"' for stage in self.stages(names))
            return f'resource.type="batch.googleapis.com/Job" AND ({uids})' if uids else ""

        yield from read_log(self._clients, where, follow=follow)

    def tidy(self, names: Mapping[str, str]) -> None:
        """Nothing of a fan-out is on this machine."""


def jobs_of(execution: str) -> dict[str, str]:
    """Stage -> full name of the Batch job that the execution creates for it."""
    parent, _, rest = execution.partition("/workflows/")
    execution_id = rest.rpartition("/")[2]
    return {stage: f"{parent}/jobs/{batch_job_id(execution_id, stage)}" for stage in JOB_STAGES}


def stage_view(stage: str, job: Mapping[str, Any]) -> StageView:
    """Return what a Batch job says of its stage."""
    status = job.get("status", {})
    groups: list[Mapping[str, Any]] = list(status.get("taskGroups", {}).values())
    counts: Mapping[str, Any] = groups[0].get("counts", {}) if groups else {}
    group = job["taskGroups"][0]
    tasks = int(group.get("taskCount", 1))
    return StageView(
        stage=stage,
        job=str(job["name"]),
        uid=str(job.get("uid", "")),
        state=str(status.get("state", "STATE_UNSPECIFIED")),
        tasks=tasks,
        parallelism=min(int(group.get("parallelism", tasks)), tasks),
        done=int(counts.get("SUCCEEDED", 0)),
        failed=int(counts.get("FAILED", 0)),
        seconds=_seconds(str(status.get("runDuration", "0s"))),
    )


def failure(execution: Mapping[str, Any]) -> str:
    """Return why an execution failed, in one line; empty if it did not."""
    error = execution.get("error") or {}
    payload = _document(error.get("payload"))
    lines = [f"task {one['task']}: {one['why']}" for one in (payload.get("report") or {}).get("first", [])[:3]]
    text = str(payload.get("message") or error.get("payload") or error.get("context") or "")
    return " ".join([text.strip(), *lines]).strip()[:1_000]


def _document(text: object) -> dict[str, Any]:
    try:
        found = json.loads(str(text or "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(text: str) -> float:
    return float(text.removesuffix("s")) if re.fullmatch(r"[0-9.]+s", text) else 0.0


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
