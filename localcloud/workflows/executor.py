"""What executes workflows: executions in the store, those under way, taking up again after a restart."""

import asyncio
import json
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx

from localcloud.clock import parse_rfc3339
from localcloud.errors import failed_precondition, invalid, not_found, unavailable
from localcloud.workflows import journal, limits
from localcloud.workflows.errors import WorkflowError, error
from localcloud.workflows.functions import library
from localcloud.workflows.host import ExecutionHost
from localcloud.workflows.journal import Journal
from localcloud.workflows.machine import Machine
from localcloud.workflows.registry import Registry, Workflow, account
from localcloud.workflows.settings import WorkflowSettings
from localcloud.workflows.values import json_text
from localcloud.workflows.web import Web

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

log = logging.getLogger("localcloud.workflows")
KIND = "workflow.execution"
KEEP = 1000
"""Ended executions of a workflow that are kept; in the cloud they are kept for 90 days."""
_READY_S = 20.0

Execution = dict[str, Any]


class Executor:
    """A service beside the APIs. Everything it knows is in the store, so that it can start anew at any moment."""

    def __init__(self, cloud: "Cloud", settings: WorkflowSettings) -> None:
        self.cloud, self.settings, self._store = cloud, settings, cloud.store
        self.registry = Registry(cloud)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._hosts: dict[str, ExecutionHost] = {}
        self._http = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=None))
        self._starting: asyncio.Task[None] | None = None
        self._draining = False

    # --- the service ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._starting = asyncio.create_task(self._resume(), name="workflows-resume")

    async def _resume(self) -> None:
        """Take up what ran before this process, once the APIs answer."""
        until = time.monotonic() + _READY_S
        while time.monotonic() < until:
            try:
                await self._http.get(f"{self.cloud.settings.url('control')}/healthz", timeout=2)
                break
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
        for name, execution in self._store.list(KIND):
            if execution["state"] == "ACTIVE" and name not in self._tasks:
                self._launch(execution)

    async def drain(self) -> None:
        """Let go of what is under way before anything else ends: it is taken up again at the next start."""
        self._draining = True
        await self._abandon()

    async def stop(self) -> None:
        await self._abandon()
        await self._http.aclose()

    async def reset(self) -> None:
        """Drop everything; the store is about to be emptied."""
        await self._abandon()
        self.registry.forget()

    async def _abandon(self) -> None:
        tasks = [*self._tasks.values(), *([self._starting] if self._starting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def status(self) -> dict[str, Any]:
        return {"executions": len(self._tasks)}

    # --- executions ---------------------------------------------------------------------------------------------------

    def create(self, workflow: Workflow, body: Execution) -> Execution:
        """Raises ApiError 400 for an argument that is no JSON or too large."""
        if self._draining:
            raise unavailable("The local cloud is being stopped.")
        argument = body.get("argument", "")
        if len(argument.encode()) > limits.ARGUMENT_BYTES:
            raise invalid(f"argument is larger than {limits.ARGUMENT_BYTES} bytes.", "execution.argument")
        try:
            json.loads(argument or "null")
        except ValueError as problem:
            raise invalid(f"argument is not valid JSON: {problem}", "execution.argument") from None
        now = self.cloud.clock.timestamp()
        given = {
            key: body[key] for key in ("argument", "callLogLevel", "labels", "executionHistoryLevel") if body.get(key)
        }
        execution = {
            "name": f"{workflow['name']}/executions/{uuid.uuid4()}",
            "createTime": now,
            "startTime": now,
            "state": "ACTIVE",
            "workflowRevisionId": workflow["revisionId"],
            **given,
        }
        self._store.put(KIND, execution["name"], execution)
        self._launch(execution)
        return self.get(execution["name"])

    def get(self, name: str) -> Execution:
        """With the steps it is at. Raises ApiError 404."""
        if (execution := self._store.get(KIND, name)) is None:
            raise not_found(f"execution {name} not found")
        host = self._hosts.get(name)
        if execution["state"] == "ACTIVE" and host is not None and host.frames:
            steps = [{"routine": frame.routine, "step": frame.step} for frame in host.frames]
            execution["status"] = {"currentSteps": steps}
        if execution["state"] == "ACTIVE":
            spent = self.cloud.clock.now() - parse_rfc3339(execution["startTime"])
            execution["duration"] = f"{max(spent, 0):.6f}s"
        return execution

    def of(self, workflow: str) -> list[Execution]:
        """Newest first; of all workflows of a location for .../workflows/-."""
        prefix = workflow.removesuffix("-") if workflow.endswith("/workflows/-") else f"{workflow}/executions/"
        found = [self.get(name) for name, _ in self._store.list(KIND, prefix)]
        return sorted(found, key=lambda item: item["createTime"], reverse=True)

    def cancel(self, name: str) -> Execution:
        """Raises ApiError 400 for one that has ended, 404."""
        if self.get(name)["state"] != "ACTIVE":
            raise failed_precondition(f"execution {name} has ended and cannot be cancelled")
        task = self._tasks.pop(name, None)
        self._end(name, "CANCELLED", {})
        if task is not None:
            task.cancel()
        return self.get(name)

    def delete_of(self, workflow: str) -> None:
        """All executions of a workflow that is deleted; those under way are cancelled."""
        for name, execution in self._store.list(KIND, f"{workflow}/executions/"):
            if execution["state"] == "ACTIVE":
                self.cancel(name)
            self._store.delete(KIND, name)

    # --- running ------------------------------------------------------------------------------------------------------

    def _launch(self, execution: Execution) -> None:
        name = execution["name"]
        task = asyncio.create_task(self._run(execution), name=f"workflow-{name.rpartition('/')[2]}")
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._forget(name, task))

    def _forget(self, name: str, task: "asyncio.Task[None]") -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        self._hosts.pop(name, None)

    async def _run(self, execution: Execution) -> None:
        name = execution["name"]
        try:
            state, outcome = await self._execute(execution)
        except WorkflowError as problem:
            state, outcome = "FAILED", {"error": shown(problem)}
        except Exception as problem:
            log.exception("execution %s", name)
            failure = error("SystemError", f"internal error of the local cloud: {problem!r}")
            state, outcome = "FAILED", {"error": shown(failure)}
        self._end(name, state, outcome)

    async def _execute(self, execution: Execution) -> tuple[str, dict[str, Any]]:
        workflow = self.registry.revision(
            execution["name"].partition("/executions/")[0], execution["workflowRevisionId"]
        )
        program = self.registry.program(workflow)
        email = account(self.cloud, workflow)
        level = execution.get("callLogLevel") or workflow.get("callLogLevel") or ""
        host = ExecutionHost(
            self.cloud,
            execution,
            email,
            Web(self.cloud, email, self._http),
            Journal(self._store, execution["name"]),
            self.settings,
            level,
        )
        self._hosts[execution["name"]] = host
        functions = library(self._env(workflow, execution, email), host.now, host.new_id)
        result = await Machine(program, host, functions).run(json.loads(execution.get("argument") or "null"))
        if limits.size(result) > limits.MEMORY_BYTES:
            raise error("ResourceLimitError", f"result is larger than {limits.MEMORY_BYTES} bytes")
        return "SUCCEEDED", {"result": json_text(result)}

    def _env(self, workflow: Workflow, execution: Execution, email: str) -> dict[str, str]:
        """What sys.get_env knows. https://cloud.google.com/workflows/docs/reference/environment-variables (2026-11)."""
        _, project, _, location, _, short, _, execution_id = execution["name"].split("/")
        known = self.cloud.projects.get(project) or {}
        given: dict[str, str] = workflow.get("userEnvVars", {})
        return given | {
            "GOOGLE_CLOUD_LOCATION": location,
            "GOOGLE_CLOUD_PROJECT_ID": project,
            "GOOGLE_CLOUD_PROJECT_NUMBER": str(known.get("projectNumber", "")),
            "GOOGLE_CLOUD_SERVICE_ACCOUNT_NAME": email,
            "GOOGLE_CLOUD_WORKFLOW_EXECUTION_ATTEMPT": "1",
            "GOOGLE_CLOUD_WORKFLOW_EXECUTION_ID": execution_id,
            "GOOGLE_CLOUD_WORKFLOW_ID": short,
            "GOOGLE_CLOUD_WORKFLOW_REVISION_ID": execution["workflowRevisionId"],
        }

    def _end(self, name: str, state: str, outcome: dict[str, Any]) -> None:
        execution = self._store.get(KIND, name)
        if execution is None or execution["state"] != "ACTIVE":
            return  # cancelled or deleted meanwhile
        now = self.cloud.clock.now()
        spent = max(now - parse_rfc3339(execution["startTime"]), 0)
        execution |= {
            "state": state,
            "endTime": self.cloud.clock.timestamp(now),
            "duration": f"{spent:.6f}s",
            **outcome,
        }
        host = self._hosts.pop(name, None)
        if host is not None and host.frames:
            last = host.frames if state != "SUCCEEDED" else host.frames[:1]
            execution["status"] = {"currentSteps": [{"routine": frame.routine, "step": frame.step} for frame in last]}
        with self._store.transaction():
            self._store.put(KIND, name, execution)
            journal.forget(self._store, name)
        self._trim(name.partition("/executions/")[0])

    def _trim(self, workflow: str) -> None:
        ended = [item for item in self.of(workflow)[KEEP:] if item["state"] != "ACTIVE"]
        for execution in ended:
            self._store.delete(KIND, execution["name"])


def shown(problem: WorkflowError) -> dict[str, Any]:
    """The `error` of a failed execution: payload, context, stack trace."""
    value = problem.value
    text = f"RuntimeError: {json_text(value)}"
    if isinstance(value, dict):
        text = str(value.get("message") or text)
        tags = value.get("tags") or []
        if tags and "HttpError" not in tags:
            text = f"{tags[0]}: {text}"
    where = [f'in step "{frame.step}", routine "{frame.routine}", line: {frame.line}' for frame in problem.trace]
    elements = [
        {
            "step": frame.step,
            "routine": frame.routine,
            "position": {"line": str(frame.line), "column": "1", "length": "0"},
        }
        for frame in problem.trace
    ]
    found: dict[str, Any] = {"payload": json_text(value), "context": "\n".join([text, *where])}
    return found | ({"stackTrace": {"elements": elements}} if elements else {})
