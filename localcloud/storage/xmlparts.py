"""Multipart uploads of the XML API: parts that arrive in any order, several at once, and become one object.

https://cloud.google.com/storage/docs/multipart-uploads (2026-11)
"""

import base64
import os
import uuid
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from starlette.responses import Response

from localcloud.errors import ApiError
from localcloud.identity import Principal
from localcloud.shell import read_body
from localcloud.storage import names, records, xmltext
from localcloud.storage.blobs import Content
from localcloud.storage.conditions import Conditions, from_dict, from_headers
from localcloud.storage.engine import Storage, Target
from localcloud.storage.problems import bad
from localcloud.storage.requests import Ask
from localcloud.storage.xmltext import tag

UPLOAD = "storage.mpu"
PART = "storage.part"
MAX_PARTS = 10_000
KEEP_S = 7 * 24 * 3600
Upload = dict[str, Any]


class MultipartUploads:
    """Documents: one per upload, one per part (`ID/00042`). Each part's bytes are a blob of their own."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._store = storage.cloud.store

    async def handle(self, ask: Ask, bucket: str, name: str) -> Response:
        method, query = ask.request.method, ask.query
        self._storage.catalogue.bucket(bucket)
        if "uploads" in query and method == "POST":
            return self._start(ask, bucket, name)
        upload_id = query.get("uploadId", "")
        upload = self._find(upload_id, bucket, name)
        if method == "PUT":
            return await self._take(ask, upload_id, upload)
        if method == "POST":
            return await self._complete(ask, upload_id, upload)
        if method == "DELETE":
            self._require(ask, "storage.multipartUploads.abort", bucket, name)
            self._forget(upload_id)
            return Response(status_code=204)
        if method == "GET":
            self._require(ask, "storage.multipartUploads.listParts", bucket, name)
            return self._list_parts(upload_id, bucket, name)
        raise ApiError(
            405, "UNIMPLEMENTED", "The specified method is not allowed against this resource.", "MethodNotAllowed"
        )

    def _require(self, ask: Ask, permission: str, bucket: str, name: str | None) -> None:
        self._storage.access.require(ask.principal, permission, bucket, name)

    def _find(self, upload_id: str, bucket: str, name: str) -> Upload:
        upload = self._store.get(UPLOAD, upload_id) if upload_id else None
        if upload is None or (upload["bucket"], upload["name"]) != (bucket, name):
            raise ApiError(404, "NOT_FOUND", "The requested upload was not found.", "notFound")
        return upload

    def _parts(self, upload_id: str) -> list[tuple[int, dict[str, Any]]]:
        return [(int(key.rpartition("/")[2]), part) for key, part in self._store.list(PART, prefix=f"{upload_id}/")]

    def _start(self, ask: Ask, bucket: str, name: str) -> Response:
        names.check_object(name)
        self._require(ask, "storage.multipartUploads.create", bucket, name)
        self._require(ask, "storage.objects.create", bucket, name)
        upload_id = uuid.uuid4().hex
        upload = {
            "bucket": bucket,
            "name": name,
            "member": ask.principal.member,
            "given": records.from_headers(ask.request.headers),
            "conditions": asdict(from_headers(ask.request.headers)),
            "created": self._storage.cloud.clock.now(),
            "initiated": self._storage.catalogue.now(),
        }
        self._store.put(UPLOAD, upload_id, upload)
        return _xml(
            "InitiateMultipartUploadResult", tag("Bucket", bucket) + tag("Key", name) + tag("UploadId", upload_id)
        )

    async def _take(self, ask: Ask, upload_id: str, upload: Upload) -> Response:
        text = ask.query.get("partNumber", "")
        if not text.isdecimal() or not 1 <= int(text) <= MAX_PARTS:
            raise bad(f"partNumber must be 1 to {MAX_PARTS}, got {text!r}", "InvalidArgument")
        self._require(ask, "storage.multipartUploads.create", upload["bucket"], upload["name"])
        self._require(ask, "storage.objects.create", upload["bucket"], upload["name"])
        writer = self._storage.blobs.create()
        try:
            async for chunk in ask.request.stream():
                await writer.write(chunk)
        except BaseException:
            await writer.discard()
            raise
        content = await writer.finish()
        try:
            records.check_hashes(records.claimed_hashes(ask.request.headers, {}), content)
            self._find(upload_id, upload["bucket"], upload["name"])  # it may have ended while the bytes came in
        except ApiError:
            self._storage.blobs.drop([content.blob])
            raise
        key = f"{upload_id}/{int(text):05d}"
        before = self._store.get(PART, key)
        self._store.put(PART, key, {**asdict(content), "modified": self._storage.catalogue.now()})
        self._storage.blobs.drop([before["blob"]] if before else [])
        hashes = f"crc32c={content.crc32c},md5={content.md5}"
        return Response(status_code=200, headers={"etag": f'"{etag_of(content.md5)}"', "x-goog-hash": hashes})

    async def _complete(self, ask: Ask, upload_id: str, upload: Upload) -> Response:
        bucket, name = upload["bucket"], upload["name"]
        self._require(ask, "storage.multipartUploads.create", bucket, name)
        have = dict(self._parts(upload_id))
        chosen = [self._chosen(have, number, etag) for number, etag in parse_parts(await read_body(ask.request))]
        now = from_headers(ask.request.headers)
        conditions = now if now != Conditions() else from_dict(upload["conditions"])
        target = Target(
            bucket=bucket,
            name=name,
            principal=Principal(upload["member"]),
            conditions=conditions,
            given=upload["given"],
        )
        self._storage.check_write(target)
        fds = [self._storage.blobs.open(part["blob"]) for part in chosen]
        try:
            content: Content = await self._storage.blobs.join(fds)
        finally:
            for fd in fds:
                os.close(fd)
        spent: list[str] = []
        record = self._storage.commit(
            target, content, parts=len(chosen), also=lambda record: spent.extend(self._take_out(upload_id))
        )
        self._storage.blobs.drop(spent)
        place = f"{ask.base}/{bucket}/{name}"
        etag = f'"{records.xml_etag(record)}"'
        answer = _xml(
            "CompleteMultipartUploadResult",
            tag("Location", place) + tag("Bucket", bucket) + tag("Key", name) + tag("ETag", etag),
        )
        answer.headers["x-goog-generation"] = record["generation"]
        answer.headers["x-goog-hash"] = records.hash_header(record)
        return answer

    @staticmethod
    def _chosen(have: dict[int, dict[str, Any]], number: int, etag: str) -> dict[str, Any]:
        part = have.get(number)
        if part is None or etag.strip('"') != etag_of(part["md5"]):
            raise bad(f"Part {number} could not be found, or its entity tag does not match.", "InvalidPart")
        return part

    def _list_parts(self, upload_id: str, bucket: str, name: str) -> Response:
        rows = "".join(
            f"<Part>{tag('PartNumber', str(number))}{tag('LastModified', part['modified'])}"
            f"{tag('ETag', escape(etag_of(part['md5'])))}{tag('Size', str(part['size']))}</Part>"
            for number, part in self._parts(upload_id)
        )
        head = tag("Bucket", bucket) + tag("Key", name) + tag("UploadId", upload_id) + tag("IsTruncated", "false")
        return _xml("ListPartsResult", head + rows)

    def list_uploads(self, ask: Ask, bucket: str) -> Response:
        self._require(ask, "storage.multipartUploads.list", bucket, None)
        found = [(key, upload) for key, upload in self._store.list(UPLOAD) if upload["bucket"] == bucket]
        rows = "".join(
            f"<Upload>{tag('Key', upload['name'])}{tag('UploadId', key)}{tag('Initiated', upload['initiated'])}</Upload>"
            for key, upload in found
        )
        return _xml("ListMultipartUploadsResult", tag("Bucket", bucket) + tag("IsTruncated", "false") + rows)

    def _forget(self, upload_id: str) -> None:
        with self._store.transaction():
            blobs = self._take_out(upload_id)
        self._storage.blobs.drop(blobs)

    def _take_out(self, upload_id: str) -> list[str]:
        """Deletes the documents of an upload. Returns its blobs, to be dropped once that is certain."""
        parts = self._parts(upload_id)
        self._store.delete(UPLOAD, upload_id)
        for number, _ in parts:
            self._store.delete(PART, f"{upload_id}/{number:05d}")
        return [part["blob"] for _, part in parts]

    def blobs(self) -> set[str]:
        return {part["blob"] for _, part in self._store.list(PART)}

    def expire(self, limit: int) -> int:
        """Aborts uploads older than a week, at most `limit`. Returns how many."""
        horizon = self._storage.cloud.clock.now() - KEEP_S
        return self._abort([key for key, upload in self._store.list(UPLOAD) if upload["created"] < horizon][:limit])

    def abort_older(self, bucket: str, age_days: float) -> int:
        """What a lifecycle rule AbortIncompleteMultipartUpload asks for. Returns how many."""
        horizon = self._storage.cloud.clock.now() - age_days * 86400
        uploads = self._store.list(UPLOAD)
        return self._abort(
            [key for key, upload in uploads if upload["bucket"] == bucket and upload["created"] < horizon]
        )

    def _abort(self, upload_ids: list[str]) -> int:
        for upload_id in upload_ids:
            self._forget(upload_id)
        return len(upload_ids)


def _xml(root: str, body: str) -> Response:
    return xmltext.xml(root, body, xmltext.MULTIPART)


def etag_of(md5: str) -> str:
    """A part's entity tag: its MD5 in hexadecimal."""
    return base64.b64decode(md5).hex()


def parse_parts(body: bytes) -> list[tuple[int, str]]:
    """(number, entity tag) in the order given. Raises ApiError 400 unless the numbers rise."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise bad("The XML must not declare entities.", "MalformedCompleteMultipartUploadRequest")
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - loopback, size bounded, no entities
        parts = [
            (int(part.findtext("{*}PartNumber") or ""), part.findtext("{*}ETag") or "")
            for part in root.iterfind("{*}Part")
        ]
    except (ElementTree.ParseError, ValueError):
        raise bad("The XML you provided was not well-formed.", "MalformedCompleteMultipartUploadRequest") from None
    numbers = [number for number, _ in parts]
    if not parts or numbers != sorted(set(numbers)):
        raise bad("Part numbers must be given, each once, in ascending order.", "InvalidPartOrder")
    return parts
