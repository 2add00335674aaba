"""Stage B: one task turns its input into a result, once."""

import resource
import time
from collections.abc import Callable, Mapping
from typing import Any

from workloads.batch_fanout.codec import Result, decode_input
from workloads.batch_fanout.contract import FanoutEnv, InputEntry, Manifest, result_name
from workloads.batch_fanout.failure import BadRequest
from workloads.batch_fanout.model import load_model
from workloads.batch_fanout.places import inputs_prefix, read_entries, read_exactly, read_index, read_manifest
from workloads.batch_fanout.repository import unpack
from workloads.common.contract import Task
from workloads.common.logs import Log
from workloads.common.storage import Blob, NotFound, PreconditionFailed, Storage


def run_task(
    env: FanoutEnv,
    task: Task,
    *,
    storage: Storage,
    log: Log,
    clock: Callable[[], float] = time.monotonic,
) -> Mapping[str, Any]:
    """Do the task's work unless its result is there; gives the summary that is also logged.

    Raises BadRequest: the manifest, its page or the input is not what stage A wrote, checked before any of it is
    unpickled; or there is no input for this task.
    """
    started = clock()
    manifest = read_manifest(storage, env)
    index = read_index(storage, env, task.index)
    if not 0 <= index < manifest.count:
        raise BadRequest(f"BATCH_TASK_INDEX: must be 0 to {manifest.count - 1}, got {index}")
    page = manifest.page_of(index)
    entry = read_entries(storage, env, page)[index - page.first]
    uri = env.uri(f"{env.out_prefix}{result_name(index, manifest.count, manifest.format)}")
    found, blob = _existing(storage, uri, manifest, index, entry)
    summary: dict[str, Any] = {"index": index, "result": uri, "input": entry.name}
    if found:
        return _told(log, "the result is there already", {**summary, "kept": True, "seconds": clock() - started})
    result = _simulate(env, task, storage, manifest, index, entry, clock)
    data = result.encode(manifest.format)
    kept = _store(storage, uri, data, blob, manifest, index, entry)
    summary |= {**result.task, "bytes": len(data), "kept": kept, "seconds": clock() - started}
    return _told(log, "task done", summary)


def _simulate(
    env: FanoutEnv,
    task: Task,
    storage: Storage,
    manifest: Manifest,
    index: int,
    entry: InputEntry,
    clock: Callable[[], float],
) -> Result:
    data = read_exactly(storage, env.uri(f"{inputs_prefix(env)}{entry.name}"), entry.size, entry.sha256)
    if manifest.repository is not None:
        unpack(storage, env, manifest.repository)
    # Before the input is unpickled: its classes may be the model's.
    model = load_model(manifest.model, env.repo_dir if manifest.repository else "")
    value = decode_input(data, manifest.format)
    began = clock()
    made = model.simulate(value)
    how = {
        "attempt": task.attempt,
        "job": task.execution,
        "model_seconds": round(clock() - began, 3),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    return Result(index=index, input=entry.name, input_sha256=entry.sha256, model=manifest.model, result=made, task=how)


def _existing(
    storage: Storage, uri: str, manifest: Manifest, index: int, entry: InputEntry
) -> tuple[bool, Blob | None]:
    """Whether a valid result of this very input is there, and what is there."""
    store = storage.at(uri)
    try:
        blob = store.stat(uri)
    except NotFound:
        return False, None
    try:
        found = Result.decode(store.read(blob, blob.size), manifest.format)
    except ValueError:
        return False, blob
    same = (found.index, found.input_sha256, found.model) == (index, entry.sha256, manifest.model)
    return same, blob


def _store(
    storage: Storage,
    uri: str,
    data: bytes,
    before: Blob | None,
    manifest: Manifest,
    index: int,
    entry: InputEntry,
) -> bool:
    """Upload in one piece, in place of exactly what was there; whether another task's result was kept instead."""
    try:
        storage.at(uri).write(uri, data, if_generation=before.generation if before else 0)
        return False
    except PreconditionFailed:
        # Another attempt of this task was faster.
        if _existing(storage, uri, manifest, index, entry)[0]:
            return True
        raise


def _told(log: Log, message: str, summary: Mapping[str, Any]) -> Mapping[str, Any]:
    shown = {**summary, "seconds": round(float(summary["seconds"]), 3)}
    log.info(f"{message}: {shown['input']} in {shown['seconds']:.1f} s", summary=shown)
    return shown
