from collections.abc import Mapping
from typing import Any

import pytest

from ops.clients import ApiError, Clients
from ops.jobs import CloudRunJob, line_of, phase_of, view_of
from ops.platforms import Phase

JOB = "projects/p/locations/l/jobs/j"


def execution(state: str = "CONDITION_RECONCILING", **more: Any) -> dict[str, Any]:
    return {"name": f"{JOB}/executions/j-1", "conditions": [{"type": "Completed", "state": state, **more}]}


@pytest.mark.parametrize(
    ("given", "phase"),
    [
        ({}, Phase.PENDING),
        ({**execution(), "runningCount": 1}, Phase.RUNNING),
        (execution("CONDITION_SUCCEEDED"), Phase.SUCCEEDED),
        (execution("CONDITION_FAILED", executionReason="NON_ZERO_EXIT_CODE"), Phase.FAILED),
        (execution("CONDITION_FAILED", executionReason="CANCELLED"), Phase.CANCELLED),
        (execution("CONDITION_FAILED", reason="CONTAINER_MISSING"), Phase.FAILED),
    ],
)
def test_conditions_say_how_far_an_execution_is(given: Mapping[str, Any], phase: Phase) -> None:
    assert phase_of(given) == phase


def test_the_last_attempt_says_why() -> None:
    attempt = {"exitCode": 137, "status": {"code": 8, "message": "Memory limit of 512 MiB exceeded"}}
    view = view_of(execution("CONDITION_FAILED", message="Task j-1-task0 failed"), attempt)
    assert view.out_of_memory
    assert view.exit_code == 137
    assert view.message == "Task j-1-task0 failed; Memory limit of 512 MiB exceeded"


def test_a_structured_entry_is_shown_by_its_message() -> None:
    entry = {"timestamp": "2026-01-01T00:00:00Z", "severity": "ERROR", "jsonPayload": {"message": "no", "x": 1}}
    assert line_of(entry).message == "no"
    assert line_of({"timestamp": "t", "textPayload": "plain\n"}).message == "plain"


class Recorded(Clients):
    """Answers from a table, in order."""

    def __new__(cls, *_: Any) -> "Recorded":
        return object.__new__(cls)

    def __init__(self, answers: list[Any]) -> None:
        object.__setattr__(self, "project", "p")
        object.__setattr__(self, "endpoints", {})
        self.__dict__["answers"] = answers
        self.__dict__["calls"] = []

    def call(self, service: str, verb: str, path: str, **more: Any) -> dict[str, Any]:
        self.__dict__["calls"].append((service, verb, path, more))
        answer = self.__dict__["answers"].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


def test_a_start_passes_its_variables_as_overrides_and_gives_the_executions_name() -> None:
    clients = Recorded([{"metadata": {"name": f"{JOB}/executions/j-1"}}])
    names = CloudRunJob(clients, JOB).start("r", "t", {"B": "2", "A": "1"})
    assert names == {"job": JOB, "execution": f"{JOB}/executions/j-1"}
    body = clients.__dict__["calls"][0][3]["body"]
    assert body["overrides"]["containerOverrides"] == [
        {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    ]
    assert clients.__dict__["calls"][0][3]["repeatable"] is False


def test_a_start_whose_answer_was_lost_is_found_by_its_token() -> None:
    started = {**execution(), "template": {"containers": [{"env": [{"name": "RUN_START_TOKEN", "value": "t"}]}]}}
    clients = Recorded([ApiError(504, "", "late"), {"executions": [execution(), started]}])
    assert CloudRunJob(clients, JOB).start("r", "t", {})["execution"] == f"{JOB}/executions/j-1"


def test_a_start_that_was_refused_is_not_looked_for() -> None:
    clients = Recorded([ApiError(403, "PERMISSION_DENIED", "no")])
    with pytest.raises(ApiError, match="no"):
        CloudRunJob(clients, JOB).start("r", "t", {})


def test_an_execution_that_is_gone_is_said_to_be() -> None:
    clients = Recorded([ApiError(404, "NOT_FOUND", "no")])
    assert CloudRunJob(clients, JOB).view({"execution": "x"}).phase == Phase.GONE


def test_a_follower_reads_late_entries_once_and_looks_a_last_time() -> None:
    def entry(number: int, second: int) -> dict[str, Any]:
        return {
            "insertId": str(number),
            "timestamp": f"2026-01-01T00:00:{second:02d}Z",
            "textPayload": f"line {number}",
        }

    pages = [[entry(1, 1), entry(3, 3)], [], [entry(1, 1), entry(2, 2), entry(3, 3)], [entry(4, 20)]]
    clients = Recorded([{"entries": page} for page in pages])
    pauses: list[float] = []

    def again(idle_s: float) -> bool:
        pauses.append(idle_s)
        return len(pauses) < 3

    lines = CloudRunJob(clients, JOB).logs({"execution": f"{JOB}/executions/j-1"}, follow=again)
    assert [line.message for line in lines] == ["line 1", "line 3", "line 2", "line 4"]
    assert min(pauses) > 2  # within 60 entries.list a minute for two followers
    assert pauses[1] > pauses[0]


def test_a_delayed_start_says_so_as_the_api_wants_it() -> None:
    clients = Recorded([{"metadata": {"name": f"{JOB}/executions/j-1"}}])
    CloudRunJob(clients, JOB, delayed=True).start("r", "t", {})
    overrides = clients.__dict__["calls"][0][3]["body"]["overrides"]
    assert overrides["delayExecution"] is True
    assert known_overrides()["delayExecution"]["type"] == "boolean"
    assert set(overrides) <= set(known_overrides())


def known_overrides() -> dict[str, Any]:
    """Overrides of `:run` by the public description of the Run Admin API."""
    import json

    from googleapiclient.discovery_cache import get_static_doc

    document = json.loads(get_static_doc("run", "v2"))
    return dict(document["schemas"]["GoogleCloudRunV2Overrides"]["properties"])
