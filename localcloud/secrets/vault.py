"""Secrets and versions. Payloads are sealed with a key of the state directory and appear in no log, status or error."""

import base64
import re
import secrets as random_bytes
from typing import TYPE_CHECKING, Any

import google_crc32c
from cryptography.fernet import Fernet

from localcloud.clock import parse_rfc3339
from localcloud.errors import already_exists, conflict, failed_precondition, invalid, not_found
from localcloud.identity import Principal

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

SERVICE = "secretmanager.googleapis.com"
MAX_PAYLOAD_BYTES = 64 * 1024
"""https://cloud.google.com/secret-manager/quotas (2026-11)."""
MAX_TTL_S = 3_155_760_000.0
"""100 years, https://cloud.google.com/secret-manager/docs/secret-expiration (2026-11)."""
SECRET_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_SECRET, _VERSION, _PAYLOAD = "secret", "secret.version", "secret.payload"
_KEY_DIGITS = 12


class Vault:
    """Names inside are projects/ID/secrets/S; what is answered has the project's number, as in the cloud."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud, self._store = cloud, cloud.store
        path = cloud.settings.state / "secrets.key"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_bytes(Fernet.generate_key())
        self._fernet = Fernet(path.read_bytes())

    # --- secrets ------------------------------------------------------------------------------------------------

    def create(self, project: str, secret_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Raises ApiError 400, 409."""
        if not SECRET_ID.fullmatch(secret_id):
            raise invalid(
                f"The provided Secret ID [{secret_id}] does not match the expected format [[a-zA-Z_0-9]+].", "secret_id"
            )
        name = f"projects/{project}/secrets/{secret_id}"
        if self._record(name) is not None:
            raise already_exists(f"Secret [{self.shown(name)}] already exists.")
        _check_replication(body)
        secret = dict(body) | {"name": self.shown(name), "createTime": self._now()}
        self._expire(secret, body)
        self._put(name, {"secret": secret | {"etag": _etag()}, "last": 0})
        return self.get(name)

    def get(self, name: str) -> dict[str, Any]:
        """Raises ApiError 404."""
        secret: dict[str, Any] = self._need(name)["secret"]
        return secret

    def secrets(self, project: str) -> list[dict[str, Any]]:
        """Newest first."""
        names = [name for name, _ in self._store.list(_SECRET, f"projects/{project}/secrets/")]
        found = [record["secret"] for name in names if (record := self._record(name)) is not None]
        return sorted(found, key=lambda item: item["createTime"], reverse=True)

    def update(self, name: str, changed: dict[str, Any], etag: str = "") -> dict[str, Any]:
        """`changed`: the secret as it is to be. Raises ApiError 400, 404, 409."""
        record = self._need(name)
        _check_etag(record["secret"], etag)
        old = record["secret"]
        if changed.get("replication") != old["replication"]:
            raise invalid("The replication of a secret cannot be changed.", "secret.replication")
        for version in changed.get("versionAliases", {}).values():
            self._version(name, str(version))
        secret = changed | {"name": old["name"], "createTime": old["createTime"], "etag": _etag()}
        self._expire(secret, changed)
        self._put(name, record | {"secret": secret})
        return secret

    def delete(self, name: str, etag: str = "") -> None:
        """With its versions and its policy. Raises ApiError 404, 409."""
        _check_etag(self.get(name), etag)
        self._forget(name)

    def _forget(self, name: str) -> None:
        with self._store.transaction():
            for kind in (_VERSION, _PAYLOAD):
                for version, _ in self._store.list(kind, f"{name}/versions/"):
                    self._store.delete(kind, version)
            self._store.delete(_SECRET, name)
            self._cloud.iam.delete_policy(name)

    def _record(self, name: str) -> dict[str, Any] | None:
        record = self._store.get(_SECRET, name)
        at = record["secret"].get("expireTime") if record is not None else None
        if at and parse_rfc3339(at) <= self._cloud.clock.now():
            self._forget(name)
            return None
        return record

    def _need(self, name: str) -> dict[str, Any]:
        if (record := self._record(name)) is None:
            raise not_found(f"Secret [{self.shown(name)}] not found.")
        return record

    def _put(self, name: str, record: dict[str, Any]) -> None:
        self._store.put(_SECRET, name, record)

    def _expire(self, secret: dict[str, Any], given: dict[str, Any]) -> None:
        """Turn a ttl into an expireTime, as the cloud stores it."""
        ttl = secret.pop("ttl", None)
        if ttl is None:
            return
        seconds = float(str(ttl).rstrip("s"))
        if not 0 < seconds <= MAX_TTL_S:
            raise invalid("The ttl must be greater than zero and at most 100 years.", "secret.ttl")
        secret["expireTime"] = self._cloud.clock.timestamp(self._cloud.clock.now() + seconds)

    # --- versions -----------------------------------------------------------------------------------------------

    def add(self, name: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ApiError 400 for an empty, too large or damaged payload, 404."""
        record = self._need(name)
        data = base64.b64decode(payload.get("data", "") + "==", altchars=b"-_" if _urlsafe(payload) else None)
        if not data:
            raise invalid("Secret Payload cannot be empty.", "payload.data")
        if len(data) > MAX_PAYLOAD_BYTES:
            raise invalid(f"The secret payload is larger than {MAX_PAYLOAD_BYTES} bytes.", "payload.data")
        given = payload.get("dataCrc32c")
        if given is not None and int(given) != google_crc32c.value(data):
            raise invalid(
                "The checksum computed from the provided payload does not match the provided checksum. "
                "The payload may be corrupted.",
                "payload.data_crc32c",
            )
        number = record["last"] + 1
        version = {
            "name": f"{self.shown(name)}/versions/{number}",
            "createTime": self._now(),
            "state": "ENABLED",
            "replicationStatus": _replication_status(record["secret"]["replication"]),
            "etag": _etag(),
        } | ({"clientSpecifiedPayloadChecksum": True} if given is not None else {})
        with self._store.transaction():
            self._put(name, record | {"last": number})
            self._store.put(_VERSION, _key(name, number), version)
            self._store.put(_PAYLOAD, _key(name, number), {"sealed": self._fernet.encrypt(data).decode()})
        return version

    def versions(self, name: str) -> list[dict[str, Any]]:
        """Newest first. Raises ApiError 404."""
        self._need(name)
        return [version for _, version in reversed(self._store.list(_VERSION, f"{name}/versions/"))]

    def version(self, name: str) -> dict[str, Any]:
        """`name`: projects/P/secrets/S/versions/V, V a number, an alias or latest. Raises ApiError 404."""
        secret, _, version = name.partition("/versions/")
        return self._version(secret, version)[1]

    def _version(self, secret: str, version: str) -> tuple[int, dict[str, Any]]:
        record = self._need(secret)
        aliases = record["secret"].get("versionAliases", {})
        number = str(record["last"]) if version == "latest" else str(aliases.get(version, version))
        found = self._store.get(_VERSION, _key(secret, int(number))) if number.isdecimal() else None
        if found is None:
            raise not_found(f"Secret Version [{self.shown(secret)}/versions/{version}] not found.")
        return int(number), found

    def set_state(self, name: str, state: str, etag: str = "") -> dict[str, Any]:
        """ENABLED, DISABLED or DESTROYED. Raises ApiError 400 where the version is destroyed, 404, 409."""
        secret, _, asked = name.partition("/versions/")
        number, version = self._version(secret, asked)
        _check_etag(version, etag)
        if version["state"] == "DESTROYED":
            raise failed_precondition(f"Secret Version [{version['name']}] is in DESTROYED state.")
        version |= {"state": state, "etag": _etag()}
        with self._store.transaction():
            if state == "DESTROYED":
                version["destroyTime"] = self._now()
                self._store.delete(_PAYLOAD, _key(secret, number))
            self._store.put(_VERSION, _key(secret, number), version)
        return version

    def read(self, name: str) -> tuple[dict[str, Any], bytes]:
        """The version and its payload. Raises ApiError 400 unless it is enabled, 404."""
        secret, _, asked = name.partition("/versions/")
        number, version = self._version(secret, asked)
        if version["state"] != "ENABLED":
            raise failed_precondition(f"Secret Version [{version['name']}] is in {version['state']} state.")
        sealed = self._store.get(_PAYLOAD, _key(secret, number)) or {}
        return version, self._fernet.decrypt(sealed["sealed"].encode())

    # --- for the other parts of the cloud -----------------------------------------------------------------------

    async def access(self, project: str, secret: str, version: str, member: str) -> bytes:
        """The payload for a task that runs as `member`; `secret` is an id or projects/P/secrets/S.

        Raises:
            ApiError: 403, 404, or 400 for a version that is not enabled; never with a part of a payload.
        """
        name = secret if secret.startswith("projects/") else f"projects/{project}/secrets/{secret}"
        name = self._cloud.projects.normalise({"name": name})["name"]
        self.require(Principal(member), "secretmanager.versions.access", f"{name}/versions/{version}")
        return self.read(f"{name}/versions/{version}")[1]

    def require(self, principal: Principal, permission: str, name: str) -> None:
        """Raises ApiError 403. The policy is the secret's; conditions see the name with the project's number."""
        secret, version = name.partition("/versions/")[::2]
        kind = "SecretVersion" if version else "Secret"
        if not self._cloud.iam.allowed(
            principal, permission, secret, name=self.shown(name), type=f"{SERVICE}/{kind}", service=SERVICE
        ):
            self._cloud.iam.require(principal, permission, name, ())

    def shown(self, name: str) -> str:
        """The name with the project's number."""
        _, project, rest = name.split("/", 2)
        number = (self._cloud.projects.get(project) or {}).get("projectNumber", project)
        return f"projects/{number}/{rest}"

    def _now(self) -> str:
        return self._cloud.clock.timestamp()


def _key(secret: str, number: int) -> str:
    return f"{secret}/versions/{number:0{_KEY_DIGITS}d}"


def _etag() -> str:
    return f'"{random_bytes.token_hex(7)}"'


def _check_etag(resource: dict[str, Any], etag: str) -> None:
    if etag and etag != resource["etag"]:
        raise conflict("The etag provided does not match the resource's current etag.")


def _urlsafe(payload: dict[str, Any]) -> bool:
    return "-" in payload.get("data", "") or "_" in payload.get("data", "")


def _check_replication(body: dict[str, Any]) -> None:
    replication = body.get("replication", {})
    if ("automatic" in replication) == ("userManaged" in replication):
        raise invalid("The replication field must be set to one of automatic and userManaged.", "secret.replication")
    if "userManaged" in replication and not replication["userManaged"].get("replicas"):
        raise invalid("At least one replica must be given.", "secret.replication.user_managed.replicas")
    if "ttl" in body and "expireTime" in body:
        raise invalid("Only one of ttl and expire_time can be set.", "secret.expiration")


def _replication_status(replication: dict[str, Any]) -> dict[str, Any]:
    if "automatic" in replication:
        return {"automatic": {}}
    return {
        "userManaged": {"replicas": [{"location": item["location"]} for item in replication["userManaged"]["replicas"]]}
    }
