"""storage.Bucket and storage.BucketObject."""

import base64
import hashlib
import json
from typing import Any, Final
from urllib.parse import quote, urlsplit

from localcloud.plugins.contract import PluginError
from localcloud.plugins.gcp import codec
from localcloud.plugins.gcp.crud import Behaviour
from localcloud.plugins.gcp.plan import Plan
from localcloud.plugins.gcp.rest import ApiError
from localcloud.plugins.gcp.target import Target
from localcloud.plugins.values import UNKNOWN, Asset, Plain

LARGEST_OBJECT: Final = 16 * 1024 * 1024
BOUNDARY: Final = "longhaul-stand-in-boundary"
LOOKS_AFTER_CREATE: Final = 20


class Bucket(Behaviour):
    """Buckets: read twice after the create, emptied before the delete if the program says so."""

    def create(self, target: Target, values: Plain) -> Target:
        """Makes the bucket and looks until it is seen."""
        made = super().create(target, values)
        for _ in range(LOOKS_AFTER_CREATE):
            if self.read(made) is not None:
                return made
            made.rest.wait(0.5)
        raise PluginError(f"bucket {made.id} was created but cannot be seen")

    def update_body(self, target: Target, plan: Plan, changed: list[str]) -> Plain:
        """Only what changed; a block that goes is null."""
        body = super().update_body(target, plan, changed)
        if "lifecycle" in body and body["lifecycle"] is None:
            body["lifecycle"] = {"rule": []}
        return body

    def delete(self, target: Target, olds: Plain) -> None:
        """Deletes an empty bucket, or all of it with forceDestroy."""
        try:
            target.call("GET", "b/{id}/anywhereCaches/")
        except ApiError as error:
            if error.code != 404:
                raise PluginError(f"Error listing anywhere caches of bucket {target.id}: {error}") from error
        self._empty(target, bool(olds.get("forceDestroy")))
        super().delete(target, olds)

    def _empty(self, target: Target, force: bool) -> None:
        while True:
            try:
                items = target.call("GET", "b/{id}/o", versions="true").get("items", [])
            except ApiError as error:
                if error.code == 404:
                    return
                raise PluginError(f"Error listing objects of bucket {target.id}: {error}") from error
            if not items:
                return
            if not force:
                raise PluginError(
                    f"Error trying to delete bucket {target.id} containing objects without `force_destroy` set to true"
                )
            for item in items:
                generation = {"generation": str(item["generation"])} if item.get("generation") else {}
                target.call("DELETE", f"b/{{id}}/o/{quote(item['name'], safe='')}", **generation)


class BucketObject(Behaviour):
    """Objects up to 16 MiB, uploaded in one call; the table says what their metadata is."""

    def create(self, target: Target, values: Plain) -> Target:
        """Uploads."""
        made = target.at(target.path(target.row.id))
        try:
            _upload(target, codec.to_api(target.fields, values), _content(values))
        except ApiError as error:
            raise PluginError(f"Error uploading object {values['name']}: {error}") from error
        return made

    def update(self, target: Target, plan: Plan, olds: Plain) -> None:
        """New content is a new upload to the same name."""
        self.create(target, plan.values)

    def values(self, target: Target, body: Plain, prior: Plain) -> Plain:
        """What the API gives; the content is known only from the program."""
        values = super().values(target, body, prior)
        if body.get("md5Hash"):
            values["md5hexhash"] = base64.b64decode(body["md5Hash"]).hex()
        values["detectMd5hash"] = body.get("md5Hash") or ""
        return values


def content_md5(values: Plain) -> Any:
    """MD5 of the content the program gives, as the API states it; UNKNOWN while it is not known."""
    if values.get("content") is UNKNOWN or values.get("source") is UNKNOWN:
        return UNKNOWN
    return base64.b64encode(hashlib.md5(_content(values), usedforsecurity=False).digest()).decode()


def _content(values: Plain) -> bytes:
    source = values.get("source")
    if isinstance(source, Asset):
        try:
            return source.read()
        except OSError as error:
            raise PluginError(f"error in field 'source': {error}") from error
    if source is not None:
        with open(str(source), "rb") as file:
            return file.read()
    return str(values.get("content") or "").encode()


def _upload(target: Target, metadata: Plain, data: bytes) -> None:
    if len(data) > LARGEST_OBJECT:
        raise PluginError(
            f"content: argument must be at most {LARGEST_OBJECT} bytes, got {len(data)}; "
            "this stand-in has no resumable upload: put larger files there by other means"
        )
    base = urlsplit(target.rest.settings.base("storage"))
    bucket = quote(metadata["bucket"], safe="")
    url = f"{base.scheme}://{base.netloc}/upload/storage/v1/b/{bucket}/o"
    content_type = metadata.get("contentType") or "text/plain; charset=utf-8"
    parts = [
        f"--{BOUNDARY}\r\nContent-Type: application/json\r\n\r\n{json.dumps(metadata)}\r\n".encode(),
        f"--{BOUNDARY}\r\nContent-Type: {content_type}\r\n\r\n".encode(),
        data,
        f"\r\n--{BOUNDARY}--\r\n".encode(),
    ]
    target.rest.send(
        "POST",
        "storage",
        url,
        query={"name": metadata["name"], "uploadType": "multipart"},
        content=b"".join(parts),
        headers={"Content-Type": f"multipart/related; boundary={BOUNDARY}"},
        timeout_s=target.timeout_s,
    )
