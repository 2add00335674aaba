"""Errors of the distribution API."""

from starlette.responses import Response

from localcloud.errors import ApiError
from localcloud.shell import JsonResponse


class RegistryError(Exception):
    """`code` is one of the distribution API's, such as NAME_UNKNOWN."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def response(self) -> Response:
        body = {"errors": [{"code": self.code, "message": self.message}]}
        return JsonResponse(body, status_code=self.status, headers=self.headers)


def from_api(error: ApiError) -> RegistryError:
    """An identity, fault or API-not-enabled error as a registry client understands it."""
    if error.code == 401:
        challenge = {"www-authenticate": 'Basic realm="local registry"'}
        return RegistryError(401, "UNAUTHORIZED", "authentication required", headers=challenge)
    codes = {403: "DENIED", 404: "NAME_UNKNOWN", 429: "TOOMANYREQUESTS"}
    return RegistryError(error.code, codes.get(error.code, "UNKNOWN"), error.message)
