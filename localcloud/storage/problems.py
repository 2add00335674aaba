"""Errors in the words of Cloud Storage."""

from localcloud.errors import ApiError


def bad(message: str, reason: str = "invalid") -> ApiError:
    return ApiError(400, "INVALID_ARGUMENT", message, reason)


def required(what: str) -> ApiError:
    return bad(f"Required parameter: {what}", "required")


def no_bucket() -> ApiError:
    return ApiError(404, "NOT_FOUND", "The specified bucket does not exist.", "notFound")


def no_object(bucket: str, name: str) -> ApiError:
    return ApiError(404, "NOT_FOUND", f"No such object: {bucket}/{name}", "notFound")


def forbidden(member: str, permission: str, kind: str, *, anonymous: bool = False) -> ApiError:
    """403, or 401 for a caller without credentials. `kind`: object, bucket or project."""
    who = "Anonymous caller" if anonymous else member
    message = (
        f"{who} does not have {permission} access to the Google Cloud Storage {kind}. "
        f"Permission '{permission}' denied on resource (or it may not exist)."
    )
    if anonymous:
        return ApiError(401, "UNAUTHENTICATED", message, "required")
    return ApiError(403, "PERMISSION_DENIED", message, "forbidden")


def retained(bucket: str, name: str, until: str) -> ApiError:
    message = f"Object '{bucket}/{name}' is subject to bucket's retention policy or object retention and cannot be deleted or overwritten until {until}"
    return ApiError(403, "PERMISSION_DENIED", message, "retentionPolicyNotMet")


def held(bucket: str, name: str) -> ApiError:
    message = f"Object '{bucket}/{name}' is under active Temporary hold or Event-Based hold and cannot be deleted, overwritten or archived until hold is removed."
    return ApiError(403, "PERMISSION_DENIED", message, "objectUnderActiveHold")
