"""Objects by name: in the stack's bucket, or, for the sandbox, in a folder laid out like one."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

from ops.clients import Clients, remedy_for
from ops.errors import OpsError

Advance = Callable[[int], None]
"""Called with the bytes moved since the last call."""

_CHUNK = 16 << 20


class Conflict(OpsError):
    """The object is not as the writer thought: somebody else was first."""


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """One object of a listing."""

    name: str
    size: int
    updated: datetime


@dataclass(frozen=True, kw_only=True)
class Held:
    """An object's bytes, and the generation to match when it is replaced."""

    data: bytes
    generation: int


class Store(Protocol):
    """What the command needs of a place of objects. Every method raises OpsError when the place refuses."""

    @property
    def uri(self) -> str:
        """How a container names this place: `gs://BUCKET`, or a folder. Without `/` at its end."""

    def read(self, name: str) -> Held | None:
        """Return a small object; None if there is none."""

    def write(self, name: str, data: bytes, *, generation: int | None = None) -> int:
        """Write a small object and return its generation.

        `generation`: 0, it must not exist; N, it must be that one; None, whatever is there is replaced.
        Raises Conflict: it is not so.
        """

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects below a prefix, by name."""

    def upload(self, name: str, path: Path, advance: Advance) -> None:
        """Write a file as an object."""

    def download(self, name: str, path: Path, advance: Advance) -> None:
        """Write an object as a file; the file appears whole or not at all."""


class _Counted:
    """A file that tells how much was read from it."""

    def __init__(self, file: IO[bytes], advance: Advance) -> None:
        self._file, self._advance, self._furthest = file, advance, 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        # a part that is sent again must not count twice
        if (position := self._file.tell()) > self._furthest:
            self._advance(position - self._furthest)
            self._furthest = position
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class BucketStore:
    """A Cloud Storage bucket."""

    def __init__(self, clients: Clients, bucket: str) -> None:
        self._clients, self._name = clients, bucket

    @property
    def uri(self) -> str:
        return f"gs://{self._name}"

    @property
    def _bucket(self) -> Any:
        return self._clients.storage.bucket(self._name)

    def read(self, name: str) -> Held | None:
        from google.api_core.exceptions import NotFound

        blob = self._bucket.blob(name)
        with _told(f"{self.uri}/{name}"):
            try:
                data = blob.download_as_bytes(timeout=60)
            except NotFound:
                return None
            return Held(data=data, generation=int(blob.generation or 0))

    def write(self, name: str, data: bytes, *, generation: int | None = None) -> int:
        blob = self._bucket.blob(name)
        with _told(f"{self.uri}/{name}"):
            blob.upload_from_string(data, content_type="application/json", if_generation_match=generation, timeout=60)
            return int(blob.generation)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with _told(f"{self.uri}/{prefix}"):
            for blob in self._clients.storage.list_blobs(self._name, prefix=prefix, fields=_LISTED):
                yield ObjectInfo(name=blob.name, size=int(blob.size or 0), updated=blob.updated)

    def upload(self, name: str, path: Path, advance: Advance) -> None:
        size = path.stat().st_size
        blob = self._bucket.blob(name, chunk_size=_CHUNK if size > _CHUNK else None)
        with _told(f"{self.uri}/{name}"), path.open("rb") as file:
            blob.upload_from_file(_Counted(file, advance), size=size, timeout=300, checksum="crc32c")

    def download(self, name: str, path: Path, advance: Advance) -> None:
        blob = self._bucket.blob(name)
        with _told(f"{self.uri}/{name}"), _whole(path) as temporary, temporary.open("wb") as file:
            blob.download_to_file(_Sink(file, advance), timeout=300)


_LISTED = "items(name,size,updated),nextPageToken"


class _Sink:
    """A file that tells how much was written to it."""

    def __init__(self, file: IO[bytes], advance: Advance) -> None:
        self._file, self._advance = file, advance

    def write(self, data: bytes) -> int:
        self._advance(len(data))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def _told(what: str) -> Iterator[None]:
    import requests
    from google.api_core.exceptions import GoogleAPICallError, PreconditionFailed
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except PreconditionFailed as exc:
        raise Conflict(f"{what} was changed by somebody else meanwhile") from exc
    except GoogleAPICallError as exc:
        raise OpsError(f"{what}: {exc.code} {exc.message}", remedy_for(int(exc.code or 0))) from exc
    except (requests.RequestException, GoogleAuthError) as exc:
        raise OpsError(f"{what}: storage does not answer: {exc}", "longhaul doctor tells what is missing") from exc


class FolderStore:
    """A folder; only this machine's processes write to it."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @property
    def uri(self) -> str:
        return str(self.root)

    def read(self, name: str) -> Held | None:
        try:
            path = self.root / name
            return Held(data=path.read_bytes(), generation=path.stat().st_mtime_ns)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise OpsError(f"{self.root / name}: {exc.strerror}") from exc

    def write(self, name: str, data: bytes, *, generation: int | None = None) -> int:
        path = self.root / name
        if generation and ((held := self.read(name)) is None or held.generation != generation):
            raise Conflict(f"{path} was changed by somebody else meanwhile")
        try:
            with _whole(path, exclusive=generation == 0) as temporary:
                temporary.write_bytes(data)
            return path.stat().st_mtime_ns
        except OSError as exc:
            raise OpsError(f"{path}: {exc.strerror}") from exc

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        top = self.root / prefix.rpartition("/")[0]
        for path in sorted(p for p in top.rglob("*") if p.is_file()):
            name = path.relative_to(self.root).as_posix()
            if name.startswith(prefix):
                stat = path.stat()
                yield ObjectInfo(name=name, size=stat.st_size, updated=datetime.fromtimestamp(stat.st_mtime, UTC))

    def upload(self, name: str, path: Path, advance: Advance) -> None:
        self._copy(path, self.root / name, advance)

    def download(self, name: str, path: Path, advance: Advance) -> None:
        self._copy(self.root / name, path, advance)

    def _copy(self, source: Path, target: Path, advance: Advance) -> None:
        try:
            with _whole(target) as temporary:
                shutil.copyfile(source, temporary)
            advance(target.stat().st_size)
        except OSError as exc:
            raise OpsError(f"{source} -> {target}: {exc.strerror}") from exc


@contextmanager
def _whole(path: Path, *, exclusive: bool = False) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}.part")
    try:
        yield temporary
        if exclusive:
            os.link(temporary, path)
        else:
            temporary.replace(path)
    except FileExistsError as exc:
        raise Conflict(f"{path} exists already") from exc
    finally:
        temporary.unlink(missing_ok=True)
