"""Batch v1: jobs of containers on the runtime of Cloud Run."""

import re
from typing import TYPE_CHECKING, Any

from localcloud import operations
from localcloud.batch import settings as batch_settings
from localcloud.batch.executor import Executor, check_actas
from localcloud.batch.jobs import TASK_ENDED
from localcloud.discovery import Discovery
from localcloud.errors import invalid
from localcloud.list_filter import matching
from localcloud.shell import Api, App, Call, Service

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

API = Api("batch", Discovery("batch", "v1"))
_JOBS = "batch.projects.locations.jobs"
_TASKS = f"{_JOBS}.taskGroups.tasks"
_METADATA = "type.googleapis.com/google.cloud.batch.v1.OperationMetadata"
_STATE = re.compile(r'(?:status\.)?state\s*[=:]\s*"?(\w+)"?', re.IGNORECASE)
_TASK_STATES = ("PENDING", "ASSIGNED", "RUNNING", *TASK_ENDED)


def executor(call: Call) -> Executor:
    found: Executor = call.cloud.parts["batch"]
    return found


def _project(call: Call) -> str:
    """Batch has no policies of its own: the project's decide."""
    name = call.params.get("name") or call.params["parent"]
    return "/".join(name.split("/")[:2])


@API.method(f"{_JOBS}.create", permission="batch.jobs.create", on=_project)
async def create(call: Call) -> dict[str, Any]:
    parent, run = call.params["parent"], executor(call)
    project = parent.split("/")[1]
    email = run.account({"allocationPolicy": call.body.get("allocationPolicy", {})}, project)
    check_actas(call.cloud, call, email, project)
    return run.create(parent, call.query.get("jobId", ""), call.body, call.query.get("requestId", ""))


@API.method(f"{_JOBS}.get", permission="batch.jobs.get", on=_project)
async def get(call: Call) -> dict[str, Any]:
    return executor(call).jobs.resource(call.params["name"])


@API.method(f"{_JOBS}.list", permission="batch.jobs.list", on=_project)
async def list_jobs(call: Call) -> dict[str, Any]:
    found = matching(executor(call).jobs.within(call.params["parent"]), call.query.get("filter", ""))
    order = call.query.get("orderBy", "").split()
    if order:
        if order[0] not in ("name", "create_time", "createTime") or order[1:] not in ([], ["asc"], ["desc"]):
            raise invalid("order_by must be name or create_time, and desc where it is to fall.", "order_by")
        key = "name" if order[0] == "name" else "createTime"
        found = sorted(found, key=lambda job: str(job[key]), reverse=order[1:] == ["desc"])
    page, token = call.page(found)
    return ({"jobs": page} if page else {}) | ({"nextPageToken": token} if token else {})


@API.method(f"{_JOBS}.cancel", permission="batch.jobs.cancel", on=_project)
async def cancel(call: Call) -> dict[str, Any]:
    return executor(call).cancel_on_request(call.params["name"], _metadata(call, "cancel"))


@API.method(f"{_JOBS}.delete", permission="batch.jobs.delete", on=_project)
async def delete(call: Call) -> dict[str, Any]:
    return executor(call).delete_on_request(call.params["name"], _metadata(call, "delete"))


def _metadata(call: Call, verb: str) -> dict[str, Any]:
    return {
        "@type": _METADATA,
        "createTime": call.cloud.clock.timestamp(),
        "target": call.params["name"],
        "verb": verb,
        "apiVersion": "v1",
    }


@API.method(f"{_TASKS}.get", permission="batch.tasks.get", on=_project)
async def get_task(call: Call) -> dict[str, Any]:
    job, _, index = call.params["name"].partition("/taskGroups/group0/tasks/")
    return executor(call).jobs.shown_task(job, int(index) if index.isdecimal() else -1)


@API.method(f"{_TASKS}.list", permission="batch.tasks.list", on=_project)
async def list_tasks(call: Call) -> dict[str, Any]:
    job = call.params["parent"].partition("/taskGroups/")[0]
    size, token = int(call.query.get("pageSize") or 100), call.query.get("pageToken") or "0"
    if size < 0 or not token.isdecimal():
        raise invalid("page_size must not be negative, and page_token must be one that was given.", "page_token")
    page, following = executor(call).jobs.tasks(job, int(token), min(size, 1000), _state(call.query.get("filter", "")))
    return ({"tasks": page} if page else {}) | ({"nextPageToken": str(following)} if following is not None else {})


def _state(text: str) -> str:
    if not text:
        return ""
    found = _STATE.fullmatch(text.strip())
    if found is None or found[1].upper() not in _TASK_STATES:
        raise invalid(f"The filter of tasks must be State=STATE, got {text!r}.", "filter")
    return found[1].upper()


operations.register(API, "batch.projects.locations")


def app(cloud: "Cloud") -> App:
    run = cloud.parts.get("run")
    if run is None:
        raise ValueError("settings: ports must contain run where they contain batch")
    cloud.parts["batch"] = Executor(cloud, batch_settings.from_settings(cloud.settings), run)
    return App(cloud, [API])


def services(cloud: "Cloud") -> list[Service]:
    return [cloud.parts["batch"]]
