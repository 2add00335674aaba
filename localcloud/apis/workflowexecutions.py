"""Workflow Executions v1, by REST and gRPC on one port: Google's own client of it speaks gRPC only."""

from typing import TYPE_CHECKING, Any

from localcloud.apis.workflows import executor
from localcloud.discovery import Discovery
from localcloud.errors import invalid
from localcloud.grpc_front import Rpc, TwoWay, front, with_grpc
from localcloud.list_filter import matching
from localcloud.shell import Api, App, Call

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

API = Api("workflowexecutions", Discovery("workflowexecutions", "v1"))
_EXECUTIONS = "workflowexecutions.projects.locations.workflows.executions"
_BASIC = ("name", "createTime", "startTime", "endTime", "duration", "state", "workflowRevisionId", "labels")
_ORDER = {
    "start_time": "startTime",
    "end_time": "endTime",
    "create_time": "createTime",
    "name": "name",
    "state": "state",
}


def _workflow(call: Call) -> str:
    return (call.params.get("name") or call.params["parent"]).partition("/executions")[0]


@API.method(f"{_EXECUTIONS}.create", permission="workflows.executions.create", on=_workflow)
async def create(call: Call) -> dict[str, Any]:
    run = executor(call)
    return run.create(run.registry.get(call.params["parent"]), call.body)


@API.method(f"{_EXECUTIONS}.get", permission="workflows.executions.get", on=_workflow)
async def get(call: Call) -> dict[str, Any]:
    return _viewed(executor(call).get(call.params["name"]), call.query.get("view"), "FULL")


@API.method(f"{_EXECUTIONS}.list", permission="workflows.executions.list", on=_workflow)
async def list_executions(call: Call) -> dict[str, Any]:
    run, parent = executor(call), call.params["parent"]
    if not parent.endswith("/-"):
        run.registry.get(parent)
    found = matching(run.of(parent), call.query.get("filter", ""))
    order = call.query.get("orderBy", "").replace(",", " ").split()
    if order:
        field = _ORDER.get(order[0], order[0])
        if field not in _ORDER.values() or order[1:] not in ([], ["asc"], ["desc"]):
            raise invalid(f"order_by must be one of {', '.join(_ORDER)}, and desc where it is to fall.", "order_by")
        found = sorted(found, key=lambda item: str(item.get(field, "")), reverse=order[1:] == ["desc"])
    page, token = call.page(found, default=100, maximum=1000)
    shown = [_viewed(item, call.query.get("view"), "BASIC") for item in page]
    return ({"executions": shown} if shown else {}) | ({"nextPageToken": token} if token else {})


@API.method(f"{_EXECUTIONS}.cancel", permission="workflows.executions.cancel", on=_workflow)
async def cancel(call: Call) -> dict[str, Any]:
    return executor(call).cancel(call.params["name"])


def _viewed(execution: dict[str, Any], view: str | None, default: str) -> dict[str, Any]:
    if view in (None, "EXECUTION_VIEW_UNSPECIFIED"):
        view = default
    return execution if view == "FULL" else {key: execution[key] for key in _BASIC if key in execution}


SERVICE = "google.cloud.workflows.executions.v1.Executions"


def rpcs() -> dict[str, Rpc]:
    """The gRPC methods, each as the REST call it stands for."""
    from google.cloud.workflows.executions_v1.types import executions as types

    one = types.Execution.pb()
    return {
        "ListExecutions": Rpc(
            types.ListExecutionsRequest.pb(), types.ListExecutionsResponse.pb(), "GET", "/v1/{parent}/executions"
        ),
        "CreateExecution": Rpc(types.CreateExecutionRequest.pb(), one, "POST", "/v1/{parent}/executions", "execution"),
        "GetExecution": Rpc(types.GetExecutionRequest.pb(), one, "GET", "/v1/{name}"),
        "CancelExecution": Rpc(types.CancelExecutionRequest.pb(), one, "POST", "/v1/{name}:cancel", "*"),
    }


def app(cloud: "Cloud") -> TwoWay:
    if "workflows" not in cloud.parts:
        raise ValueError("settings: ports must contain workflows where they contain workflowexecutions")
    return with_grpc(App(cloud, [API]), SERVICE, rpcs())


listener = front
