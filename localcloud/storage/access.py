"""Who may do what to a bucket and its objects.

https://cloud.google.com/storage/docs/access-control/iam-json (2026-11)
"""

from localcloud.iam.engine import Iam
from localcloud.identity import ANONYMOUS, Principal
from localcloud.storage.problems import forbidden, no_object

SERVICE = "storage.googleapis.com"


class Access:
    def __init__(self, iam: Iam) -> None:
        self._iam = iam

    def allowed(self, principal: Principal, permission: str, bucket: str, name: str | None = None) -> bool:
        """Conditions see `projects/_/buckets/B` or `projects/_/buckets/B/objects/O`."""
        shown = f"projects/_/buckets/{bucket}"
        kind = "Bucket"
        if name is not None:
            shown, kind = f"{shown}/objects/{name}", "Object"
        return self._iam.allowed(
            principal, permission, f"buckets/{bucket}", name=shown, type=f"{SERVICE}/{kind}", service=SERVICE
        )

    def require(self, principal: Principal, permission: str, bucket: str, name: str | None = None) -> None:
        """Raises ApiError 403 that names the permission; 401 for a caller without credentials."""
        if not self.allowed(principal, permission, bucket, name):
            kind = "bucket" if name is None else "object"
            raise forbidden(_shown(principal), permission, kind, anonymous=principal.member == ANONYMOUS)

    def require_on_project(self, principal: Principal, permission: str, project: str) -> None:
        if not self._iam.allowed(principal, permission, f"projects/{project}"):
            raise forbidden(_shown(principal), permission, "project", anonymous=principal.member == ANONYMOUS)

    def missing(self, principal: Principal, bucket: str, name: str) -> None:
        """Raises 404 for an object that is not there, or 403 if the caller may not list, and so may not know."""
        self.require(principal, "storage.objects.list", bucket)
        raise no_object(bucket, name)


def _shown(principal: Principal) -> str:
    return principal.email or principal.member
