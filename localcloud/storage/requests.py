"""One request as the parts of this package that are outside the discovery document's routes see it."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from localcloud import masks
from localcloud.identity import ANONYMOUS, Principal, bearer, caller

if TYPE_CHECKING:
    from localcloud.cloud import Cloud


def base_url(request: Request) -> str:
    """The address by which the client reached this server, without a trailing slash."""
    host = request.headers.get("host") or "{}:{}".format(*request.scope["server"])
    return f"{request.scope.get('scheme', 'http')}://{host}"


@dataclass
class Ask:
    request: Request
    cloud: "Cloud"
    signer: Principal | None = None
    """Who signed the URL, where it is a signed one."""

    @cached_property
    def principal(self) -> Principal:
        """The caller; found only when asked for, since a session's address needs none. Raises ApiError 401."""
        if self.signer is not None:
            return self.signer
        if bearer(self.request) is None and self.cloud.settings.anonymous == "deny":
            return Principal(ANONYMOUS)
        return caller(self.request, self.cloud)

    @cached_property
    def query(self) -> dict[str, str]:
        return dict(self.request.query_params)

    @cached_property
    def base(self) -> str:
        return base_url(self.request)

    def select(self, answer: Any) -> Any:
        """The part of an answer that `fields` asks for."""
        fields = self.query.get("fields")
        return masks.select(answer, fields) if fields else answer
