import errno
import os
from pathlib import Path

import pytest

from workloads.common.storage import (
    Blob,
    Changed,
    Denied,
    Interrupted,
    LocalStore,
    NoSpace,
    NotFound,
    PreconditionFailed,
    Stop,
    StorageError,
    Transfer,
    split,
    translate,
)

STORE = LocalStore()


def fetch(blob: Blob, target: Path, transfer: Transfer | None = None) -> bytes:
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT)
    try:
        STORE.download(blob, descriptor, transfer or Transfer())
        return target.read_bytes()
    finally:
        os.close(descriptor)


def test_copy_is_the_file_and_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    transfer = Transfer()
    assert fetch(STORE.stat(str(tmp_path / "a")), tmp_path / "b", transfer) == b"x" * 100_000
    assert transfer.done == 100_000


def test_file_that_changes_or_goes_away_after_it_was_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 10)
    blob = STORE.stat(str(path))
    path.write_bytes(b"x" * 5)
    with pytest.raises(Changed):
        fetch(blob, tmp_path / "b")
    with pytest.raises(Changed):
        STORE.read(blob, 10)
    path.unlink()
    with pytest.raises(NotFound):
        fetch(blob, tmp_path / "b")


def test_folder_pipe_and_nothing_are_not_found(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "pipe", "none", "none/below", "x" * 300):
        with pytest.raises(NotFound):
            STORE.stat(str(tmp_path / name))
    with pytest.raises(NotFound):
        STORE.stat(str(tmp_path / "with\0null"))


def test_new_only_write_lets_exactly_one_through(tmp_path: Path) -> None:
    uri = str(tmp_path / "deep" / "claim.json")
    STORE.write(uri, b"first", if_generation=0)
    with pytest.raises(PreconditionFailed):
        STORE.write(uri, b"second", if_generation=0)
    assert Path(uri).read_bytes() == b"first"
    assert [path.name for path in Path(uri).parent.iterdir()] == ["claim.json"]


def test_write_over_a_generation_that_is_gone_is_refused(tmp_path: Path) -> None:
    uri = str(tmp_path / "status.json")
    generation = STORE.write(uri, b"1")
    os.utime(uri, ns=(generation + 1, generation + 1))
    with pytest.raises(PreconditionFailed):
        STORE.write(uri, b"2", if_generation=generation)
    STORE.write(uri, b"3", if_generation=generation + 1)


def test_stop_ends_a_copy(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        fetch(STORE.stat(str(tmp_path / "a")), tmp_path / "b", Transfer(stop))


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, NoSpace), (errno.EDQUOT, NoSpace), (errno.EACCES, Denied), (errno.EROFS, Denied)],
)
def test_full_and_forbidden_places_are_told_apart(number: int, kind: type[StorageError]) -> None:
    assert type(translate("/out/x", OSError(number, os.strerror(number)))) is kind


@pytest.mark.parametrize("uri", ["gs://", "gs://bucket", "gs://bucket/", "s3://a/b"])
def test_uri_without_bucket_or_object_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="must be gs://BUCKET/OBJECT"):
        split(uri)
