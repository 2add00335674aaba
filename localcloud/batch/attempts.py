"""One attempt of one task: its runnables one after the other, as one machine would run them."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.batch import sink, validate
from localcloud.errors import ApiError
from localcloud.metadata import Instance, MetadataServer, new_instance_id
from localcloud.run import environment, quantities
from localcloud.runtime.attempt import Limits, Outcome, follow
from localcloud.runtime.base import Batch, Found, ImageProblem, RuntimeUnavailable, StartProblem, TaskSpec
from localcloud.shell import Listener

if TYPE_CHECKING:
    from localcloud.batch.course import Course

OTHER = 50_000
PREEMPTED = 50_001
LOST = 50_002
OVER_TIME = 50_005
"""https://cloud.google.com/batch/docs/troubleshooting#reserved-exit-codes (2026-11)."""
DOCKER_FAILED = 125
"""What `docker run` exits with if it cannot start a container."""


@dataclass(frozen=True)
class End:
    """How an attempt ended; `code` 0 is success."""

    code: int
    why: str = ""
    cancelled: bool = False


class Attempt:
    """Runs, or takes up again. `task` is the task's record; its "attempt" is what survives a crash."""

    def __init__(self, course: "Course", task: dict[str, Any], earlier: dict[str, Found]) -> None:
        self._course, self._executor, self._task, self._earlier = course, course.executor, task, earlier
        self._job = course.job
        self._group = self._job["taskGroups"][0]
        if task["attempt"] is None:
            task["attempt"] = {
                "number": task["retries"], "runnable": 0, "run_id": "", "port": 0, "until": 0.0, "runnable_until": 0.0,
                "cursor": "", "stored": 0, "code": 0, "why": "", "instance": new_instance_id()[:19],
            }  # fmt: skip
        self._state: dict[str, Any] = task["attempt"]
        self._stop = asyncio.Event()
        self._preempted = False
        self._listener: Listener | None = None
        self._sink = self._make_sink()

    @property
    def key(self) -> str:
        return key_of(self._job, self._task["index"], self._state["number"], self._state["runnable"])

    async def run(self) -> End:
        """Run to the end."""
        watches = [asyncio.create_task(self._watch_cancel())]
        if validate.spot(self._job) and self._executor.cloud.faults.preempts():
            watches.append(asyncio.create_task(self._watch_preemption()))
        try:
            await self._listen()
            return await self._runnables()
        except ImageProblem as problem:
            return self._refuse(DOCKER_FAILED, f"docker: {problem}")
        except StartProblem as problem:
            return self._refuse(DOCKER_FAILED, f"docker: {problem}")
        except ApiError as error:
            return self._refuse(OTHER, error.message)
        except RuntimeUnavailable as problem:
            return self._refuse(LOST, str(problem))
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await self._hang_up()

    def _refuse(self, code: int, why: str) -> End:
        self._sink.system(why, "ERROR", self._executor.cloud.clock.timestamp())
        return End(code, why)

    async def _watch_cancel(self) -> None:
        await self._course.cancel.wait()
        self._stop.set()

    async def _watch_preemption(self) -> None:
        await asyncio.sleep(self._executor.cloud.faults.settings.preemption_after_s)
        self._preempted = True
        self._stop.set()

    async def _runnables(self) -> End:
        state, runnables = self._state, self._group["taskSpec"]["runnables"]
        while state["runnable"] < len(runnables):
            runnable = runnables[state["runnable"]]
            if not state["code"] or runnable.get("alwaysRun"):
                end = await self._one(runnable)
                if end.cancelled or end.code in (PREEMPTED, OVER_TIME, LOST):
                    return end
                if end.code and not runnable.get("ignoreExitStatus") and not state["code"]:
                    state["code"], state["why"] = end.code, end.why
            await self._clean()
            state |= {"runnable": state["runnable"] + 1, "run_id": "", "cursor": "", "runnable_until": 0.0}
            self._save()
        return End(state["code"], state["why"])

    async def _one(self, runnable: dict[str, Any]) -> End:
        found = self._earlier.pop(self.key, None)
        if self._state["run_id"] and found is None:
            return End(
                LOST, "the container was lost: the local cloud was not running, and the runtime no longer knows it"
            )
        if found is None:
            await self._start(runnable)
        else:
            self._state["run_id"] = found.run_id
        self._save()
        outcome = await self._follow()
        self._sink.finish()
        return self._end(outcome)

    def _end(self, outcome: Outcome) -> End:
        if outcome.kind == "exited":
            return End(outcome.code or 0)
        if outcome.kind == "oom":
            mib = self._group["taskSpec"]["computeResource"]["memoryMib"]
            why = f"the memory limit of {mib} MiB was reached"
            self._sink.system(f"Task was killed: {why}.", "ERROR", self._executor.cloud.clock.timestamp())
            return End(outcome.code or 137, why)
        if outcome.kind == "timeout":
            if self._state["runnable_until"] < self._state["until"]:
                return End(outcome.code or 143, "the runnable's timeout was reached")
            return End(OVER_TIME, "the task's maxRunDuration was reached")
        if outcome.kind == "cancelled":
            return (
                End(PREEMPTED, "Spot VM preemption") if self._preempted else End(OTHER, "the job was cancelled", True)
            )
        return End(LOST, f"the container was lost: {outcome.error or 'the runtime no longer knows it'}")

    async def clean(self) -> None:
        """Remove what the attempt left in the runtime; once its result is stored."""
        await self._clean()

    async def _clean(self) -> None:
        if run_id := self._state["run_id"]:
            with contextlib.suppress(RuntimeUnavailable):  # found and removed at the next start
                await self._executor.runtime.remove(run_id)

    def _save(self) -> None:
        self._executor.jobs.put_task(self._job["name"], self._task)

    # --- starting -------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Open the machine's metadata server, on the same port as before if the attempt is taken up again."""
        cloud, (_, project, _, region) = self._executor.cloud, self._job["name"].split("/")[:4]
        instance = Instance(
            member=self._course.member,
            project=project,
            number=self._course.project_number,
            region=region,
            instance_id=self._state["instance"],
        )
        try:
            self._listener = Listener(MetadataServer(cloud, instance), cloud.settings.host, self._state["port"])
        except OSError as problem:
            if not self._state["port"]:
                raise
            cloud.warn(f"metadata {self.key}", f"{self.key} goes on without its metadata server: {problem}")
            return
        await self._listener.start()
        self._state["port"] = self._listener.port

    async def _hang_up(self) -> None:
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None

    async def _start(self, runnable: dict[str, Any]) -> None:
        executor, container, spec = self._executor, runnable["container"], self._group["taskSpec"]
        await executor.check_image(self._job["uid"], container["imageUri"], self._course.member)
        options = validate.options(container)
        entrypoint = container.get("entrypoint") or options.get("entrypoint", "")
        task = TaskSpec(
            key=self.key,
            image=executor.run.registry.local(container["imageUri"]),
            command=[entrypoint] if entrypoint else (),
            args=container.get("commands", ()),
            env=await self._environment(runnable),
            working_dir=options.get("workdir", ""),
            memory_mib=int(spec["computeResource"]["memoryMib"]),
            cpus=int(spec["computeResource"]["cpuMilli"]) / 1000,
        )
        self._save()  # key and port, before anything is started under them
        self._state["run_id"] = await executor.runtime.start(task)
        now = executor.now()
        if not self._state["until"]:
            self._state["until"] = now + quantities.seconds(spec.get("maxRunDuration", f"{validate.MAX_RUN_S}s"))
        own = runnable.get("timeout")
        self._state["runnable_until"] = (
            min(self._state["until"], now + quantities.seconds(own)) if own else self._state["until"]
        )

    async def _environment(self, runnable: dict[str, Any]) -> dict[str, str]:
        """The platform's variables, then those of the task, of its index and of the runnable. Raises ApiError."""
        job, index = self._job, self._task["index"]
        each = self._group.get("taskEnvironments", [])
        given = (
            self._group["taskSpec"].get("environment", {}),
            each[index] if each else {},
            runnable.get("environment", {}),
        )
        env: dict[str, str] = {}
        for part in given:
            env |= part.get("variables", {})
            for name, version in part.get("secretVariables", {}).items():
                env[name] = await self._secret(name, version)
        host = self._executor.cloud.settings.host
        return (
            env
            | platform_env(job, index, self._state["number"])
            | environment.metadata_env(f"{host}:{self._state['port']}")
        )

    async def _secret(self, variable: str, version: str) -> str:
        secrets = self._executor.cloud.parts.get("secrets")
        if secrets is None:
            raise ApiError(
                400, "FAILED_PRECONDITION", f"variable {variable} is a secret, but no Secret Manager is served"
            )
        _, project, _, secret, _, number = version.split("/")
        payload: bytes = await secrets.access(project, secret, number, self._course.member)
        return payload.decode("utf-8", "replace")

    # --- following ------------------------------------------------------------------------------------------------

    async def _follow(self) -> Outcome:
        limits = Limits(
            deadline=self._state["runnable_until"],
            cancel=self._stop,
            grace_s=self._executor.cloud.settings.runtime.termination_grace_s,
        )
        return await follow(
            self._executor.runtime,
            self._state["run_id"],
            limits,
            since=self._state["cursor"],
            sink=self._take,
            on_stop=self._on_stop,
            now=self._executor.now,
        )

    async def _take(self, batch: Batch) -> None:
        with self._executor.cloud.store.transaction():
            self._sink.take(batch.lines)
            self._state["cursor"], self._state["stored"] = batch.cursor, self._sink.stored_bytes
            self._save()

    async def _on_stop(self, why: str) -> None:
        text = "Task is stopped: its machine is taken away." if self._preempted else f"Task is stopped: {why}."
        self._sink.system(text, "WARNING", self._executor.cloud.clock.timestamp())

    def _make_sink(self) -> sink.BatchSink:
        executor, settings = self._executor, self._executor.run.settings
        project = self._job["name"].split("/")[1]
        common = sink.common(
            self._job, self._course.project_number, self._task["index"], self._state["number"], self._state["instance"]
        )
        return sink.BatchSink(
            executor.cloud.logs.write if self._course.may_log else _nowhere,
            project,
            common,
            self.key,
            limit_bytes=int(settings.log_mib_per_attempt * 2**20),
            tail_bytes=settings.log_tail_kib * 1024,
            stored_bytes=self._state["stored"],
        )


def _nowhere(entries: list[dict[str, Any]]) -> None:
    """Entries of a job that logs nowhere, or whose account may not write."""


def key_of(job: dict[str, Any], index: int, number: int, runnable: int) -> str:
    return f"{job['name'].rpartition('/')[2]}-{job['uid'].rsplit('-', 3)[1]}-b{index}-{number}-{runnable}"


def platform_env(job: dict[str, Any], index: int, attempt: int) -> dict[str, str]:
    """What Batch sets. https://cloud.google.com/batch/docs/create-run-job#predefined-environment-variables (2026-11)."""
    group = job["taskGroups"][0]
    return {
        "BATCH_JOB_ID": job["name"].rpartition("/")[2],
        "BATCH_JOB_UID": job["uid"],
        "BATCH_TASK_COUNT": group["taskCount"],
        "BATCH_TASK_INDEX": str(index),
        "BATCH_TASK_RETRY_ATTEMPT": str(attempt),
        "BATCH_NODE_INDEX": "0",
    }
