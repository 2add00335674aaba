import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from localcloud_support import digest_of

from localcloud.registry.blobs import Blobs, DigestMismatch, OutOfOrder


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def nothing() -> None:
    return None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(min_value=0, max_value=6))
def test_chunks_give_the_whole_also_over_a_restart(chunks: list[bytes], restart_after: int) -> None:
    async def upload(root: Path) -> bytes:
        blobs = Blobs(root)
        upload = blobs.start("p/r/i")
        for number, chunk in enumerate(chunks):
            if number == restart_after:
                blobs = Blobs(root)
                found = await blobs.find(upload.id, "p/r/i")
                assert found is not None
                upload = found
            await blobs.append(upload, stream(chunk), upload.size)
        digest = digest_of(b"".join(chunks))
        assert blobs.size(digest) is None
        await blobs.finish(upload, digest, nothing)
        return blobs.path(digest).read_bytes()

    with tempfile.TemporaryDirectory() as folder:
        assert asyncio.run(upload(Path(folder))) == b"".join(chunks)


def test_a_blob_is_no_garbage_while_it_is_being_linked(tmp_path: Path) -> None:
    async def run() -> list[str]:
        blobs = Blobs(tmp_path)
        upload = blobs.start("p/r/i")
        await blobs.append(upload, stream(b"data"))
        seen: list[list[str]] = []
        await blobs.finish(upload, digest_of(b"data"), lambda: seen.append(blobs.settled()))
        assert seen == [[]]
        return blobs.settled()

    assert asyncio.run(run()) == [digest_of(b"data")]


def test_an_upload_belongs_to_its_image_and_ends_with_a_wrong_digest(tmp_path: Path) -> None:
    async def run() -> None:
        blobs = Blobs(tmp_path)
        upload = blobs.start("p/r/i")
        assert await blobs.find(upload.id, "p/r/other") is None
        assert await blobs.find("../sha256", "x") is None
        await blobs.append(upload, stream(b"abc"))
        with pytest.raises(OutOfOrder):
            await blobs.append(upload, stream(b"d"), 2)
        with pytest.raises(DigestMismatch):
            await blobs.finish(upload, digest_of(b"abcd"), nothing)
        assert await blobs.find(upload.id, "p/r/i") is None
        assert blobs.digests() == []

    asyncio.run(run())
