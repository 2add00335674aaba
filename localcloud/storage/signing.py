"""V4 signed URLs: who signed, and until when. The signature itself is not computed again: this cloud holds no RSA keys.

https://cloud.google.com/storage/docs/authentication/signatures (2026-11)
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from localcloud.errors import ApiError
from localcloud.identity import Principal
from localcloud.storage.problems import bad

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

MAX_EXPIRES_S = 7 * 24 * 3600
SERVICE_ACCOUNT = ".iam.gserviceaccount.com"


def signer(query: Mapping[str, str], cloud: "Cloud") -> Principal | None:
    """Who signed this URL; None if it is not a signed one. Raises ApiError 400 for an expired or malformed one, 403 for a
    signer that should be a service account of this cloud and is not there.
    """
    if "X-Goog-Signature" not in query:
        return None
    _check_time(query, cloud.clock.now())
    email = query.get("X-Goog-Credential", "").partition("/")[0]
    if "@" not in email:
        raise bad("X-Goog-Credential must begin with the email of the signer.", "InvalidArgument")
    if cloud.iam.accounts.get(email) is not None:
        return Principal(f"serviceAccount:{email}")
    project = email.partition("@")[2].removesuffix(SERVICE_ACCOUNT)
    if email.endswith(SERVICE_ACCOUNT) and cloud.projects.get(project) is not None:
        raise _denied(f"Service account {email} does not exist.")
    if cloud.settings.anonymous == "deny":
        raise _denied(f"{email} is no service account of this cloud.")
    return Principal(cloud.settings.owner)


def _check_time(query: Mapping[str, str], now: float) -> None:
    try:
        signed = datetime.strptime(query.get("X-Goog-Date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        expires = int(query.get("X-Goog-Expires", ""))
    except ValueError:
        raise bad(
            "X-Goog-Date must be YYYYMMDD'T'HHMMSS'Z' and X-Goog-Expires a number of seconds.", "InvalidArgument"
        ) from None
    if not 0 < expires <= MAX_EXPIRES_S:
        raise bad(f"X-Goog-Expires must be 1 to {MAX_EXPIRES_S} seconds, got {expires}.", "InvalidArgument")
    if now > signed + expires:
        raise bad("The provided token has expired. Request signature expired.", "ExpiredToken")


def _denied(message: str) -> ApiError:
    return ApiError(403, "PERMISSION_DENIED", message, "SignatureDoesNotMatch")
