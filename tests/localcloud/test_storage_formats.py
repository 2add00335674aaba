"""Lists and multipart bodies against the plainest model of them."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.clock import Clock
from localcloud.errors import ApiError
from localcloud.storage.batches import split
from localcloud.storage.catalogue import OBJECT, Catalogue
from localcloud.storage.framing import Parts, boundary_of
from localcloud.storage.listing import Listing, page
from localcloud.storage.sessions import Chunk, parse_range
from localcloud.store import Store

NAMES = st.text(alphabet="ab/é\U0001f388", min_size=1, max_size=5)


def expected(names: set[str], asked: Listing) -> tuple[list[str], list[str]]:
    """Items and prefixes of the whole list."""
    items, prefixes = [], []
    for name in sorted(names, key=str.encode):
        if not name.startswith(asked.prefix) or name < asked.start or (asked.end and name >= asked.end):
            continue
        at = name.find(asked.delimiter, len(asked.prefix)) if asked.delimiter else -1
        if at < 0:
            items.append(name)
        elif (group := name[: at + len(asked.delimiter)]) not in prefixes:
            prefixes.append(group)
    return items, prefixes


@settings(max_examples=150, deadline=None)
@given(
    names=st.sets(NAMES, max_size=40),
    prefix=st.sampled_from(["", "a", "a/", "é"]),
    delimiter=st.sampled_from(["", "/", "b", "a/"]),
    start=st.sampled_from(["", "a", "a/b", "b"]),
    end=st.sampled_from(["", "b", "é"]),
    limit=st.integers(1, 9),
)
def test_pages_make_up_the_whole_list(
    names: set[str], prefix: str, delimiter: str, start: str, end: str, limit: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "s")
        with store.transaction():
            for name in names:
                store.put(OBJECT, f"bkt/{name}", {"name": name, "bucket": "bkt"})
            store.put(OBJECT, "bkt0/a", {"name": "a", "bucket": "bkt0"})
            store.put(OBJECT, "bks/a", {"name": "a", "bucket": "bks"})
        items, prefixes, after = [], [], ""
        while True:
            asked = Listing(
                bucket="bkt", prefix=prefix, delimiter=delimiter, start=start, end=end, limit=limit, after=after
            )
            found = page(Catalogue(store, Clock()), asked)
            assert len(found.items) + len(found.prefixes) <= limit
            items += [record["name"] for record in found.items]
            prefixes += found.prefixes
            after = found.last
            if not after:
                break
        store.close()
    assert (items, prefixes) == expected(names, asked)


@settings(max_examples=200, deadline=None)
@given(
    media=st.lists(st.sampled_from([b"\r\n", b"--sep", b"-", b"\n", b"x", b"\r\n--se", b"\0"]), max_size=12).map(
        b"".join
    ),
    newline=st.sampled_from([b"\r\n", b"\n"]),
    cuts=st.lists(st.integers(1, 7), max_size=60),
)
def test_multipart_bodies_are_read_however_they_are_cut(media: bytes, newline: bytes, cuts: list[int]) -> None:
    if newline + b"--sep" in newline + media:
        media = b""
    head = newline.join(
        [b"--sep", b"Content-Type: application/json", b"", b"{}", b"--sep", b"content-type: a/b", b"", b""]
    )
    body = head + media + newline + b"--sep--"

    async def chunks() -> AsyncIterator[bytes]:
        at = 0
        for length in cuts:
            yield body[at : at + length]
            at += length
        yield body[at:]

    async def read() -> tuple[bytes, bool, dict[str, str], bytes]:
        parts = Parts(chunks(), b"sep")
        await parts.begin()
        assert (await parts.headers())["content-type"] == "application/json"
        text, more = await parts.body()
        headers = await parts.headers()
        return text, more, headers, b"".join([piece async for piece in parts.stream()])

    assert asyncio.run(read()) == (b"{}", True, {"content-type": "a/b"}, media)


@pytest.mark.parametrize("quoted", ["boundary=abc", 'boundary="abc"', "boundary='abc'; charset=x", "a=b; boundary=abc"])
def test_boundaries(quoted: str) -> None:
    assert boundary_of(f"multipart/related; {quoted}") == b"abc"
    with pytest.raises(ApiError):
        boundary_of("multipart/related")


def test_batches_are_split_at_their_boundary_only() -> None:
    body = b"--b\r\nContent-ID: <1>\r\n\r\nGET /x HTTP/1.1\r\n\r\n\r\n--b\nContent-ID: <2>\n\nDELETE /y\n\n--b--\r\n"
    assert [(headers, call.split()[0]) for headers, call in split(body, b"b")] == [
        ({"content-id": "<1>"}, b"GET"),
        ({"content-id": "<2>"}, b"DELETE"),
    ]


@pytest.mark.parametrize(
    ("header", "chunk", "final"),
    [
        (None, Chunk(0, None, None), True),
        ("bytes 0-9/10", Chunk(0, 10, 10), True),
        ("bytes 0-9/20", Chunk(0, 10, 20), False),
        ("bytes 5-9/*", Chunk(5, 10, None), False),
        ("bytes 5-*/*", Chunk(5, None, None), True),
        ("bytes */10", Chunk(None, None, 10), False),
        ("bytes */*", Chunk(None, None, None), False),
    ],
)
def test_content_ranges(header: str | None, chunk: Chunk, final: bool) -> None:
    assert parse_range(header) == chunk
    assert parse_range(header).final is final
