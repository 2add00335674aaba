"""The course of one execution: image, tasks with retries and parallelism, and its end."""

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from localcloud.clock import parse_rfc3339
from localcloud.errors import ApiError
from localcloud.run import conditions, images, names, quantities
from localcloud.run.attempts import Attempt, Result
from localcloud.run.conditions import condition
from localcloud.runtime.base import Found, ImageProblem, RuntimeUnavailable

if TYPE_CHECKING:
    from localcloud.run.executor import Executor

log = logging.getLogger("localcloud.run")

RUNTIME_NOTE = "localcloud/runtime"
LIMITS_NOTE = "localcloud/limits"


class Course:
    """Drives one execution from where the store says it is."""

    def __init__(self, executor: "Executor", name: str, earlier: dict[str, Found]):
        self.executor, self.name, self._earlier = executor, name, earlier
        self.cancel = asyncio.Event()
        self._store = executor.executions
        self._first_failure: Result | None = None
        if self._record()["cancel"]:
            self.cancel.set()

    def _record(self) -> dict[str, Any]:
        return self._store.record(self.name)

    @property
    def resource(self) -> dict[str, Any]:
        resource: dict[str, Any] = self._record()["resource"]
        return resource

    async def run(self) -> None:
        """Run to the end, whatever happens; only the stopping of this process leaves it open."""
        try:
            await self._delay()
            if await self._import():
                await self._run_tasks()
        except Exception as problem:
            log.exception("execution %s", self.name)
            await self._abandon(
                Result(kind="failed", message=f"internal error: {problem!r}", status=13, reason="INTERNAL")
            )
        self._end()

    async def _delay(self) -> None:
        at = parse_rfc3339(self.resource["createTime"]) + self.executor.settings.start_delay_s
        left = at - self.executor.cloud.clock.now()
        if left > 0 and not any(item["type"] == "Started" for item in self.resource["conditions"]):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.cancel.wait(), left)

    async def _import(self) -> bool:
        """Have the image; False if the execution ends here."""
        if self.cancel.is_set() or any(item["type"] == "ResourcesAvailable" for item in self.resource["conditions"]):
            return True
        image, began = self.resource["template"]["containers"][0]["image"], self.executor.cloud.clock.now()
        try:
            await self.executor.prepare(image)
        except ImageProblem as problem:
            message = images.missing(image).message if problem.reason == "missing" else problem.detail
            reason = "CONTAINER_PERMISSION_DENIED" if problem.reason == "denied" else "CONTAINER_MISSING"
            self._refuse(Result(kind="failed", message=message, status=5, reason=reason))
            return False
        except RuntimeUnavailable as problem:
            self._refuse(Result(kind="failed", message=str(problem), status=14, reason="INTERNAL"))
            return False
        now = self.executor.cloud.clock.now()
        took = conditions.seconds(now - began)
        self._set("ContainerReady", "CONDITION_SUCCEEDED", f"Imported container image in {took}.")
        self._set("ResourcesAvailable", "CONDITION_SUCCEEDED", f"Provisioned imported containers.{self._note()}")
        return True

    def _note(self) -> str:
        """Write on the execution what differs from the cloud, and return it as a sentence."""
        record, runtime = self._record(), self.executor.runtime
        limits = record["resource"]["template"]["containers"][0].get("resources", {}).get("limits", {})
        memory, cpus = limits.get("memory", "512Mi"), limits.get("cpu", "1")
        note = runtime.grant(int(quantities.memory_mib(memory)), quantities.cpus(cpus)).note
        if limits.get("nvidia.com/gpu") and not runtime.has_gpu:
            note = "; ".join(filter(None, (note, "no GPU on this host, so the task gets LONGHAUL_NO_GPU=1")))
        notes = {RUNTIME_NOTE: runtime.name} | ({LIMITS_NOTE: note} if note else {})
        record["resource"]["annotations"] = record["resource"].get("annotations", {}) | notes
        self._store.put(record)
        process = " Local cloud: runs as a process, not as a container." if runtime.name == "process" else ""
        return process + (f" Local cloud: {note}." if note else "")

    def _set(self, kind: str, state: conditions.State, message: str = "", **reason: str) -> None:
        self._store.set_condition(
            self.name, condition(kind, state, self.executor.cloud.clock.timestamp(), message, **reason)
        )

    def _refuse(self, result: Result) -> None:
        self._set("ContainerReady", "CONDITION_FAILED", result.message, reason=result.reason)
        self._fail_all(result)

    def _fail_all(self, result: Result) -> None:
        for record in self._store.tasks(self.name):
            if "completionTime" not in record["resource"]:
                self._end_task(record, result)

    async def _abandon(self, result: Result) -> None:
        for record in self._store.tasks(self.name):
            if record["attempt"] and (run_id := record["attempt"]["run_id"]):
                await self.executor.runtime.remove(run_id)
        self._fail_all(result)

    async def _run_tasks(self) -> None:
        resource = self.resource
        record = self._record()
        record["resource"].pop("runningCount", None)  # counted anew from what is really there
        self._store.put(record)
        width = asyncio.Semaphore(resource["parallelism"])
        async with asyncio.TaskGroup() as group:
            left = [task for task in self._store.tasks(self.name) if "completionTime" not in task["resource"]]
            # what runs already comes first: it must be watched, whatever the parallelism
            for task in sorted(left, key=lambda item: item["attempt"] is None):
                group.create_task(self._run_task(task, width))

    async def _run_task(self, record: dict[str, Any], width: asyncio.Semaphore) -> None:
        task = record["resource"]
        async with width, self.executor.slots:
            number = task.get("retried", 0)
            while True:
                if self.cancel.is_set() and not record["attempt"]:
                    self._end_task(record, Result(kind="cancelled", message="The task was cancelled.", status=1))
                    return
                attempt = Attempt(self, record, number)
                self._started(record)
                result = await attempt.run(self._earlier.pop(attempt.key, None))
                over = result.kind != "failed" or number >= task.get("maxRetries", 0) or self.cancel.is_set()
                with self.executor.cloud.store.transaction():  # or a crash here would run the attempt twice
                    self._store.count(self.name, runningCount=-1)
                    record["attempt"], task["lastAttemptResult"] = None, result.last_attempt()
                    if over:
                        self._end_task(record, result)
                    else:
                        self._retry(record, number + 1, result)
                await attempt.clean()
                if over:
                    return
                number += 1

    def _started(self, record: dict[str, Any]) -> None:
        task, now = record["resource"], self.executor.cloud.clock.timestamp()
        waiting = "Waiting for task to complete."
        if "startTime" not in task:
            task |= {"scheduledTime": now, "startTime": now}
        task["conditions"] = conditions.put(
            conditions.put(task["conditions"], condition("Completed", "CONDITION_RECONCILING", now, waiting)),
            condition("Started", "CONDITION_SUCCEEDED", now),
        )
        self._store.put_task(record)
        self._store.count(self.name, runningCount=1)
        execution = self._record()
        resource = execution["resource"]
        if "startTime" not in resource:
            resource["startTime"] = now
            took = conditions.seconds(parse_rfc3339(now) - parse_rfc3339(resource["createTime"]))
            started = condition("Started", "CONDITION_SUCCEEDED", now, f"Started deployed execution in {took}.")
            running = condition("Completed", "CONDITION_RECONCILING", now, "Waiting for execution to complete.")
            resource["conditions"] = conditions.put(conditions.put(resource["conditions"], started), running)
            self._store.put(execution)
            self.executor.jobs.progressed(resource, "EXECUTION_RUNNING")

    def _retry(self, record: dict[str, Any], number: int, result: Result) -> None:
        now = self.executor.cloud.clock.timestamp()
        task = record["resource"]
        task["retried"] = number
        text = f"System will retry after 00:00 from lastTransitionTime for attempt {number}. {result.message}"
        again = condition("Retry", "CONDITION_SUCCEEDED", now, text, reason="IMMEDIATE_RETRY", severity="INFO")
        task["conditions"] = conditions.put(task["conditions"], again)
        self._store.put_task(record)
        self._store.count(self.name, retriedCount=1)

    def _end_task(self, record: dict[str, Any], result: Result) -> None:
        task, now = record["resource"], self.executor.cloud.clock.timestamp()
        task |= {"completionTime": now, "updateTime": now, "reconciling": False}
        if result.kind == "succeeded":
            end = condition("Completed", "CONDITION_SUCCEEDED", now)
        else:
            end = condition("Completed", "CONDITION_FAILED", now, result.message, **_reason(result))
        task["conditions"] = conditions.put(task["conditions"], end)
        task.setdefault("lastAttemptResult", result.last_attempt())
        record["attempt"] = None
        if result.kind == "failed" and self._first_failure is None:
            self._first_failure = result
        with self.executor.cloud.store.transaction():
            self._store.put_task(record)
            self._store.count(self.name, **{f"{result.kind}Count": 1})

    def _end(self) -> None:
        """Store the end of the execution, and finish its operations."""
        record, now = self._record(), self.executor.cloud.clock.timestamp()
        resource = record["resource"]
        resource |= {"completionTime": now, "updateTime": now, "reconciling": False}
        end, error = self._verdict(record, now)
        resource["conditions"] = conditions.put(resource["conditions"], end)
        status = "EXECUTION_FAILED" if error else "EXECUTION_SUCCEEDED"
        if error and error.status == "CANCELLED":
            status = "EXECUTION_CANCELLED"
        with self.executor.cloud.store.transaction():
            self._store.put(record)
            self.executor.jobs.progressed(resource, status)
            self.executor.finish_operations(record, error)
            if record.get("delete"):
                self._store.delete(self.name)
            else:
                self._store.trim(names.job_of(self.name))

    def _verdict(self, record: dict[str, Any], now: str) -> tuple[conditions.Condition, ApiError | None]:
        resource = record["resource"]
        if resource.get("failedCount"):
            failed = next(item["resource"] for item in self._store.tasks(self.name) if _failed(item["resource"]))
            last = conditions.find(failed["conditions"], "Completed") or {}
            text = f"Task {names.short(failed['name'])} failed with message: {last['message']}"
            result = self._first_failure or Result(kind="failed", status=2)
            if last.get("reason", "").startswith("CONTAINER_"):
                text = last["message"]
            why = {key: last[key] for key in ("reason", "executionReason") if key in last}
            error = ApiError(500, "NOT_FOUND" if result.status == 5 else "UNKNOWN", text)
            return condition("Completed", "CONDITION_FAILED", now, text, **why), error
        if resource.get("cancelledCount"):
            text = "Execution was cancelled."
            end = condition("Completed", "CONDITION_FAILED", now, text, executionReason="CANCELLED")
            return end, ApiError(499, "CANCELLED", text)
        took = conditions.seconds(parse_rfc3339(now) - parse_rfc3339(resource.get("startTime", now)))
        return condition("Completed", "CONDITION_SUCCEEDED", now, f"Execution completed successfully in {took}."), None


def _reason(result: Result) -> dict[str, str]:
    if result.kind == "cancelled":
        return {"executionReason": "CANCELLED"}
    return {"reason": result.reason} if result.reason else {"executionReason": "NON_ZERO_EXIT_CODE"}


def _failed(task: dict[str, Any]) -> bool:
    end = conditions.find(task["conditions"], "Completed") or {}
    return end.get("state") == "CONDITION_FAILED" and end.get("executionReason") != "CANCELLED"
