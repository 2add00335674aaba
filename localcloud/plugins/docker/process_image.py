"""An image without a Docker engine: one layer with what the Dockerfile copies, for the process runtime of the local cloud.

It has no operating system and no packages: whoever runs it brings the interpreter. Nothing but the local cloud can run it,
so it goes to a registry on this machine only.
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from localcloud.plugins.contract import PluginError
from localcloud.plugins.docker.builder import Build, Login
from localcloud.plugins.docker.context import Pattern, files
from localcloud.plugins.docker.dockerfile import Copy, Stage, parse
from localcloud.plugins.docker.names import split_name

LABEL: Final = "longhaul.runtime"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
CONNECT_S: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Image:
    """A packed image. `manifest` is the exact text that is pushed, so its digest is known beforehand."""

    manifest: bytes
    blobs: Mapping[str, bytes] = field(repr=False)
    left_out: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Digest of the manifest."""
        return _digest(self.manifest)


def pack(build: Build) -> Image:
    """Packs the context. The same files give the same bytes. Raises PluginError where the Dockerfile cannot be followed."""
    stage = parse(build.dockerfile.read_text(encoding="utf-8"), build.args, build.target)
    if not stage.entrypoint and not stage.command:
        raise PluginError(f"{build.dockerfile}: an image without a build needs an ENTRYPOINT or CMD in its last stage")
    tar = _tar(stage, build.context, files(build.context, build.dockerfile))
    layer = gzip.compress(tar, mtime=0)
    config = json.dumps(_config(stage, _digest(tar), build), sort_keys=True).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(CONFIG, config),
        "layers": [_descriptor(LAYER, layer)],
        "annotations": {LABEL: "process"},
    }
    blobs = {_digest(layer): layer, _digest(config): config}
    text = json.dumps(manifest, sort_keys=True).encode()
    return Image(manifest=text, blobs=blobs, left_out=tuple(stage.left_out))


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _config(stage: Stage, diff_id: str, build: Build) -> dict[str, Any]:
    system, _, architecture = (build.platform or "linux/amd64").partition("/")
    return {
        "architecture": architecture.split("/")[0],
        "os": system,
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": stage.entrypoint or None,
            "Cmd": stage.command or None,
            "Env": [f"{key}={value}" for key, value in stage.env.items()],
            "WorkingDir": str(stage.directory),
            "User": stage.user,
            "Labels": {LABEL: "process"},
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }


def _tar(stage: Stage, context: Path, names: list[Path]) -> bytes:
    placed: dict[PurePosixPath, Path] = {}
    for copy in stage.copies:
        found = _placed(copy, names)
        if not found:
            raise PluginError(f"COPY {' '.join(copy.sources)}: no file of the context matches")
        placed |= found
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        folders = {parent for path in placed for parent in path.parents if parent != PurePosixPath("/")}
        for folder in sorted(folders):
            entry = _entry(folder, 0o755)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for path, name in sorted(placed.items()):
            data = (context / name).read_bytes()
            entry = _entry(path, 0o755 if (context / name).stat().st_mode & 0o100 else 0o644)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _entry(path: PurePosixPath, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(str(path.relative_to("/")))
    entry.mode = mode
    return entry


def _placed(copy: Copy, names: list[Path]) -> dict[PurePosixPath, Path]:
    placed = {}
    for source in copy.sources:
        wanted = tuple(part for part in PurePosixPath(source).parts if part not in (".", "/"))
        pattern = Pattern(parts=wanted, negated=False)
        for name in names:
            parts = name.parts
            if parts[: len(wanted)] == parts and pattern.matches(parts):
                placed[copy.destination / parts[-1] if copy.into else copy.destination] = name
            elif pattern.matches(parts[: len(wanted)]):
                # a folder: its content is copied, not the folder itself
                placed[copy.destination.joinpath(*parts[len(wanted) :])] = name
    return placed


def push(image: Image, name: str, login: Login | None, wait: Callable[[], None]) -> str:
    """Pushes to the registry in `name` (HOST/PATH[:TAG]); returns the digest. Raises PluginError if it is not on this machine."""
    import httpx  # only needed where there is no Docker engine

    host, path, tag = split_name(name)
    if urlsplit(f"//{host}").hostname not in ("127.0.0.1", "localhost", "::1"):
        raise PluginError(
            f"imageName: argument must name a registry on this machine while no Docker engine is reachable, got {host}; "
            "an image without a build can be run by the local cloud only: start a Docker engine or set DOCKER_HOST"
        )
    auth = httpx.BasicAuth(login.username, login.password) if login else None
    with httpx.Client(base_url=f"http://{host}", auth=auth, trust_env=False, timeout=CONNECT_S) as client:
        try:
            for digest, data in image.blobs.items():
                wait()
                _push_blob(client, path, digest, data)
            answer = client.put(
                f"/v2/{path}/manifests/{tag}", content=image.manifest, headers={"Content-Type": MANIFEST}
            )
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise PluginError(f"push to {host}/{path}:{tag}: {error}") from error
    return image.digest


def _push_blob(client: Any, path: str, digest: str, data: bytes) -> None:
    if client.head(f"/v2/{path}/blobs/{digest}").status_code == 200:
        return
    started = client.post(f"/v2/{path}/blobs/uploads/")
    started.raise_for_status()
    # copied: httpx would replace the query that the registry put into Location
    location = client.base_url.join(started.headers["Location"]).copy_merge_params({"digest": digest})
    headers = {"Content-Type": "application/octet-stream"}
    client.put(location, content=data, headers=headers).raise_for_status()
