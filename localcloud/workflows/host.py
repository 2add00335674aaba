"""What a machine cannot do itself, for one execution: waiting, logging, HTTP, connectors; each recorded in its journal."""

import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from localcloud.identity import Principal
from localcloud.workflows import connectors
from localcloud.workflows.errors import Frame, WorkflowError, error
from localcloud.workflows.journal import Journal
from localcloud.workflows.settings import WorkflowSettings
from localcloud.workflows.values import json_text, plain
from localcloud.workflows.web import Web

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
LOG = "workflows.googleapis.com%2Fexecutions"


class ExecutionHost:
    """Implements machine.Host."""

    def __init__(
        self,
        cloud: "Cloud",
        execution: dict[str, Any],
        email: str,
        web: Web,
        journal: Journal,
        settings: WorkflowSettings,
        call_log_level: str = "",
    ) -> None:
        self._cloud, self._execution, self._email, self._web = cloud, execution, email, web
        self._journal, self._settings, self._level = journal, settings, call_log_level
        self.frames: tuple[Frame, ...] = ()

    def now(self) -> float:
        return float(self._journal.once("now", self._cloud.clock.now))

    def new_id(self) -> str:
        return str(self._journal.once("id", lambda: str(uuid.uuid4())))

    def entered(self, frames: list[Frame]) -> None:
        self.frames = tuple(frames)

    async def sleep(self, seconds: float) -> None:
        until = self._journal.once("sleep", lambda: self._cloud.clock.now() + seconds)
        await self._cloud.clock.sleep_until(until)

    def log(self, data: Any, severity: str) -> None:
        if severity not in SEVERITIES:
            raise error("ValueError", f"sys.log: severity must be one of {', '.join(SEVERITIES)}, got {severity!r}")
        self._journal.once("log", lambda: self.write(data, severity))

    async def http(self, method: str, arguments: Mapping[str, Any]) -> Any:
        return await self._logged(f"http.{method}", self._recorded("http", lambda: self._web.call(method, arguments)))

    async def connector(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return await self._logged(name, self._connector(name, arguments))

    async def _logged(self, name: str, call: Coroutine[Any, Any, Any]) -> Any:
        """Log a call as callLogLevel asks for it. https://cloud.google.com/workflows/docs/log-workflow (2026-11)."""
        note = {"call": name, "step": self.frames[-1].step if self.frames else ""}
        if self._level == "LOG_ALL_CALLS":
            self._journal.once("log", lambda: self.write({"state": "STARTED", **note}, "INFO"))
        try:
            result = await call
        except WorkflowError as problem:
            if self._level in ("LOG_ALL_CALLS", "LOG_ERRORS_ONLY"):
                said = {"state": "FAILED", **note, "exception": str(problem)}
                self._journal.once("log", lambda: self.write(said, "ERROR"))
            raise
        if self._level == "LOG_ALL_CALLS":
            self._journal.once("log", lambda: self.write({"state": "SUCCEEDED", **note}, "INFO"))
        return result

    async def _connector(self, name: str, arguments: Mapping[str, Any]) -> Any:
        params = connectors.Params.of(arguments.get("connector_params"), self._settings.poll_ceiling_s)
        sent = connectors.Sent(self._web, name, arguments, params, self._cloud.clock.sleep)
        began = self._journal.once("began", self._cloud.clock.now)
        answer = await self._recorded("sent", sent.first)
        return await self._recorded("done", lambda: self._wait(name, sent, answer, params, began))

    async def _wait(
        self, name: str, sent: connectors.Sent, answer: Any, params: connectors.Params, began: float
    ) -> Any:
        delay = params.initial_s
        while True:
            over, result = await sent.look(answer)
            if over:
                break
            if self._cloud.clock.now() + delay > began + params.timeout_s:
                raise error("TimeoutError", f"{name}: not over after the timeout of {params.timeout_s:g} seconds")
            await self._cloud.clock.sleep(delay)
            delay = min(delay * params.multiplier, params.max_s)
        job = name.endswith("batch.v1.projects.locations.jobs.create") and not params.skip
        if job and result["status"]["state"] != "SUCCEEDED" and self._settings.failed_batch_job == "raise":
            raise connectors.job_failed(result)
        return result

    async def _recorded(self, kind: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """The recorded outcome, or that of the call, which is recorded: a result or an error."""
        entry = self._journal.recorded(kind)
        if entry is None:
            try:
                entry = {"is": await call()}
            except WorkflowError as problem:
                entry = {"error": problem.value}
            self._journal.add(kind, entry)
        if "error" in entry:
            raise WorkflowError(entry["error"])
        return entry["is"]

    def write(self, data: Any, severity: str) -> None:
        """A log entry of the execution, if its account may write one."""
        _, project, _, location, _, workflow, _, execution = self._execution["name"].split("/")
        if not self._cloud.iam.allowed(
            Principal(f"serviceAccount:{self._email}"), "logging.logEntries.create", f"projects/{project}"
        ):
            self._cloud.warn(
                f"workflow {workflow}",
                f"workflow {workflow}: {self._email} may not write logs (roles/logging.logWriter)",
            )
            return
        payload = {"jsonPayload": plain(data)} if isinstance(data, dict) else {"textPayload": _text(data)}
        entry = {
            "logName": f"projects/{project}/logs/{LOG}",
            "severity": severity,
            "resource": {"type": "workflows.googleapis.com/Workflow", "labels": {"project_id": project, "location": location, "workflow_id": workflow}},
            "labels": {"workflows.googleapis.com/execution_id": execution, "workflows.googleapis.com/revision_id": self._execution["workflowRevisionId"]},
        }  # fmt: skip
        self._cloud.logs.write([entry | payload])


def _text(data: Any) -> str:
    return data if isinstance(data, str) else json_text(data)
