"""Bucket resources: what a client may set, what the cloud fills in, what it refuses."""

from typing import Any

from starlette.responses import Response

from localcloud.errors import ApiError, invalid
from localcloud.shell import Api, Call, raw_path, read_json
from localcloud.storage import names
from localcloud.storage.bucket_fields import settled
from localcloud.storage.catalogue import BUCKET, Record
from localcloud.storage.conditions import NotModified, check_etags, from_query
from localcloud.storage.engine import Storage
from localcloud.storage.problems import bad, required
from localcloud.storage.requests import base_url

WRITABLE = (
    "autoclass", "billing", "cors", "defaultEventBasedHold", "encryption", "hierarchicalNamespace", "iamConfiguration",
    "ipFilter", "labels", "lifecycle", "logging", "retentionPolicy", "rpo", "softDeletePolicy", "storageClass",
    "versioning", "website",
)  # fmt: skip
ONLY_AT_CREATION = ("customPlacementConfig", "objectRetention")
SOFT_DELETE_S = 7 * 24 * 3600
"""Default of new buckets, https://cloud.google.com/storage/docs/soft-delete (2026-11). Stored, not acted on here."""
PUBLIC_MEMBERS = frozenset({"allUsers", "allAuthenticatedUsers"})


class Buckets:
    def __init__(self, storage: Storage, api: Api) -> None:
        self._storage = storage
        self._catalogue = storage.catalogue
        self._access = storage.access
        self._api = api
        for verb, handler in (
            ("insert", self.insert),
            ("get", self.get),
            ("list", self.list_),
            ("delete", self.delete),
        ):
            api.method(f"storage.buckets.{verb}")(handler)
        api.method("storage.buckets.patch", raw=True)(self.patch)
        api.method("storage.buckets.update", raw=True)(self.update)
        api.method("storage.buckets.lockRetentionPolicy")(self.lock_retention)
        api.method("storage.buckets.getStorageLayout")(self.layout)

    def _find(self, call: Call, permission: str) -> Record:
        bucket = self._catalogue.bucket(params(call)["bucket"])
        self._access.require(call.principal, permission, bucket["name"])
        return bucket

    async def insert(self, call: Call) -> dict[str, Any]:
        project = call.query.get("project")
        if not project:
            raise required("project")
        found = call.cloud.projects.get(project)
        if found is None:
            raise ApiError(404, "NOT_FOUND", f"Unknown project id: {project}", "notFound")
        self._access.require_on_project(call.principal, "storage.buckets.create", found["projectId"])
        name = names.check_bucket(call.body.get("name") or "")
        existing = self._catalogue.find_bucket(name)
        if existing is not None:
            raise _taken(own=existing["project"] == found["projectId"])
        now = self._catalogue.now()
        bucket: Record = {
            "name": name,
            "project": found["projectId"],
            "projectNumber": found["projectNumber"],
            "metageneration": "1",
            "generation": str(self._catalogue.next_generation()),
            "location": names.check_location(call.body.get("location") or "US"),
            "timeCreated": now,
            "updated": now,
            "softDeletePolicy": {"retentionDurationSeconds": str(SOFT_DELETE_S)},
        }
        bucket["locationType"] = names.location_type(bucket["location"])
        given = {key: value for key, value in call.body.items() if key in (*WRITABLE, *ONLY_AT_CREATION)}
        bucket = settled({**bucket, **given}, None, self._storage.cloud.clock.now())
        self._catalogue.put_bucket(bucket)
        self._grant_defaults(bucket)
        return resource(base_url(call.request), bucket)

    def _grant_defaults(self, bucket: Record) -> None:
        """The convenience grants of every new bucket, https://cloud.google.com/storage/docs/access-control/iam#convenience-values (2026-11)."""
        project, policy = bucket["project"], f"buckets/{bucket['name']}"
        owners = [f"projectEditor:{project}", f"projectOwner:{project}"]
        viewers = [f"projectViewer:{project}"]
        bindings = [
            {"role": "roles/storage.legacyBucketOwner", "members": owners},
            {"role": "roles/storage.legacyBucketReader", "members": viewers},
        ]
        if bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"]:
            bindings.append({"role": "roles/storage.legacyObjectOwner", "members": owners})
            bindings.append({"role": "roles/storage.legacyObjectReader", "members": viewers})
        self._storage.cloud.iam.set_policy(policy, {"bindings": bindings}, check_members=False)

    async def get(self, call: Call) -> dict[str, Any] | Response:
        bucket = self._find(call, "storage.buckets.get")
        try:
            from_query(call.query).check(bucket, reading=True)
            check_etags(call.request.headers, names.etag(bucket["generation"], bucket["metageneration"]))
        except NotModified:
            return Response(status_code=304)
        return resource(base_url(call.request), bucket)

    async def list_(self, call: Call) -> dict[str, Any]:
        project = call.cloud.projects.get(call.query.get("project") or "")
        if project is None:
            raise required("project")
        self._access.require_on_project(call.principal, "storage.buckets.list", project["projectId"])
        size = min(int(call.query.get("maxResults") or 1000), 1000)
        prefix, after = call.query.get("prefix") or "", call.query.get("pageToken") or ""
        stored = self._catalogue.store.list(BUCKET, prefix=prefix, start_after=after)
        mine = [bucket for _, bucket in stored if bucket["project"] == project["projectId"]]
        answer: dict[str, Any] = {"kind": "storage#buckets"}
        if mine and not call.query.get("softDeleted"):
            answer["items"] = [resource(base_url(call.request), bucket) for bucket in mine[:size]]
            if len(mine) > size:
                answer["nextPageToken"] = mine[size - 1]["name"]
        return answer

    async def patch(self, call: Call) -> dict[str, Any]:
        """A merge patch: what is null goes, what is not named stays."""
        bucket = self._find(call, "storage.buckets.update")
        changes = await self._body(call)
        return self._change(call, bucket, {key: merged(bucket.get(key), value) for key, value in changes.items()})

    async def update(self, call: Call) -> dict[str, Any]:
        """The whole resource: what is not named goes back to its default."""
        bucket = self._find(call, "storage.buckets.update")
        given = await self._body(call)
        return self._change(call, bucket, {key: given.get(key) for key in WRITABLE})

    async def _body(self, call: Call) -> dict[str, Any]:
        """The fields that may be set, nulls included; checked against the document without them."""
        given = await read_json(call.request)
        if not isinstance(given, dict):
            raise invalid("The body must be a bucket resource.")
        self._api.discovery.check("Bucket", _without_nulls(given))
        for key in ("location", "name"):
            fixed = self._catalogue.bucket(params(call)["bucket"])[key]
            if given.get(key) and str(given[key]).upper() != fixed.upper():
                raise bad(f"The {key} of a bucket cannot be changed.")
        return {key: value for key, value in given.items() if key in WRITABLE}

    def _change(self, call: Call, bucket: Record, fields: dict[str, Any]) -> dict[str, Any]:
        """Applied to the bucket as it is now: reading the body let others in."""
        bucket = self._catalogue.bucket(bucket["name"])
        from_query(call.query).check(bucket)
        changed = {key: value for key, value in {**bucket, **fields}.items() if value is not None}
        changed["metageneration"] = str(int(bucket["metageneration"]) + 1)
        changed["updated"] = self._catalogue.now()
        changed = settled(changed, bucket, self._storage.cloud.clock.now())
        self._catalogue.put_bucket(changed)
        if changed["iamConfiguration"]["publicAccessPrevention"] == "enforced":
            self._hide_from_public(changed["name"])
        return resource(base_url(call.request), changed)

    def _hide_from_public(self, name: str) -> None:
        """Takes public members out of the policy: prevention makes them ineffective."""
        iam, policy_name = self._storage.cloud.iam, f"buckets/{name}"
        policy = iam.get_policy(policy_name)
        bindings = [
            {**binding, "members": [member for member in binding["members"] if member not in PUBLIC_MEMBERS]}
            for binding in policy.get("bindings", [])
        ]
        if bindings != policy.get("bindings", []):
            iam.set_policy(policy_name, {**policy, "bindings": bindings}, check_members=False)

    async def delete(self, call: Call) -> Response:
        bucket = self._find(call, "storage.buckets.delete")
        from_query(call.query).check(bucket)
        if not self._catalogue.is_empty(bucket["name"]):
            raise ApiError(409, "ABORTED", "The bucket you tried to delete is not empty.", "conflict")
        with self._catalogue.store.transaction():
            self._catalogue.store.delete(BUCKET, bucket["name"])
            self._storage.cloud.iam.delete_policy(f"buckets/{bucket['name']}")
        return Response(status_code=204)

    async def lock_retention(self, call: Call) -> dict[str, Any]:
        bucket = self._find(call, "storage.buckets.update")
        from_query(call.query).check(bucket)
        if "retentionPolicy" not in bucket:
            raise bad("The bucket has no retention policy to lock.")
        return self._change(call, bucket, {"retentionPolicy": {**bucket["retentionPolicy"], "isLocked": True}})

    async def layout(self, call: Call) -> dict[str, Any]:
        bucket = self._catalogue.bucket(params(call)["bucket"])
        self._access.require(call.principal, "storage.objects.list", bucket["name"])
        return {
            "kind": "storage#storageLayout",
            "bucket": bucket["name"],
            "location": bucket["location"],
            "locationType": bucket["locationType"],
            "hierarchicalNamespace": bucket.get("hierarchicalNamespace", {"enabled": False}),
        }


def merged(current: Any, change: Any) -> Any:
    """RFC 7396 merge patch."""
    if not isinstance(change, dict):
        return change
    base = dict(current) if isinstance(current, dict) else {}
    for key, value in change.items():
        if value is None:
            base.pop(key, None)
        else:
            base[key] = merged(base.get(key), value)
    return base


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _taken(*, own: bool) -> ApiError:
    message = (
        "Your previous request to create the named bucket succeeded and you already own it."
        if own
        else "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
        "Please select a different name and try again."
    )
    return ApiError(409, "ALREADY_EXISTS", message, "conflict")


def resource(base: str, bucket: Record) -> dict[str, Any]:
    """storage#bucket."""
    return {
        "kind": "storage#bucket",
        "id": bucket["name"],
        "selfLink": names.bucket_link(base, bucket["name"]),
        "etag": names.etag(bucket["generation"], bucket["metageneration"]),
        **{key: value for key, value in bucket.items() if key != "project"},
    }


def params(call: Call) -> dict[str, str]:
    """Names as they stand in the path; the shell's may have a project number in them replaced by its id."""
    found = call.method.match(raw_path(call.request))
    assert found is not None  # noqa: S101 - the shell matched the same path
    return found
