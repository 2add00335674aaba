"""Fourth and fifth stage: the training file into its bucket, checked; then the checkpoints away."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from workloads.common.storage import Blob, NotFound, PreconditionFailed, Storage, StorageError, Transfer
from workloads.feature_pipeline import checkpoint
from workloads.feature_pipeline.contract import (
    MANIFEST,
    REPORT_JSON,
    REPORT_PAGE,
    ErrorCode,
    FeatureEnv,
    checkpoint_object,
    training_object,
)
from workloads.feature_pipeline.failure import RunFailure
from workloads.feature_pipeline.tables import Snapshot, Uploaded

REPORTS = (MANIFEST, REPORT_JSON, REPORT_PAGE)
MAX_DOCUMENT_BYTES = 256 << 20
DELETES_AT_ONCE = 16


def training_uri(env: FeatureEnv) -> str:
    return f"gs://{env.output_bucket}/{training_object(env.pair)}"


def generation_now(storage: Storage, uri: str) -> int:
    """Generation of the object, 0 if there is none."""
    try:
        return storage.at(uri).stat(uri).generation
    except NotFound:
        return 0


def upload(
    storage: Storage, env: FeatureEnv, path: Path, generation: int, transfer: Transfer, records: str
) -> Uploaded:
    """Upload `path` over `generation` of the training file and compare checksums.

    Raises:
        RunFailure: somebody else has written the file since the run began, or it arrived otherwise than it was sent.
        StorageError: it cannot be written.
    """
    uri = training_uri(env)
    size, crc = path.stat().st_size, checkpoint.crc32c(path)
    try:
        with path.open("rb") as file:
            blob = storage.at(uri).upload(file.fileno(), uri, transfer, if_generation=generation)
    except (PreconditionFailed, NotFound) as error:
        blob = _already_there(storage, uri, size, crc, error)
    if blob.size != size or blob.crc32c not in (None, crc):
        raise RunFailure(
            ErrorCode.STORAGE_UNAVAILABLE,
            f"{uri}: was stored with {blob.size:,} of {size:,} bytes or with another checksum",
            "Start the run again: the checkpoints are kept.",
        )
    return Uploaded(generation=blob.generation, size=size, crc32c=crc, records=records)


def _already_there(storage: Storage, uri: str, size: int, crc: int, error: StorageError) -> Blob:
    """Give the object if an earlier attempt of ours has written it, whose record was lost."""
    try:
        found = storage.at(uri).stat(uri)
    except NotFound:
        raise error from None
    if found.size == size and found.crc32c == crc:
        return found
    raise RunFailure(
        ErrorCode.OUTPUT_CHANGED,
        f"{uri}: was written by somebody else since this run began (generation {found.generation})",
        "See which file is wanted; a new run replaces it.",
    ) from error


def write_documents(storage: Storage, prefix: str, documents: Mapping[str, bytes]) -> None:
    """Write small objects under `prefix`."""
    for name, data in documents.items():
        uri = f"{prefix}{name}"
        storage.at(uri).write(uri, data)


def copy_documents(storage: Storage, source: str, target: str) -> None:
    """Manifest and report of the attempt that uploaded, to the run that goes on after it."""
    if source != target:
        read = {name: storage.read_small(f"{source}{name}", MAX_DOCUMENT_BYTES)[0] for name in REPORTS}
        write_documents(storage, target, read)


def clean_up(storage: Storage, env: FeatureEnv, snapshot: Snapshot, progress: Callable[[int], None]) -> None:
    """Remove the checkpoints of `snapshot`. Raises StorageError."""
    uris = list(_checkpoint_uris(env, snapshot))
    with ThreadPoolExecutor(DELETES_AT_ONCE, thread_name_prefix="clean-up") as pool:
        for done, _ in enumerate(pool.map(lambda uri: storage.at(uri).delete(uri), uris), 1):
            progress(done)


def _checkpoint_uris(env: FeatureEnv, snapshot: Snapshot) -> Iterable[str]:
    for table in snapshot.tables:
        uri = f"gs://{env.staging_bucket}/{checkpoint_object(env.pair, snapshot.snapshot_id, table)}"
        # The entry first: a checkpoint without entry counts as not there.
        yield f"{uri}.json"
        yield uri
