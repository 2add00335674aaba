"""What the port `bigquery` serves beside the methods of the document: uploads, the document, the engine's questions."""

import hmac
import re
from typing import TYPE_CHECKING, Any

import httpx
from starlette.requests import Request
from starlette.responses import Response

from localcloud.bigquery.access import Access
from localcloud.bigquery.engine import AUTHORIZE, Warehouse
from localcloud.errors import ApiError, to_response
from localcloud.identity import Principal, caller
from localcloud.shell import JsonResponse, raw_path, read_body, read_json

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

MAX_UPLOAD_BYTES = 256 * 2**20
"""Of one request of a load job; what is larger is loaded from a bucket, or resumably in parts."""
UPLOAD = re.compile(r"(?:resumable/)?upload/bigquery/v2/projects/([^/]+)/jobs")
DOCUMENT = re.compile(r"(?:discovery/v1/apis/bigquery/v2/rest|\$discovery/rest)")
KEPT_HEADERS = ("content-type", "content-encoding", "content-range", "if-match", "x-upload-content-type")
GIVEN_HEADERS = ("content-type", "range", "x-guploader-uploadid", "etag")


def given(answer: httpx.Response) -> Response:
    """The engine's answer as ours."""
    headers = {name: value for name, value in answer.headers.items() if name in GIVEN_HEADERS}
    return Response(answer.content, answer.status_code, headers)


class Beside:
    def __init__(self, cloud: "Cloud", warehouse: Warehouse, access: Access, document: dict[str, Any]) -> None:
        self._cloud = cloud
        self._warehouse = warehouse
        self._access = access
        self._document = document

    async def answer(self, request: Request) -> Response | None:
        """None for a path that is not one of these."""
        path = raw_path(request)
        try:
            if path == AUTHORIZE and request.method == "POST":
                return await self._authorize(request)
            if DOCUMENT.fullmatch(path):
                url = self._cloud.settings.url("bigquery")
                return JsonResponse({**self._document, "rootUrl": f"{url}/", "baseUrl": f"{url}/bigquery/v2/"})
            if found := UPLOAD.fullmatch(path):
                return await self._upload(request, path, found[1])
        except ApiError as error:
            return to_response(error, "storage")
        return None

    async def _authorize(self, request: Request) -> Response:
        """The engine's question: which of these needs the caller lacks, if any."""
        secret = request.headers.get("x-localcloud-secret", "")
        if not self._warehouse.secret or not hmac.compare_digest(secret, self._warehouse.secret):
            raise ApiError(403, "PERMISSION_DENIED", "Only the engine may ask.", "accessDenied")
        body = await read_json(request)
        principal = Principal(body["member"])
        for permission, project, dataset, table in body["needs"]:
            found = self._cloud.projects.get(project) if project else None
            known = found["projectId"] if found else project
            if refused := self._access.refusal(principal, permission, known, dataset, table):
                return JsonResponse({"denied": refused})
        return JsonResponse({"denied": None})

    async def _upload(self, request: Request, path: str, project: str) -> Response:
        """A load job with its data. What it writes to, the engine asks about."""
        self._cloud.faults.maybe_fail("bigquery")
        principal = caller(request, self._cloud)
        self._access.require(principal, "bigquery.jobs.create", project)
        content = await read_body(request, MAX_UPLOAD_BYTES)
        headers = {
            key: value for key, value in request.headers.items() if key in KEPT_HEADERS and key != "content-encoding"
        }
        query = request.scope["query_string"].decode("latin-1")
        target = path.removeprefix("resumable/")
        answer = await self._warehouse.forward(principal, request.method, target, query, headers, content)
        response = given(answer)
        if location := answer.headers.get("location"):
            rest = location.split("/", 3)[3]
            response.headers["location"] = f"{self._cloud.settings.url('bigquery')}/{rest}"
        return response
