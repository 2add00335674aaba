"""What a bucket's fields must be, and what the cloud makes of them: checks, defaults, times of its own."""

import re
from typing import Any

from localcloud.clock import parse_rfc3339
from localcloud.errors import ApiError
from localcloud.storage import names
from localcloud.storage.catalogue import Record, milliseconds
from localcloud.storage.problems import bad

LOCK_DAYS = 90
"""After that uniform bucket-level access cannot be switched off, https://cloud.google.com/storage/docs/uniform-bucket-level-access (2026-11)."""
PUBLIC_ACCESS = ("inherited", "unspecified", "enforced")
LIFECYCLE_ACTIONS = ("Delete", "SetStorageClass", "AbortIncompleteMultipartUpload")


def settled(bucket: Record, before: Record | None, now: float) -> Record:
    """`bucket` checked, and with what the cloud itself fills in; `before` is what it was, None for a new one. Raises ApiError."""
    bucket["storageClass"] = names.check_storage_class(bucket.get("storageClass") or "STANDARD")
    if "labels" in bucket:
        bucket["labels"] = {key: value for key, value in bucket["labels"].items() if value is not None}
        names.check_labels(bucket["labels"])
        if not bucket["labels"]:
            del bucket["labels"]
    if "lifecycle" in bucket and not bucket["lifecycle"].get("rule"):
        del bucket["lifecycle"]
    for rule in bucket.get("lifecycle", {}).get("rule", []):
        _check_rule(rule)
    bucket["iamConfiguration"] = _iam_configuration(bucket.get("iamConfiguration") or {}, before, now)
    _settle_times(bucket, before, milliseconds(now))
    return bucket


def _iam_configuration(given: dict[str, Any], before: Record | None, now: float) -> dict[str, Any]:
    prevention = given.get("publicAccessPrevention") or "inherited"
    if prevention not in PUBLIC_ACCESS:
        raise bad(f"Invalid value for publicAccessPrevention: '{prevention}'")
    uniform = given.get("uniformBucketLevelAccess") or given.get("bucketPolicyOnly") or {}
    old = before["iamConfiguration"]["uniformBucketLevelAccess"] if before else {"enabled": False}
    made: dict[str, Any] = {"enabled": bool(uniform.get("enabled"))}
    if made["enabled"]:
        locked = old.get("lockedTime") or milliseconds(now + LOCK_DAYS * 86_400)
        made["lockedTime"] = locked
    elif old["enabled"] and parse_rfc3339(str(old["lockedTime"])) <= now:
        raise bad("Uniform bucket-level access was enabled over 90 days ago and cannot be disabled.")
    prevention = "inherited" if prevention == "unspecified" else prevention
    return {"bucketPolicyOnly": made, "uniformBucketLevelAccess": made, "publicAccessPrevention": prevention}


def _settle_times(bucket: Record, before: Record | None, now: str) -> None:
    for key, field in (("softDeletePolicy", "retentionDurationSeconds"), ("retentionPolicy", "retentionPeriod")):
        if key not in bucket:
            continue
        old = (before or {}).get(key, {})
        policy = dict(bucket[key])
        if old.get("isLocked") and int(policy.get(field, 0)) < int(old[field]):
            raise ApiError(403, "PERMISSION_DENIED", "A locked retention policy cannot be shortened.", "forbidden")
        same = old.get(field) == policy.get(field)
        bucket[key] = {
            **policy,
            field: str(policy.get(field, "0")),
            "effectiveTime": old.get("effectiveTime", now) if same else now,
        }
    if (before or {}).get("retentionPolicy", {}).get("isLocked") and "retentionPolicy" not in bucket:
        raise ApiError(403, "PERMISSION_DENIED", "A locked retention policy cannot be removed.", "forbidden")


def _check_rule(rule: dict[str, Any]) -> None:
    action = rule.get("action", {})
    if action.get("type") not in LIFECYCLE_ACTIONS:
        raise bad(f"Invalid lifecycle action: '{action.get('type')}'")
    if action["type"] == "SetStorageClass":
        names.check_storage_class(action.get("storageClass", ""))
    if not rule.get("condition"):
        raise bad("A lifecycle rule must have at least one condition.")
    age = rule["condition"].get("age")
    if age is not None and not re.fullmatch(r"\d+", str(age)):
        raise bad(f"Invalid lifecycle age: {age}")
