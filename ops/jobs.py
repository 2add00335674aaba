"""Cloud Run jobs through the Run Admin API v2: start with overrides, watch, cancel, follow the log."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from ops.clients import ApiError, Clients
from ops.errors import OpsError
from ops.platforms import Follow, LogLine, Phase, View

# entries.list: 60 a minute and project (https://cloud.google.com/logging/quotas, read 2026-08-21); two followers fit
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.5, 10.0

_LATE = timedelta(seconds=10)
_FINDABLE = 50


class CloudRunJob:
    """One job in the cloud, or in a local cloud: only the endpoints of `clients` differ."""

    runtime = "cloud-run"

    def __init__(self, clients: Clients, job_id: str, *, delayed: bool = False) -> None:
        """`delayed`: executions may begin up to 12 hours later, for about 30 % less."""
        self._clients, self.job_id, self._delayed = clients, job_id, delayed

    def start(self, run_id: str, token: str, env: Mapping[str, str]) -> dict[str, str]:
        variables = [{"name": name, "value": value} for name, value in sorted(env.items())]
        overrides: dict[str, Any] = {"containerOverrides": [{"env": variables}]}
        if self._delayed:
            # https://cloud.google.com/run/docs/delayed-jobs (2026-09); in the discovery document of 2026-10-31
            overrides["delayExecution"] = True
        try:
            operation = self._clients.call(
                "run", "POST", f"/v2/{self.job_id}:run", body={"overrides": overrides}, repeatable=False
            )
        except ApiError as exc:
            if exc.code < 500 or (names := self.find(token)) is None:
                raise
            return names
        except OpsError:
            # the answer was lost, perhaps not the request
            if (names := self.find(token)) is None:
                raise
            return names
        return {"job": self.job_id, "execution": str(operation["metadata"]["name"])}

    def find(self, token: str) -> dict[str, str] | None:
        answer = self._clients.call("run", "GET", f"/v2/{self.job_id}/executions", query={"pageSize": str(_FINDABLE)})
        for execution in answer.get("executions", []):
            for container in execution.get("template", {}).get("containers", []):
                if {"name": "RUN_START_TOKEN", "value": token} in container.get("env", []):
                    return {"job": self.job_id, "execution": str(execution["name"])}
        return None

    def view(self, names: Mapping[str, str]) -> View:
        try:
            execution = self._clients.call("run", "GET", f"/v2/{names['execution']}")
            phase = phase_of(execution)
            attempt = self._last_attempt(names["execution"]) if phase in (Phase.FAILED, Phase.CANCELLED) else {}
        except ApiError as exc:
            if exc.code == 404:
                return View(phase=Phase.GONE, message="the platform does not know the execution any more")
            raise
        return view_of(execution, attempt)

    def _last_attempt(self, execution: str) -> dict[str, Any]:
        tasks = self._clients.call("run", "GET", f"/v2/{execution}/tasks").get("tasks", [])
        found: dict[str, Any] = tasks[0].get("lastAttemptResult", {}) if tasks else {}
        conditions = tasks[0].get("conditions", []) if tasks else []
        return {**found, "conditions": conditions}

    def cancel(self, names: Mapping[str, str]) -> None:
        try:
            self._clients.call("run", "POST", f"/v2/{names['execution']}:cancel", body={})
        except ApiError as exc:
            # 400 and 404: it has ended, or is gone; who cancels has what they wanted
            if exc.code not in (400, 404):
                raise

    def tidy(self, names: Mapping[str, str]) -> None:
        """Nothing of a job is on this machine."""

    def logs(self, names: Mapping[str, str], *, follow: Follow | None = None) -> Iterator[LogLine]:
        execution = names["execution"].rpartition("/")[2]
        where = f'resource.type="cloud_run_job" AND labels."run.googleapis.com/execution_name"="{execution}"'
        yield from read_log(self._clients, lambda: where, follow=follow)


def read_log(clients: Clients, where: Callable[[], str], *, follow: Follow | None = None) -> Iterator[LogLine]:
    """Yield the entries that the filter `where()` finds, oldest first; with `follow`, until that says stop.

    The filter is asked for anew at every look, and may be empty as long as there is nothing to look for.
    """
    seen: dict[str, str] = {}
    newest, pause, last_look = "", FIRST_PAUSE_S, follow is None
    while True:
        lines = list(_entries(clients, found, newest, seen)) if (found := where()) else []
        yield from lines
        if last_look or follow is None:
            return
        newest = max([newest, *seen.values()])
        _forget_old(seen, newest)
        pause = FIRST_PAUSE_S if lines else min(pause * 1.5, LONGEST_PAUSE_S)
        last_look = not follow(pause)


def _entries(clients: Clients, where: str, newest: str, seen: dict[str, str]) -> Iterator[LogLine]:
    since = f' AND timestamp>="{_earlier(newest)}"' if newest else ""
    body: dict[str, Any] = {
        "resourceNames": [f"projects/{clients.project}"],
        "filter": where + since,
        "orderBy": "timestamp asc",
        "pageSize": 1000,
    }
    while True:
        answer = clients.call("logging", "POST", "/v2/entries:list", body=body)
        for entry in answer.get("entries", []):
            if entry["insertId"] not in seen:
                seen[entry["insertId"]] = str(entry["timestamp"])
                yield line_of(entry)
        if not (page := answer.get("nextPageToken")):
            return
        body = {**body, "pageToken": page}


def phase_of(execution: Mapping[str, Any]) -> Phase:
    """Return how far an execution has got."""
    completed = _condition(execution, "Completed")
    if completed.get("state") == "CONDITION_SUCCEEDED":
        return Phase.SUCCEEDED
    if completed.get("executionReason") == "CANCELLED":
        return Phase.CANCELLED
    if completed.get("state") == "CONDITION_FAILED":
        return Phase.FAILED
    return Phase.RUNNING if execution.get("runningCount") else Phase.PENDING


def view_of(execution: Mapping[str, Any], attempt: Mapping[str, Any]) -> View:
    """Return what an execution and the last attempt of its first task say together."""
    completed = _condition(execution, "Completed")
    failed = [c for c in attempt.get("conditions", []) if c.get("state") == "CONDITION_FAILED"]
    texts = [completed.get("message"), attempt.get("status", {}).get("message"), *(c.get("message") for c in failed)]
    message = "; ".join(dict.fromkeys(text for text in texts if text))
    reasons = [completed.get("reason"), *(c.get("reason") for c in failed), completed.get("executionReason")]
    return View(
        phase=phase_of(execution),
        reason=next((str(reason) for reason in reasons if reason), ""),
        message=message,
        exit_code=attempt.get("exitCode"),
        signal=int(attempt.get("termSignal", 0)),
        out_of_memory="memory limit" in message.lower() or "out of memory" in message.lower(),
        start=_time(execution.get("startTime")),
        end=_time(execution.get("completionTime")),
    )


def line_of(entry: Mapping[str, Any]) -> LogLine:
    """Return a log entry as a line; a structured one by its message."""
    payload = entry.get("jsonPayload")
    text = entry.get("textPayload", "") if payload is None else payload.get("message") or json.dumps(payload)
    labels = entry.get("labels", {})
    task = labels.get("run.googleapis.com/task_index") or _batch_task(str(labels.get("task_id", "")))
    return LogLine(
        time=str(entry["timestamp"]),
        severity=str(entry.get("severity", "DEFAULT")),
        message=str(text).rstrip("\n"),
        task=int(task),
    )


def _batch_task(text: str) -> int:
    """Index of a task from the label of its entry, `task/UID-group0-INDEX/ATTEMPT/0`."""
    index = text.partition("/")[2].partition("/")[0].rpartition("-")[2]
    return int(index) if index.isdecimal() else 0


def _condition(thing: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next((c for c in thing.get("conditions", []) if c.get("type") == kind), {})
    return found


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _earlier(timestamp: str) -> str:
    # entries may arrive late and out of order: look back a little, and drop what was seen
    return (datetime.fromisoformat(timestamp) - _LATE).isoformat()


def _forget_old(seen: dict[str, str], newest: str) -> None:
    if not newest:
        return
    border = datetime.fromisoformat(newest) - 2 * _LATE
    for insert_id in [i for i, at in seen.items() if datetime.fromisoformat(at) < border]:
        del seen[insert_id]
