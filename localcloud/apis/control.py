"""The control API: not one of Google's, for tools and tests."""

from starlette.requests import Request
from starlette.responses import Response

from localcloud.cloud import Cloud
from localcloud.errors import ApiError, to_response
from localcloud.shell import JsonResponse


class Control:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        request = Request(scope, receive, send)
        response = await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if request.url.path == "/healthz":
            return JsonResponse({"status": "ok"})
        return to_response(ApiError(404, "NOT_FOUND", "not found"))


def app(cloud: Cloud) -> Control:
    return Control(cloud)
