"""Resource Manager v1 and v3: the projects of the settings and their policies.

https://cloud.google.com/resource-manager/reference/rest (2026-11). Projects are not created or deleted through it.
"""

from typing import Any

from localcloud import masks
from localcloud.cloud import Cloud
from localcloud.discovery import Discovery
from localcloud.errors import ApiError, conflict, denied
from localcloud.iam.routes import policy_routes
from localcloud.shell import Api, App, Call

v1 = Api("resourcemanager", Discovery("cloudresourcemanager", "v1"))
v3 = Api("resourcemanager", Discovery("cloudresourcemanager", "v3"))


def _id(call: Call) -> str:
    """Project id of any of the paths' spellings."""
    for key in ("projectId", "resource", "name"):
        if key in call.params:
            return call.params[key].removeprefix("projects/")
    raise LookupError(call.method.id)


def project_resource(call: Call) -> str:
    return f"projects/{_id(call)}"


def _require(call: Call) -> dict[str, Any]:
    """The project. For one that does not exist the cloud answers 403, not 404."""
    project = call.cloud.projects.get(_id(call))
    if project is None:
        raise denied("resourcemanager.projects.get", project_resource(call))
    return project


def _as_v1(project: dict[str, Any]) -> dict[str, Any]:
    return {
        "projectNumber": project["projectNumber"],
        "projectId": project["projectId"],
        "lifecycleState": "ACTIVE",
        "name": project["name"],
        "createTime": project["createTime"],
        **({"labels": project["labels"]} if project.get("labels") else {}),
    }


def _as_v3(project: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": f"projects/{project['projectNumber']}",
        "projectId": project["projectId"],
        "state": "ACTIVE",
        "displayName": project["name"],
        "createTime": project["createTime"],
        "updateTime": project.get("updateTime", project["createTime"]),
        "etag": project.get("etag", 'W/"1"'),
        **({"labels": project["labels"]} if project.get("labels") else {}),
    }


@v1.method("cloudresourcemanager.projects.get", permission="resourcemanager.projects.get", on=project_resource)
async def get_v1(call: Call) -> dict[str, Any]:
    return _as_v1(_require(call))


@v3.method("cloudresourcemanager.projects.get", permission="resourcemanager.projects.get", on=project_resource)
async def get_v3(call: Call) -> dict[str, Any]:
    return _as_v3(_require(call))


def _visible(call: Call) -> list[dict[str, Any]]:
    iam = call.cloud.iam
    return [
        project
        for project in call.cloud.projects.list()
        if iam.allowed(call.principal, "resourcemanager.projects.get", f"projects/{project['projectId']}")
    ]


def _matching(call: Call, text: str) -> list[dict[str, Any]]:
    """Filters of the form FIELD:VALUE or FIELD=VALUE over id, projectId, name and labels.K, joined by spaces or AND."""
    found = _visible(call)
    for term in text.replace(" AND ", " ").split():
        field, sign, value = term.partition("=") if "=" in term else term.partition(":")
        if not sign:
            raise ApiError(400, "INVALID_ARGUMENT", f"Request contains an invalid argument: filter {term}.")
        found = [project for project in found if _holds(project, field, value.strip("\"'"))]
    return found


def _holds(project: dict[str, Any], field: str, value: str) -> bool:
    if field in ("lifecycleState", "state"):
        return value == "ACTIVE"
    if field.startswith("labels."):
        actual: str = project.get("labels", {}).get(field.removeprefix("labels."), "")
    else:
        key = {"id": "projectId", "projectId": "projectId", "name": "name", "displayName": "name"}.get(field)
        if key is None:
            raise ApiError(400, "INVALID_ARGUMENT", f"Request contains an invalid argument: filter field {field}.")
        actual = project[key]
    return actual.startswith(value[:-1]) if value.endswith("*") else actual == value


@v1.method("cloudresourcemanager.projects.list")
async def list_v1(call: Call) -> dict[str, Any]:
    page, token = call.page(_matching(call, call.query.get("filter", "")), 500)
    return {"projects": [_as_v1(item) for item in page], **({"nextPageToken": token} if token else {})}


@v3.method("cloudresourcemanager.projects.search")
async def search(call: Call) -> dict[str, Any]:
    page, token = call.page(_matching(call, call.query.get("query", "")), 500)
    return {"projects": [_as_v3(item) for item in page], **({"nextPageToken": token} if token else {})}


@v3.method("cloudresourcemanager.projects.list")
async def list_v3(call: Call) -> dict[str, Any]:
    # no project here lies in a folder or an organization
    page, token = call.page([] if call.query.get("parent") else _visible(call), 500)
    return {"projects": [_as_v3(item) for item in page], **({"nextPageToken": token} if token else {})}


@v1.method("cloudresourcemanager.projects.update", permission="resourcemanager.projects.update", on=project_resource)
async def update_v1(call: Call) -> dict[str, Any]:
    project = _require(call)
    changed = {**project, "labels": call.body.get("labels", {}), "name": call.body.get("name") or project["name"]}
    call.cloud.projects.put(changed)
    return _as_v1(changed)


@v3.method("cloudresourcemanager.projects.patch", permission="resourcemanager.projects.update", on=project_resource)
async def patch_v3(call: Call) -> dict[str, Any]:
    project = _require(call)
    current = _as_v3(project)
    if call.body.get("etag") and call.body["etag"] != current["etag"]:
        raise conflict("The project was changed concurrently. Please read it again and retry.")
    mask = call.query.get("updateMask") or ",".join(set(call.body) & {"displayName", "labels"})
    changed = masks.update(current, call.body, mask)
    number = int(current["etag"].strip('W/"')) + 1
    stored = {**project, "name": changed["displayName"], "labels": changed.get("labels", {}), "etag": f'W/"{number}"'}
    call.cloud.projects.put({**stored, "updateTime": call.cloud.clock.timestamp()})
    response = {"@type": "type.googleapis.com/google.cloud.resourcemanager.v3.Project", **_as_v3(stored)}
    return call.cloud.operations.done("resourcemanager", "", response, op_id=f"up.{number}")


@v1.method("cloudresourcemanager.projects.getAncestry", permission="resourcemanager.projects.get", on=project_resource)
async def get_ancestry(call: Call) -> dict[str, Any]:
    project = _require(call)
    return {"ancestor": [{"resourceId": {"type": "project", "id": project["projectId"]}}]}


def _check_exists(call: Call) -> None:
    _require(call)


for _api in (v1, v3):
    policy_routes(
        _api, "cloudresourcemanager.projects", "resourcemanager.projects", name=project_resource, exists=_check_exists
    )


@v1.method("cloudresourcemanager.operations.get")
async def get_operation_v1(call: Call) -> dict[str, Any]:
    return call.cloud.operations.get("resourcemanager", call.params["name"])


@v3.method("cloudresourcemanager.operations.get")
async def get_operation_v3(call: Call) -> dict[str, Any]:
    return call.cloud.operations.get("resourcemanager", call.params["name"])


def app(cloud: Cloud) -> App:
    return App(cloud, [v1, v3])
