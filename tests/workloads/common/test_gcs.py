"""Our client against a real object server, and against answers that a server gives on a bad day."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import google_crc32c
import pytest
from gcs_support import BUCKET, Answer, Script, object_server, problem, scripted_server, store

from workloads.common import crc32c
from workloads.common.gcs import CHUNK_BYTES, RANGE_BYTES, GcsStore
from workloads.common.storage import (
    Blob,
    Changed,
    Corrupt,
    Deadline,
    Denied,
    Interrupted,
    NoSpace,
    NotFound,
    PreconditionFailed,
    Stop,
    Transfer,
    Unavailable,
)

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with object_server(tmp_path_factory.mktemp("objects")) as url:
        yield url


def send(client: GcsStore, path: Path, data: bytes, name: str, transfer: Transfer | None = None) -> Blob:
    path.write_bytes(data)
    with path.open("rb") as source:
        return client.upload(source.fileno(), f"gs://{BUCKET}/{name}", transfer or Transfer())


def fetch(client: GcsStore, blob: Blob, path: Path, transfer: Transfer | None = None) -> bytes:
    with path.open("w+b") as target:
        client.download(blob, target.fileno(), transfer or Transfer())
    return path.read_bytes()


@pytest.mark.parametrize("size", [0, 1, 3 * MIB, CHUNK_BYTES + 1, 2 * RANGE_BYTES + 12_345])
def test_what_is_uploaded_comes_back_whatever_its_size(server: str, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    client, up, down = store(server), Transfer(), Transfer()
    blob = send(client, tmp_path / "up", data, f"dir/with space ü {size}.csv", up)
    seen = client.stat(blob.uri)
    assert (seen.size, seen.crc32c) == (size, google_crc32c.value(data))
    assert fetch(client, seen, tmp_path / "down", down) == data
    assert (up.done, down.done) == (size, size)
    assert client.read(seen, 100) == data[:100]


def test_claim_goes_to_exactly_one_of_many_and_a_stale_generation_is_refused(server: str) -> None:
    client, uri, won = store(server), f"gs://{BUCKET}/claim.json", []

    def claim(number: int) -> None:
        with suppress(PreconditionFailed):
            client.write(uri, b"%d" % number, if_generation=0)
            won.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    first = client.stat(uri).generation
    client.write(uri, b"next", if_generation=first)
    with pytest.raises(PreconditionFailed):
        client.write(uri, b"late", if_generation=first)


def test_absent_object_and_bucket_are_not_found_and_deleting_them_is_fine(server: str) -> None:
    client = store(server)
    for uri in (f"gs://{BUCKET}/none", "gs://no-such-bucket/x"):
        with pytest.raises(NotFound):
            client.stat(uri)
    client.delete(f"gs://{BUCKET}/none")


def test_object_that_is_deleted_after_it_was_looked_at_has_changed(server: str, tmp_path: Path) -> None:
    client = store(server)
    blob = send(client, tmp_path / "up", b"x" * 100, "vanishing")
    client.delete(blob.uri)
    with pytest.raises(Changed):
        fetch(client, blob, tmp_path / "down")


def test_download_to_a_full_disk_and_a_stopped_one_end_at_once(server: str, tmp_path: Path) -> None:
    client = store(server)
    blob = send(client, tmp_path / "up", b"x" * MIB, "big")
    with pytest.raises(NoSpace), open("/dev/full", "wb", buffering=0) as full:
        client.download(blob, full.fileno(), Transfer())
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        fetch(client, blob, tmp_path / "down", Transfer(stop))


DATA = bytes(range(256)) * 4_096
BLOB = Blob(uri="gs://b-b-b/o", size=len(DATA), generation=1, crc32c=google_crc32c.value(DATA))
ABOUT = b'{"size": "%d", "generation": "1", "crc32c": "%s"}' % (len(DATA), crc32c.to_base64(BLOB.crc32c or 0).encode())


def quick(url: str, **options: object) -> GcsStore:
    return store(url, sleep=lambda seconds: None, **options)


def ranged(headers: dict[str, str]) -> bytes:
    first, last = headers["Range"].removeprefix("bytes=").split("-")
    return DATA[int(first) : int(last) + 1]


def test_broken_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    starts: list[str] = []

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        starts.append(headers["Range"])
        whole = ranged(headers)
        return 206, {"Content-Length": str(len(whole))}, whole[: 300_000 if len(starts) < 4 else None]

    with scripted_server(Script(answer)) as url:
        assert fetch(quick(url), BLOB, tmp_path / "down") == DATA
    assert starts[0] == f"bytes=0-{len(DATA) - 1}"
    assert len(starts) == 4
    assert starts[1] != starts[0]


def test_wrong_bytes_are_noticed(tmp_path: Path) -> None:
    script = Script(lambda method, path, headers, body: (206, {}, bytes(len(DATA))))
    with scripted_server(script) as url, pytest.raises(Corrupt):
        fetch(quick(url), BLOB, tmp_path / "down")


def test_busy_service_is_asked_again_and_a_refusal_is_not() -> None:
    answers = iter([problem(503, "busy"), problem(429, "slow down"), (200, {}, ABOUT)])
    with scripted_server(Script(lambda *asked: next(answers))) as url:
        assert quick(url).stat(BLOB.uri) == BLOB
    script = Script(lambda *asked: problem(403, "does not have storage.objects.get access"))
    with scripted_server(script) as url, pytest.raises(Denied, match=r"storage\.objects\.get access \(403\)"):
        quick(url).stat(BLOB.uri)
    assert len(script.seen) == 1


def test_service_that_stays_away_is_unavailable_when_the_deadline_has_passed() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def clock() -> float:
        return now[0]

    client = GcsStore(
        lambda http: _NoTokens(), endpoint="http://127.0.0.1:1", deadline=Deadline(30, clock), clock=clock, sleep=sleep
    )
    with pytest.raises(Unavailable, match="no connection"):
        client.stat(BLOB.uri)
    assert 10 < now[0] <= 30


def test_token_that_is_refused_is_replaced_once() -> None:
    tokens = _NoTokens(["old", "new"])

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        return (200, {}, ABOUT) if headers["Authorization"] == "Bearer new" else problem(401, "expired")

    with scripted_server(Script(answer)) as url:
        assert GcsStore(lambda http: tokens, endpoint=url).stat(BLOB.uri) == BLOB


def test_write_whose_answer_was_lost_is_not_taken_for_somebody_elses() -> None:
    written: list[bytes] = []

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if method == "GET":
            return 200, {}, ABOUT
        written.append(body)
        return problem(503, "lost") if len(written) == 1 else problem(412, "exists")

    with scripted_server(Script(answer)) as url:
        assert quick(url).write(BLOB.uri, DATA, if_generation=0) == 1
        with pytest.raises(PreconditionFailed):
            quick(url).write(BLOB.uri, b"other", if_generation=0)


def test_interrupted_chunk_is_continued_from_what_the_service_kept(tmp_path: Path) -> None:
    size = 3 * MIB
    data = os.urandom(size)
    kept = bytearray()

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if method == "POST":
            assert unquote(path.partition("name=")[2]) == "o"
            return 200, {"Location": f"{url}/session"}, b""
        span = headers["Content-Range"]
        if span == f"bytes */{size}":
            return 308, {"Range": f"bytes=0-{len(kept) - 1}"}, b""
        assert span.startswith(f"bytes {len(kept)}-")
        if not kept:
            kept.extend(body[:MIB])
            return problem(503, "lost")
        kept.extend(body)
        crc = crc32c.to_base64(google_crc32c.value(bytes(kept)))
        return 200, {}, b'{"size": "%d", "generation": "5", "crc32c": "%s"}' % (len(kept), crc.encode())

    (tmp_path / "up").write_bytes(data)
    with scripted_server(Script(answer)) as url, (tmp_path / "up").open("rb") as source:
        blob = quick(url).upload(source.fileno(), "gs://b-b-b/o", Transfer())
    assert bytes(kept) == data
    assert blob.generation == 5


def test_upload_that_arrives_wrong_twice_is_corrupt(tmp_path: Path) -> None:
    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if method == "POST":
            return 200, {"Location": f"{url}/session"}, b""
        return 200, {}, ABOUT

    (tmp_path / "up").write_bytes(bytes(3 * MIB))
    script = Script(answer)
    with scripted_server(script) as url, (tmp_path / "up").open("rb") as source, pytest.raises(Corrupt, match="twice"):
        quick(url).upload(source.fileno(), "gs://b-b-b/o", Transfer())
    assert [asked[0] for asked in script.seen] == ["POST", "PUT", "POST", "PUT"]


class _NoTokens:
    def __init__(self, tokens: list[str] | None = None) -> None:
        self._tokens = tokens or []

    def get(self) -> str | None:
        return self._tokens[0] if self._tokens else None

    def forget(self) -> None:
        self._tokens.pop(0)
