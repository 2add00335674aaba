"""Jobs and tasks in the store. A task has a document only once it has begun, so a job of 100,000 tasks costs one document.

Kinds: `batch.job` (the resource and what the executor needs beside it), `batch.progress` (counts by state, the next
index), `batch.task` (state, events, attempt), `batch.failed` (an index of failed tasks, so that they are found at once).
"""

import uuid
from typing import TYPE_CHECKING, Any

from localcloud.batch import validate
from localcloud.errors import already_exists, invalid, not_found

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

JOB, PROGRESS, TASK, FAILED, REQUEST = "batch.job", "batch.progress", "batch.task", "batch.failed", "batch.request"
TYPE = "type.googleapis.com/google.cloud.batch.v1.Job"
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
TASK_ENDED = ("SUCCEEDED", "FAILED", "UNEXECUTED")
MAX_EVENTS = 100
_DIGITS = 6

Record = dict[str, Any]


class Jobs:
    def __init__(self, cloud: "Cloud") -> None:
        self._cloud, self._store = cloud, cloud.store

    # --- jobs -----------------------------------------------------------------------------------------------------

    def create(self, parent: str, job_id: str, body: dict[str, Any], request_id: str) -> tuple[dict[str, Any], bool]:
        """The job, and whether it is new: a request id that was used gives the job that it made. Raises ApiError 400, 409."""
        if request_id:
            _check_request_id(request_id)
            earlier = self._store.get(REQUEST, f"{parent}/{request_id}")
            if earlier is not None and self.find(earlier["job"]) is not None:
                return self.resource(earlier["job"]), False
        job_id = job_id or f"j-{uuid.uuid4()}"
        validate.check_id(job_id)
        name = f"{parent}/jobs/{job_id}"
        if self.find(name) is not None:
            raise already_exists(f"Resource '{name}' already exists")
        job = self._new(name, validate.normalised(body))
        count = int(job["taskGroups"][0]["taskCount"])
        with self._store.transaction():
            self.put({"resource": job, "operations": [], "cancel": False, "delete": False})
            self._store.put(PROGRESS, name, {"counts": {"PENDING": count}, "next": 0})
            if request_id:
                self._store.put(REQUEST, f"{parent}/{request_id}", {"job": name})
        return self.resource(name), True

    def _new(self, name: str, job: dict[str, Any]) -> dict[str, Any]:
        now = self._cloud.clock.timestamp()
        short = name.rpartition("/")[2]
        group = {**job["taskGroups"][0], "name": f"{name}/taskGroups/{validate.GROUP}"}
        return {
            **job,
            "name": name,
            "uid": f"{short[:40]}-{uuid.uuid4().hex[:8]}-{uuid.uuid4().hex[:4]}-0",
            "taskGroups": [group],
            "createTime": now,
            "updateTime": now,
            "status": {"state": "QUEUED", "runDuration": "0s", "statusEvents": []},
        }

    def find(self, name: str) -> Record | None:
        return self._store.get(JOB, name)

    def record(self, name: str) -> Record:
        """Raises ApiError 404."""
        if (record := self.find(name)) is None:
            raise not_found(f"Resource '{name}' was not found")
        return record

    def put(self, record: Record) -> None:
        self._store.put(JOB, record["resource"]["name"], record)

    def resource(self, name: str) -> dict[str, Any]:
        """The job as the API answers it: with its tasks' states counted, not listed. Raises ApiError 404."""
        return self._shown(self.record(name))

    def _shown(self, record: Record) -> dict[str, Any]:
        job: dict[str, Any] = record["resource"]
        counts = {state: str(number) for state, number in self.progress(job["name"])["counts"].items() if number}
        machine = {
            "machineType": validate.machine_type(job),
            "provisioningModel": validate.model(job),
            "taskPack": job["taskGroups"][0].get("taskCountPerNode", "1"),
        }
        group = {"counts": counts, "instances": [machine]}
        job["status"]["taskGroups"] = {validate.GROUP: group}
        return job

    def within(self, parent: str) -> list[dict[str, Any]]:
        """The jobs of a location (`-`: of all), newest first."""
        prefix = parent.removesuffix("-") if parent.endswith("/locations/-") else f"{parent}/jobs/"
        found = [self._shown(record) for _, record in self._store.list(JOB, prefix)]
        return sorted(found, key=lambda job: job["createTime"], reverse=True)

    def open(self) -> list[str]:
        """The names of jobs that have not ended."""
        return [name for name, record in self._store.list(JOB) if record["resource"]["status"]["state"] not in ENDED]

    def set_state(self, name: str, state: str, why: str = "") -> None:
        """Change the state and say so in an event."""
        record = self.record(name)
        status, now = record["resource"]["status"], self._cloud.clock.timestamp()
        text = f"Job state is set from {status['state']} to {state} for job {name}."
        status["state"] = state
        record["resource"]["updateTime"] = now
        self._event(
            status, {"type": "STATUS_CHANGED", "description": " ".join(filter(None, (text, why))), "eventTime": now}
        )
        self.put(record)

    def info(self, name: str, text: str) -> None:
        """Say something in an event, once."""
        record = self.record(name)
        status = record["resource"]["status"]
        if all(event["description"] != text for event in status["statusEvents"]):
            now = self._cloud.clock.timestamp()
            self._event(status, {"type": "OPERATIONAL_INFO", "description": text, "eventTime": now})
            self.put(record)

    def _event(self, status: dict[str, Any], event: dict[str, Any]) -> None:
        status["statusEvents"] = [*status["statusEvents"], event][-MAX_EVENTS:]

    def delete(self, name: str) -> None:
        """With its tasks."""
        with self._store.transaction():
            for kind in (TASK, FAILED):
                for task, _ in self._store.list(kind, f"{name}/"):
                    self._store.delete(kind, task)
            self._store.delete(PROGRESS, name)
            self._store.delete(JOB, name)

    # --- tasks ----------------------------------------------------------------------------------------------------

    def progress(self, name: str) -> dict[str, Any]:
        return self._store.get(PROGRESS, name) or {"counts": {}, "next": 0}

    def take(self, name: str, count: int) -> int | None:
        """The next index that has not begun; None if all have."""
        progress = self.progress(name)
        index: int = progress["next"]
        if index >= count:
            return None
        progress["next"] = index + 1
        self._store.put(PROGRESS, name, progress)
        return index

    def task(self, job: str, index: int) -> Record:
        """What is known of a task; a new record for one that has not begun."""
        found = self._store.get(TASK, _key(job, index))
        return found or {"index": index, "state": "PENDING", "events": [], "attempt": None, "retries": 0}

    def put_task(self, job: str, task: Record) -> None:
        self._store.put(TASK, _key(job, task["index"]), task)

    def move(self, job: str, task: Record, state: str, text: str = "", code: int | None = None) -> None:
        """Change a task's state: its record, its events, the job's counts."""
        event: dict[str, Any] = {
            "type": "STATUS_CHANGED",
            "eventTime": self._cloud.clock.timestamp(),
            "taskState": state,
            "description": f"Task state is updated from {task['state']} to {state}{text}.",
        }
        if code is not None:
            event["taskExecution"] = {"exitCode": code}
        with self._store.transaction():
            counts = self.progress(job)
            counts["counts"][task["state"]] = counts["counts"].get(task["state"], 0) - 1
            counts["counts"][state] = counts["counts"].get(state, 0) + 1
            self._store.put(PROGRESS, job, counts)
            task["state"] = state
            task["events"] = [*task["events"], event][-MAX_EVENTS:]
            self.put_task(job, task)
            if state == "FAILED":
                self._store.put(FAILED, _key(job, task["index"]), {})
            else:
                self._store.delete(FAILED, _key(job, task["index"]))

    def leave_out(self, job: str) -> None:
        """Count the tasks that have not begun as UNEXECUTED: they have no document, and need none."""
        progress = self.progress(job)
        count = int(self.record(job)["resource"]["taskGroups"][0]["taskCount"])
        left = count - progress["next"]
        counts = progress["counts"]
        counts["PENDING"] = counts.get("PENDING", 0) - left
        counts["UNEXECUTED"] = counts.get("UNEXECUTED", 0) + left
        self._store.put(PROGRESS, job, progress | {"left_out_from": progress["next"], "next": count})

    def begun(self, job: str) -> list[Record]:
        """Tasks that have begun and not ended."""
        return [task for _, task in self._store.list(TASK, f"{job}/") if task["state"] not in TASK_ENDED]

    def first_failed(self, job: str) -> Record | None:
        failed = self._store.list(FAILED, f"{job}/", limit=1)
        return self._store.get(TASK, failed[0][0]) if failed else None

    def shown_task(self, job: str, index: int) -> dict[str, Any]:
        """A task as the API answers it. Raises ApiError 404."""
        resource = self.record(job)["resource"]
        if not 0 <= index < int(resource["taskGroups"][0]["taskCount"]):
            raise not_found(f"Resource '{job}/taskGroups/{validate.GROUP}/tasks/{index}' was not found")
        return self._show(job, self.task(job, index), self.progress(job))

    def _show(self, job: str, task: Record, progress: dict[str, Any]) -> dict[str, Any]:
        state = task["state"]
        if state == "PENDING" and task["index"] >= progress.get("left_out_from", 1 << 60):
            state = "UNEXECUTED"
        status = {"state": state} | ({"statusEvents": task["events"]} if task["events"] else {})
        return {"name": f"{job}/taskGroups/{validate.GROUP}/tasks/{task['index']}", "status": status}

    def tasks(self, job: str, start: int, size: int, state: str = "") -> tuple[list[dict[str, Any]], int | None]:
        """Up to `size` tasks from `start`, by index, and where to go on. `state`: only those in it."""
        count = int(self.record(job)["resource"]["taskGroups"][0]["taskCount"])
        progress, found = self.progress(job), []
        if state == "FAILED":
            rows = self._store.list(FAILED, f"{job}/", start_after=_key(job, start - 1), limit=size + 1)
            indices = [int(name.rpartition("/")[2]) for name, _ in rows]
            found = [self._show(job, self.task(job, index), progress) for index in indices[:size]]
            return found, indices[size] if len(indices) > size else None
        known = dict(self._store.list(TASK, f"{job}/", start_after=_key(job, start - 1), limit=None if state else size))
        for index in range(start, count):
            task = known.get(_key(job, index)) or {"index": index, "state": "PENDING", "events": []}
            shown = self._show(job, task, progress)
            if not state or shown["status"]["state"] == state:
                if len(found) == size:
                    return found, index
                found.append(shown)
        return found, None


def _key(job: str, index: int) -> str:
    return f"{job}/{max(index, 0):0{_DIGITS}d}" if index >= 0 else f"{job}/"


def _check_request_id(text: str) -> None:
    try:
        if uuid.UUID(text).int:
            return
    except ValueError:
        pass
    raise invalid("request_id must be a UUID that is not zero.", "request_id")
