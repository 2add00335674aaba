"""The run folder: emptied, filled with the inputs, and handed to the script's user."""

import errno
import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from workloads.common.memory import MIB
from workloads.common.storage import Blob, Storage, StorageError, Transfer
from workloads.heavy_runner import read_check
from workloads.heavy_runner.contract import READ_SETTINGS, SCRIPT_NAME, ErrorCode
from workloads.heavy_runner.failure import RunFailure, from_input
from workloads.heavy_runner.request import Request

MARKER = ".heavy-runner"
"""Says that a folder is ours to empty."""
HOME = ".home"
TMP = ".tmp"


@dataclass(frozen=True, kw_only=True)
class Input:
    """One file to bring into the run folder."""

    uri: str
    path: str
    """Under the run folder."""
    what: str
    """For error messages: `the dataset`."""


def inputs_of(request: Request) -> list[Input]:
    """Dataset first: it is the one worth looking at before the others."""
    return [
        Input(uri=request.dataset_uri, path=request.data_path, what="the dataset"),
        Input(uri=request.code_uri, path=SCRIPT_NAME, what="the script"),
        *(Input(uri=file.uri, path=file.path, what=f"support file {file.path}") for file in request.support_files),
    ]


def prepare(run_dir: Path, uid: int, *, default: Path | None) -> None:
    """Empty the run folder, or make it. A folder with somebody else's files in it is refused, unless it is `default`,
    the container's own place.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        entries = list(os.scandir(run_dir))
        ours = run_dir == default or any(entry.name == MARKER for entry in entries)
        if entries and not ours:
            raise RunFailure(
                ErrorCode.INTERNAL_ERROR,
                f"The run folder {run_dir} has files of somebody else in it and is not emptied.",
                "Set HEAVY_RUNNER_RUN_DIR to a folder that is empty or does not exist.",
            )
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        (run_dir / MARKER).touch()
        run_dir.chmod(0o755)
        for name in (HOME, TMP, "data", "artifacts"):
            (run_dir / name).mkdir()
        _give(run_dir, uid)
    except OSError as error:
        code = ErrorCode.DISK_FULL if error.errno == errno.ENOSPC else ErrorCode.INTERNAL_ERROR
        raise RunFailure(
            code, f"The run folder {run_dir} cannot be prepared: {error.strerror}", "Check HEAVY_RUNNER_RUN_DIR."
        ) from error


def look(storage: Storage, inputs: list[Input]) -> list[Blob]:
    """Size and version of every input; raises RunFailure for the first that cannot be read."""
    if len(inputs) <= 2:
        return [_stat(storage, one) for one in inputs]
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="look") as pool:
        return list(pool.map(lambda one: _stat(storage, one), inputs))


def check_read(storage: Storage, request: Request, blob: Blob) -> bool:
    """Compare the dataset's first block with `read`; false if its format is not one to look into."""
    if not request.data_path.lower().endswith(read_check.CHECKED_SUFFIXES):
        return False
    try:
        block = storage.at(blob.uri).read(blob, read_check.FIRST_BLOCK)
    except StorageError as error:
        raise from_input(error, "the dataset") from error
    read_check.check(
        block,
        whole=len(block) == blob.size,
        sep=request.read.sep,
        decimal=request.read.decimal,
        encoding=request.read.encoding,
    )
    return True


def check_room(total: int, run_dir: Path, *, memory_left: int | None) -> None:
    """Refuse inputs that cannot fit. `memory_left`: bytes, where files in the run folder are held in memory."""
    found = os.statvfs(run_dir)
    room = found.f_bavail * found.f_frsize
    if memory_left is not None and memory_left < room:
        room = memory_left
    if total > room:
        raise RunFailure(
            ErrorCode.INPUT_TOO_LARGE,
            f"The inputs have {total // MIB:,} MiB, the run folder has room for {room // MIB:,} MiB.",
            "Give the job more memory (files count as memory there), or send a smaller table.",
            bytes_needed=total,
            bytes_free=room,
        )


def fetch(
    storage: Storage, inputs: list[Input], blobs: list[Blob], run_dir: Path, uid: int, transfer: Transfer
) -> None:
    """Bring every input into the run folder."""
    for one in inputs:
        _make_parents(run_dir, one.path, uid)
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="stage") as pool:
        small = [
            pool.submit(_fetch_one, storage, one, blob, run_dir, uid, transfer)
            for one, blob in list(zip(inputs, blobs, strict=True))[1:]
        ]
        _fetch_one(storage, inputs[0], blobs[0], run_dir, uid, transfer)
        for future in small:
            future.result()


def write_settings(run_dir: Path, uid: int, settings: Mapping[str, object]) -> None:
    """`data/read.json`: how the dataset is read, for the script."""
    path = run_dir / READ_SETTINGS
    try:
        path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        _give(path, uid)
    except OSError as error:
        code = ErrorCode.DISK_FULL if error.errno == errno.ENOSPC else ErrorCode.INTERNAL_ERROR
        raise RunFailure(code, f"{READ_SETTINGS} cannot be written: {error.strerror}", "Free space.") from error


def in_memory(path: Path, mountinfo: str, *, on_platform: bool) -> bool:
    """Whether files at `path` are held in memory: on tmpfs, and on Cloud Run everywhere but in volumes.

    Source: https://cloud.google.com/run/docs/container-contract#filesystem (2026-08).
    """
    kinds: dict[str, str] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kinds[before.split()[4]] = after.split()[0]
    for folder in (path, *path.parents):
        if str(folder) in kinds:
            kind = kinds[str(folder)]
            return kind in ("tmpfs", "ramfs") or (on_platform and str(folder) == "/")
    return False


def _stat(storage: Storage, one: Input) -> Blob:
    try:
        return storage.at(one.uri).stat(one.uri)
    except StorageError as error:
        raise from_input(error, one.what) from error


def _fetch_one(storage: Storage, one: Input, blob: Blob, run_dir: Path, uid: int, transfer: Transfer) -> None:
    try:
        target = os.open(run_dir / one.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RunFailure(
            ErrorCode.REQUEST_INVALID,
            f"{one.what} cannot lie at {one.path}: {error.strerror}",
            "Give every input a path of its own.",
        ) from error
    try:
        storage.at(one.uri).download(blob, target, transfer)
        if uid:
            os.fchown(target, uid, uid)
    except StorageError as error:
        raise from_input(error, one.what) from error
    finally:
        os.close(target)


def _make_parents(run_dir: Path, path: str, uid: int) -> None:
    folder = run_dir
    for part in Path(path).parent.parts:
        folder = folder / part
        if not folder.is_dir():
            folder.mkdir()
            if uid:
                os.chown(folder, uid, uid)


def _give(path: Path, uid: int) -> None:
    if not uid:
        return
    os.chown(path, uid, uid)
    if path.is_dir():
        for entry in path.iterdir():
            if entry.name != MARKER:
                os.chown(entry, uid, uid)
