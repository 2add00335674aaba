"""The port `bigquery`: REST v2 with identity and permissions in front of the engine."""

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
from starlette.requests import Request
from starlette.responses import Response

from localcloud.bigquery.access import RESULTS, Access, default_access, normalised, table_name
from localcloud.bigquery.beside import KEPT_HEADERS, Beside, given
from localcloud.bigquery.engine import Warehouse
from localcloud.discovery import Discovery
from localcloud.errors import ApiError
from localcloud.iam.routes import policy_routes
from localcloud.identity import Principal
from localcloud.shell import Api, App, Call, JsonResponse, raw_path, read_json

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

POLICY = re.compile(r"projects/([^/]+)/datasets/([^/]+)/tables/([^/]+)")

PASSED_ON = {
    "datasets.get": "bigquery.datasets.get dataset",
    "models.delete": "bigquery.models.delete dataset",
    "models.get": "bigquery.models.getMetadata dataset",
    "models.list": "bigquery.models.list dataset",
    "models.patch": "bigquery.models.updateMetadata dataset",
    "routines.delete": "bigquery.routines.delete dataset",
    "routines.get": "bigquery.routines.get dataset",
    "routines.insert": "bigquery.routines.create dataset",
    "routines.list": "bigquery.routines.list dataset",
    "routines.update": "bigquery.routines.update dataset",
    "tabledata.insertAll": "bigquery.tables.updateData table",
    "tables.get": "bigquery.tables.get table",
    "tables.insert": "bigquery.tables.create dataset",
    "tables.list": "bigquery.tables.list dataset",
    "tables.patch": "bigquery.tables.update table",
    "tables.update": "bigquery.tables.update table",
}
"""Methods that the engine answers: the permission, and what it is asked on.
https://cloud.google.com/bigquery/docs/access-control#bq-permissions (2026-11)"""


class Front:
    def __init__(self, cloud: "Cloud", warehouse: Warehouse) -> None:
        self._cloud = cloud
        self._warehouse = warehouse
        self.access = Access(cloud)
        discovery = Discovery("bigquery", "v2", strict=False)
        # not in the document, but google-cloud-bigquery sends it and the cloud takes it
        discovery.method("bigquery.jobs.get").parameters["projection"] = {"type": "string", "location": "query"}
        self.api = Api("bigquery", discovery, style="storage")
        for method, need in PASSED_ON.items():
            permission, _, level = need.partition(" ")
            self.api.method(f"bigquery.{method}", raw=True)(self._passing(permission, level))
        self._register()
        policy_routes(self.api, "bigquery.tables", "bigquery.tables", name=_policy_name)
        beside = Beside(cloud, warehouse, self.access, discovery.document)
        self.app = App(cloud, [self.api], beside.answer)

    def _register(self) -> None:
        for name, handler in (
            ("datasets.insert", self.insert_dataset),
            ("datasets.patch", self.change_dataset),
            ("datasets.update", self.change_dataset),
            ("datasets.delete", self.delete_dataset),
            ("datasets.list", self.list_datasets),
            ("tables.delete", self.delete_table),
            ("tabledata.list", self.list_rows),
            ("jobs.insert", self.insert_job),
            ("jobs.query", self.insert_job),
            ("jobs.list", self.list_jobs),
            ("jobs.get", self.get_job),
            ("jobs.getQueryResults", self.get_job),
            ("jobs.cancel", self.change_job),
            ("jobs.delete", self.change_job),
            ("projects.list", self.list_projects),
            ("projects.getServiceAccount", self.service_account),
        ):
            self.api.method(f"bigquery.{name}", raw=True)(handler)

    # --- datasets -------------------------------------------------------------------------------------------------

    async def insert_dataset(self, call: Call) -> Response:
        project = call.params["projectId"]
        self.access.require(call.principal, "bigquery.datasets.create", project)
        body = self._checked(call, await _json(call.request))
        dataset = body.get("datasetReference", {}).get("datasetId", "")
        if body.get("datasetReference", {}).get("projectId", project) != project:
            raise ApiError(400, "INVALID_ARGUMENT", "The project of the dataset is not that of the request.", "invalid")
        body["access"] = normalised(body.get("access") or default_access(call.principal))
        body.setdefault("location", "US")
        answer = await self.send(call, json_body=body)
        if answer.status_code < 300:
            try:
                self.access.set_dataset(project, dataset, body["access"])
            except ApiError:
                await self.send(call, verb="DELETE", path=f"{raw_path(call.request)}/{dataset}")
                raise
        return given(answer)

    async def change_dataset(self, call: Call) -> Response:
        project, dataset = call.params["projectId"], call.params["datasetId"]
        self.access.require(call.principal, "bigquery.datasets.update", project, dataset)
        body = self._checked(call, await _json(call.request))
        if "access" in body:
            self.access.require(call.principal, "bigquery.datasets.setIamPolicy", project, dataset)
            body["access"] = normalised(body["access"])
        before = await self.send(call, verb="GET", path=raw_path(call.request))
        if before.status_code != 200:
            return given(before)
        if "access" in body:
            self.access.set_dataset(project, dataset, body["access"])
        answer = await self.send(call, json_body=body)
        if "access" in body and answer.status_code >= 300:
            self.access.set_dataset(project, dataset, before.json()["access"])
        return given(answer)

    async def delete_dataset(self, call: Call) -> Response:
        project, dataset = call.params["projectId"], call.params["datasetId"]
        self.access.require(call.principal, "bigquery.datasets.delete", project, dataset)
        if call.query.get("deleteContents"):
            self.access.require(call.principal, "bigquery.tables.delete", project, dataset)
        answer = await self.send(call)
        if answer.status_code < 300:
            self.access.forget(project, dataset)
        return given(answer)

    async def list_datasets(self, call: Call) -> Response:
        """Those that the caller may see."""
        answer = await self.send(call)
        if answer.status_code != 200:
            return given(answer)
        body, project = answer.json(), call.params["projectId"]
        listed = body.pop("datasets", None) or []
        seen = [item for item in listed if self._sees(call.principal, project, item["datasetReference"]["datasetId"])]
        return JsonResponse({**body, "datasets": seen} if seen else body)

    def _sees(self, principal: Principal, project: str, dataset: str) -> bool:
        return self.access.refusal(principal, "bigquery.datasets.get", project, dataset) is None

    # --- tables ---------------------------------------------------------------------------------------------------

    async def delete_table(self, call: Call) -> Response:
        where = call.params["projectId"], call.params["datasetId"], call.params["tableId"]
        self.access.require(call.principal, "bigquery.tables.delete", *where)
        answer = await self.send(call)
        if answer.status_code < 300:
            self.access.forget(*where)
        return given(answer)

    async def list_rows(self, call: Call) -> Response:
        project, dataset, table = call.params["projectId"], call.params["datasetId"], call.params["tableId"]
        if dataset == RESULTS:
            await self._require_job(call, table, "bigquery.tables.getData")
        else:
            self.access.require(call.principal, "bigquery.tables.getData", project, dataset, table)
        return given(await self.send(call))

    # --- jobs -----------------------------------------------------------------------------------------------------

    async def insert_job(self, call: Call) -> Response:
        """What the job touches, the engine asks about when it runs."""
        self.access.require(call.principal, "bigquery.jobs.create", call.params["projectId"])
        self._checked(call, await _json(call.request))
        return given(await self.send(call))

    async def list_jobs(self, call: Call) -> Response:
        """The caller's own jobs; with allUsers those of all, which takes a permission."""
        project = call.params["projectId"]
        everyone = bool(call.query.get("allUsers"))
        self.access.require(call.principal, "bigquery.jobs.listAll" if everyone else "bigquery.jobs.list", project)
        answer = await self.send(call)
        if answer.status_code != 200 or everyone:
            return given(answer)
        body = answer.json()
        own = [job for job in body.get("jobs") or [] if job.get("user_email") == call.principal.email]
        return JsonResponse({**body, "jobs": own})

    async def get_job(self, call: Call) -> Response:
        await self._require_job(call, call.params["jobId"], "bigquery.jobs.get")
        return given(await self.send(call))

    async def change_job(self, call: Call) -> Response:
        verb = "delete" if call.method.id.endswith("delete") else "update"
        await self._require_job(call, call.params["jobId"], f"bigquery.jobs.{verb}")
        return given(await self.send(call))

    async def _require_job(self, call: Call, job: str, permission: str) -> None:
        """One's own job needs no permission. Raises ApiError 403."""
        project = call.params["projectId"]
        if self.access.refusal(call.principal, permission, project) is None:
            return
        found = await self.send(call, verb="GET", path=f"bigquery/v2/projects/{project}/jobs/{job}")
        if found.status_code == 200 and found.json().get("user_email") == call.principal.email:
            return
        message = f"Access Denied: Job {project}:{job}: Permission {permission} denied on job {project}:{job} (or it may not exist)."
        raise ApiError(403, "PERMISSION_DENIED", message, "accessDenied")

    # --- projects -------------------------------------------------------------------------------------------------

    async def list_projects(self, call: Call) -> dict[str, Any]:
        found = [
            {
                "kind": "bigquery#project",
                "id": project["projectId"],
                "numericId": project["projectNumber"],
                "projectReference": {"projectId": project["projectId"]},
                "friendlyName": project["name"],
            }
            for project in self._cloud.projects.list()
            if self._cloud.iam.allowed(
                call.principal, "resourcemanager.projects.get", f"projects/{project['projectId']}"
            )
        ]
        return {"kind": "bigquery#projectList", "projects": found, "totalItems": len(found)}

    async def service_account(self, call: Call) -> dict[str, Any]:
        project = self._cloud.projects.get(call.params["projectId"]) or {}
        email = f"bq-{project.get('projectNumber', '0')}@bigquery-encryption.iam.gserviceaccount.com"
        return {"kind": "bigquery#getServiceAccountResponse", "email": email}

    # --- to the engine --------------------------------------------------------------------------------------------

    def _checked(self, call: Call, body: Any) -> dict[str, Any]:
        """The body as it came, checked against the discovery document. Raises ApiError 400."""
        call.api.discovery.check(str(call.method.request), body, call.method.id)
        return dict(body)

    def _passing(self, permission: str, level: str) -> Any:
        async def handler(call: Call) -> Response:
            names = [call.params["projectId"], call.params["datasetId"]]
            if level == "table":
                names.append(call.params["tableId"])
            self.access.require(call.principal, permission, *names)
            return given(await self.send(call))

        return handler

    async def send(
        self, call: Call, *, verb: str = "", path: str = "", json_body: dict[str, Any] | None = None
    ) -> httpx.Response:
        """The call as it came, or another one, as its caller."""
        body = b"" if verb or path else await call.request.body()
        content = json.dumps(json_body).encode() if json_body is not None else body
        query = "" if verb or path else call.request.scope["query_string"].decode("latin-1")
        headers = {key: value for key, value in call.request.headers.items() if key in KEPT_HEADERS and content}
        if json_body is not None:
            headers.pop("content-encoding", None)
        return await self._warehouse.forward(
            call.principal, verb or call.request.method, path or raw_path(call.request), query, headers, content
        )


def _policy_name(call: Call) -> str:
    found = POLICY.fullmatch(call.params["resource"])
    if found is None:
        raise ApiError(400, "INVALID_ARGUMENT", f"Invalid resource name {call.params['resource']}", "invalid")
    return table_name(*found.groups())


async def _json(request: Request) -> Any:
    """The JSON body; what is sent on stays as it came."""
    await request.body()
    return await read_json(request)
