"""What runs executions: the runtime, the courses under way, taking up again after a restart."""

import asyncio
import hashlib
import logging
import time
from typing import TYPE_CHECKING, Any, Protocol

from localcloud.errors import ApiError, failed_precondition, unavailable
from localcloud.run import names
from localcloud.run.course import Course
from localcloud.run.executions import TYPE, Executions
from localcloud.run.jobs import Job, Jobs
from localcloud.run.registry import Registry
from localcloud.run.settings import RunSettings
from localcloud.run.validate import check_overrides
from localcloud.runtime.base import Found, Runtime, RuntimeUnavailable
from localcloud.runtime.choose import Unavailable, choose

if TYPE_CHECKING:
    from localcloud.cloud import Cloud
    from localcloud.identity import Principal

log = logging.getLogger("localcloud.run")


class Adopter(Protocol):
    """Another part whose tasks run on the same runtime."""

    def take_up(self, earlier: dict[str, Found]) -> set[str]:
        """Go on with what ran before this process; return the keys that are still wanted."""


class Executor:
    """A service beside the API. Everything it knows is in the store, so that it can start anew at any moment."""

    def __init__(self, cloud: "Cloud", settings: RunSettings):
        self.cloud, self.settings, self.now = cloud, settings, time.time
        self.registry = Registry(cloud)
        self.jobs, self.executions = Jobs(cloud, self.registry), Executions(cloud)
        self.runtime: Runtime = Unavailable("the runtime has not started yet")
        self.slots = asyncio.Semaphore(cloud.settings.runtime.max_tasks or settings.max_parallel_tasks)
        self._courses: dict[str, tuple[Course, asyncio.Task[None]]] = {}
        self._opening: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()
        self._draining = False
        self.others: list[Adopter] = []
        """Who else runs tasks on this runtime."""

    async def start(self) -> None:
        self._opening = asyncio.create_task(self._open(), name="run-open")

    async def drain(self) -> None:
        """Stop what runs, if the settings say so, while the other APIs still answer: tasks may store their last state."""
        self._draining = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self.settings.on_stop == "cancel":
            under_way = list(self._courses.items())
            for name, _ in under_way:
                self.cancel(name)
            await asyncio.gather(*(task for _, (_, task) in under_way), return_exceptions=True)

    async def stop(self) -> None:
        """Let go of what still runs; it is taken up again at the next start."""
        under_way = [task for _, task in self._courses.values()]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self.registry.close()
        await self.runtime.close()

    async def _open(self) -> None:
        """Open the runtime and take up what ran before this process."""
        self.runtime = await choose(
            self.cloud.settings.runtime, self._state_id(), self.cloud.directory("runtime"), self.registry.login
        )
        if isinstance(self.runtime, Unavailable):
            self.cloud.warn("runtime", f"jobs cannot run: {self.runtime.reason}")
        elif self.runtime.name == "process":
            self.cloud.warn("runtime", "no Docker engine: jobs run as processes, which is for looking, not for tests")
        try:
            earlier = {found.key: found for found in await self.runtime.found()}
        except RuntimeUnavailable as problem:
            log.error("what ran before cannot be looked up: %s", problem)
            earlier = {}
        wanted = await self._take_up(earlier)
        for other in self.others:
            wanted |= other.take_up(earlier)
        for key, found in earlier.items():
            if key not in wanted:
                await self.runtime.remove(found.run_id)  # of an execution that has ended or is gone
        self._opened.set()

    async def _take_up(self, earlier: dict[str, Found]) -> set[str]:
        wanted = set()
        for name in self.executions.running():
            for record in self.executions.tasks(name):
                if record["attempt"]:
                    wanted.add(record["attempt"]["key"])
            if name not in self._courses:  # one that was accepted meanwhile waits for the runtime already
                self._launch(name, {key: found for key, found in earlier.items() if key in wanted})
        return wanted

    def _state_id(self) -> str:
        """Return the id that marks containers of this state folder: the same after a reset, or after it was deleted."""
        return hashlib.sha256(str(self.cloud.settings.state.resolve()).encode()).hexdigest()[:10]

    async def prepare(self, image: str) -> None:
        """Have an image. Raises ImageProblem, RuntimeUnavailable."""
        await self._opened.wait()
        await self.registry.ready()
        await self.runtime.prepare(self.registry.local(image))

    def run(self, job: Job, overrides: dict[str, Any], caller: "Principal", token: str = "") -> dict[str, Any]:
        """Start an execution of a job.

        Returns:
            Its operation, which is done when the execution has ended.

        Raises:
            ApiError: 400, the overrides do not fit the job.
        """
        if self._draining:
            raise unavailable("The local cloud is being stopped.")
        check_overrides(overrides, job["template"]["template"])
        operation = self._accept(job, overrides, caller, token)
        if not token and self.cloud.faults.doubled():
            self._accept(job, overrides, caller, token)  # the second delivery of the same request
        return operation

    def _accept(self, job: Job, overrides: dict[str, Any], caller: "Principal", token: str) -> dict[str, Any]:
        with self.cloud.store.transaction():
            execution = self.executions.create(job, overrides, caller, token)
            self.jobs.ran(execution)
            operation = self.cloud.operations.start("run", names.parent_of(job["name"]), {"@type": TYPE} | execution)
            record = self.executions.record(execution["name"])
            record["operations"].append(operation["name"])
            self.executions.put(record)
        self._launch(execution["name"], {})
        return operation

    def delete_job(self, name: str) -> None:
        """Delete a job with its executions; those that run are stopped first. Raises ApiError 404."""
        self.jobs.get(name)
        for execution in self.executions.newest_first(name):
            self.delete_execution(execution["name"])
        with self.cloud.store.transaction():
            self.jobs.delete(name)
            self.cloud.iam.delete_policy(name)

    def delete_execution(self, name: str) -> None:
        """Delete an execution, once it has been stopped if it runs. Raises ApiError 404."""
        if "completionTime" in self.executions.record(name)["resource"]:
            self.executions.delete(name)
        else:
            self.cancel(name, delete=True)

    def cancel_on_request(self, name: str) -> dict[str, Any]:
        """Cancel, and return the operation that is done when the tasks have stopped. Raises ApiError 400, 404."""
        execution = self.executions.record(name)["resource"]
        if "completionTime" in execution:
            raise failed_precondition(f"Execution '{names.short(name)}' has already completed and cannot be cancelled.")
        operation = self.cloud.operations.start("run", names.parent_of(name), {"@type": TYPE} | execution)
        self.cancel(name, operation=operation["name"])
        return operation

    def _launch(self, name: str, earlier: dict[str, Found]) -> None:
        course = Course(self, name, earlier)
        task = asyncio.create_task(course.run(), name=f"course-{names.short(name)}")
        self._courses[name] = (course, task)
        task.add_done_callback(lambda _: self._courses.pop(name, None))

    def cancel(self, name: str, *, delete: bool = False, operation: str = "") -> None:
        """Ask an execution that has not ended to stop; it ends as cancelled once its tasks have."""
        record = self.executions.record(name)
        record |= {"cancel": True, "delete": delete or record.get("delete", False)}
        if operation:
            record["operations"].append(operation)
        for item in record["resource"]["conditions"]:
            if item["type"] == "Completed":
                item |= {
                    "state": "CONDITION_RECONCILING",
                    "executionReason": "CANCELLING",
                    "message": "Cancelling execution.",
                }
        self.executions.put(record)
        if name in self._courses:
            self._courses[name][0].cancel.set()

    def finish_operations(self, record: dict[str, Any], error: ApiError | None) -> None:
        """Finish the operations that wait for the end of an execution: its own fails with it, a cancel's succeeds."""
        body = {"@type": TYPE} | record["resource"]
        for number, operation in enumerate(record["operations"]):
            own = number == 0 and error is not None
            try:
                self.cloud.operations.finish(
                    "run", operation, response=None if own else body, error=error if own else None, metadata=body
                )
            except ApiError:
                log.info("operation %s is gone", operation)

    async def reset(self) -> None:
        """Stop everything at once and remove it; the store is about to be emptied."""
        under_way = [task for _, task in self._courses.values()]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for found in await self.runtime.found():
            await self.runtime.remove(found.run_id)
