"""Requests read and answers made, as the distribution API has them."""

import json
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from localcloud.registry.blobs import Upload
from localcloud.registry.problems import RegistryError
from localcloud.shell import JsonResponse


def parse(data: bytes, content_type: str) -> tuple[dict[str, Any], str]:
    try:
        manifest = json.loads(data)
    except ValueError as error:
        raise RegistryError(400, "MANIFEST_INVALID", f"The manifest is not JSON: {error}.") from None
    if not isinstance(manifest, dict) or manifest.get("schemaVersion") != 2:
        raise RegistryError(400, "MANIFEST_INVALID", "The manifest must have schemaVersion 2.")
    media_type = content_type.partition(";")[0] or manifest.get("mediaType", "")
    if manifest.get("mediaType", media_type) != media_type:
        raise RegistryError(400, "MANIFEST_INVALID", f"mediaType must be the Content-Type, {media_type}.")
    return manifest, media_type


def range_start(request: Request) -> int | None:
    found = re.match(r"^(?:bytes )?(\d+)-\d+", request.headers.get("content-range", ""))
    return int(found.group(1)) if found else None


def progress(upload: Upload) -> dict[str, str]:
    return {
        "location": f"/v2/{upload.name}/blobs/uploads/{upload.id}",
        "range": f"0-{max(upload.size - 1, 0)}",
        "docker-upload-uuid": upload.id,
    }


def accepted(upload: Upload) -> Response:
    return Response(status_code=202, headers=progress(upload))


def created(location: str, digest: str) -> Response:
    return Response(status_code=201, headers={"location": location, "docker-content-digest": digest})


def listing(request: Request, path: str, head: dict[str, str], key: str, items: list[str]) -> Response:
    last, number = request.query_params.get("last", ""), request.query_params.get("n", "")
    rest = [item for item in items if item > last]
    size = int(number) if number.isdigit() else len(rest)
    page = rest[:size]
    response = JsonResponse({**head, key: page})
    if page and len(rest) > size:
        response.headers["link"] = f'<{path}?n={size}&last={page[-1]}>; rel="next"'
    return response
