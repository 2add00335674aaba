"""Uploads of the JSON API: media, multipart, resumable.

https://cloud.google.com/storage/docs/uploads-downloads (2026-11)
"""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from localcloud.errors import ApiError
from localcloud.shell import JsonResponse, read_json
from localcloud.storage import names, records
from localcloud.storage.blobs import Content
from localcloud.storage.conditions import Conditions, from_query
from localcloud.storage.engine import Storage, Target
from localcloud.storage.framing import Parts, boundary_of
from localcloud.storage.problems import bad
from localcloud.storage.requests import Ask
from localcloud.storage.sessions import QUANTUM, Chunk, Session, Sessions, parse_range


class Uploads:
    def __init__(self, storage: Storage, sessions: Sessions) -> None:
        self._storage = storage
        self._sessions = sessions

    async def handle(self, ask: Ask, bucket: str) -> Response:
        """Any request below /upload/storage/v1/b/BUCKET/o."""
        upload_id = ask.query.get("upload_id")
        if upload_id:
            return await self.go_on(ask, upload_id)
        kind = ask.query.get("uploadType", "")
        if ask.request.method not in ("POST", "PUT"):
            raise ApiError(405, "UNIMPLEMENTED", "Method not allowed.", "methodNotAllowed")
        if kind == "media":
            return await self.media(ask, bucket)
        if kind == "multipart":
            return await self.multipart(ask, bucket)
        if kind == "resumable":
            return await self.start(ask, bucket)
        raise bad(
            "Upload requests must include an uploadType URL parameter and a URL path beginning with /upload/",
            "wrongUrlForUpload",
        )

    def _target(self, ask: Ask, bucket: str, given: dict[str, Any]) -> Target:
        given = {**given}
        name = names.check_object(given.pop("name", None) or ask.query.get("name"))
        if ask.query.get("contentEncoding"):
            given["contentEncoding"] = ask.query["contentEncoding"]
        if ask.query.get("kmsKeyName"):
            given["kmsKeyName"] = ask.query["kmsKeyName"]
        target = Target(bucket=bucket, name=name, principal=ask.principal, conditions=conditions(ask), given=given)
        home = self._storage.check_write(target)
        acl = ask.query.get("predefinedAcl") or given.get("acl")
        if acl and home["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"]:
            raise bad(
                "Cannot insert legacy ACL for an object when uniform bucket-level access is enabled. "
                "Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access"
            )
        return target

    async def media(self, ask: Ask, bucket: str) -> Response:
        """The body is the object."""
        request = ask.request
        given = {"contentType": request.headers["content-type"]} if request.headers.get("content-type") else {}
        target = self._target(ask, bucket, given)
        record = await self.store(target, request.stream(), records.claimed_hashes(request.headers, {}))
        return self._answer(ask, record)

    async def multipart(self, ask: Ask, bucket: str) -> Response:
        """One part with the object's resource, one with its bytes."""
        request = ask.request
        content_type = request.headers.get("content-type", "")
        if not content_type.lower().startswith("multipart/"):
            raise bad(f"Bad content type '{content_type}': a multipart upload needs multipart/related.", "badContent")
        parts = Parts(request.stream(), boundary_of(content_type))
        await parts.begin()
        await parts.headers()
        text, more = await parts.body()
        if not more:
            raise bad("Multipart upload must contain two parts.", "badContent")
        given = parse_resource(text)
        headers = await parts.headers()
        if not given.get("contentType") and headers.get("content-type"):
            given["contentType"] = headers["content-type"]
        target = self._target(ask, bucket, given)
        record = await self.store(target, parts.stream(), records.claimed_hashes(request.headers, given))
        return self._answer(ask, record)

    async def store(self, target: Target, chunks: AsyncIterator[bytes], claimed: dict[str, str]) -> dict[str, Any]:
        """Takes the bytes to disk and makes them the object."""
        writer = self._storage.blobs.create()
        try:
            async for chunk in chunks:
                await writer.write(chunk)
        except BaseException:
            await writer.discard()
            raise
        content = await writer.finish()
        self._verify(claimed, content)
        return self._storage.commit(target, content)

    def _verify(self, claimed: dict[str, str], content: Content) -> None:
        try:
            records.check_hashes(claimed, content)
        except ApiError:
            self._storage.blobs.drop([content.blob])
            raise

    # --- resumable ------------------------------------------------------------------------------------------------

    async def start(self, ask: Ask, bucket: str) -> Response:
        """Opens a session and says where its bytes go."""
        headers = ask.request.headers
        given = await read_json(ask.request)
        if not isinstance(given, dict):
            raise bad("The body of a resumable upload's first request must be an object resource.", "parseError")
        kind = headers.get("x-upload-content-type")
        if kind and not given.get("contentType"):
            given["contentType"] = kind
        target = self._target(ask, bucket, given)
        length = headers.get("x-upload-content-length", "")
        upload_id = self._sessions.open(
            target, records.claimed_hashes(headers, given), int(length) if length.isdecimal() else None
        )
        name = quote(target.name, safe="")
        location = f"{ask.base}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name={name}&upload_id={upload_id}"
        return Response(status_code=200, headers={"location": location, "x-guploader-uploadid": upload_id})

    async def go_on(self, ask: Ask, upload_id: str) -> Response:
        """A chunk, a question how far it got, or a cancel. The session's address is all the authority it needs."""
        request = ask.request
        async with self._sessions.locked(upload_id):
            session = self._sessions.get(upload_id)
            if request.method == "DELETE":
                await self._sessions.cancel(upload_id, session)
                return Response(status_code=499, headers={"x-guploader-uploadid": upload_id})
            if session["state"] == "done":
                return self._answer(ask, session["record"])
            chunk = parse_range(request.headers.get("content-range"))
            try:
                return await self._advance(ask, upload_id, session, chunk)
            except OSError:  # a full disk: what the file holds is what counts from now on
                await self._sessions.let_go(upload_id)
                raise

    async def _advance(self, ask: Ask, upload_id: str, session: Session, chunk: Chunk) -> Response:
        request = ask.request
        writer = await self._sessions.writer(upload_id, session)
        total = chunk.total if chunk.total is not None else session["total"]
        if session["total"] is not None and chunk.total not in (None, session["total"]):
            raise bad(f"The upload was announced with {session['total']} bytes, not {chunk.total}.")
        if chunk.start is not None:
            await self._take(request, chunk, writer)
        elif chunk.total is None or chunk.total != writer.size:
            return self._incomplete(request, upload_id, writer.size)
        ends = chunk.start is None or chunk.final or (total is not None and writer.size == total)
        if not ends:
            return self._incomplete(request, upload_id, writer.size)
        return await self._finish(ask, upload_id, session, total)

    async def _take(self, request: Request, chunk: Chunk, writer: Any) -> None:
        """Appends what is new of a chunk; of one that breaks off, the whole quanta."""
        assert chunk.start is not None  # noqa: S101 - the caller asks only then
        if chunk.start > writer.size:
            raise bad(f"The chunk starts at byte {chunk.start}, but only {writer.size} bytes are stored.", "badContent")
        at, known = chunk.start, chunk.end
        try:
            async for data in request.stream():
                if known is not None and at + len(data) > known:
                    raise bad(f"The body is longer than its Content-Range says ({known - chunk.start} bytes).")
                new = data[max(0, writer.size - at) :]
                at += len(data)
                if new:
                    await writer.write(new)
        except (ClientDisconnect, ApiError):
            await writer.flush(QUANTUM)
            raise
        if known is not None and at < known:
            await writer.flush(QUANTUM)
            raise bad(f"The body ends after {at - chunk.start} bytes, its Content-Range says {known - chunk.start}.")
        if not chunk.final:
            await writer.flush(QUANTUM)
            if at - chunk.start < QUANTUM:
                raise bad(
                    "Invalid request. According to the Content-Range header, the number of bytes uploaded is required to be "
                    f"equal or greater than {QUANTUM}, except for the final request (it's recommended to be the exact "
                    f"multiple of {QUANTUM}). The received request contained {at - chunk.start} bytes, which does not meet "
                    "this requirement."
                )

    async def _finish(self, ask: Ask, upload_id: str, session: Session, total: int | None) -> Response:
        writer = await self._sessions.writer(upload_id, session)
        if total is not None and writer.size != total:
            await writer.flush(QUANTUM)
            raise bad(f"The upload ends after {writer.size} bytes, but {total} were announced.")
        content = await self._sessions.take(upload_id).finish()
        try:
            self._verify({**session["claimed"], **records.claimed_hashes(ask.request.headers, {})}, content)
            record = self._storage.commit(
                self._sessions.target(session),
                content,
                also=lambda record: self._sessions.finished(upload_id, session, record),
            )
        except ApiError:
            await self._sessions.drop(upload_id)
            raise
        return self._answer(ask, record)

    @staticmethod
    def _incomplete(request: Request, upload_id: str, size: int) -> Response:
        """308, or 200 that says 308 in a header for clients whose HTTP library would follow it."""
        headers = {"x-guploader-uploadid": upload_id}
        if size:
            headers["range"] = f"bytes=0-{size - 1}"
        if request.headers.get("x-guploader-no-308", "").lower() == "yes":
            headers["x-http-status-code-override"] = "308"
            return Response(status_code=200, headers=headers)
        return Response(status_code=308, headers=headers)

    @staticmethod
    def _answer(ask: Ask, record: dict[str, Any]) -> Response:
        made = records.resource(ask.base, record)
        headers = {
            "x-goog-hash": records.hash_header(record),
            "x-goog-generation": record["generation"],
            "etag": made["etag"],
        }
        return JsonResponse(ask.select(made), headers=headers)


def conditions(ask: Ask) -> Conditions:
    return from_query(ask.query)


def parse_resource(text: bytes) -> dict[str, Any]:
    """Raises ApiError 400 unless the text is a JSON object, or empty."""
    try:
        given = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise bad(f"Metadata part is not valid JSON: {error}", "parseError") from None
    if not isinstance(given, dict):
        raise bad("Metadata part must be a JSON object.", "parseError")
    return given
