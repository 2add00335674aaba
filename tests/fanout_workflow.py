"""The fan-out's workflow, executed by the local cloud's interpreter on a cloud that a test scripts."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from components.batch_jobs import workflow_source
from components.batch_workflow import check_source
from localcloud.workflows import connectors
from localcloud.workflows.errors import WorkflowError
from localcloud.workflows.functions import library
from localcloud.workflows.machine import Machine
from localcloud.workflows.source import read

EXECUTION = "0b3a9c52-6f1d-4e0e-9a57-3f2a1c4d5e6f"
PROJECT, REGION = "acme", "europe-west1"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
EXECUTION_NAME = f"{PARENT}/workflows/fan/executions/{EXECUTION}"
ROOT = f"fanout/flu/{EXECUTION}/"


def program(**changes: Any) -> Any:
    """The source as the component renders it, accepted by the component and by the local cloud."""
    args: Any = {"project": PROJECT, "location": REGION, "labels": {"app": "test"}, **changes}
    source = workflow_source(args)
    check_source("fan", source)
    return _read(source)


@lru_cache
def _read(source: str) -> Any:
    served = {port: 1 for port in connectors.APIS.values()}
    return read(source, lambda name: connectors.arguments_of(name, served))


def job_name(stage: str) -> str:
    return f"{PARENT}/jobs/fanout-{EXECUTION}-{stage}"


def http_error(code: int, message: str = "no") -> WorkflowError:
    return WorkflowError({"message": message, "tags": ["HttpError"], "code": code, "body": {}, "headers": {}})


def task(stage: str, index: int, code: int, why: str = "") -> dict[str, Any]:
    """A failed task as Batch lists it."""
    text = f"Task state is updated from RUNNING to FAILED on a machine {why}with exit code {code}."
    event = {"description": text, "taskState": "FAILED", "taskExecution": {"exitCode": code}}
    name = f"{job_name(stage)}/taskGroups/group0/tasks/{index}"
    return {"name": name, "status": {"state": "FAILED", "statusEvents": [{"description": "started"}, event]}}


@dataclass
class Plan:
    """What becomes of the job of one stage."""

    states: list[str] = field(default_factory=lambda: ["SUCCEEDED"])
    """What jobs.get answers, one after the other; the last for ever. ABSENT is 404."""
    failed: list[dict[str, Any]] = field(default_factory=list)
    create_raises: WorkflowError | None = None
    exists: bool = True
    """Whether the job is there although its creation raised."""
    event: str = "the job's last event"


class FakeCloud:
    """Implements machine.Host: objects in a dictionary, jobs by plan, a clock that only sleeping moves."""

    def __init__(self, inputs: int = 3, **plans: Plan) -> None:
        self.inputs = inputs
        self.plans = {name.replace("_", "-"): plan for name, plan in plans.items()}
        self.objects: dict[str, tuple[Any, int]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.creations: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.logs: list[Any] = []
        self.time = 1_700_000_000.0
        self._generation = 0
        self.write_fails: dict[str, int] = {}

    def run(self, argument: Any, **changes: Any) -> Any:
        env = {
            "GOOGLE_CLOUD_WORKFLOW_EXECUTION_ID": EXECUTION, "GOOGLE_CLOUD_PROJECT_ID": PROJECT,
            "GOOGLE_CLOUD_LOCATION": REGION, "GOOGLE_CLOUD_WORKFLOW_ID": "fan", "BUCKET": "data", "INDEX_BUCKET": "runs",
            "RUNTIME_ACCOUNT": "tasks@acme", "IMAGE": "host/i@sha256:0", "NETWORK": "net", "SUBNETWORK": "sub",
        }  # fmt: skip
        machine = Machine(program(**changes), self, library(env, lambda: self.time))
        # not asyncio.run: it takes the thread's loop away, which Pulumi's mocks use in other tests
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(machine.run(argument))
        finally:
            loop.close()

    def fails(self, argument: Any, **changes: Any) -> Any:
        """The error the execution ends in."""
        try:
            result = self.run(argument, **changes)
        except WorkflowError as problem:
            return problem.value
        raise AssertionError(f"the execution succeeded: {result}")

    def read(self, name: str) -> Any:
        return self.objects[name][0]

    def put(self, name: str, content: Any) -> None:
        self._generation += 1
        self.objects[name] = (content, self._generation)

    # --- machine.Host

    def entered(self, frames: Any) -> None:
        return None

    def log(self, data: Any, severity: str) -> None:
        self.logs.append(data)

    async def sleep(self, seconds: float) -> None:
        self.time += seconds

    async def http(self, method: str, arguments: Mapping[str, Any]) -> Any:
        assert arguments["auth"] == {"type": "OAuth2"}
        url, query = arguments["url"], arguments["query"]
        if method == "post":
            bucket = url.removeprefix("https://storage.googleapis.com/upload/storage/v1/b/").removesuffix("/o")
            return self._upload(f"{bucket}/{query['name']}", arguments["body"], query.get("ifGenerationMatch"))
        bucket, _, encoded = url.removeprefix("https://storage.googleapis.com/storage/v1/b/").partition("/o/")
        assert "/" not in encoded, "a name in a path is encoded"
        name = f"{bucket}/{unquote(encoded)}"
        if name not in self.objects:
            raise http_error(404)
        content, generation = self.objects[name]
        if query.get("alt") == "media":
            assert query["generation"] == str(generation)
            return {"body": json.loads(json.dumps(content)), "code": 200, "headers": {}}
        return {"body": {"generation": str(generation), "size": "1"}, "code": 200, "headers": {}}

    def _upload(self, name: str, body: Any, expected: str | None) -> Any:
        if name in self.write_fails:
            raise http_error(self.write_fails[name])
        if expected is not None and expected != str(self.objects.get(name, (None, 0))[1]):
            raise http_error(412)
        self.put(name, body)
        return {"body": {"generation": str(self._generation)}, "code": 200, "headers": {}}

    async def connector(self, name: str, arguments: Mapping[str, Any]) -> Any:
        self.calls.append(name.rpartition("v1.projects.locations.")[2])
        short = name.rpartition(".")[2]
        if "taskGroups" in name:
            return self._tasks(arguments)
        return self._create(arguments) if short == "create" else self._get(str(arguments["name"]))

    def _create(self, arguments: Mapping[str, Any]) -> Any:
        name = f"{arguments['parent']}/jobs/{arguments['jobId']}"
        stage = name.removeprefix(f"{PARENT}/jobs/fanout-{EXECUTION}-")
        plan = self.plans.get(stage, Plan())
        self.creations.append(dict(arguments))
        if plan.exists:
            self.jobs[name] = {"stage": stage, "body": arguments["body"], "looks": 0}
            if stage == "a" and plan.states[-1] == "SUCCEEDED":
                self.put(f"data/{ROOT}inputs/manifest.json", {"version": 1, "count": self.inputs})
        if plan.create_raises is not None:
            raise plan.create_raises
        return {"name": name}

    def _get(self, name: str) -> Any:
        if name not in self.jobs:
            raise http_error(404)
        job = self.jobs[name]
        plan = self.plans.get(job["stage"], Plan())
        state = plan.states[min(job["looks"], len(plan.states) - 1)]
        job["looks"] += 1
        if state == "ABSENT":
            raise http_error(404)
        return {"name": name, "status": {"state": state, "statusEvents": [{"description": plan.event}]}}

    def _tasks(self, arguments: Mapping[str, Any]) -> Any:
        assert arguments["filter"] == "State=FAILED"
        name, _, group = str(arguments["parent"]).partition("/taskGroups/")
        assert group == "group0"
        failed = self.plans[self.jobs[name]["stage"]].failed
        start = int(arguments["pageToken"] or 0)
        page, rest = failed[start : start + arguments["pageSize"]], failed[start + arguments["pageSize"] :]
        following = {"nextPageToken": str(start + len(page))} if rest else {}
        return {**({"tasks": page} if page else {}), **following}


def group(creation: Mapping[str, Any]) -> dict[str, Any]:
    """The task group of a job that was created."""
    found: dict[str, Any] = creation["body"]["taskGroups"][0]
    return found


def variables(creation: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = group(creation)["taskSpec"]["environment"]["variables"]
    return found
