"""One attempt of one task: its environment, its identity, its container, its output, its result."""

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from localcloud.errors import ApiError
from localcloud.metadata import Instance, MetadataServer, new_instance_id
from localcloud.run import conditions, environment, images, names, quantities
from localcloud.run.logsink import Sink
from localcloud.runtime.attempt import Limits, Outcome, follow
from localcloud.runtime.base import Batch, Found, ImageProblem, RuntimeUnavailable, StartProblem, TaskSpec
from localcloud.shell import Listener

if TYPE_CHECKING:
    from localcloud.run.course import Course

log = logging.getLogger("localcloud.run")

_TIMEOUT_HELP = "To change this limit, see https://cloud.google.com/run/docs/configuring/task-timeout"
_MEMORY_HELP = "Consider increasing the memory limit, see https://cloud.google.com/run/docs/configuring/memory-limits"


@dataclass(frozen=True, kw_only=True)
class Result:
    """How an attempt ended, in Cloud Run's words."""

    kind: Literal["succeeded", "failed", "cancelled"]
    message: str = ""
    status: int = 0
    """google.rpc.Code."""
    code: int | None = None
    signal: int | None = None
    reason: str = ""
    """Common reason of the condition; empty for an exit code."""

    def last_attempt(self) -> dict[str, Any]:
        """Return the task's lastAttemptResult."""
        status = {"code": self.status} | ({"message": self.message} if self.message else {})
        ended = {"exitCode": self.code, "termSignal": self.signal}
        return {"status": status} | {key: value for key, value in ended.items() if value is not None}


class Attempt:
    """Runs, or takes up again, one attempt. `record` is the task's; its "attempt" is what survives a crash."""

    def __init__(self, course: "Course", record: dict[str, Any], number: int):
        self._course, self._executor, self._record = course, course.executor, record
        self._task = record["resource"]
        self._number = number
        execution = course.resource
        self.key = f"{names.short(execution['name'])}-{execution['uid'][:8]}-{self._task['index']}-{number}"
        if not record["attempt"] or record["attempt"]["key"] != self.key:
            fresh = {
                "key": self.key,
                "number": number,
                "run_id": "",
                "port": 0,
                "deadline": 0.0,
                "cursor": "",
                "stored": 0,
            }
            record["attempt"] = fresh | {"instance": new_instance_id()}
        self._state: dict[str, Any] = record["attempt"]
        self._container = self._task["containers"][0]
        self._sink = self._make_sink()
        self._listener: Listener | None = None

    async def run(self, earlier: Found | None) -> Result:
        """Run to the end.

        Args:
            earlier: what the runtime still has of this attempt from before a restart.
        """
        if self._state["run_id"] and earlier is None:
            text = "The container was lost: the local cloud was not running, and the runtime no longer knows the container."
            return Result(kind="failed", message=text, status=14, reason="INTERNAL")
        try:
            await self._listen()
            if earlier is None:
                await self._start()
            else:
                self._state["run_id"] = earlier.run_id
                self._state["deadline"] = self._state["deadline"] or self._executor.now() + self.timeout_s
            self._save()
            outcome = await self._follow()
        except ImageProblem as problem:
            error = self._image_error(problem)
            return Result(kind="failed", message=error.message, status=5, reason="CONTAINER_MISSING")
        except StartProblem as problem:
            return Result(
                kind="failed", message=f"The container failed to start. {problem}", status=9, reason="UNKNOWN"
            )
        except ApiError as error:
            reason = "UNKNOWN" if error.code == 501 else "SECRETS_ACCESS_CHECK_FAILED"
            return Result(kind="failed", message=error.message, status=9, reason=reason)
        except RuntimeUnavailable as problem:
            return Result(kind="failed", message=str(problem), status=14, reason="INTERNAL")
        finally:
            await self._hang_up()
        self._sink.finish()
        return self._result(outcome)

    async def clean(self) -> None:
        """Remove what the attempt left in the runtime; to be called once its result is stored."""
        if run_id := self._state["run_id"]:
            with contextlib.suppress(RuntimeUnavailable):  # found and removed at the next start
                await self._executor.runtime.remove(run_id)

    @property
    def timeout_s(self) -> float:
        return quantities.seconds(self._task.get("timeout", "600s"))

    @property
    def _email(self) -> str:
        project = names.project_of(self._task["name"])
        return str(self._task.get("serviceAccount") or self._executor.cloud.projects.default_account(project))

    def _save(self) -> None:
        self._executor.executions.put_task(self._record)

    async def _listen(self) -> None:
        """Open the task's metadata server, on the same port as before if it is taken up again."""
        cloud, project = self._executor.cloud, names.project_of(self._task["name"])
        instance = Instance(
            member=f"serviceAccount:{self._email}",
            project=project,
            number=(cloud.projects.get(project) or {}).get("projectNumber", "0"),
            region=names.location_of(self._task["name"]),
            instance_id=self._state["instance"],
            token_ttl_s=self._executor.settings.token_ttl_s,
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

    async def _start(self) -> None:
        executor, project = self._executor, names.project_of(self._task["name"])
        if executor.cloud.iam.accounts.get(self._email) is None:
            raise StartProblem(f"Service account {self._email} does not exist.")
        secrets = executor.cloud.parts.get("secrets")
        env = await environment.user_env(self._container, project, f"serviceAccount:{self._email}", secrets)
        env |= environment.platform_env(self._course.resource, self._task["index"], self._number)
        env |= environment.metadata_env(f"{executor.cloud.settings.host}:{self._state['port']}")
        limits = self._container.get("resources", {}).get("limits", {})
        spec = TaskSpec(
            key=self.key,
            image=executor.registry.local(self._container["image"]),
            command=self._container.get("command", ()),
            args=self._container.get("args", ()),
            env=env,
            working_dir=self._container.get("workingDir", ""),
            memory_mib=int(quantities.memory_mib(limits.get("memory", "512Mi"))),
            cpus=quantities.cpus(limits.get("cpu", "1")),
            gpus=int(limits.get("nvidia.com/gpu", "0")),
            volumes=environment.volumes(self._task, self._container),
        )
        self._save()  # key and port, before anything is started under them
        self._state["run_id"] = await executor.runtime.start(spec)
        self._state["deadline"] = executor.now() + self.timeout_s

    async def _follow(self) -> Outcome:
        limits = Limits(
            deadline=self._state["deadline"], cancel=self._course.cancel, grace_s=self._executor.cloud.settings.runtime.termination_grace_s
        )  # fmt: skip
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
        if why == "timeout":
            text = f"Terminating task because it has reached the maximum timeout of {self.timeout_s:g} seconds. {_TIMEOUT_HELP}"
            self._sink.system(text, "ERROR", self._executor.cloud.clock.timestamp())

    def _make_sink(self) -> Sink:
        task, settings = self._task, self._executor.settings
        project = names.project_of(task["name"])
        resource = {
            "type": "cloud_run_job",
            "labels": {"project_id": project, "location": names.location_of(task["name"]), "job_name": task["job"]},
        }
        labels = {
            "instanceId": self._state["instance"],
            "run.googleapis.com/execution_name": task["execution"],
            "run.googleapis.com/task_index": str(task["index"]),
            "run.googleapis.com/task_attempt": str(self._number),
        }
        return Sink(
            self._executor.cloud.logs.write,
            project,
            {"resource": resource, "labels": labels},
            self.key,
            limit_bytes=int(settings.log_mib_per_attempt * 2**20),
            tail_bytes=settings.log_tail_kib * 1024,
            stored_bytes=self._state["stored"],
        )

    def _image_error(self, problem: ImageProblem) -> ApiError:
        image = self._container["image"]
        return (
            images.missing(image) if problem.reason == "missing" else ApiError(400, "FAILED_PRECONDITION", str(problem))
        )

    def _result(self, end: Outcome) -> Result:
        at = self._executor.cloud.clock.timestamp()
        if end.kind == "exited":
            self._sink.system(f"Container called exit({end.code}).", "WARNING" if end.code else "INFO", at)
            if end.code == 0:
                return Result(kind="succeeded", code=0)
            return Result(kind="failed", message=conditions.CONTAINER_FAILED, status=2, code=end.code)
        if end.kind == "oom":
            mib = int(
                quantities.memory_mib(self._container.get("resources", {}).get("limits", {}).get("memory", "512Mi"))
            )
            granted = self._executor.runtime.grant(mib, 1).memory_mib
            self._sink.system(f"Memory limit of {granted} MiB exceeded. {_MEMORY_HELP}", "ERROR", at)
            return Result(kind="failed", message=conditions.MEMORY, status=8, signal=9)
        if end.kind == "timeout":
            return Result(kind="failed", message=conditions.TIMEOUT, status=4, code=end.code, signal=end.signal)
        if end.kind == "cancelled":
            return Result(
                kind="cancelled", message="The task was cancelled.", status=1, code=end.code, signal=end.signal
            )
        text = f"The container was lost: {end.error or 'the runtime no longer knows it'}."
        return Result(kind="failed", message=text, status=14, reason="INTERNAL")
