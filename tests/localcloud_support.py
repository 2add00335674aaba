"""Pushes small images to the registry of the local cloud over plain HTTP."""

import hashlib
import json

import httpx

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def push_blob(base: str, image: str, data: bytes) -> str:
    """One POST and one PUT."""
    place = httpx.post(f"{base}/v2/{image}/blobs/uploads/").headers["location"]
    answer = httpx.put(f"{base}{place}", params={"digest": digest_of(data)}, content=data)
    assert answer.status_code == 201, answer.text
    return digest_of(data)


def manifest_of(config: bytes, layer: bytes) -> bytes:
    parts = [
        {"mediaType": "application/octet-stream", "digest": digest_of(data), "size": len(data)}
        for data in (config, layer)
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": parts[0], "layers": parts[1:]}).encode()


def put_manifest(base: str, image: str, reference: str, manifest: bytes, media_type: str = MANIFEST) -> httpx.Response:
    headers = {"content-type": media_type}
    return httpx.put(f"{base}/v2/{image}/manifests/{reference}", content=manifest, headers=headers)


def push(base: str, image: str, tag: str, layer: bytes = b"layer") -> str:
    """A one-layer image; its digest."""
    config = b'{"created": "2026-11-01T00:00:00Z"}'
    for data in (config, layer):
        push_blob(base, image, data)
    answer = put_manifest(base, image, tag, manifest_of(config, layer))
    assert answer.status_code == 201, answer.text
    return answer.headers["docker-content-digest"]
