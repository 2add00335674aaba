"""Objects of the JSON API: metadata, lists, deletes, copies, compositions.

https://cloud.google.com/storage/docs/json_api/v1/objects (2026-11)
"""

import os
from typing import Any

from starlette.responses import Response

from localcloud.errors import ApiError
from localcloud.shell import Api, Call, read_json
from localcloud.storage import downloads, listing, names, records
from localcloud.storage.buckets import params
from localcloud.storage.catalogue import Record
from localcloud.storage.conditions import NotModified, check_etags, from_query, not_met, number
from localcloud.storage.engine import Storage, Target
from localcloud.storage.problems import bad, no_object
from localcloud.storage.requests import base_url

MAX_SOURCES = 32
"""Objects of one composition, https://cloud.google.com/storage/docs/composite-objects (2026-11)."""


class Objects:
    def __init__(self, storage: Storage, api: Api) -> None:
        self._storage = storage
        self._catalogue = storage.catalogue
        for verb, handler in (("list", self.list_), ("delete", self.delete), ("testIamPermissions", self.test)):
            api.method(f"storage.objects.{verb}")(handler)
        api.method("storage.objects.get")(self.get)
        api.method("storage.objects.insert", raw=True)(self.insert)
        api.method("storage.objects.patch", raw=True)(self.patch)
        api.method("storage.objects.update", raw=True)(self.update)
        api.method("storage.objects.compose")(self.compose)
        for verb in ("copy", "rewrite", "move"):
            api.method(f"storage.objects.{verb}", raw=True)(self.copy)

    async def insert(self, call: Call) -> dict[str, Any]:
        raise bad(
            "Upload requests must include an uploadType URL parameter and a URL path beginning with /upload/",
            "wrongUrlForUpload",
        )

    async def get(self, call: Call) -> dict[str, Any] | Response:
        """The resource, or with alt=media the bytes."""
        media = call.request.query_params.get("alt") == "media"
        try:
            record = self._read(call, "storage.objects.get")
            check_etags(call.request.headers, names.etag(record["generation"], record["metageneration"]))
            if media:
                return downloads.serve(self._storage.blobs, call.request, record, xml=False)
        except NotModified:
            return Response(status_code=304)
        except ApiError as error:
            if media:
                return downloads.plain_error(error)
            raise
        return records.resource(base_url(call.request), record)

    def _read(self, call: Call, permission: str) -> Record:
        path = params(call)
        return self._storage.read(
            call.principal, path["bucket"], path["object"],
            generation=number(call.query, "generation"), conditions=from_query(call.query), permission=permission,
        )  # fmt: skip

    async def list_(self, call: Call) -> dict[str, Any]:
        bucket = self._catalogue.bucket(params(call)["bucket"])["name"]
        self._storage.access.require(call.principal, "storage.objects.list", bucket)
        query = call.query
        limit = int(query.get("maxResults") or listing.MAX_RESULTS)
        if limit < 0:
            raise bad(f"Invalid value for maxResults: {limit}")
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if query.get("softDeleted"):
            return answer
        page = listing.page(
            self._catalogue,
            listing.Listing(
                bucket=bucket,
                prefix=query.get("prefix") or "",
                delimiter=query.get("delimiter") or "",
                start=query.get("startOffset") or "",
                end=query.get("endOffset") or "",
                glob=query.get("matchGlob") or "",
                after=listing.from_token(query["pageToken"]) if query.get("pageToken") else "",
                limit=min(limit or listing.MAX_RESULTS, listing.MAX_RESULTS),
                trailing=bool(query.get("includeTrailingDelimiter")),
                versions=bool(query.get("versions")),
            ),
        )
        base = base_url(call.request)
        if page.items:
            answer["items"] = [records.resource(base, record) for record in page.items]
        if page.prefixes:
            answer["prefixes"] = page.prefixes
        if page.last:
            answer["nextPageToken"] = listing.token(page.last)
        return answer

    async def patch(self, call: Call) -> dict[str, Any]:
        return await self._change(call, records.patched)

    async def update(self, call: Call) -> dict[str, Any]:
        return await self._change(call, records.replaced)

    async def _change(self, call: Call, change: Any) -> dict[str, Any]:
        given = await read_json(call.request)
        if not isinstance(given, dict):
            raise bad("The body must be an object resource.", "parseError")
        try:
            current = self._read(call, "storage.objects.update")
        except NotModified:  # of a change too, what does not hold is 412
            raise not_met() from None
        changed = self._storage.change(current, change(current, given))
        return records.resource(base_url(call.request), changed)

    async def delete(self, call: Call) -> Response:
        path = params(call)
        self._storage.delete(
            call.principal, path["bucket"], path["object"], number(call.query, "generation"), from_query(call.query)
        )
        return Response(status_code=204)

    async def test(self, call: Call) -> dict[str, Any]:
        path = params(call)
        self._catalogue.bucket(path["bucket"])
        asked = call.query.get("permissions") or []
        allowed = self._storage.access.allowed
        held = [item for item in asked if allowed(call.principal, item, path["bucket"], path["object"])]
        return {"kind": "storage#testIamPermissionsResponse", **({"permissions": held} if held else {})}

    # --- copies ---------------------------------------------------------------------------------------------------

    async def copy(self, call: Call) -> dict[str, Any]:
        """copy, rewrite (always in one step) and move."""
        path, query = params(call), call.query
        verb = call.method.id.rpartition(".")[2]
        given = await read_json(call.request)
        if not isinstance(given, dict):
            raise bad("The body must be an object resource.", "parseError")
        source_bucket = path.get("sourceBucket") or path["bucket"]
        if verb == "move":
            self._storage.access.require(call.principal, "storage.objects.move", source_bucket, path["sourceObject"])
        source = self._source(call, source_bucket, path["sourceObject"], verb)
        target = Target(
            bucket=path.get("destinationBucket") or path["bucket"],
            name=names.check_object(path["destinationObject"]),
            principal=call.principal,
            conditions=from_query(query),
            given={
                key: given[key]
                for key in (*records.WRITABLE, "storageClass", "kmsKeyName")
                if given.get(key) is not None
            },
        )
        if query.get("destinationKmsKeyName"):
            target.given["kmsKeyName"] = query["destinationKmsKeyName"]
        record = await self._storage.copy(source, target)
        if verb == "move" and (moved := self._catalogue.find(source_bucket, source["name"], int(source["generation"]))):
            self._storage.remove(self._catalogue.bucket(source_bucket), moved)
        made = records.resource(base_url(call.request), record)
        if verb != "rewrite":
            return made
        size = record["size"]
        return {
            "kind": "storage#rewriteResponse", "totalBytesRewritten": size, "objectSize": size, "done": True, "resource": made,
        }  # fmt: skip

    def _source(self, call: Call, bucket: str, name: str, verb: str) -> Record:
        try:
            return self._storage.read(
                call.principal, bucket, name,
                generation=number(call.query, "sourceGeneration"),
                conditions=from_query(call.query, source=True),
                permission="storage.objects.move" if verb == "move" else "storage.objects.get",
            )  # fmt: skip
        except NotModified:
            raise not_met() from None

    async def compose(self, call: Call) -> dict[str, Any]:
        path, body = params(call), call.body
        bucket = path["destinationBucket"]
        sources = body.get("sourceObjects", [])
        if not 1 <= len(sources) <= MAX_SOURCES:
            raise bad(f"The number of source components provided ({len(sources)}) must be 1 to {MAX_SOURCES}.")
        given = body.get("destination", {})
        target = Target(
            bucket=bucket,
            name=names.check_object(path["destinationObject"]),
            principal=call.principal,
            conditions=from_query(call.query),
            given={key: given[key] for key in (*records.WRITABLE, "storageClass") if given.get(key) is not None},
        )
        self._storage.check_write(target)
        found = [self._component(call, bucket, source) for source in sources]
        if "contentType" not in target.given:
            target.given["contentType"] = found[0]["contentType"]
        record = await self.join(target, found)
        if body.get("deleteSourceObjects"):
            for source in found:
                self._storage.delete(call.principal, bucket, source["name"], int(source["generation"]), from_query({}))
        return records.resource(base_url(call.request), record)

    def _component(self, call: Call, bucket: str, source: dict[str, Any]) -> Record:
        expected = source.get("objectPreconditions", {}).get("ifGenerationMatch")
        generation = number(source, "generation")
        conditions = from_query({"ifGenerationMatch": expected})
        return self._storage.read(
            call.principal, bucket, source.get("name") or "", generation=generation, conditions=conditions
        )

    async def join(self, target: Target, sources: list[Record]) -> Record:
        """One object of the bytes of several."""
        fds: list[int] = []
        try:
            for source in sources:
                try:
                    fds.append(self._storage.blobs.open(source["blob"]))
                except FileNotFoundError:
                    raise no_object(source["bucket"], source["name"]) from None
            content = await self._storage.blobs.join(fds)
        finally:
            for fd in fds:
                os.close(fd)
        return self._storage.commit(target, content, parts=sum(source.get("componentCount", 1) for source in sources))
