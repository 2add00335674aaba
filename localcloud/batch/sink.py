"""A task's output as Batch's agent logs it: batch_task_logs for the task's lines, batch_agent_logs for its own."""

from typing import Any

from localcloud.run.logsink import Sink, entry_of
from localcloud.runtime.base import LogLine


class BatchSink(Sink):
    """See https://cloud.google.com/batch/docs/analyze-job-using-logs (2026-11)."""

    def system_entry(self, text: str, severity: str, at: str) -> dict[str, Any]:
        entry = {"textPayload": text, "severity": severity, "insertId": f"{self._key}-{len(text)}-{severity}"}
        log = f"projects/{self._project}/logs/batch_agent_logs"
        return self._common | entry | {"logName": log} | ({"timestamp": at} if at else {})

    def _entry(self, line: LogLine) -> dict[str, Any]:
        entry = entry_of(line)
        self._same = self._same + 1 if line.time == self._last else 0
        self._last = line.time
        entry.setdefault("insertId", f"{self._key}-{line.time}-{line.stream}-{self._same}")
        entry.setdefault("severity", "ERROR" if line.stream == "stderr" else "INFO")
        labels = self._common["labels"] | (entry.get("labels") if isinstance(entry.get("labels"), dict) else {})
        return self._common | entry | {"logName": f"projects/{self._project}/logs/batch_task_logs", "labels": labels}


def common(job: dict[str, Any], number: str, task: int, attempt: int, instance: str) -> dict[str, Any]:
    """Resource and labels of a task's entries. `number`: the project's."""
    _, _, _, location = job["name"].split("/")[:4]
    return {
        "resource": {
            "type": "batch.googleapis.com/Job",
            "labels": {"job_id": job["uid"], "location": location, "resource_container": f"projects/{number}"},
        },
        "labels": {
            "job_uid": job["uid"],
            "task_group_name": job["taskGroups"][0]["name"],
            "task_id": f"task/{job['uid']}-group0-{task}/{attempt}/0",
            "hostname": f"{job['uid']}-group0-{task}",
            "instance_name": instance,
        },
    }
