"""Workflows v1: definitions, checked when they are deployed."""

from typing import TYPE_CHECKING, Any

from localcloud import masks, operations
from localcloud.discovery import Discovery
from localcloud.list_filter import matching
from localcloud.schema import camel
from localcloud.shell import Api, App, Call, Service
from localcloud.workflows import settings as workflow_settings
from localcloud.workflows.executor import Executor
from localcloud.workflows.registry import MUTABLE, TYPE, account, check_actas

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

API = Api("workflows", Discovery("workflows", "v1"))
_WORKFLOWS = "workflows.projects.locations.workflows"
_METADATA = "type.googleapis.com/google.cloud.workflows.v1.OperationMetadata"


def executor(call: Call) -> Executor:
    found: Executor = call.cloud.parts["workflows"]
    return found


def _done(call: Call, name: str, verb: str, workflow: dict[str, Any] | None) -> dict[str, Any]:
    now = call.cloud.clock.timestamp()
    metadata = {"@type": _METADATA, "createTime": now, "endTime": now, "target": name, "verb": verb, "apiVersion": "v1"}
    response = None if workflow is None else {"@type": TYPE} | workflow
    parent = name.partition("/workflows/")[0]
    return call.cloud.operations.done("workflows", parent, response=response, metadata=metadata)


@API.method(f"{_WORKFLOWS}.create", permission="workflows.workflows.create")
async def create(call: Call) -> dict[str, Any]:
    parent, workflow_id = call.params["parent"], call.query.get("workflowId", "")
    name = f"{parent}/workflows/{workflow_id}"
    check_actas(call.cloud, call.principal, account(call.cloud, call.body | {"name": name}), parent.split("/")[1])
    return _done(call, name, "create", executor(call).registry.create(parent, workflow_id, call.body))


@API.method(f"{_WORKFLOWS}.get", permission="workflows.workflows.get")
async def get(call: Call) -> dict[str, Any]:
    registry, name = executor(call).registry, call.params["name"]
    revision = call.query.get("revisionId", "")
    return registry.revision(name, revision) if revision else registry.get(name)


@API.method(f"{_WORKFLOWS}.list", permission="workflows.workflows.list")
async def list_workflows(call: Call) -> dict[str, Any]:
    found = matching(executor(call).registry.within(call.params["parent"]), call.query.get("filter", ""))
    page, token = call.page(found, default=500, maximum=1000)
    return ({"workflows": page} if page else {}) | ({"nextPageToken": token} if token else {})


@API.method(f"{_WORKFLOWS}.listRevisions", permission="workflows.workflows.listRevision")
async def list_revisions(call: Call) -> dict[str, Any]:
    page, token = call.page(executor(call).registry.revisions(call.params["name"]), default=20, maximum=100)
    return ({"workflows": page} if page else {}) | ({"nextPageToken": token} if token else {})


@API.method(f"{_WORKFLOWS}.patch", permission="workflows.workflows.update")
async def patch(call: Call) -> dict[str, Any]:
    registry, name = executor(call).registry, call.params["name"]
    current = registry.get(name)
    mask = call.query.get("updateMask", "") or ",".join(key for key in MUTABLE if key in call.body)
    fields = [camel(path.strip().partition(".")[0]) for path in mask.split(",")]
    changed = masks.update(current, call.body, ",".join(field for field in fields if field in MUTABLE))
    email = account(call.cloud, changed)
    if email != account(call.cloud, current):
        check_actas(call.cloud, call.principal, email, name.split("/")[1])
    return _done(call, name, "update", registry.update(name, changed))


@API.method(f"{_WORKFLOWS}.delete", permission="workflows.workflows.delete")
async def delete(call: Call) -> dict[str, Any]:
    name = call.params["name"]
    executor(call).registry.get(name)
    executor(call).delete_of(name)
    executor(call).registry.delete(name)
    return _done(call, name, "delete", None)


operations.register(API, "workflows.projects.locations")


def app(cloud: "Cloud") -> App:
    cloud.parts["workflows"] = Executor(cloud, workflow_settings.from_settings(cloud.settings))
    return App(cloud, [API])


def services(cloud: "Cloud") -> list[Service]:
    return [cloud.parts["workflows"]]
