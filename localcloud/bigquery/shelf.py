"""Datasets on a machine that can have no engine: kept and given back, so that a program deploys; they hold nothing.

Only what describes a dataset is answered. Tables, jobs and reads stay refused, with what is missing on this machine.
"""

import json
import re
from typing import TYPE_CHECKING, Any

import httpx

from localcloud.bigquery.engine import Warehouse
from localcloud.errors import ApiError
from localcloud.identity import Principal

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

DATASETS = re.compile(r"bigquery/v2/projects/([^/]+)/datasets(?:/([^/]+))?")
KIND = "bigquery.shelf"


class Shelf(Warehouse):
    """The engine where it can be had, and this where it cannot."""

    def __init__(self, cloud: "Cloud") -> None:
        super().__init__(cloud)
        self._cloud = cloud

    async def reset(self) -> None:
        await super().reset()
        for name, _ in self._cloud.store.list(KIND):
            self._cloud.store.delete(KIND, name)

    async def forward(
        self, principal: Principal, verb: str, path: str, query: str, headers: dict[str, str], content: bytes
    ) -> httpx.Response:
        """As the engine's. Raises ApiError 503 for what takes an engine."""
        try:
            return await super().forward(principal, verb, path, query, headers, content)
        except ApiError as error:
            found = DATASETS.fullmatch(path)
            if error.reason != "engineMissing" or found is None:
                raise
        project, dataset = found.groups()
        if dataset is None:
            return self._insert(project, json.loads(content)) if verb == "POST" else self._list(project)
        if verb == "DELETE":
            return self._delete(project, dataset)
        if verb in ("PUT", "PATCH"):
            return self._change(project, dataset, json.loads(content), whole=verb == "PUT")
        return httpx.Response(200, json=self._get(project, dataset))

    def _insert(self, project: str, body: dict[str, Any]) -> httpx.Response:
        dataset = body["datasetReference"]["datasetId"]
        if self._cloud.store.get(KIND, f"{project}:{dataset}") is not None:
            raise ApiError(409, "ALREADY_EXISTS", f"Already Exists: Dataset {project}:{dataset}", "duplicate")
        made = {
            **body,
            "kind": "bigquery#dataset",
            "id": f"{project}:{dataset}",
            "datasetReference": {"projectId": project, "datasetId": dataset},
            "selfLink": f"{self._cloud.settings.url('bigquery')}/bigquery/v2/projects/{project}/datasets/{dataset}",
            "creationTime": self._now_ms(),
        }
        return self._keep(made)

    def _change(self, project: str, dataset: str, body: dict[str, Any], *, whole: bool) -> httpx.Response:
        old = self._get(project, dataset)
        fixed = ("kind", "id", "datasetReference", "selfLink", "creationTime", "location", "access")
        kept = {name: old[name] for name in fixed} if whole else old
        sent = {name: value for name, value in body.items() if name not in fixed[:-1]}
        return self._keep({name: value for name, value in {**kept, **sent}.items() if value is not None})

    def _delete(self, project: str, dataset: str) -> httpx.Response:
        self._get(project, dataset)
        self._cloud.store.delete(KIND, f"{project}:{dataset}")
        return httpx.Response(204)

    def _list(self, project: str) -> httpx.Response:
        told = ("kind", "id", "datasetReference", "labels", "friendlyName", "location")
        found = [
            {name: value for name, value in kept.items() if name in told}
            for _, kept in self._cloud.store.list(KIND, f"{project}:")
        ]
        return httpx.Response(200, json={"kind": "bigquery#datasetList", **({"datasets": found} if found else {})})

    def _get(self, project: str, dataset: str) -> dict[str, Any]:
        kept = self._cloud.store.get(KIND, f"{project}:{dataset}")
        if kept is None:
            raise ApiError(404, "NOT_FOUND", f"Not found: Dataset {project}:{dataset}", "notFound")
        return kept

    def _keep(self, made: dict[str, Any]) -> httpx.Response:
        made = {**made, "lastModifiedTime": self._now_ms()}
        made["etag"] = made["lastModifiedTime"]
        self._cloud.store.put(KIND, made["id"], made)
        return httpx.Response(200, json=made)

    def _now_ms(self) -> str:
        return str(int(self._cloud.clock.now() * 1000))
