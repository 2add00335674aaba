"""Files in a bucket or in a folder, by the same few calls, streamed so that no size matters.

`gs://BUCKET/OBJECT` goes to the bucket client in gcs.py, everything else is a path of this machine.
"""

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

BLOCK = 1 << 20
COPY_BLOCK = 16 << 20


class StorageError(Exception):
    """Something about one object or file; the subclasses say what."""

    def __init__(self, uri: str, what: str) -> None:
        super().__init__(f"{uri}: {what}")
        self.uri = uri
        self.what = what


class NotFound(StorageError):
    """There is no such object, or it is not a regular file."""


class Denied(StorageError):
    """This identity may not do that."""


class PreconditionFailed(StorageError):
    """Another generation is there than the caller asked for."""


class Changed(StorageError):
    """The object was replaced, cut or deleted while it was read."""


class Corrupt(StorageError):
    """What arrived has another checksum than what was sent."""


class NoSpace(StorageError):
    """The file system is full."""


class Unavailable(StorageError):
    """The service did not answer in time, retries included."""


class Interrupted(Exception):
    """The caller asked to stop in the middle of a transfer."""


@dataclass(frozen=True, kw_only=True)
class Blob:
    """One version of an object."""

    uri: str
    size: int
    """Bytes."""
    generation: int
    """Generation of the object; of a file, its time of modification in nanoseconds."""
    crc32c: int | None = None


class Stop:
    """A request to stop. A plain attribute: the lock inside threading.Event must not be taken in a signal handler."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set


class Transfer:
    """Progress of transfers, and the way to stop them; shared between threads."""

    def __init__(self, stop: Stop | None = None, total: int = 0) -> None:
        self.total = total
        self._done = 0
        self._lock = threading.Lock()
        self._stop = stop or Stop()

    @property
    def done(self) -> int:
        return self._done

    def advance(self, count: int) -> None:
        """Count bytes; raises Interrupted once a stop was asked for."""
        with self._lock:
            self._done += count
        if self._stop.is_set():
            raise Interrupted


class Store(Protocol):
    """What both kinds of place can do. Every call raises the errors above and nothing else of its own."""

    def stat(self, uri: str) -> Blob: ...

    def read(self, blob: Blob, length: int) -> bytes:
        """The first `length` bytes of this version."""

    def download(self, blob: Blob, target: int, transfer: Transfer) -> None:
        """This version into the open file `target`, in parallel ranges where that helps; the checksum is verified."""

    def upload(self, source: int, uri: str, transfer: Transfer, *, if_generation: int | None = None) -> Blob:
        """The open file `source` to a new version of `uri`; the checksum is verified.

        With `if_generation` it replaces that version only, 0 means: only if there is none.
        """

    def write(self, uri: str, data: bytes, *, if_generation: int | None = None) -> int:
        """A small object in one piece; 0 means: only if there is none. Gives the new generation."""

    def delete(self, uri: str) -> None:
        """Remove the object; none there is not an error."""


class Deadline:
    """How long transfers may retry; can be shortened while they run, as when the platform says stop."""

    def __init__(self, seconds: float = 120.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._at: float | None = None

    def end_in(self, seconds: float) -> None:
        """From now on nothing may take longer than this."""
        self._at = self._clock() + seconds

    def left(self, started: float) -> float:
        """Seconds left for a call that began at `started`."""
        ends = started + self._seconds
        return (ends if self._at is None else min(ends, self._at)) - self._clock()


class Storage:
    """Chooses the store by the URI. The bucket client is made when the first gs:// URI is met."""

    def __init__(self, make_bucket_store: Callable[[Deadline], Store], local: Store | None = None) -> None:
        self.deadline = Deadline()
        self._make = make_bucket_store
        self._local = local or LocalStore()
        self._bucket: Store | None = None
        self._lock = threading.Lock()

    def at(self, uri: str) -> Store:
        if not is_bucket(uri):
            return self._local
        with self._lock:
            if self._bucket is None:
                self._bucket = self._make(self.deadline)
            return self._bucket

    def read_small(self, uri: str, limit: int) -> tuple[bytes, Blob]:
        """A whole object of at most `limit` bytes; raises StorageError if it is larger."""
        blob = self.at(uri).stat(uri)
        if blob.size > limit:
            raise StorageError(uri, f"has {blob.size:,} bytes, more than the {limit:,} allowed here")
        return self.at(uri).read(blob, blob.size), blob


def is_bucket(uri: str) -> bool:
    return uri.startswith("gs://")


def split(uri: str) -> tuple[str, str]:
    """Bucket and object name; raises ValueError if either is missing."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not is_bucket(uri) or not bucket or not name:
        raise ValueError(f"uri: must be gs://BUCKET/OBJECT, got {uri[:200]!r}")
    return bucket, name


class LocalStore:
    """Files of this machine."""

    def stat(self, uri: str) -> Blob:
        with _named(uri):
            found = os.stat(uri)
        if not stat.S_ISREG(found.st_mode):
            raise NotFound(uri, "is not a regular file")
        return Blob(uri=uri, size=found.st_size, generation=found.st_mtime_ns)

    def read(self, blob: Blob, length: int) -> bytes:
        with _named(blob.uri), open(blob.uri, "rb", buffering=0) as file:
            data = file.read(min(length, blob.size)) or b""
        if len(data) < min(length, blob.size):
            raise Changed(blob.uri, "became shorter while it was read")
        return data

    def download(self, blob: Blob, target: int, transfer: Transfer) -> None:
        with _named(blob.uri), open(blob.uri, "rb", buffering=0) as file:
            copied = _copy(file.fileno(), target, transfer)
            now = os.fstat(file.fileno())
            gone = now.st_nlink == 0
        if gone or (copied, now.st_mtime_ns) != (blob.size, blob.generation):
            raise Changed(blob.uri, "was deleted or changed while it was read")

    def upload(self, source: int, uri: str, transfer: Transfer, *, if_generation: int | None = None) -> Blob:
        def fill(target: int) -> None:
            os.lseek(source, 0, os.SEEK_SET)
            _copy(source, target, transfer)

        self._check(uri, if_generation)
        self._replace(uri, fill, only_new=if_generation == 0)
        return self.stat(uri)

    def write(self, uri: str, data: bytes, *, if_generation: int | None = None) -> int:
        def fill(target: int) -> None:
            view = memoryview(data)
            while view:
                view = view[os.write(target, view) :]

        self._check(uri, if_generation)
        self._replace(uri, fill, only_new=if_generation == 0)
        return self.stat(uri).generation

    def _check(self, uri: str, generation: int | None) -> None:
        if generation and self.stat(uri).generation != generation:
            raise PreconditionFailed(uri, "was changed by somebody else")

    def delete(self, uri: str) -> None:
        with _named(uri):
            Path(uri).unlink(missing_ok=True)

    def _replace(self, uri: str, fill: Callable[[int], None], *, only_new: bool) -> None:
        path = Path(uri)
        part = path.with_name(f".{path.name[:100]}.{os.getpid()}-{threading.get_ident()}.part")
        with _named(uri):
            _make_folder(path.parent)
            target = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                try:
                    fill(target)
                    _give_to_owner(target, path.parent)
                finally:
                    os.close(target)
                if only_new:
                    os.link(part, path)
                else:
                    os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)


def _copy(source: int, target: int, transfer: Transfer) -> int:
    copied = 0
    while count := os.sendfile(target, source, None, COPY_BLOCK):
        copied += count
        transfer.advance(count)
    return copied


def _make_folder(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        _give_to_owner(path, path.parent)


def _give_to_owner(item: int | Path, folder: Path) -> None:
    """A container that runs as root leaves files its user can delete: they belong to whom the folder belongs."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(item, owner.st_uid, owner.st_gid)


@contextmanager
def _named(uri: str) -> Iterator[None]:
    """Operating system errors as this module's."""
    try:
        yield
    except OSError as error:
        raise translate(uri, error) from error
    except ValueError as error:  # a NUL in the path
        raise NotFound(uri, str(error)) from error


def translate(uri: str, error: OSError) -> StorageError:
    what = error.strerror or str(error)
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ENAMETOOLONG | errno.ELOOP:
            return NotFound(uri, what)
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return Denied(uri, what)
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return NoSpace(uri, what)
        case errno.EEXIST:
            return PreconditionFailed(uri, "exists already")
    return StorageError(uri, what)
