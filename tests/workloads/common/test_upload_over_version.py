"""An upload over a known version replaces that one and no other, in a bucket and in a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from gcs_support import BUCKET, Script, object_server, problem, scripted_server, store

from workloads.common.gcs import ONE_PIECE_BYTES
from workloads.common.storage import LocalStore, NotFound, PreconditionFailed, Store, Transfer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with object_server(tmp_path_factory.mktemp("objects")) as url:
        yield url


@pytest.mark.parametrize(("kind", "size"), [("bucket", 100), ("folder", 100), ("folder", ONE_PIECE_BYTES + 1)])
def test_only_the_version_named_is_replaced(server: str, tmp_path: Path, kind: str, size: int) -> None:
    place: Store = store(server) if kind == "bucket" else LocalStore()
    uri = f"gs://{BUCKET}/over-{size}" if kind == "bucket" else str(tmp_path / "out" / "x")
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    with source.open("rb") as file:
        with pytest.raises((PreconditionFailed, NotFound)):
            place.upload(file.fileno(), uri, Transfer(), if_generation=7)
        first = place.upload(file.fileno(), uri, Transfer(), if_generation=0)
        assert first.size == size
        with pytest.raises(PreconditionFailed):
            place.upload(file.fileno(), uri, Transfer(), if_generation=0)
        second = place.upload(file.fileno(), uri, Transfer(), if_generation=first.generation)
        assert second.generation != first.generation
        with pytest.raises(PreconditionFailed):
            place.upload(file.fileno(), uri, Transfer(), if_generation=first.generation)
    assert place.stat(uri).generation == second.generation


def test_a_resumable_upload_asks_for_the_version_when_it_begins(tmp_path: Path) -> None:
    # The object server of these tests does not check it there; Cloud Storage and the local cloud do.
    source = tmp_path / "source"
    source.write_bytes(bytes(ONE_PIECE_BYTES + 1))
    script = Script(lambda method, path, headers, body: problem(412, "conditionNotMet"))
    with scripted_server(script) as url, source.open("rb") as file, pytest.raises(PreconditionFailed):
        store(url).upload(file.fileno(), f"gs://{BUCKET}/x", Transfer(), if_generation=7)
    assert "ifGenerationMatch=7" in script.seen[0][1]
