"""What buckets, objects, labels and locations may be called, and the addresses made of their names.

https://cloud.google.com/storage/docs/buckets#naming, /objects#naming, /locations (2026-11)
"""

import base64
import ipaddress
import re
from typing import Any
from urllib.parse import quote

from localcloud.storage.problems import bad, required

BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]*[a-z0-9]")
LABEL_KEY = re.compile(r"[a-z\u00df-\uffff][\w-]{0,62}")
REGION = re.compile(r"[A-Z]+-[A-Z]+\d+")
MULTI_REGIONS = frozenset({"US", "EU", "ASIA"})
DUAL_REGIONS = frozenset({"ASIA1", "EUR4", "EUR5", "EUR7", "EUR8", "NAM4"})
STORAGE_CLASSES = frozenset(
    {"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY"}
)
MAX_NAME_BYTES = 1024


def check_bucket(name: str) -> str:
    """Raises ApiError 400 for a name that the cloud refuses."""
    parts = name.split(".")
    long = len(name) > (222 if len(parts) > 1 else 63) or any(len(part) > 63 or not part for part in parts)
    if (
        not BUCKET.fullmatch(name)
        or len(name) < 3
        or long
        or name.startswith("goog")
        or "google" in name
        or _is_ip(name)
    ):
        raise bad(f"Invalid bucket name: '{name}'")
    return name


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def check_object(name: str | None) -> str:
    """Raises ApiError 400 for a name that is missing, too long, or that no object may have."""
    if not name:
        raise required("name")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise bad(
            f"The maximum object length is {MAX_NAME_BYTES} characters, but got a name with {len(name.encode())} characters: ''{name[:64]}...''"
        )
    if name in (".", "..") or any(char in name for char in "\r\n\0") or name.startswith(".well-known/acme-challenge/"):
        raise bad(f"Disallowed unicode characters present in object name '{name}'")
    return name


def check_location(location: str) -> str:
    """The location in upper case, as the cloud answers it. Raises ApiError 400 for one of another shape."""
    upper = location.upper()
    if upper in MULTI_REGIONS or upper in DUAL_REGIONS or REGION.fullmatch(upper):
        return upper
    raise bad("The specified location constraint is not valid.")


def location_type(location: str) -> str:
    if location in MULTI_REGIONS:
        return "multi-region"
    return "dual-region" if location in DUAL_REGIONS else "region"


def check_storage_class(name: str) -> str:
    if name not in STORAGE_CLASSES:
        raise bad(f"Invalid storage class: '{name}'")
    return name


def check_labels(labels: dict[str, Any]) -> None:
    """Raises ApiError 400 beyond 64 labels or for a key or value outside the label alphabet."""
    if len(labels) > 64:
        raise bad(f"A bucket may have at most 64 labels, got {len(labels)}")
    for key, value in labels.items():
        text = str(value)
        if not LABEL_KEY.fullmatch(key) or key != key.lower():
            raise bad(f"Invalid label key: '{key}'")
        if len(text) > 63 or text != text.lower() or not re.fullmatch(r"[\w-]*", text):
            raise bad(f"Invalid label value: '{text}'")


def etag(generation: str | int, metageneration: str | int) -> str:
    return base64.b64encode(f"{generation}/{metageneration}".encode()).decode()


def bucket_link(base: str, bucket: str) -> str:
    return f"{base}/storage/v1/b/{bucket}"


def object_link(base: str, bucket: str, name: str) -> str:
    return f"{base}/storage/v1/b/{bucket}/o/{quote(name, safe='')}"


def media_link(base: str, bucket: str, name: str, generation: str) -> str:
    return f"{base}/download/storage/v1/b/{bucket}/o/{quote(name, safe='')}?generation={generation}&alt=media"
