"""What runs jobs, on the runtime of Cloud Run; takes them up again after a restart."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import httpx

from localcloud.batch.course import Course
from localcloud.batch.jobs import ENDED, Jobs
from localcloud.batch.settings import BatchSettings
from localcloud.errors import ApiError, failed_precondition, unavailable
from localcloud.run import images
from localcloud.run.executor import Executor as Run
from localcloud.runtime.base import Found, ImageProblem, Runtime

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

log = logging.getLogger("localcloud.batch")
_API = "batch"
_CANCELLED = "type.googleapis.com/google.cloud.batch.v1.CancelJobResponse"


class Executor:
    """A service beside the API. Everything it knows is in the store, so that it can start anew at any moment."""

    def __init__(self, cloud: "Cloud", settings: BatchSettings, run: Run) -> None:
        self.cloud, self.settings, self.run, self.now = cloud, settings, run, time.time
        self.jobs = Jobs(cloud)
        self.slots = asyncio.Semaphore(cloud.settings.runtime.max_tasks or settings.slots)
        self.opened = asyncio.Event()
        self._courses: dict[str, tuple[Course, asyncio.Task[None]]] = {}
        self._readable: set[tuple[str, str]] = set()
        self._checking = asyncio.Lock()
        self._http = httpx.AsyncClient(timeout=10, trust_env=False)
        self._draining = False
        run.others.append(self)

    @property
    def runtime(self) -> Runtime:
        return self.run.runtime

    async def start(self) -> None:
        """Jobs are taken up once the runtime is open, see `take_up`."""

    def take_up(self, earlier: dict[str, Found]) -> set[str]:
        """Go on with what ran before this process; the keys of attempts that are still wanted."""
        wanted: set[str] = set()
        for name in self.jobs.open():
            if name not in self._courses:
                self._launch(name, earlier)
            wanted |= self._courses[name][0].keys()
        self.opened.set()
        return wanted

    async def drain(self) -> None:
        """Stop what runs, if the settings say so, while the other APIs still answer."""
        self._draining = True
        if self.run.settings.on_stop == "cancel" and self.opened.is_set():
            under_way = list(self._courses.items())
            for name, _ in under_way:
                self.cancel(name)
            await asyncio.gather(*(task for _, (_, task) in under_way), return_exceptions=True)

    async def stop(self) -> None:
        """Let go of what still runs; it is taken up again at the next start."""
        await self._abandon()
        await self._http.aclose()

    async def reset(self) -> None:
        """Stop everything at once; the store is about to be emptied, and the runtime too."""
        await self._abandon()

    async def _abandon(self) -> None:
        under_way = [task for _, task in self._courses.values()]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def account(self, job: dict[str, Any], project: str) -> str:
        """Email of the service account that the job's machines have."""
        given = job["allocationPolicy"].get("serviceAccount", {}).get("email")
        return str(given or self.cloud.projects.default_account(project))

    async def check_image(self, job_uid: str, image: str, member: str) -> None:
        """Once a job and image: the machines' account must be able to read it. Raises ImageProblem."""
        reference = self.run.registry.local(image)
        if (job_uid, image) in self._readable or not images.checkable(reference):
            return
        async with self._checking:
            if (job_uid, image) in self._readable:
                return
            await self.run.registry.ready()
            try:
                there = await images.exists(self._http, reference, self.cloud.tokens.mint(member, 300))
            except ApiError:
                who = member.partition(":")[2]
                raise ImageProblem(
                    image, "denied", f"{who} may not read it (roles/artifactregistry.reader on the repository)"
                ) from None
            if not there:
                raise ImageProblem(image, "missing", "not found")
            self._readable.add((job_uid, image))

    def create(self, parent: str, job_id: str, body: dict[str, Any], request_id: str) -> dict[str, Any]:
        """Raises ApiError 400, 409, 501."""
        if self._draining:
            raise unavailable("The local cloud is being stopped.")
        job, new = self.jobs.create(parent, job_id, body, request_id)
        if new:
            self._launch(job["name"], {})
        return job

    def _launch(self, name: str, earlier: dict[str, Found]) -> None:
        course = Course(self, name, earlier)
        task = asyncio.create_task(course.run(), name=f"batch-{name.rpartition('/')[2]}")
        self._courses[name] = (course, task)
        task.add_done_callback(lambda _: self._courses.pop(name, None))

    def cancel_on_request(self, name: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Cancel, and return the operation that is done when the tasks have stopped. Raises ApiError 400, 404."""
        record = self.jobs.record(name)
        state = record["resource"]["status"]["state"]
        if state in ENDED:
            raise failed_precondition(f"Job {name} is in the state {state} and cannot be cancelled.")
        return self._stopping(name, metadata, "CANCELLATION_IN_PROGRESS", delete=False)

    def delete_on_request(self, name: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Delete, once it has been stopped if it runs. Raises ApiError 404."""
        record = self.jobs.record(name)
        parent = name.partition("/jobs/")[0]
        if record["resource"]["status"]["state"] in ENDED:
            self.jobs.delete(name)
            return self.cloud.operations.done(_API, parent, metadata=metadata)
        return self._stopping(name, metadata, "DELETION_IN_PROGRESS", delete=True)

    def _stopping(self, name: str, metadata: dict[str, Any], state: str, *, delete: bool) -> dict[str, Any]:
        operation = self.cloud.operations.start(_API, name.partition("/jobs/")[0], metadata)
        record = self.jobs.record(name)
        record["operations"].append(operation["name"])
        record["delete"] = record["delete"] or delete
        self.jobs.put(record)
        if record["resource"]["status"]["state"] != state:
            self.jobs.set_state(name, state)
        self.cancel(name)
        return operation

    def cancel(self, name: str) -> None:
        record = self.jobs.record(name)
        record["cancel"] = True
        self.jobs.put(record)
        if name in self._courses:
            self._courses[name][0].cancel.set()

    def finish_operations(self, record: dict[str, Any]) -> None:
        for operation in record["operations"]:
            try:
                cancels = self.cloud.operations.get(_API, operation)["metadata"]["verb"] == "cancel"
                self.cloud.operations.finish(_API, operation, response={"@type": _CANCELLED} if cancels else None)
            except ApiError:
                log.info("operation %s is gone", operation)

    def status(self) -> dict[str, Any]:
        return {"running": len(self._courses), "slots": self.settings.slots}


def check_actas(cloud: "Cloud", call: Any, email: str, project: str) -> None:
    """Raises ApiError 403 unless the caller may run machines as that account."""
    resource = f"projects/{project}/serviceAccounts/{email}"
    if cloud.iam.accounts.get(email) is None or not cloud.iam.allowed(
        call.principal, "iam.serviceAccounts.actAs", resource
    ):
        raise ApiError(
            403,
            "PERMISSION_DENIED",
            f"The caller does not have access to act as the specified service account: {email}",
        )
