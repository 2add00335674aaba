"""Reading what the manifest names, each checked against the digest that the one before holds."""

import hashlib

from workloads.batch_fanout.contract import (
    MANIFEST,
    FanoutEnv,
    IndexMap,
    InputEntry,
    Manifest,
    ManifestPage,
    read_page,
)
from workloads.batch_fanout.failure import BadRequest
from workloads.common.storage import NotFound, Storage

MAX_MANIFEST_BYTES = 1 << 20
MAX_MAP_BYTES = 4 << 20


def read_manifest(storage: Storage, env: FanoutEnv) -> Manifest:
    """The manifest of the run. Raises BadRequest: there is none, another one than asked for, or a cut one."""
    uri = env.uri(env.manifest or f"{env.in_prefix}{MANIFEST}")
    try:
        data, blob = storage.read_small(uri, MAX_MANIFEST_BYTES)
    except NotFound as error:
        raise BadRequest(f"{uri}: there is no manifest: stage A has not ended, or another prefix is meant") from error
    if env.manifest_generation and blob.generation != env.manifest_generation:
        raise BadRequest(
            f"{uri}: generation {blob.generation} was written after this job began with {env.manifest_generation}"
        )
    try:
        return Manifest.from_json(data)
    except ValueError as error:
        raise BadRequest(f"{uri}: {error}") from error


def inputs_prefix(env: FanoutEnv) -> str:
    """Where manifest, pages and inputs lie."""
    return env.manifest.removesuffix(MANIFEST) if env.manifest else env.in_prefix


def read_entries(storage: Storage, env: FanoutEnv, page: ManifestPage) -> list[InputEntry]:
    """The inputs that one page of the manifest lists. Raises BadRequest: it is not the page the manifest names."""
    data = read_exactly(storage, env.uri(f"{inputs_prefix(env)}{page.name}"), page.size, page.sha256)
    try:
        return read_page(data, page)
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest(f"{page.name}: {error}") from error


def read_index(storage: Storage, env: FanoutEnv, position: int) -> int:
    """Which input the task at `position` takes. Raises BadRequest: the index map does not say."""
    name, seen = env.index_map, set[str]()
    while name:
        uri = env.uri(name)
        if name in seen:
            raise BadRequest(f"{uri}: is its own base")
        seen.add(name)
        data, _ = storage.read_small(uri, MAX_MAP_BYTES)
        try:
            found = IndexMap.from_json(data)
        except ValueError as error:
            raise BadRequest(f"{uri}: {error}") from error
        if not 0 <= position < found.count:
            raise BadRequest(f"{uri}: has {found.count} entries and none for task {position}")
        position, name = found.indices[position], found.base
    return position


def read_exactly(storage: Storage, uri: str, size: int, sha256: str) -> bytes:
    """The content that a digest names. Raises BadRequest: what lies there is something else."""
    blob = storage.at(uri).stat(uri)
    if blob.size != size:
        raise BadRequest(f"{uri}: has {blob.size:,} bytes where the manifest names {size:,}: it was cut or replaced")
    data = storage.at(uri).read(blob, size)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BadRequest(f"{uri}: its SHA-256 is not the one in the manifest: it was changed after stage A")
    return data
