"""Errors as Google's APIs put them on the wire."""

import json
from typing import Any

from starlette.responses import Response

DOMAIN = "googleapis.com"
STATUS_OF_CODE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
RPC_CODE = {
    "OK": 0,
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
"""google.rpc.Code, https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto (2026-11)."""

LEGACY_REASON = {
    "INVALID_ARGUMENT": "invalid",
    "UNAUTHENTICATED": "authError",
    "PERMISSION_DENIED": "forbidden",
    "NOT_FOUND": "notFound",
    "ALREADY_EXISTS": "conflict",
    "ABORTED": "conflict",
    "FAILED_PRECONDITION": "conditionNotMet",
    "RESOURCE_EXHAUSTED": "rateLimitExceeded",
    "UNAVAILABLE": "backendError",
    "INTERNAL": "internalError",
    "UNIMPLEMENTED": "notImplemented",
}


class ApiError(Exception):
    """An answer that is not a success. `code` is the HTTP status, `status` the google.rpc.Code name."""

    def __init__(
        self,
        code: int,
        status: str,
        message: str,
        reason: str = "",
        details: list[dict[str, Any]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message
        self.reason = reason
        self.details = details or []
        self.headers = headers or {}

    def rpc_status(self) -> dict[str, Any]:
        """A google.rpc.Status, for the `error` of a long-running operation."""
        body: dict[str, Any] = {"code": RPC_CODE[self.status], "message": self.message}
        if self.details:
            body["details"] = self.details
        return body


def error_info(reason: str, metadata: dict[str, str], domain: str = DOMAIN) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": domain,
        "metadata": metadata,
    }


def bad_request(violations: list[dict[str, str]]) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}


def invalid(message: str, field: str | None = None) -> ApiError:
    """400 INVALID_ARGUMENT; with `field` (dotted, snake_case) also a fieldViolation."""
    details = [bad_request([{"field": field, "description": message}])] if field else []
    return ApiError(400, "INVALID_ARGUMENT", message, details=details)


def violations(found: list[tuple[str, str]]) -> ApiError:
    """400 with one fieldViolation per (field, description), the descriptions joined as Google's front end does."""
    listed = [{"field": field, "description": text} if field else {"description": text} for field, text in found]
    return ApiError(400, "INVALID_ARGUMENT", "\n".join(text for _, text in found), details=[bad_request(listed)])


def not_found(what: str) -> ApiError:
    """404; `what` is a resource name (wrapped in Google's sentence) or a whole sentence."""
    message = what if " " in what else f"Requested entity was not found: {what}"
    return ApiError(404, "NOT_FOUND", message)


def already_exists(what: str) -> ApiError:
    message = what if " " in what else f"Requested entity already exists: {what}"
    return ApiError(409, "ALREADY_EXISTS", message)


def denied(permission: str, resource: str) -> ApiError:
    """403 that names the missing permission."""
    return ApiError(
        403,
        "PERMISSION_DENIED",
        f"Permission '{permission}' denied on resource '{resource}' (or resource may not exist).",
        reason="IAM_PERMISSION_DENIED",
        details=[
            error_info("IAM_PERMISSION_DENIED", {"permission": permission, "resource": resource}, "iam.googleapis.com")
        ],
    )


def unauthenticated(message: str = "") -> ApiError:
    """401 with Google's text unless another is given."""
    text = message or (
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
    )
    return ApiError(
        401,
        "UNAUTHENTICATED",
        text,
        reason="ACCESS_TOKEN_TYPE_UNSUPPORTED",
        details=[error_info("ACCESS_TOKEN_TYPE_UNSUPPORTED", {})],
        headers={"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'},
    )


def failed_precondition(message: str) -> ApiError:
    """400 FAILED_PRECONDITION: HTTP maps this status to 400; storage's 412 is made by the storage API itself."""
    return ApiError(400, "FAILED_PRECONDITION", message)


def conflict(message: str) -> ApiError:
    """409 ABORTED: a concurrent change, e.g. an etag that is no longer current."""
    return ApiError(409, "ABORTED", message)


def unavailable(message: str = "The service is currently unavailable.") -> ApiError:
    return ApiError(503, "UNAVAILABLE", message)


def unimplemented(what: str) -> ApiError:
    return ApiError(501, "UNIMPLEMENTED", f"{what} is not implemented by the local cloud.")


def to_body(error: ApiError, style: str = "google") -> dict[str, Any]:
    """`google`: code, message, status, details. `storage` (also BigQuery): code, message, errors[]."""
    if style not in ("google", "storage"):
        raise ValueError(f"to_body: style must be google or storage, got {style!r}")
    if style == "storage":
        # reasons in capitals are those of ErrorInfo; errors[] has its own words
        reason = "" if error.reason.isupper() else error.reason
        reason = reason or LEGACY_REASON.get(error.status, "backendError")
        errors = [{"message": error.message, "domain": "global", "reason": reason}]
        return {"error": {"code": error.code, "message": error.message, "errors": errors}}
    body: dict[str, Any] = {"code": error.code, "message": error.message, "status": error.status}
    if error.details:
        body["details"] = error.details
    return {"error": body}


def to_response(error: ApiError, style: str = "google") -> Response:
    """The HTTP answer, see `to_body`."""
    content = json.dumps(to_body(error, style), ensure_ascii=False).encode()
    return Response(content, error.code, error.headers, "application/json; charset=UTF-8")
