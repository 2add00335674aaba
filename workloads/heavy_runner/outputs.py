"""What the script left behind: found, judged, uploaded."""

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from workloads.common.storage import Storage, StorageError, Transfer, Unavailable
from workloads.heavy_runner.contract import EXECUTION_LOG, READ_SETTINGS
from workloads.heavy_runner.failure import from_output

FOLDERS = ("data", "static/plots", "report", "reports", "artifacts", "models")
"""Everything under these is uploaded, and what `required_outputs` names beside."""

MAX_FILES = 10_000
MAX_NAMED = 100
"""Skipped files named in the record; beyond that only their number."""
SPARSE_BYTES = 64 << 20
"""A file larger than this of which less than half is really there is not uploaded."""
PARALLEL_FILES = 4
GIVE_UP_S = 20.0
"""Once one upload has waited in vain for the service, the others and the final state get this long, seconds."""


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    path: str
    """Name under the output URI."""
    real: Path
    size: int
    """Bytes."""


@dataclass(kw_only=True)
class Found:
    """All that was found."""

    files: list[OutputFile] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Path -> why it is not uploaded; at most MAX_NAMED of them."""
    skipped_count: int = 0
    missing: list[str] = field(default_factory=list)
    """Required outputs that nothing uploadable matches."""

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)

    def skip(self, path: str, why: str) -> None:
        self.skipped_count += 1
        if len(self.skipped) < MAX_NAMED:
            self.skipped[_printable(path)] = why


def find(run_dir: Path, *, inputs: Sequence[str], required: Sequence[str]) -> Found:
    """Look through the output folders and for the required outputs. Only when nothing of the script runs any more:
    then what is judged here is still what is uploaded later.
    """
    found = Found()
    base = Path(os.path.realpath(run_dir))
    known: dict[str, OutputFile | None] = {path: None for path in (*inputs, READ_SETTINGS)}
    for path in _walk(base, found):
        if path not in known:
            known[path] = _judge(base, path, found)
    for pattern in required:
        matches = _matches(base, pattern)
        for path in matches:
            # an input is an output only if it is asked for by its very name
            if path not in known or (path in inputs and path == pattern):
                known[path] = _judge(base, path, found)
        if not any(known.get(path) or path in inputs for path in matches):
            found.missing.append(pattern)
    found.files = sorted((file for file in known.values() if file), key=lambda file: file.path)
    for extra in found.files[MAX_FILES:]:
        found.skip(extra.path, f"over the limit of {MAX_FILES:,} files")
    del found.files[MAX_FILES:]
    return found


def upload(storage: Storage, found: Found, base_uri: str, transfer: Transfer, uploaded: dict[str, int]) -> None:
    """Upload every file that was found, and enter it in `uploaded` with its size once it is there.

    One that fails does not keep the others from being uploaded; then the first failure is raised as RunFailure.
    """

    def send(file: OutputFile) -> None:
        uri = base_uri + file.path
        source = os.open(file.real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            uploaded[file.path] = storage.at(uri).upload(source, uri, transfer).size
        except StorageError as error:
            if isinstance(error, Unavailable):
                storage.deadline.end_in(GIVE_UP_S)
            raise from_output(error, f"output {file.path}") from error
        finally:
            os.close(source)

    with ThreadPoolExecutor(max_workers=PARALLEL_FILES, thread_name_prefix="upload") as pool:
        futures = [pool.submit(send, file) for file in found.files]
    for future in futures:
        future.result()


def _walk(base: Path, found: Found) -> Iterator[str]:
    for name in FOLDERS:
        top = base / name
        if top.is_symlink() or not top.is_dir():
            if os.path.lexists(top):
                found.skip(name, "is not a folder")
            continue
        for folder, folders, files in os.walk(top, followlinks=False):
            here = Path(folder).relative_to(base)
            for one in sorted(folders):
                if (Path(folder) / one).is_symlink():
                    found.skip(str(here / one), "is a link to a folder")
            yield from (str(here / one) for one in sorted(files))


def _matches(base: Path, pattern: str) -> list[str]:
    return sorted(
        str(PurePosixPath(path))
        for path in glob.glob(pattern, root_dir=base, recursive=True, include_hidden=False)
        if not (base / path).is_dir()
    )


def _judge(base: Path, path: str, found: Found) -> OutputFile | None:
    why, real, size = _look(base, path)
    if why:
        found.skip(path, why)
        return None
    return OutputFile(path=path, real=real, size=size)


def _look(base: Path, path: str) -> tuple[str, Path, int]:
    """Why this is not to be uploaded ('' if it is), the file behind it, its size."""
    real = Path(os.path.realpath(base / path))
    if path == EXECUTION_LOG:
        return "is written by the runner itself", real, 0
    if _printable(path) != path or len(path.encode()) > 900:
        return "has a name that no object can have", real, 0
    if not real.is_relative_to(base):
        return "leads out of the run folder", real, 0
    try:
        about = real.lstat()
    except OSError:
        return "leads nowhere", real, 0
    if not stat.S_ISREG(about.st_mode):
        return "is not a regular file", real, 0
    if about.st_size > SPARSE_BYTES and about.st_blocks * 512 < about.st_size // 2:
        return f"is sparse: {about.st_size:,} bytes of which {about.st_blocks * 512:,} are there", real, 0
    if about.st_nlink > 1 and about.st_uid != base.stat().st_uid:
        return "is a second name of somebody else's file", real, 0
    return "", real, about.st_size


def _printable(path: str) -> str:
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in path)
