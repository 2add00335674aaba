"""Executions and tasks: stored as the API answers them, with what the executor needs beside them."""

import copy
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from localcloud import errors
from localcloud.run import conditions, names
from localcloud.run.conditions import condition

if TYPE_CHECKING:
    from localcloud.cloud import Cloud
    from localcloud.identity import Principal
    from localcloud.run.jobs import Job

KIND = "run.execution"
TASK_KIND = "run.task"
TYPE = "type.googleapis.com/google.cloud.run.v2.Execution"
KEEP = 1000
"""Ended executions of a job that are kept. https://cloud.google.com/run/quotas (2026-08)."""
COUNTS = ("runningCount", "succeededCount", "failedCount", "cancelledCount", "retriedCount")

Record = dict[str, Any]
"""{"resource": the execution or task, and beside it} - of an execution: "operation", "cancel"; of a task: "attempt"."""


class Executions:
    """The store's side of executions."""

    def __init__(self, cloud: "Cloud"):
        self._cloud, self._store = cloud, cloud.store

    def record(self, name: str) -> Record:
        """Raises ApiError 404."""
        if (record := self._store.get(KIND, name)) is None:
            raise errors.not_found(f"Resource '{names.short(name)}' of kind 'EXECUTION' in region "
                                   f"'{names.location_of(name)}' in project '{names.project_of(name)}' does not exist.")  # fmt: skip
        return record

    def find(self, name: str) -> Record | None:
        return self._store.get(KIND, name)

    def put(self, record: Record) -> None:
        self._store.put(KIND, record["resource"]["name"], record)

    def newest_first(self, parent: str) -> list[dict[str, Any]]:
        """Return the executions of a job, or of all jobs of a location for .../jobs/-, newest first."""
        prefix = parent.removesuffix("-") if parent.endswith("/jobs/-") else f"{parent}/executions/"
        found = [record["resource"] for _, record in self._store.list(KIND, prefix)]
        return sorted(found, key=lambda item: item["createTime"], reverse=True)

    def running(self) -> list[str]:
        """Return the names of executions that have not ended."""
        return [name for name, record in self._store.list(KIND) if "completionTime" not in record["resource"]]

    def create(self, job: "Job", overrides: dict[str, Any], caller: "Principal", token: str = "") -> dict[str, Any]:
        """Store a new execution and its tasks, and return it."""
        now, template = self._cloud.clock.timestamp(), job["template"]
        name = f"{job['name']}/executions/{names.execution_id(names.short(job['name']), token)}"
        count = overrides.get("taskCount") or template.get("taskCount") or 1
        execution = {
            "name": name,
            "uid": str(uuid.uuid4()),
            "creator": caller.email,
            "generation": "1",
            "labels": job.get("labels", {}) | template.get("labels", {}),
            "annotations": template.get("annotations", {}),
            "createTime": now,
            "updateTime": now,
            "launchStage": job["launchStage"],
            "job": names.short(job["name"]),
            "parallelism": min(template.get("parallelism") or count, count),
            "taskCount": count,
            "template": _overridden(template["template"], overrides),
            "reconciling": True,
            "conditions": [condition("Completed", "CONDITION_PENDING", now, "Waiting for execution to start.")],
            "observedGeneration": "1",
            "logUri": self._log_uri(name),
            "etag": f'"{uuid.uuid4().hex[:16]}"',
        }
        execution = {key: value for key, value in execution.items() if value not in ({}, "")}
        with self._store.transaction():
            self.put({"resource": execution, "operations": [], "cancel": False})
            for index in range(count):
                self.put_task({"resource": self._task(execution, index), "attempt": None})
        return execution

    def _task(self, execution: dict[str, Any], index: int) -> dict[str, Any]:
        template, now = execution["template"], execution["createTime"]
        copied = {key: template[key] for key in ("containers", "volumes", "vpcAccess", "maxRetries", "timeout",
                  "serviceAccount", "executionEnvironment", "nodeSelector", "gpuZonalRedundancyDisabled",
                  "encryptionKey") if key in template}  # fmt: skip
        return {
            "name": f"{execution['name']}/tasks/{names.task_id(names.short(execution['name']), index)}",
            "uid": str(uuid.uuid4()),
            "generation": "1",
            "labels": execution.get("labels", {}),
            "createTime": now,
            "updateTime": now,
            "job": execution["job"],
            "execution": names.short(execution["name"]),
            "index": index,
            "reconciling": True,
            "conditions": [condition("Completed", "CONDITION_PENDING", now, "Waiting for task to start.")],
            "observedGeneration": "1",
            "logUri": f"{execution['logUri']}%0Alabels.%22run.googleapis.com%2Ftask_index%22%3D%22{index}%22",
            "etag": f'"{uuid.uuid4().hex[:16]}"',
        } | copied

    def _log_uri(self, name: str) -> str:
        project = names.project_of(name)
        wanted = {
            "resource.type": "cloud_run_job",
            "resource.labels.job_name": names.short(names.job_of(name)),
            'labels."run.googleapis.com/execution_name"': names.short(name),
            "resource.labels.location": names.location_of(name),
        }
        query = "\n".join(f'{key}="{value}"' for key, value in wanted.items())
        return f"https://console.cloud.google.com/logs/viewer?project={project}&advancedFilter={quote(query, safe='')}"

    def tasks(self, execution: str) -> list[Record]:
        """Return the tasks of an execution, by index."""
        found = [record for _, record in self._store.list(TASK_KIND, f"{execution}/tasks/")]
        return sorted(found, key=lambda record: record["resource"]["index"])

    def task(self, name: str) -> Record:
        """Raises ApiError 404."""
        if (record := self._store.get(TASK_KIND, name)) is None:
            raise errors.not_found(f"Resource '{names.short(name)}' of kind 'TASK' in region "
                                   f"'{names.location_of(name)}' in project '{names.project_of(name)}' does not exist.")  # fmt: skip
        return record

    def put_task(self, record: Record) -> None:
        self._store.put(TASK_KIND, record["resource"]["name"], record)

    def count(self, name: str, **changes: int) -> None:
        """Add to counts of an execution, such as runningCount=1."""
        if (record := self.find(name)) is None:
            return
        resource = record["resource"]
        for key, change in changes.items():
            if value := resource.get(key, 0) + change:
                resource[key] = value
            else:
                resource.pop(key, None)
        resource["updateTime"] = self._cloud.clock.timestamp()
        self.put(record)

    def set_condition(self, name: str, new: conditions.Condition) -> None:
        """Put one condition of an execution."""
        if (record := self.find(name)) is not None:
            record["resource"]["conditions"] = conditions.put(record["resource"]["conditions"], new)
            record["resource"]["updateTime"] = new["lastTransitionTime"]
            self.put(record)

    def delete(self, name: str) -> None:
        """Delete an execution and its tasks."""
        with self._store.transaction():
            for record in self.tasks(name):
                self._store.delete(TASK_KIND, record["resource"]["name"])
            self._store.delete(KIND, name)

    def trim(self, job: str) -> None:
        """Delete the oldest ended executions of a job beyond those that are kept."""
        for execution in [item for item in self.newest_first(job) if "completionTime" in item][KEEP:]:
            self.delete(execution["name"])


def _overridden(task: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    task = copy.deepcopy(task)
    if "timeout" in overrides:
        task["timeout"] = overrides["timeout"]
    for given in overrides.get("containerOverrides", []):
        container = next(
            item for item in task["containers"] if not given.get("name") or item.get("name") == given["name"]
        )
        if given.get("args"):
            container["args"] = given["args"]
        elif given.get("clearArgs"):
            container.pop("args", None)
        env = {entry["name"]: entry for entry in container.get("env", [])} | {
            entry["name"]: entry for entry in given.get("env", [])
        }
        if env:
            container["env"] = list(env.values())
    return task
