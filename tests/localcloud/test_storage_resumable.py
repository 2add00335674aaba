"""Resumable uploads byte by byte: what a client is told at every point where it may be cut off."""

import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from storage_support import MIB, PROJECT, QUANTUM, call, client, new_bucket, put, web

from localcloud.testing import LocalCloud, local_cloud

DATA = random.Random(7).randbytes(4 * QUANTUM + 1000)  # noqa: S311 - test data


@pytest.fixture(scope="module")
def bucket(cloud: LocalCloud) -> str:
    return new_bucket(cloud)


def start(cloud: LocalCloud, bucket: str, name: str, query: str = "", **options: Any) -> str:
    """Path of a new session."""
    path = f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name={name}{query}"
    location = call(cloud, "POST", path, **options).headers["location"]
    return location.removeprefix(cloud.url("storage"))


def send(cloud: LocalCloud, session: str, first: int, data: bytes, total: str, **headers: str) -> httpx.Response:
    span = f"bytes {first}-{first + len(data) - 1}/{total}" if data else f"bytes */{total}"
    every = {"content-range": span, **{key.replace("_", "-"): value for key, value in headers.items()}}
    return web.put(cloud.url("storage") + session, content=data, headers=every)


def test_chunks_arrive_in_order_and_the_last_answers_the_object(cloud: LocalCloud, bucket: str) -> None:
    session = start(cloud, bucket, "chunks", json={"metadata": {"a": "b"}, "contentType": "text/x"})
    empty = send(cloud, session, 0, b"", "*")
    assert (empty.status_code, empty.headers.get("range")) == (308, None)
    first = send(cloud, session, 0, DATA[:QUANTUM], "*")
    assert (first.status_code, first.headers["range"]) == (308, f"bytes=0-{QUANTUM - 1}")
    asked = send(cloud, session, 0, b"", str(len(DATA)))
    assert (asked.status_code, asked.headers["range"]) == (308, f"bytes=0-{QUANTUM - 1}")
    call(cloud, "GET", f"/storage/v1/b/{bucket}/o/chunks", 404)
    last = send(cloud, session, QUANTUM, DATA[QUANTUM:], str(len(DATA)))
    assert last.status_code == 200
    assert (last.json()["metadata"], last.json()["contentType"], last.json()["size"]) == (
        {"a": "b"},
        "text/x",
        str(len(DATA)),
    )
    again = send(cloud, session, 0, b"", str(len(DATA)))
    assert (again.status_code, again.json()["generation"]) == (200, last.json()["generation"])
    assert call(cloud, "GET", f"/storage/v1/b/{bucket}/o/chunks?alt=media").content == DATA


def test_googles_go_client_is_told_308_in_a_header(cloud: LocalCloud, bucket: str) -> None:
    session = start(cloud, bucket, "go")
    answer = send(cloud, session, 0, DATA[:QUANTUM], "*", X_GUploader_No_308="yes")
    assert answer.status_code == 200
    assert answer.headers["x-http-status-code-override"] == "308"
    assert answer.headers["range"] == f"bytes=0-{QUANTUM - 1}"
    assert (
        send(cloud, session, QUANTUM, DATA[QUANTUM:], str(len(DATA)), X_GUploader_No_308="yes").json()["name"] == "go"
    )


def test_repeated_bytes_are_taken_once_and_gaps_refused(cloud: LocalCloud, bucket: str) -> None:
    session = start(cloud, bucket, "overlap")
    send(cloud, session, 0, DATA[: 2 * QUANTUM], "*")
    assert send(cloud, session, 3 * QUANTUM, DATA[3 * QUANTUM :], str(len(DATA))).status_code == 400
    assert send(cloud, session, QUANTUM, DATA[QUANTUM:], str(len(DATA))).status_code == 200
    assert call(cloud, "GET", f"/storage/v1/b/{bucket}/o/overlap?alt=media").content == DATA


def test_chunks_are_quanta(cloud: LocalCloud, bucket: str) -> None:
    session = start(cloud, bucket, "quanta")
    assert send(cloud, session, 0, DATA[:1000], "*").status_code == 400
    kept = send(cloud, session, 0, DATA[: QUANTUM + 1000], "*")
    assert (kept.status_code, kept.headers["range"]) == (308, f"bytes=0-{QUANTUM - 1}")
    for header in ("bytes 5-3/10", "bytes 0-9/5", "items 0-1/2", "bytes 0-1"):
        assert call(cloud, "PUT", session, 400, headers={"content-range": header}, content=b"x")


def test_a_broken_connection_keeps_whole_quanta(cloud: LocalCloud, bucket: str) -> None:
    session = start(cloud, bucket, "broken")
    address = urlsplit(cloud.url("storage"))
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = f"PUT {session} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\nContent-Range: bytes 0-{len(DATA) - 1}/{len(DATA)}\r\n\r\n"
        connection.sendall(head.encode() + DATA[: 2 * QUANTUM + 77])
    asked = send(cloud, session, 0, b"", str(len(DATA)))
    assert asked.status_code == 308
    kept = int(asked.headers["range"].rpartition("-")[2]) + 1 if "range" in asked.headers else 0
    assert kept % QUANTUM == 0
    assert kept <= 2 * QUANTUM
    assert send(cloud, session, kept, DATA[kept:], str(len(DATA))).status_code == 200
    assert call(cloud, "GET", f"/storage/v1/b/{bucket}/o/broken?alt=media").content == DATA


def test_a_cancelled_session_is_over(cloud: LocalCloud, bucket: str) -> None:
    session = start(cloud, bucket, "cancelled")
    send(cloud, session, 0, DATA[:QUANTUM], "*")
    call(cloud, "DELETE", session, 499)
    assert send(cloud, session, QUANTUM, DATA[QUANTUM:], str(len(DATA))).status_code == 499
    call(cloud, "GET", f"/storage/v1/b/{bucket}/o/cancelled", 404)
    call(cloud, "PUT", session[:-3] + "abc", 404)


def test_an_empty_object_and_one_without_content_range(cloud: LocalCloud, bucket: str) -> None:
    assert send(cloud, start(cloud, bucket, "empty"), 0, b"", "0").json()["size"] == "0"
    whole = call(cloud, "PUT", start(cloud, bucket, "whole"), content=DATA)
    assert whole.json()["size"] == str(len(DATA))
    announced = start(
        cloud, bucket, "announced", headers={"x-upload-content-length": "10", "x-upload-content-type": "text/y"}
    )
    assert send(cloud, announced, 0, b"12345", "5").status_code == 400
    assert send(cloud, announced, 0, b"1234567890", "10").json()["contentType"] == "text/y"


def test_hashes_are_checked_at_the_end(cloud: LocalCloud, bucket: str) -> None:
    session = start(cloud, bucket, "hashed", json={"crc32c": "AAAAAA=="})
    assert send(cloud, session, 0, DATA, str(len(DATA))).status_code == 400
    session = start(cloud, bucket, "hashed")
    assert send(cloud, session, 0, DATA, str(len(DATA)), x_goog_hash="crc32c=AAAAAA==").status_code == 400
    call(cloud, "GET", f"/storage/v1/b/{bucket}/o/hashed", 404)


def test_preconditions_are_checked_when_the_session_ends_too(cloud: LocalCloud, bucket: str) -> None:
    session = start(cloud, bucket, "late", "&ifGenerationMatch=0")
    put(cloud, bucket, "late", b"first")
    assert send(cloud, session, 0, DATA, str(len(DATA))).status_code == 412
    assert call(cloud, "GET", f"/storage/v1/b/{bucket}/o/late?alt=media").content == b"first"
    call(cloud, "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=late&ifGenerationMatch=0", 412)


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    """A cloud that a test may kill."""
    config = {"ports": ["control", "storage"], "projects": [{"project_id": PROJECT, "services_enabled": "all"}]}
    with local_cloud(tmp_path / "state", config) as running:
        yield running


def test_a_session_survives_kill_9(own_cloud: LocalCloud) -> None:
    bucket = new_bucket(own_cloud)
    session = start(own_cloud, bucket, "survivor", "&ifGenerationMatch=0")
    send(own_cloud, session, 0, DATA[: 2 * QUANTUM], "*")
    own_cloud.kill()
    own_cloud.start()
    asked = send(own_cloud, session, 0, b"", "*")
    assert (asked.status_code, asked.headers["range"]) == (308, f"bytes=0-{2 * QUANTUM - 1}")
    done = send(own_cloud, session, 2 * QUANTUM, DATA[2 * QUANTUM :], str(len(DATA)))
    assert done.status_code == 200
    assert client(own_cloud).bucket(bucket).blob("survivor").download_as_bytes(checksum="md5") == DATA
    own_cloud.kill()
    own_cloud.start()
    assert send(own_cloud, session, 0, b"", "*").json()["generation"] == done.json()["generation"]


def test_memory_stays_flat_while_an_object_passes(own_cloud: LocalCloud, tmp_path: Path) -> None:
    import psutil

    assert own_cloud.process is not None
    process = psutil.Process(own_cloud.process.pid)
    bucket = client(own_cloud).bucket(new_bucket(own_cloud))
    file = tmp_path / "large"
    with file.open("wb") as out:
        out.truncate(256 * MIB)
    before = process.memory_info().rss
    bucket.blob("large").upload_from_filename(str(file))
    bucket.blob("large chunks", chunk_size=64 * MIB).upload_from_filename(str(file))
    bucket.blob("large").download_to_filename(str(tmp_path / "back"))
    assert process.memory_info().rss - before < 64 * MIB
    assert (tmp_path / "back").stat().st_size == 256 * MIB
