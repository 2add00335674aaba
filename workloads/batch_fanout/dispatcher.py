"""Stage A: N inputs, then the manifest that names them."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from workloads.batch_fanout.codec import encode_input
from workloads.batch_fanout.contract import (
    MANIFEST,
    MAX_TASKS,
    PAGE,
    FanoutEnv,
    InputEntry,
    Manifest,
    ManifestPage,
    Repository,
    input_name,
    page_json,
    page_name,
)
from workloads.batch_fanout.failure import BadRequest
from workloads.batch_fanout.model import load_model
from workloads.batch_fanout.places import MAX_MANIFEST_BYTES
from workloads.common.logs import Log
from workloads.common.storage import NotFound, PreconditionFailed, Storage


def dispatch(
    env: FanoutEnv,
    *,
    count: int,
    seed: int,
    storage: Storage,
    log: Log,
    clone: Callable[[], Repository | None] = lambda: None,
) -> Manifest:
    """Write inputs under `out_prefix`, page by page, and the manifest last; at most a page of them is in memory.

    A retry after the manifest was written changes nothing. `clone` brings the repository before the model is loaded.
    Raises BadRequest: count out of range, another run's manifest lies there, or the model gives another number of
    inputs than it says.
    """
    if not 0 <= count <= MAX_TASKS:
        raise BadRequest(f"--count: must be 0 to {MAX_TASKS} inputs, got {count}")
    done = _finished(storage, env, count, seed)
    if done is not None:
        log.info(f"the manifest is there already, with {done.count:,} inputs", inputs=done.count)
        return done
    repository = clone()
    values = load_model(env.model, env.repo_dir if repository else "").make_inputs(count, seed)
    total = len(values) if isinstance(values, Sized) else count
    if not 0 <= total <= MAX_TASKS:
        raise BadRequest(f"{env.model}: must make 0 to {MAX_TASKS} inputs, makes {total}")
    pages = tuple(_pages(env, values, total, storage, log))
    manifest = Manifest(
        count=total,
        format=env.format,
        model=env.model,
        seed=seed,
        requested=count,
        job_id=env.job_id,
        pages=pages,
        repository=repository,
    )
    return _publish(storage, env, manifest, log)


def _manifest_uri(env: FanoutEnv) -> str:
    return env.uri(env.manifest or f"{env.out_prefix}{MANIFEST}")


def _finished(storage: Storage, env: FanoutEnv, count: int, seed: int) -> Manifest | None:
    """The manifest of an earlier attempt of this very stage."""
    uri = _manifest_uri(env)
    try:
        data, _ = storage.read_small(uri, MAX_MANIFEST_BYTES)
    except NotFound:
        return None
    try:
        found = Manifest.from_json(data)
    except ValueError as error:
        raise BadRequest(f"{uri}: lies where this run's manifest belongs: {error}") from error
    asked = (count, seed, env.model, env.format, env.job_id)
    if (found.requested, found.seed, found.model, found.format, found.job_id) != asked:
        raise BadRequest(f"{uri}: is the manifest of another run; choose another OUT_PREFIX")
    return found


def _pages(env: FanoutEnv, values: Iterable[Any], total: int, storage: Storage, log: Log) -> Iterator[ManifestPage]:
    iterator, first = iter(values), 0

    def put(item: tuple[int, Any]) -> InputEntry:
        index, value = item
        name = input_name(index, total, env.format)
        try:
            data = encode_input(value, env.format)
        except ValueError as error:
            raise BadRequest(f"{name}: {error}") from error
        generation = _write_once(storage, env.uri(f"{env.out_prefix}{name}"), data)
        return InputEntry(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest(), generation=generation)

    with ThreadPoolExecutor(max_workers=env.parallel, thread_name_prefix="upload") as pool:
        while chunk := list(islice(iterator, min(PAGE, total - first) or 1)):
            if first + len(chunk) > total:
                raise BadRequest(f"{env.model}: gives more than the {total} inputs it says")
            entries = list(pool.map(put, enumerate(chunk, first)))
            data, name = page_json(entries), page_name(first // PAGE)
            _write_once(storage, env.uri(f"{env.out_prefix}{name}"), data)
            digest = hashlib.sha256(data).hexdigest()
            yield ManifestPage(name=name, first=first, count=len(entries), size=len(data), sha256=digest)
            first += len(entries)
            log.info(f"{first:,} of {total:,} inputs written", inputs=first, total=total)
    if first != total:
        raise BadRequest(f"{env.model}: gives {first} of the {total} inputs it says")


def _write_once(storage: Storage, uri: str, data: bytes) -> int:
    """Write `data`, and keep what an earlier attempt wrote if it is the same, so that its generation stays valid."""
    store = storage.at(uri)
    try:
        return store.write(uri, data, if_generation=0)
    except PreconditionFailed:
        blob = store.stat(uri)
    if blob.size == len(data) and store.read(blob, blob.size) == data:
        return blob.generation
    return store.write(uri, data, if_generation=blob.generation)


def _publish(storage: Storage, env: FanoutEnv, manifest: Manifest, log: Log) -> Manifest:
    uri = _manifest_uri(env)
    try:
        generation = storage.at(uri).write(uri, manifest.to_json(), if_generation=0)
    except PreconditionFailed as error:
        found = _finished(storage, env, manifest.requested, manifest.seed)
        if found != manifest:
            raise BadRequest(f"{uri}: was written by another start at the same time") from error
        return found
    log.info(f"{uri}: {manifest.count:,} inputs", inputs=manifest.count, generation=generation)
    return manifest
