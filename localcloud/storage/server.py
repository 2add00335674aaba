"""The port: JSON methods by the discovery document, everything else by address."""

import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from localcloud.discovery import Discovery
from localcloud.errors import ApiError, to_response, unimplemented
from localcloud.shell import Api, App, Call, raw_path
from localcloud.storage import batches, downloads, names, signing
from localcloud.storage.buckets import Buckets, params
from localcloud.storage.conditions import NotModified, check_etags, from_query, number
from localcloud.storage.engine import Storage
from localcloud.storage.lifecycle import Lifecycle
from localcloud.storage.objects import Objects
from localcloud.storage.policies import Policies
from localcloud.storage.requests import Ask
from localcloud.storage.sessions import Sessions
from localcloud.storage.uploads import Uploads
from localcloud.storage.xmlapi import XmlApi
from localcloud.storage.xmlparts import MultipartUploads
from localcloud.storage.xmltext import error_response as xml_error

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

log = logging.getLogger("localcloud.storage")
UPLOAD = re.compile(r"(?:resumable/)?upload/storage/v1/b/([^/]+)/o")
DOWNLOAD = re.compile(r"download/storage/v1/b/([^/]+)/o/([^/]+)")
BATCH = re.compile(r"batch(?:/storage/v1)?")
JSON = re.compile(r"(?:storage/v1|download/storage/v1|upload/storage/v1|batch)(?:/|$)")
CUSTOMER_KEY = "x-goog-encryption-algorithm"


class Server:
    """All of the API over one Storage."""

    def __init__(self, cloud: "Cloud") -> None:
        self.cloud = cloud
        self.storage = Storage(cloud)
        self.sessions = Sessions(self.storage)
        self.parts = MultipartUploads(self.storage)
        self.lifecycle = Lifecycle(self.storage, self.sessions, self.parts)
        self.api = Api("storage", Discovery("storage", "v1"), style="storage")
        Buckets(self.storage, self.api)
        Policies(self.storage, self.api)
        Objects(self.storage, self.api)
        self._register_small()
        self._uploads = Uploads(self.storage, self.sessions)
        self._xml = XmlApi(self.storage, self._uploads, self.sessions, self.parts)
        self.app = App(cloud, [self.api], self._elsewhere)

    async def reset(self) -> None:
        """Forgets all bytes; the core empties the store next."""
        await self.sessions.close()
        await self.storage.blobs.sweep(set(), set())

    def _register_small(self) -> None:
        """What clients ask on their way to something else."""
        for method, kind in (
            ("notifications.list", "storage#notifications"),
            ("managedFolders.list", "storage#managedFolders"),
            ("folders.list", "storage#folders"),
        ):
            self.api.method(f"storage.{method}")(self._empty_list(kind))
        self.api.method("storage.anywhereCaches.list")(self._no_caches)
        self.api.method("storage.projects.serviceAccount.get")(self._service_account)
        self.api.method("storage.projects.hmacKeys.list")(self._hmac_keys)

    def _empty_list(self, kind: str) -> Any:
        async def answer(call: Call) -> dict[str, Any]:
            bucket = self.storage.catalogue.bucket(params(call)["bucket"])
            self.storage.access.require(call.principal, "storage.buckets.get", bucket["name"])
            return {"kind": kind, "items": []}

        return answer

    async def _no_caches(self, call: Call) -> dict[str, Any]:
        """The provider asks before it deletes a bucket, and takes 404 for none."""
        self.storage.catalogue.bucket(params(call)["bucket"])
        raise ApiError(404, "NOT_FOUND", "Not Found", "notFound")

    async def _service_account(self, call: Call) -> dict[str, Any]:
        project = self.cloud.projects.get(params(call)["projectId"])
        if project is None:
            raise ApiError(404, "NOT_FOUND", f"Unknown project id: {params(call)['projectId']}", "notFound")
        self.storage.access.require_on_project(call.principal, "resourcemanager.projects.get", project["projectId"])
        email = f"service-{project['projectNumber']}@gs-project-accounts.iam.gserviceaccount.com"
        return {"kind": "storage#serviceAccount", "email_address": email}

    async def _hmac_keys(self, call: Call) -> dict[str, Any]:
        return {"kind": "storage#hmacKeysMetadata", "items": []}

    # --- beside the document --------------------------------------------------------------------------------------

    async def _elsewhere(self, request: Request) -> Response:
        path = raw_path(request)
        as_json = JSON.match(path) is not None
        try:
            self.cloud.faults.maybe_fail("storage")
            if CUSTOMER_KEY in request.headers:
                raise unimplemented("Encryption with customer-supplied keys")
            return await self._dispatch(Ask(request, self.cloud), path)
        except NotModified:
            return Response(status_code=304)
        except ApiError as error:
            if DOWNLOAD.match(path):
                return downloads.plain_error(error)
            return to_response(error, "storage") if as_json else xml_error(error)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            log.exception("%s %s", request.method, request.scope["path"])
            failed = ApiError(
                500, "INTERNAL", "Internal error encountered. See the local cloud's log.", "internalError"
            )
            return to_response(failed, "storage") if as_json else xml_error(failed)

    async def _dispatch(self, ask: Ask, path: str) -> Response:
        if found := UPLOAD.fullmatch(path):
            return await self._uploads.handle(ask, unquote(found[1]))
        if found := DOWNLOAD.fullmatch(path):
            return self._download(ask, unquote(found[1]), unquote(found[2]))
        if BATCH.fullmatch(path) and ask.request.method == "POST":
            return await batches.handle(ask.request, self.app)
        if JSON.match(path):
            raise ApiError(404, "NOT_FOUND", "Not Found", "notFound")
        ask.signer = signing.signer(ask.query, self.cloud)
        return await self._xml.handle(ask, path)

    def _download(self, ask: Ask, bucket: str, name: str) -> Response:
        if ask.request.method not in ("GET", "HEAD"):
            raise ApiError(405, "UNIMPLEMENTED", "Method not allowed.", "methodNotAllowed")
        record = self.storage.read(
            ask.principal, bucket, name, generation=number(ask.query, "generation"), conditions=from_query(ask.query)
        )
        check_etags(ask.request.headers, names.etag(record["generation"], record["metageneration"]))
        return downloads.serve(self.storage.blobs, ask.request, record, xml=False)
