"""Bucket policies, and what is left of access control lists.

https://cloud.google.com/storage/docs/json_api/v1/buckets/setIamPolicy (2026-11)
"""

from typing import Any

from localcloud.errors import ApiError, unimplemented
from localcloud.shell import Api, Call, read_json
from localcloud.storage.buckets import PUBLIC_MEMBERS, params
from localcloud.storage.catalogue import Record
from localcloud.storage.engine import Storage
from localcloud.storage.problems import bad

UNIFORM = (
    "Cannot use ACL API to {verb} policy when uniform bucket-level access is enabled. "
    "Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access"
)


class Policies:
    def __init__(self, storage: Storage, api: Api) -> None:
        self._storage = storage
        self._iam = storage.cloud.iam
        api.method("storage.buckets.getIamPolicy")(self.get)
        api.method("storage.buckets.setIamPolicy", raw=True)(self.set)
        api.method("storage.buckets.testIamPermissions")(self.test)
        for kind in ("bucketAccessControls", "defaultObjectAccessControls", "objectAccessControls"):
            for verb in ("get", "list", "insert", "patch", "update", "delete"):
                api.method(f"storage.{kind}.{verb}", raw=True)(self.acl)

    def _bucket(self, call: Call) -> Record:
        return self._storage.catalogue.bucket(params(call)["bucket"])

    async def get(self, call: Call) -> dict[str, Any]:
        bucket = self._bucket(call)
        self._storage.access.require(call.principal, "storage.buckets.getIamPolicy", bucket["name"])
        version = int(call.query.get("optionsRequestedPolicyVersion") or 1)
        if version not in (1, 2, 3):
            raise bad(f"Invalid requested policy version: {version}")
        return self._shown(bucket, self._iam.get_policy(f"buckets/{bucket['name']}", version))

    async def set(self, call: Call) -> dict[str, Any]:
        bucket = self._bucket(call)
        self._storage.access.require(call.principal, "storage.buckets.setIamPolicy", bucket["name"])
        # checked without the document's "required": taking the last binding away sends no bindings at all
        policy = call.api.discovery.check("Policy", await read_json(call.request))
        bindings = policy.get("bindings", [])
        if bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced" and _public(bindings):
            message = "The member bindings allUsers and allAuthenticatedUsers are not allowed since public access prevention is enforced."
            raise ApiError(412, "FAILED_PRECONDITION", message, "conditionNotMet")
        uniform = bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"]
        if not uniform and any(binding.get("condition") for binding in bindings):
            message = (
                "Error with setIamPolicy: conditions need uniform bucket-level access to be enabled on the bucket."
            )
            raise ApiError(412, "FAILED_PRECONDITION", message, "conditionNotMet")
        try:
            made = self._iam.set_policy(f"buckets/{bucket['name']}", policy, policy.get("etag"))
        except ApiError as error:
            if error.status != "ABORTED":
                raise
            raise ApiError(412, "FAILED_PRECONDITION", error.message, "conditionNotMet") from None
        return self._shown(bucket, made)

    @staticmethod
    def _shown(bucket: Record, policy: dict[str, Any]) -> dict[str, Any]:
        shown = {key: value for key, value in policy.items() if key != "auditConfigs"}
        return {"kind": "storage#policy", "resourceId": f"projects/_/buckets/{bucket['name']}", "version": 1, **shown}

    async def test(self, call: Call) -> dict[str, Any]:
        bucket = self._bucket(call)
        asked = call.query.get("permissions") or []
        held = [item for item in asked if self._storage.access.allowed(call.principal, item, bucket["name"])]
        answer: dict[str, Any] = {"kind": "storage#testIamPermissionsResponse"}
        return {**answer, "permissions": held} if held else answer

    async def acl(self, call: Call) -> dict[str, Any]:
        """400 under uniform access as in the cloud; without it an empty list, since nothing here heeds an ACL."""
        bucket = self._bucket(call)
        verb = call.method.id.rpartition(".")[2]
        permission = "storage.buckets.getIamPolicy" if verb in ("get", "list") else "storage.buckets.setIamPolicy"
        self._storage.access.require(call.principal, permission, bucket["name"])
        if bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"]:
            raise bad(UNIFORM.format(verb="get" if verb in ("get", "list") else "set a"))
        if verb != "list":
            raise unimplemented("Access control by ACL")
        kind = "bucketAccessControls" if "bucketAccess" in call.method.id else "objectAccessControls"
        return {"kind": f"storage#{kind}", "items": []}


def _public(bindings: list[dict[str, Any]]) -> bool:
    return any(PUBLIC_MEMBERS & set(binding.get("members", [])) for binding in bindings)
