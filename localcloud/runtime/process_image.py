"""Images for the process runtime: one layer of files, unpacked once per digest."""

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from localcloud.runtime.base import ImageProblem, RuntimeUnavailable
from localcloud.runtime.unpack import unpack

LABEL = "longhaul.runtime"
"""Label of an image that was made to run without an engine; its value is `process`."""
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEXES = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json"

Auth = Callable[[str], Awaitable[dict[str, str] | None]]


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """An image on this machine."""

    root: Path
    config: dict[str, Any]
    """The image's own configuration: Entrypoint, Cmd, Env, WorkingDir."""


class Images:
    """Pulls from registries on this machine.

    Args:
        folder: where the files are kept.
        auth: registry login.
    """

    def __init__(self, folder: Path, auth: Auth | None):
        self._folder, self._auth = folder, auth

    async def get(self, reference: str) -> Unpacked:
        """Return an image. Raises ImageProblem."""
        host, _, path = reference.partition("/")
        name, _, digest = path.partition("@")
        if not digest:
            raise ImageProblem(reference, "unusable", "without a Docker engine an image must be named by its digest")
        target = self._folder / digest.replace(":", "-")
        if not (target / "config.json").exists():
            await self._pull(reference, f"http://{host}/v2/{name}", digest, target)
        return Unpacked(root=target / "root", config=json.loads((target / "config.json").read_text()))

    async def _pull(self, reference: str, base: str, digest: str, target: Path) -> None:
        login = await self._auth(reference) if self._auth else None
        credentials = (login["username"], login["password"]) if login else None
        async with httpx.AsyncClient(timeout=60, trust_env=False, auth=credentials) as http:
            headers = {"Accept": f"{_MANIFEST}, {_INDEXES}"}
            manifest = (await _get(http, reference, f"{base}/manifests/{digest}", headers)).json()
            if "config" not in manifest:
                raise ImageProblem(reference, "unusable", "an index of several platforms needs a Docker engine")
            config = (await _get(http, reference, f"{base}/blobs/{manifest['config']['digest']}")).json().get(
                "config"
            ) or {}
            if (config.get("Labels") or {}).get(LABEL) != "process":
                raise ImageProblem(reference, "unusable", "it was built for containers, and no Docker engine is there")
            draft = target.with_name(target.name + ".new")
            shutil.rmtree(draft, ignore_errors=True)
            (draft / "root").mkdir(parents=True)
            for layer in manifest["layers"]:
                _unpack((await _get(http, reference, f"{base}/blobs/{layer['digest']}")).content, draft / "root")
            (draft / "config.json").write_text(json.dumps(config))
            draft.replace(target)


async def _get(
    http: httpx.AsyncClient, reference: str, url: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    try:
        answer = await http.get(url, headers=headers, follow_redirects=True)
    except httpx.TransportError as problem:
        raise RuntimeUnavailable(f"the registry of {reference} does not answer: {problem!r}") from problem
    if answer.status_code == 404:
        raise ImageProblem(reference, "missing", "not found")
    if answer.status_code in (401, 403):
        raise ImageProblem(reference, "denied", "the registry denies reading it")
    if answer.status_code != 200:
        raise ImageProblem(reference, "unusable", f"the registry answers {answer.status_code}")
    return answer


def _unpack(layer: bytes, root: Path) -> None:
    data = gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        unpack(archive, root)
