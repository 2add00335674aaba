"""Service accounts as the rest of the cloud sees them: do they exist, are they alive."""

import secrets
from typing import Any

from localcloud.clock import Clock
from localcloud.errors import ApiError, already_exists, not_found, unauthenticated
from localcloud.faults import Faults
from localcloud.store import Store

KIND = "serviceAccount"
DOMAIN = ".iam.gserviceaccount.com"


class Accounts:
    """Stored by email; a deleted one stays as a tombstone until its id is taken again."""

    def __init__(self, store: Store, clock: Clock, faults: Faults) -> None:
        self._store = store
        self._clock = clock
        self._faults = faults

    def get(self, email: str) -> dict[str, Any] | None:
        """The record of a live, visible account: `account` as the API answers it, `visible_at`, `deleted_at`."""
        record = self._store.get(KIND, email)
        if record is None or record["deleted_at"] or record["visible_at"] > self._clock.now():
            return None
        return record

    def create(self, project: str, email: str, fields: dict[str, Any], *, immediate: bool = False) -> dict[str, Any]:
        """Raises ApiError 409."""
        record = self._store.get(KIND, email)
        name = f"projects/{project}/serviceAccounts/{email}"
        if record is not None and not record["deleted_at"]:
            raise already_exists(
                f"Service account {email.partition('@')[0]} already exists within project projects/{project}."
            )
        unique_id = "1" + "".join(str(secrets.randbelow(10)) for _ in range(20))
        account = {
            "name": name,
            "projectId": project,
            "uniqueId": unique_id,
            "email": email,
            **fields,
            "etag": new_etag(),
            "oauth2ClientId": unique_id,
        }
        delay = 0.0 if immediate else self._faults.settings.visibility_delay_s
        self.put({"account": account, "visible_at": self._clock.now() + delay, "deleted_at": 0.0})
        return account

    def put(self, record: dict[str, Any]) -> None:
        self._store.put(KIND, record["account"]["email"], record)

    def find(self, key: str) -> dict[str, Any] | None:
        """By email or unique id, deleted ones included."""
        if "@" in key:
            return self._store.get(KIND, key)
        return next((value for _, value in self._store.list(KIND) if value["account"]["uniqueId"] == key), None)

    def list(self, project: str) -> list[dict[str, Any]]:
        now = self._clock.now()
        return [
            value["account"]
            for _, value in self._store.list(KIND)
            if value["account"]["projectId"] == project and not value["deleted_at"] and value["visible_at"] <= now
        ]

    def check_member(self, member: str) -> None:
        """Raises ApiError 400 for a service account of a project of this cloud that does not exist (yet)."""
        kind, _, email = member.partition(":")
        if kind != "serviceAccount" or not email.endswith(DOMAIN):
            return
        project = email.partition("@")[2].removesuffix(DOMAIN)
        if self._store.get("project", project) is not None and self.get(email) is None:
            raise ApiError(400, "INVALID_ARGUMENT", f"Service account {email} does not exist.")

    def check_alive(self, email: str) -> None:
        """Raises ApiError 401 for the token of an account that was deleted or disabled."""
        record = self._store.get(KIND, email)
        if record is None:
            return
        if record["deleted_at"] or record["account"].get("disabled"):
            raise unauthenticated()

    def require(self, email: str, project: str = "-") -> dict[str, Any]:
        """The account. Raises ApiError 404."""
        record = self.get(email) if "@" in email else self.find(email)
        if record is None or record["deleted_at"] or (project != "-" and record["account"]["projectId"] != project):
            raise not_found(
                f"Unknown service account {email}." if "@" not in email else f"Service account {email} does not exist."
            )
        account: dict[str, Any] = record["account"]
        return account


def new_etag() -> str:
    return "MDEwMjE5" + secrets.token_hex(2)
