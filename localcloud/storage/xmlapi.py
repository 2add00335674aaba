"""The part of the XML API that clients use: objects, bucket lists, multipart uploads; path-style addresses.

https://cloud.google.com/storage/docs/xml-api/overview (2026-11). Signed URLs and object_store (Polars) speak it.
"""

from urllib.parse import unquote
from xml.sax.saxutils import escape

from starlette.responses import Response

from localcloud.errors import ApiError
from localcloud.storage import downloads, listing, names, records
from localcloud.storage.catalogue import BUCKET, Record
from localcloud.storage.conditions import Conditions, check_etags, from_headers, number
from localcloud.storage.engine import Storage, Target
from localcloud.storage.requests import Ask
from localcloud.storage.sessions import Sessions
from localcloud.storage.uploads import Uploads
from localcloud.storage.xmlparts import MultipartUploads
from localcloud.storage.xmltext import tag, xml

NOT_HERE = frozenset({"acl", "compose", "customTime", "encryption", "legal-hold", "retention", "tagging", "torrent"})
"""Sub-resources of an object. To take `?acl` for the object itself would overwrite it."""


class XmlApi:
    def __init__(self, storage: Storage, uploads: Uploads, sessions: Sessions, parts: MultipartUploads) -> None:
        self._storage = storage
        self._uploads = uploads
        self._sessions = sessions
        self._parts = parts

    async def handle(self, ask: Ask, path: str) -> Response:
        """`path`: still encoded, without the leading slash."""
        bucket, _, name = path.partition("/")
        bucket, name = unquote(bucket), unquote(name)
        if not bucket:
            return self._service(ask)
        if not name:
            return self._bucket(ask, bucket)
        query, method = ask.query, ask.request.method
        if asked := sorted(NOT_HERE & query.keys()):
            raise ApiError(
                501, "UNIMPLEMENTED", f"?{asked[0]} is not implemented by the local cloud.", "NotImplemented"
            )
        if "uploadId" in query or "uploads" in query:
            return await self._parts.handle(ask, bucket, name)
        if query.get("upload_id"):
            return await self._uploads.go_on(ask, query["upload_id"])
        if method in ("GET", "HEAD"):
            return self._get(ask, bucket, name)
        if method == "PUT":
            return await self._put(ask, bucket, name)
        if method == "POST" and ask.request.headers.get("x-goog-resumable") == "start":
            return self._start(ask, bucket, name)
        if method == "DELETE":
            generation = number(query, "generation")
            self._storage.delete(ask.principal, bucket, name, generation, from_headers(ask.request.headers))
            return Response(status_code=204)
        raise ApiError(
            405, "UNIMPLEMENTED", "The specified method is not allowed against this resource.", "MethodNotAllowed"
        )

    def _service(self, ask: Ask) -> Response:
        project = (
            ask.cloud.projects.get(ask.request.headers.get("x-goog-project-id", "")) or ask.cloud.projects.list()[0]
        )
        self._storage.access.require_on_project(ask.principal, "storage.buckets.list", project["projectId"])
        found = [bucket for _, bucket in ask.cloud.store.list(BUCKET) if bucket["project"] == project["projectId"]]
        rows = "".join(
            f"<Bucket>{tag('Name', b['name'])}{tag('CreationDate', b['timeCreated'])}</Bucket>" for b in found
        )
        return xml("ListAllMyBucketsResult", f"<Buckets>{rows}</Buckets>")

    # --- buckets --------------------------------------------------------------------------------------------------

    def _bucket(self, ask: Ask, bucket: str) -> Response:
        method = ask.request.method
        home = self._storage.catalogue.bucket(bucket)
        if method == "HEAD":
            self._storage.access.require(ask.principal, "storage.buckets.get", bucket)
            return Response(status_code=200, headers={"x-goog-metageneration": home["metageneration"]})
        if method != "GET":
            raise ApiError(501, "UNIMPLEMENTED", "Buckets are changed through the JSON API here.", "NotImplemented")
        if "uploads" in ask.query:
            return self._parts.list_uploads(ask, bucket)
        if "location" in ask.query:
            return xml("LocationConstraint", escape(home["location"]))
        self._storage.access.require(ask.principal, "storage.objects.list", bucket)
        return self._list(ask, bucket)

    def _list(self, ask: Ask, bucket: str) -> Response:
        """Both versions of the list."""
        query = ask.query
        second = query.get("list-type") == "2"
        given = query.get("continuation-token") if second else None
        marker = query.get("start-after", "") if second else query.get("marker", "")
        limit = number(query, "max-keys")
        page = listing.page(
            self._storage.catalogue,
            listing.Listing(
                bucket=bucket,
                prefix=query.get("prefix", ""),
                delimiter=query.get("delimiter", ""),
                after=listing.from_token(given) if given else marker,
                limit=max(1, min(listing.MAX_RESULTS if limit is None else limit, listing.MAX_RESULTS)),
            ),
        )
        body = tag("Name", bucket) + tag("Prefix", query.get("prefix", ""))
        if query.get("delimiter"):
            body += tag("Delimiter", query["delimiter"])
        body += tag("IsTruncated", "true" if page.last else "false")
        if second:
            body += tag("KeyCount", str(len(page.items) + len(page.prefixes)))
        if page.last:
            body += tag("NextContinuationToken", listing.token(page.last)) if second else tag("NextMarker", page.last)
        body += "".join(_contents(record) for record in page.items)
        body += "".join(f"<CommonPrefixes>{tag('Prefix', prefix)}</CommonPrefixes>" for prefix in page.prefixes)
        return xml("ListBucketResult", body)

    # --- objects --------------------------------------------------------------------------------------------------

    def _get(self, ask: Ask, bucket: str, name: str) -> Response:
        record = self._storage.read(
            ask.principal, bucket, name,
            generation=number(ask.query, "generation"), conditions=from_headers(ask.request.headers),
        )  # fmt: skip
        check_etags(ask.request.headers, records.xml_etag(record))
        overrides = {
            key.removeprefix("response-"): value
            for key, value in ask.query.items()
            if key.startswith("response-content-")
        }
        return downloads.serve(
            self._storage.blobs,
            ask.request,
            record,
            xml=True,
            extra={"etag": f'"{records.xml_etag(record)}"', **overrides},
        )

    async def _put(self, ask: Ask, bucket: str, name: str) -> Response:
        headers = ask.request.headers
        target = self._target(ask, bucket, name)
        self._storage.check_write(target)
        if "x-goog-copy-source" in headers:
            return await self._copy(ask, target)
        claimed = records.claimed_hashes(headers, {})
        record = await self._uploads.store(target, ask.request.stream(), claimed)
        return written(record)

    def _target(self, ask: Ask, bucket: str, name: str) -> Target:
        headers = ask.request.headers
        conditions = from_headers(headers)
        if headers.get("if-none-match") == "*":
            conditions = Conditions(generation_match=0)
        return Target(
            bucket=bucket,
            name=names.check_object(name),
            principal=ask.principal,
            conditions=conditions,
            given=records.from_headers(headers),
        )

    async def _copy(self, ask: Ask, target: Target) -> Response:
        headers = ask.request.headers
        bucket, _, name = unquote(headers["x-goog-copy-source"]).lstrip("/").partition("/")
        source = self._storage.read(
            ask.principal, bucket, name,
            generation=number(headers, "x-goog-copy-source-generation"), conditions=from_headers(headers, source=True),
        )  # fmt: skip
        if headers.get("x-goog-metadata-directive", "COPY").upper() == "COPY":
            target.given.clear()
        record = await self._storage.copy(source, target)
        answer = xml(
            "CopyObjectResult", tag("LastModified", record["updated"]) + tag("ETag", f'"{records.xml_etag(record)}"')
        )
        answer.headers["x-goog-generation"] = record["generation"]
        return answer

    def _start(self, ask: Ask, bucket: str, name: str) -> Response:
        target = self._target(ask, bucket, name)
        self._storage.check_write(target)
        upload_id = self._sessions.open(target, records.claimed_hashes(ask.request.headers, {}), None)
        location = f"{ask.base}{ask.request.scope['raw_path'].decode('latin-1')}?upload_id={upload_id}"
        return Response(status_code=201, headers={"location": location, "x-guploader-uploadid": upload_id})


def written(record: Record) -> Response:
    headers = {
        "etag": f'"{records.xml_etag(record)}"',
        "x-goog-generation": record["generation"],
        "x-goog-metageneration": record["metageneration"],
        "x-goog-hash": records.hash_header(record),
        "x-goog-stored-content-length": record["size"],
    }
    return Response(status_code=200, headers=headers)


def _contents(record: Record) -> str:
    inner = (
        tag("Key", record["name"])
        + tag("Generation", record["generation"])
        + tag("MetaGeneration", record["metageneration"])
        + tag("LastModified", record["updated"])
        + tag("ETag", f'"{records.xml_etag(record)}"')
        + tag("Size", record["size"])
        + tag("StorageClass", record["storageClass"])
    )
    return f"<Contents>{inner}</Contents>"
