from pathlib import Path

import pytest

from ops.errors import OpsError
from ops.store import Conflict, FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "bucket")


def test_of_two_first_writers_one_wins(store: FolderStore) -> None:
    store.write("runs/heavy/r.json", b"1", generation=0)
    with pytest.raises(Conflict):
        store.write("runs/heavy/r.json", b"2", generation=0)
    held = store.read("runs/heavy/r.json")
    assert held is not None
    assert held.data == b"1"


def test_a_replacement_must_know_what_it_replaces(store: FolderStore) -> None:
    first = store.write("a", b"1", generation=0)
    second = store.write("a", b"22", generation=first)
    with pytest.raises(Conflict):
        store.write("a", b"3", generation=first)
    assert store.write("a", b"4", generation=second)


def test_listing_is_by_prefix_and_name(store: FolderStore) -> None:
    for name in ("runs/heavy/b.json", "runs/heavy/a.json", "runs/other/c.json", "runs/heavy2/d.json"):
        store.write(name, b"x")
    assert [info.name for info in store.list("runs/heavy/")] == ["runs/heavy/a.json", "runs/heavy/b.json"]
    assert list(store.list("nothing/here/")) == []


def test_upload_and_download_move_whole_files(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"x" * 1000)
    moved: list[int] = []
    store.upload("d/o", tmp_path / "in", moved.append)
    store.download("d/o", tmp_path / "deep" / "out", moved.append)
    assert (tmp_path / "deep" / "out").read_bytes() == b"x" * 1000
    assert moved == [1000, 1000]


def test_a_download_that_fails_leaves_no_file(store: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(OpsError):
        store.download("missing", tmp_path / "out", lambda _: None)
    assert list(tmp_path.glob("**/*.part")) == []
    assert not (tmp_path / "out").exists()
