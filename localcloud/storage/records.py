"""What an object looks like to a client: the resource of the JSON API, and the headers that go with its bytes."""

import base64
from email.utils import formatdate
from typing import Any

from localcloud.clock import parse_rfc3339
from localcloud.storage.blobs import Content
from localcloud.storage.catalogue import Record
from localcloud.storage.names import check_storage_class, etag, media_link, object_link
from localcloud.storage.problems import bad

WRITABLE = (
    "cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType", "contexts", "customTime",
    "eventBasedHold", "metadata", "retention", "temporaryHold",
)  # fmt: skip
"""What a client may set at any time; storageClass and kmsKeyName only with new bytes."""
XML_HEADERS = {
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "content-type": "contentType",
    "x-goog-storage-class": "storageClass",
    "x-goog-custom-time": "customTime",
}


def record(
    bucket: Record, name: str, given: dict[str, Any], content: Content, *, generation: int, now: str, parts: int | None
) -> Record:
    """The document of a new live generation. `given` is what the client said about it."""
    storage_class = check_storage_class(given.get("storageClass") or bucket["storageClass"])
    made: Record = {
        "bucket": bucket["name"],
        "name": name,
        "generation": str(generation),
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": storage_class,
        "size": str(content.size),
        "crc32c": content.crc32c,
        "timeCreated": now,
        "updated": now,
        "timeFinalized": now,
        "timeStorageClassUpdated": now,
        "blob": content.blob,
    }
    if content.md5:
        made["md5Hash"] = content.md5
    if parts is not None:
        made["componentCount"] = parts
    if bucket.get("defaultEventBasedHold"):
        made["eventBasedHold"] = True
    made.update({key: given[key] for key in (*WRITABLE, "kmsKeyName") if given.get(key) not in (None, "")})
    if "metadata" in made:
        made["metadata"] = check_metadata(made["metadata"])
    return made


def check_metadata(metadata: Any) -> dict[str, str]:
    """Custom metadata as strings. Raises ApiError 400 for anything but a flat object."""
    if not isinstance(metadata, dict) or any(isinstance(value, dict | list) for value in metadata.values()):
        raise bad("Invalid value for metadata: must be an object of strings.")
    return {key: str(value) for key, value in metadata.items() if value is not None}


def patched(current: Record, changes: dict[str, Any]) -> Record:
    """`current` with a merge patch applied: null removes, metadata merges key by key."""
    changed = dict(current)
    for key in WRITABLE:
        if key not in changes:
            continue
        value = changes[key]
        if key == "metadata" and isinstance(value, dict):
            merged = {**changed.get("metadata", {}), **value}
            value = check_metadata(merged) or None
        if value is None:
            changed.pop(key, None)
        else:
            changed[key] = value
    return changed


def replaced(current: Record, given: dict[str, Any]) -> Record:
    """`current` with all writable fields as in `given`, those it lacks removed."""
    return patched(
        {k: v for k, v in current.items() if k not in WRITABLE}, {k: v for k, v in given.items() if v is not None}
    )


def resource(base: str, stored: Record) -> dict[str, Any]:
    """storage#object; `base` is the address the client used."""
    bucket, name, generation = stored["bucket"], stored["name"], stored["generation"]
    shown = {key: value for key, value in stored.items() if key != "blob"}
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{generation}",
        "selfLink": object_link(base, bucket, name),
        "mediaLink": media_link(base, bucket, name, generation),
        "etag": etag(generation, stored["metageneration"]),
        **shown,
    }


def media_headers(stored: Record, *, xml: bool) -> dict[str, str]:
    """Headers of an object's bytes; Content-Length, -Range and -Encoding are the sender's business."""
    quoted = f'"{etag(stored["generation"], stored["metageneration"])}"'
    headers = {
        "content-type": stored["contentType"],
        "etag": quoted,
        "last-modified": formatdate(parse_rfc3339(stored["updated"]), usegmt=True),
        "accept-ranges": "bytes",
        "cache-control": stored.get("cacheControl", "no-cache, no-store, max-age=0, must-revalidate"),
        "x-goog-generation": stored["generation"],
        "x-goog-metageneration": stored["metageneration"],
        "x-goog-hash": hash_header(stored),
        "x-goog-storage-class": stored["storageClass"],
        "x-goog-stored-content-encoding": stored.get("contentEncoding", "identity"),
        "x-goog-stored-content-length": stored["size"],
    }
    for key in ("contentDisposition", "contentLanguage"):
        if key in stored:
            headers[key.replace("contentD", "content-d").replace("contentL", "content-l")] = stored[key]
    if "componentCount" in stored:
        headers["x-goog-component-count"] = str(stored["componentCount"])
    if xml:
        headers.update({f"x-goog-meta-{key}": value for key, value in stored.get("metadata", {}).items()})
    return {key: value.encode().decode("latin-1") for key, value in headers.items()}


def xml_etag(stored: Record) -> str:
    """Of the XML API: the MD5 in hexadecimal, or for composed objects something else that changes with the bytes."""
    if "md5Hash" in stored:
        return base64.b64decode(stored["md5Hash"]).hex()
    return etag(stored["generation"], stored["metageneration"])


def hash_header(stored: Record) -> str:
    hashes = [f"crc32c={stored['crc32c']}"]
    if "md5Hash" in stored:
        hashes.append(f"md5={stored['md5Hash']}")
    return ",".join(hashes)


def from_headers(headers: Any) -> dict[str, Any]:
    """Object fields that an XML request carries in its headers."""
    given: dict[str, Any] = {field: headers[name] for name, field in XML_HEADERS.items() if name in headers}
    prefix = "x-goog-meta-"
    metadata = {name[len(prefix) :]: value for name, value in headers.items() if name.startswith(prefix)}
    if metadata:
        given["metadata"] = metadata
    return given


def claimed_hashes(headers: Any, metadata: dict[str, Any]) -> dict[str, str]:
    """crc32c and md5 that the client says its bytes have: x-goog-hash, Content-MD5, or the object's metadata."""
    claimed: dict[str, str] = {}
    for item in headers.get("x-goog-hash", "").split(","):
        kind, equals, value = item.strip().partition("=")
        if equals and kind in ("crc32c", "md5"):
            claimed[kind] = value
    if headers.get("content-md5"):
        claimed["md5"] = headers["content-md5"]
    for field, kind in (("crc32c", "crc32c"), ("md5Hash", "md5")):
        if metadata.get(field):
            claimed[kind] = metadata[field]
    return claimed


def check_hashes(claimed: dict[str, str], content: Content) -> None:
    """Raises ApiError 400 where the bytes that arrived are not those the client meant."""
    for kind, title, real in (("crc32c", "CRC32C", content.crc32c), ("md5", "MD5 hash", content.md5)):
        if kind in claimed and real and claimed[kind] != real:
            raise bad(f'Provided {title} "{claimed[kind]}" doesn\'t match calculated {title} "{real}".')
