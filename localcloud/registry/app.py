"""The OCI distribution API, https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md (2026-11)."""

import json
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from localcloud.cloud import Cloud
from localcloud.errors import ApiError
from localcloud.identity import Principal, caller
from localcloud.registry import names
from localcloud.registry.answers import accepted, created, listing, parse, progress, range_start
from localcloud.registry.blobs import DigestMismatch, OutOfOrder, Upload
from localcloud.registry.images import INDEX_TYPES, Images
from localcloud.registry.names import Image
from localcloud.registry.problems import RegistryError, from_api
from localcloud.shell import JsonResponse, log, raw_path, read_body

MAX_MANIFEST_BYTES = 4 * 2**20
SERVICE = "artifactregistry.googleapis.com"
Handler = Callable[[Request, Image, str], Awaitable[Response]]


class Registry:
    """ASGI application of the port `registry`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._images = Images(cloud)
        blobs, manifests = r"blobs/(sha256:[0-9a-f]+)", r"manifests/([^/]+)"
        self._routes: list[tuple[str, re.Pattern[str], str, Handler]] = [
            (verb, re.compile(rf"^v2/(.+)/{tail}$"), permission, handler)
            for verb, tail, permission, handler in (
                ("GET", blobs, "downloadArtifacts", self.get_blob),
                ("DELETE", blobs, "deleteArtifacts", self.delete_blob),
                ("POST", r"blobs/uploads/()", "uploadArtifacts", self.start_upload),
                ("POST", r"blobs/uploads()", "uploadArtifacts", self.start_upload),
                ("GET", r"blobs/uploads/([^/]+)", "uploadArtifacts", self.upload_status),
                ("PATCH", r"blobs/uploads/([^/]+)", "uploadArtifacts", self.append),
                ("PUT", r"blobs/uploads/([^/]+)", "uploadArtifacts", self.finish_upload),
                ("DELETE", r"blobs/uploads/([^/]+)", "uploadArtifacts", self.cancel_upload),
                ("GET", manifests, "downloadArtifacts", self.get_manifest),
                ("PUT", manifests, "uploadArtifacts", self.put_manifest),
                ("DELETE", manifests, "deleteArtifacts", self.delete_manifest),
                ("GET", r"tags/list()", "downloadArtifacts", self.list_tags),
                ("GET", r"referrers/(sha256:[0-9a-f]{64})", "downloadArtifacts", self.referrers),
            )
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._respond(request)
        except RegistryError as error:
            response = error.response()
        except ApiError as error:
            response = from_api(error).response()
        except ClientDisconnect:
            response = Response(status_code=499)
        except Exception:
            log.exception("%s %s", request.method, scope["path"])
            response = RegistryError(500, "UNKNOWN", "Internal error. See the local cloud's log.").response()
        response.headers["docker-distribution-api-version"] = "registry/2.0"
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        self._cloud.faults.maybe_fail("registry")
        path, verb = raw_path(request), "GET" if request.method == "HEAD" else request.method
        principal = caller(request, self._cloud)
        if path in ("v2", "v2/") and verb == "GET":
            return JsonResponse({})
        if path == "v2/_catalog" and verb == "GET":
            return self._catalog(request, principal)
        for method, pattern, permission, handler in self._routes:
            found = pattern.match(path) if method == verb else None
            if found:
                image = self._image(request, principal, found.group(1), permission)
                return await handler(request, image, found.group(2))
        raise RegistryError(404, "UNSUPPORTED", f"{request.method} /{path} is not part of the distribution API.")

    def _image(self, request: Request, principal: Principal, name: str, permission: str) -> Image:
        """Raises RegistryError unless the repository is there and the caller may do this in it."""
        parts = name.split("/", 2)
        if len(parts) != 3 or not names.NAME.match(name):
            raise RegistryError(400, "NAME_INVALID", f"Image names are PROJECT/REPOSITORY/IMAGE, got {name}.")
        project = self._cloud.projects.get(parts[0])
        if project is not None:
            self._cloud.projects.require_enabled(SERVICE, project)
        image = names.resolve(self._cloud, name, request.headers.get("host", ""))
        if image is None:
            raise RegistryError(404, "NAME_UNKNOWN", f'Repository "{parts[1]}" not found in project "{parts[0]}".')
        self._require(principal, permission, image)
        return image

    def _require(self, principal: Principal, verb: str, image: Image) -> None:
        permission = f"artifactregistry.repositories.{verb}"
        if not self._cloud.iam.allowed(principal, permission, image.repository):
            text = f'Permission "{permission}" denied on resource "{image.repository}" (or it may not exist)'
            raise RegistryError(403, "DENIED", text)

    # --- blobs ----------------------------------------------------------------------------------------------------

    async def get_blob(self, request: Request, image: Image, digest: str) -> Response:
        if not names.DIGEST.match(digest):
            raise RegistryError(400, "DIGEST_INVALID", f"digest must be sha256 and 64 hex digits, got {digest}.")
        if not self._images.has_blob(image.name, digest):
            raise RegistryError(404, "BLOB_UNKNOWN", f"{digest} is not in {image.name}.")
        headers = {"docker-content-digest": digest, "etag": f'"{digest}"', "cache-control": "max-age=31536000"}
        return FileResponse(self._images.blobs.path(digest), headers=headers, media_type="application/octet-stream")

    async def delete_blob(self, request: Request, image: Image, digest: str) -> Response:
        if not self._images.unlink(image.name, digest):
            raise RegistryError(404, "BLOB_UNKNOWN", f"{digest} is not in {image.name}.")
        self._images.collect()
        return Response(status_code=202)

    async def start_upload(self, request: Request, image: Image, _: str) -> Response:
        digest, origin = request.query_params.get("mount", ""), request.query_params.get("from", "")
        if digest and self._mount(request, image, digest, origin):
            return created(f"/v2/{image.name}/blobs/{digest}", digest)
        upload = self._images.blobs.start(image.name)
        whole = request.query_params.get("digest", "")
        if whole:
            await self._images.blobs.append(upload, request.stream())
            return await self._finish(image, upload, whole)
        return accepted(upload)

    def _mount(self, request: Request, image: Image, digest: str, origin: str) -> bool:
        source = names.resolve(self._cloud, origin, request.headers.get("host", "")) if origin else None
        if source is None or not self._images.has_blob(source.name, digest):
            return False
        permission = "artifactregistry.repositories.downloadArtifacts"
        if not self._cloud.iam.allowed(caller(request, self._cloud), permission, source.repository):
            return False
        self._images.link(image.name, digest)
        return True

    async def upload_status(self, request: Request, image: Image, upload_id: str) -> Response:
        response = accepted(await self._upload(image, upload_id))
        response.status_code = 204
        return response

    async def append(self, request: Request, image: Image, upload_id: str) -> Response:
        upload = await self._upload(image, upload_id)
        await self._append(request, upload)
        return accepted(upload)

    async def _append(self, request: Request, upload: Upload) -> None:
        try:
            await self._images.blobs.append(upload, request.stream(), range_start(request))
        except OutOfOrder as error:
            raise RegistryError(416, "BLOB_UPLOAD_INVALID", str(error), headers=progress(upload)) from None

    async def finish_upload(self, request: Request, image: Image, upload_id: str) -> Response:
        upload = await self._upload(image, upload_id)
        await self._append(request, upload)
        return await self._finish(image, upload, request.query_params.get("digest", ""))

    async def _finish(self, image: Image, upload: Upload, digest: str) -> Response:
        try:
            await self._images.blobs.finish(upload, digest, lambda: self._images.link(image.name, digest))
        except DigestMismatch as error:
            raise RegistryError(400, "DIGEST_INVALID", str(error)) from None
        return created(f"/v2/{image.name}/blobs/{digest}", digest)

    async def cancel_upload(self, request: Request, image: Image, upload_id: str) -> Response:
        self._images.blobs.cancel(await self._upload(image, upload_id))
        return Response(status_code=204)

    async def _upload(self, image: Image, upload_id: str) -> Upload:
        upload = await self._images.blobs.find(upload_id, image.name)
        if upload is None:
            raise RegistryError(404, "BLOB_UPLOAD_UNKNOWN", f"There is no upload {upload_id} to {image.name}.")
        return upload

    # --- manifests and tags ---------------------------------------------------------------------------------------

    async def get_manifest(self, request: Request, image: Image, reference: str) -> Response:
        found = self._images.manifest(image.name, reference)
        if found is None:
            raise RegistryError(404, "MANIFEST_UNKNOWN", f"Failed to fetch {reference} of {image.name}.")
        digest, record = found
        headers = {"docker-content-digest": digest, "etag": f'"{digest}"'}
        return FileResponse(self._images.blobs.path(digest), headers=headers, media_type=record["mediaType"])

    async def put_manifest(self, request: Request, image: Image, reference: str) -> Response:
        data = await read_body(request, MAX_MANIFEST_BYTES)
        digest = f"sha256:{sha256(data).hexdigest()}"
        tag = "" if reference.startswith("sha256:") else reference
        if not tag and reference != digest:
            raise RegistryError(400, "DIGEST_INVALID", f"digest must be {digest}, got {reference}.")
        if tag and not names.TAG.match(tag):
            raise RegistryError(400, "TAG_INVALID", f"tag must have up to 128 letters, digits, _ . or -, got {tag}.")
        manifest, media_type = parse(data, request.headers.get("content-type", ""))
        self._check_immutable(image, tag, digest)
        if missing := self._images.missing(image.name, manifest):
            code = "MANIFEST_UNKNOWN" if media_type in INDEX_TYPES else "MANIFEST_BLOB_UNKNOWN"
            raise RegistryError(404, code, f"{image.name} lacks {', '.join(missing)}.")
        await self._images.put_manifest(image.name, digest, data, media_type, tag)
        response = created(f"/v2/{image.name}/manifests/{digest}", digest)
        if subject := manifest.get("subject", {}).get("digest"):
            response.headers["oci-subject"] = subject
        return response

    def _check_immutable(self, image: Image, tag: str, digest: str) -> None:
        repository = self._cloud.store.get(names.REPOSITORIES, image.repository) or {}
        if not tag or not repository.get("dockerConfig", {}).get("immutableTags"):
            return
        if self._images.tags(image.name).get(tag, digest) != digest:
            text = f"Tag {tag} of {image.name} exists and the tags of {image.repository} are immutable."
            raise RegistryError(400, "MANIFEST_INVALID", text)

    async def delete_manifest(self, request: Request, image: Image, reference: str) -> Response:
        if reference.startswith("sha256:"):
            deleted = self._images.delete_manifest(image.name, reference)
        else:
            deleted = self._images.delete_tag(image.name, reference)
        if not deleted:
            raise RegistryError(404, "MANIFEST_UNKNOWN", f"{reference} is not in {image.name}.")
        return Response(status_code=202)

    async def list_tags(self, request: Request, image: Image, _: str) -> Response:
        tags = sorted(self._images.tags(image.name))
        if not tags and not self._images.manifests(f"{image.name}@"):
            raise RegistryError(404, "NAME_UNKNOWN", f"{image.name} has no images.")
        return listing(request, f"/v2/{image.name}/tags/list", {"name": image.name}, "tags", tags)

    async def referrers(self, request: Request, image: Image, digest: str) -> Response:
        listed = [
            {
                "mediaType": record["mediaType"],
                "digest": found,
                "size": record["size"],
                "artifactType": record["artifactType"],
            }
            for _, found, record in self._images.manifests(f"{image.name}@")
            if record["subject"] == digest
        ]
        return Response(
            json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPES[0], "manifests": listed}),
            media_type=INDEX_TYPES[0],
        )

    def _catalog(self, request: Request, principal: Principal) -> Response:
        found = sorted({name for name, _, _ in self._images.manifests("")})
        readable = [name for name in found if self._readable(principal, name)]
        return listing(request, "/v2/_catalog", {}, "repositories", readable)

    def _readable(self, principal: Principal, name: str) -> bool:
        image = names.resolve(self._cloud, name)
        permission = "artifactregistry.repositories.downloadArtifacts"
        return image is not None and self._cloud.iam.allowed(principal, permission, image.repository)


def app(cloud: Cloud) -> Registry:
    return Registry(cloud)
