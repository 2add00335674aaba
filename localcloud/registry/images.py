"""Manifests, tags and which image has which blob."""

import asyncio
import json
from typing import Any

from localcloud.cloud import Cloud
from localcloud.registry.blobs import Blobs

LINK = "registry.link"
"""Kind: NAME@DIGEST of a blob that was pushed to an image."""
MANIFEST = "registry.manifest"
"""Kind: NAME@DIGEST -> mediaType, size, uploaded, subject, imageSize, built."""
TAG = "registry.tag"
"""Kind: NAME:TAG -> digest, updated."""
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
Document = dict[str, Any]


class Images:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._store = cloud.store
        self.blobs = Blobs(cloud.directory("registry"))
        cloud.parts["registry"] = self

    # --- blobs ----------------------------------------------------------------------------------------------------

    def has_blob(self, name: str, digest: str) -> bool:
        return self._store.get(LINK, f"{name}@{digest}") is not None and self.blobs.size(digest) is not None

    def link(self, name: str, digest: str) -> None:
        self._store.put(LINK, f"{name}@{digest}", {})

    def unlink(self, name: str, digest: str) -> bool:
        return self._store.delete(LINK, f"{name}@{digest}")

    # --- manifests ------------------------------------------------------------------------------------------------

    def manifest(self, name: str, reference: str) -> tuple[str, Document] | None:
        """Digest and record, by digest or tag."""
        digest = reference
        if not reference.startswith("sha256:"):
            tag = self._store.get(TAG, f"{name}:{reference}")
            if tag is None:
                return None
            digest = tag["digest"]
        record = self._store.get(MANIFEST, f"{name}@{digest}")
        return None if record is None else (digest, record)

    async def put_manifest(self, name: str, digest: str, data: bytes, media_type: str, tag: str = "") -> None:
        manifest: Document = json.loads(data)
        now = self._cloud.clock.timestamp()
        old = self._store.get(MANIFEST, f"{name}@{digest}")
        record = {
            "mediaType": media_type,
            "size": len(data),
            "uploaded": old["uploaded"] if old else now,
            "updated": now,
            "imageSize": sum(layer.get("size", 0) for layer in _blobs_of(manifest)),
            "subject": manifest.get("subject", {}).get("digest", ""),
            "artifactType": manifest.get("artifactType") or manifest.get("config", {}).get("mediaType", ""),
            "built": await self._built(manifest),
        }

        def link() -> None:
            with self._store.transaction():
                self._store.put(MANIFEST, f"{name}@{digest}", record)
                if tag:
                    self.put_tag(name, tag, digest)

        await self.blobs.put(data, digest, link)

    async def _built(self, manifest: Document) -> str:
        """The `created` of the image's configuration, if it has one."""
        digest = manifest.get("config", {}).get("digest", "")
        size = self.blobs.size(digest) if digest else None
        if size is None or size > 1 << 20:
            return ""
        text = await asyncio.to_thread(self.blobs.path(digest).read_bytes)
        try:
            config = json.loads(text)
        except ValueError:
            return ""  # an artifact's configuration need not be JSON
        return str(config.get("created", "")) if isinstance(config, dict) else ""

    def missing(self, name: str, manifest: Document) -> list[str]:
        """Digests that the manifest refers to and the image does not have."""
        if isinstance(manifest.get("manifests"), list):
            listed = [item.get("digest", "") for item in manifest["manifests"]]
            return [digest for digest in listed if self._store.get(MANIFEST, f"{name}@{digest}") is None]
        return [
            item.get("digest", "")
            for item in _blobs_of(manifest)
            if not item.get("urls") and not self.has_blob(name, item.get("digest", ""))
        ]

    def delete_manifest(self, name: str, digest: str) -> bool:
        found = self._store.delete(MANIFEST, f"{name}@{digest}")
        for tag, target in self.tags(name).items():
            if target == digest:
                self.delete_tag(name, tag)
        return found

    def put_tag(self, name: str, tag: str, digest: str) -> None:
        self._store.put(TAG, f"{name}:{tag}", {"digest": digest, "updated": self._cloud.clock.timestamp()})

    def delete_tag(self, name: str, tag: str) -> bool:
        return self._store.delete(TAG, f"{name}:{tag}")

    def tags(self, name: str) -> dict[str, str]:
        """Tag -> digest."""
        prefix = f"{name}:"
        return {key.removeprefix(prefix): value["digest"] for key, value in self._store.list(TAG, prefix)}

    def manifests(self, prefix: str) -> list[tuple[str, str, Document]]:
        """Name, digest and record of every manifest of images whose names begin with `prefix`."""
        listed = self._store.list(MANIFEST, prefix)
        return [(*_split(key), record) for key, record in listed]

    # --- repositories ---------------------------------------------------------------------------------------------

    def delete_repository(self, project: str, repository: str) -> None:
        prefix = f"{project}/{repository}/"
        with self._store.transaction():
            for kind in (LINK, MANIFEST, TAG):
                for key, _ in self._store.list(kind, prefix):
                    self._store.delete(kind, key)
        self.collect()

    def forget_blobs(self, name: str) -> None:
        """Of an image without versions."""
        for key, _ in self._store.list(LINK, f"{name}@"):
            self._store.delete(LINK, key)
        self.collect()

    def collect(self) -> int:
        """Removes blobs that no image has, and says how many."""
        used = {_split(key)[1] for kind in (LINK, MANIFEST) for key, _ in self._store.list(kind)}
        unused = [digest for digest in self.blobs.settled() if digest not in used]
        for digest in unused:
            self.blobs.remove(digest)
        return len(unused)

    def status(self) -> Document:
        return {"images": len({name for name, _, _ in self.manifests("")}), "blobs": len(self.blobs.digests())}

    async def reset(self) -> None:
        self.blobs.clear()


def _split(key: str) -> tuple[str, str]:
    name, _, digest = key.partition("@")
    return name, digest


def _blobs_of(manifest: Document) -> list[Document]:
    config = [manifest["config"]] if isinstance(manifest.get("config"), dict) else []
    layers = manifest.get("layers", [])
    return [item for item in (*config, *layers) if isinstance(item, dict)]
