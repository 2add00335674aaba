"""The course of one job: waiting for its machines, tasks with retries and parallelism, its end."""

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from localcloud.batch.attempts import Attempt, End, key_of
from localcloud.clock import parse_rfc3339
from localcloud.identity import Principal
from localcloud.runtime.base import Found

if TYPE_CHECKING:
    from localcloud.batch.executor import Executor

log = logging.getLogger("localcloud.batch")
REPORT = "batch.states.report"
_LOOK_S = 0.2


class Course:
    """Drives one job from where the store says it is."""

    def __init__(self, executor: "Executor", name: str, earlier: dict[str, Found]) -> None:
        self.executor, self.name, self._earlier = executor, name, earlier
        self.cancel = asyncio.Event()
        self._jobs = executor.jobs
        record = self._jobs.record(name)
        self.job: dict[str, Any] = record["resource"]
        if record["cancel"]:
            self.cancel.set()
        self.project = name.split("/")[1]
        known = executor.cloud.projects.get(self.project) or {}
        self.project_number = str(known.get("projectNumber", "0"))
        self.email = executor.account(self.job, self.project)
        self.member = f"serviceAccount:{self.email}"
        self._zone = f"zones/{name.split('/')[3]}-b/instances"

    @property
    def may_log(self) -> bool:
        """Whether output goes to Cloud Logging: the job says so, and its account may write."""
        wanted = self.job["logsPolicy"].get("destination") == "CLOUD_LOGGING"
        return wanted and self._holds("logging.logEntries.create")

    def _holds(self, permission: str) -> bool:
        return self.executor.cloud.iam.allowed(Principal(self.member), permission, f"projects/{self.project}")

    async def run(self) -> None:
        """Run to the end, whatever happens; only the stopping of this process leaves it open."""
        why = ""
        try:
            why = await self._wait_for_machines()
            if not why:
                await self._run_tasks()
        except Exception as problem:
            log.exception("job %s", self.name)
            why = f"Job failed due to an internal error of the local cloud: {problem!r}."
            for task in self._jobs.begun(self.name):
                await self._drop(task)
        self._end(why)

    async def _drop(self, task: dict[str, Any]) -> None:
        if task["attempt"] and (run_id := task["attempt"]["run_id"]):
            await self.executor.runtime.remove(run_id)
        task["attempt"] = None
        self._jobs.move(self.name, task, "FAILED")

    # --- machines -------------------------------------------------------------------------------------------------

    async def _wait_for_machines(self) -> str:
        """Wait until tasks may start; why the job fails instead, if it does."""
        await self.executor.opened.wait()
        if self._state() == "QUEUED":
            await self._pause(parse_rfc3339(self.job["createTime"]) + self.executor.settings.queue_delay_s)
            if self.cancel.is_set():
                return ""
            self._jobs.set_state(self.name, "SCHEDULED")
        limit = self.executor.settings.agent_timeout_s
        until = self.executor.cloud.clock.now() + limit
        while not self.cancel.is_set() and not self._agent_reports():
            if self.executor.cloud.clock.now() >= until:
                return (
                    f"Job failed due to no VM has agent reporting correctly within the time window {limit:g} seconds, "
                    f"VM state for the account {self.email}: it needs roles/batch.agentReporter on the project."
                )
            self._jobs.info(
                self.name,
                f"VMs cannot report to Batch: service account {self.email} must exist and have the permission {REPORT} "
                f"(roles/batch.agentReporter) on projects/{self.project}. Tasks wait until then.",
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.cancel.wait(), _LOOK_S)
        if self.job["logsPolicy"].get("destination") == "CLOUD_LOGGING" and not self._holds(
            "logging.logEntries.create"
        ):
            self._jobs.info(
                self.name,
                f"Output is not logged: service account {self.email} has not the permission logging.logEntries.create "
                f"(roles/logging.logWriter) on projects/{self.project}.",
            )
        return ""

    def _agent_reports(self) -> bool:
        return self.executor.cloud.iam.accounts.get(self.email) is not None and self._holds(REPORT)

    async def _pause(self, until: float) -> None:
        left = until - self.executor.cloud.clock.now()
        if left > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.cancel.wait(), left)

    def _state(self) -> str:
        return str(self._jobs.record(self.name)["resource"]["status"]["state"])

    # --- tasks ----------------------------------------------------------------------------------------------------

    async def _run_tasks(self) -> None:
        group = self.job["taskGroups"][0]
        again = self._jobs.begun(
            self.name
        )  # before a restart; what runs already must be watched, whatever the parallelism
        again.sort(key=lambda task: task["attempt"] is None)
        width = max(
            min(int(group["parallelism"]), self.executor.settings.slots), sum(bool(task["attempt"]) for task in again)
        )
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(width, int(group["taskCount"]))):
                workers.create_task(self._work(again, int(group["taskCount"])))

    async def _work(self, again: list[dict[str, Any]], count: int) -> None:
        while True:
            if again:
                task = again.pop(0)
            else:
                if self.cancel.is_set() or (index := self._jobs.take(self.name, count)) is None:
                    return
                task = self._jobs.task(self.name, index)
            async with self.executor.slots:
                await self._run_task(task)

    async def _run_task(self, task: dict[str, Any]) -> None:
        while True:
            if self.cancel.is_set() and task["attempt"] is None:
                self._jobs.move(self.name, task, "UNEXECUTED", " due to the cancellation of the job")
                return
            attempt = Attempt(self, task, self._earlier)
            if task["state"] != "RUNNING":
                self._begin(task)
            end = await attempt.run()
            with self.executor.cloud.store.transaction():  # or a crash here would run the attempt twice
                over = self._settle(task, end)
            await attempt.clean()
            if over:
                return

    def _begin(self, task: dict[str, Any]) -> None:
        self._jobs.move(self.name, task, "RUNNING", f" on {self._zone}/{task['attempt']['instance']}")
        if self._state() == "SCHEDULED":
            self._jobs.set_state(self.name, "RUNNING")

    def _settle(self, task: dict[str, Any], end: End) -> bool:
        """Store the end of an attempt; whether the task is over."""
        where = f" on {self._zone}/{task['attempt']['instance']}"
        task["attempt"] = None
        if end.code == 0:
            self._jobs.move(self.name, task, "SUCCEEDED", where, 0)
            return True
        cause = f" due to {end.why}" if end.why else ""
        self._jobs.move(self.name, task, "FAILED", f"{where}{cause} with exit code {end.code}", end.code)
        if end.cancelled or self.cancel.is_set() or not self._retries(task, end.code):
            return True
        task["retries"] += 1
        self._jobs.move(self.name, task, "PENDING", f" to be retried, attempt {task['retries']}")
        return False

    def _retries(self, task: dict[str, Any], code: int) -> bool:
        spec = self.job["taskGroups"][0]["taskSpec"]
        if task["retries"] >= spec.get("maxRetryCount", 0):
            return False
        return retry_asked(spec.get("lifecyclePolicies", []), code)

    # --- the end --------------------------------------------------------------------------------------------------

    def _end(self, why: str) -> None:
        jobs, store = self._jobs, self.executor.cloud.store
        with store.transaction():
            if self.cancel.is_set() or why:
                jobs.leave_out(self.name)
            state, text = self._verdict(why)
            jobs.set_state(self.name, state, text)
            record = jobs.record(self.name)
            now = self.executor.cloud.clock.now()
            record["resource"]["status"]["runDuration"] = f"{now - parse_rfc3339(self._started(record)):.6f}s"
            jobs.put(record)
            self.executor.finish_operations(record)
            if record["delete"]:
                jobs.delete(self.name)

    def _started(self, record: dict[str, Any]) -> str:
        for event in record["resource"]["status"]["statusEvents"]:
            if " to RUNNING " in event["description"]:
                return str(event["eventTime"])
        return self.executor.cloud.clock.timestamp()

    def _verdict(self, why: str) -> tuple[str, str]:
        if self.cancel.is_set():
            return "CANCELLED", ""
        if why:
            return "FAILED", why
        failed = self._jobs.first_failed(self.name)
        if failed is None:
            return "SUCCEEDED", ""
        last = next(event for event in reversed(failed["events"]) if event["taskState"] == "FAILED")
        text = (
            f"Job failed due to task failure. Specifically, task with index {failed['index']} failed due to the following task "
            f'event: "{last["description"]}"'
        )
        return "FAILED", text

    def keys(self) -> set[str]:
        """The attempts that this course wants to find in the runtime."""
        found = set()
        for task in self._jobs.begun(self.name):
            if (attempt := task["attempt"]) is not None:
                found.add(key_of(self.job, task["index"], attempt["number"], attempt["runnable"]))
        return found


def retry_asked(policies: list[dict[str, Any]], code: int) -> bool:
    """Whether the policies have a task that failed with `code` retried, if it has retries left.

    The first policy that names the code decides; where none does, the opposite of the first policy's action; without
    policies every failure is retried. https://cloud.google.com/batch/docs/automate-task-retries (2026-11); which one wins
    for an unnamed code beside policies of both actions is not documented.
    """
    for policy in policies:
        if code in policy["actionCondition"]["exitCodes"]:
            return bool(policy["action"] == "RETRY_TASK")
    return not policies or policies[0]["action"] == "FAIL_TASK"
