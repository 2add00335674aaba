"""Many writers at once, and the death of the process among them."""

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from google.api_core import exceptions
from storage_support import MIB, PROJECT, call, client, new_bucket, put

from localcloud.testing import LocalCloud, local_cloud

WRITERS = 8


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    config = {"ports": ["control", "storage"], "projects": [{"project_id": PROJECT, "services_enabled": "all"}]}
    with local_cloud(tmp_path / "state", config) as running:
        yield running


@pytest.mark.parametrize(("size", "chunk"), [(10, None), (9 * MIB, MIB)], ids=["small", "resumable"])
def test_exactly_one_of_many_creators_wins(cloud: LocalCloud, size: int, chunk: int | None) -> None:
    bucket = new_bucket(cloud)

    def create(number: int) -> int:
        blob = client(cloud).bucket(bucket).blob("claim", chunk_size=chunk)
        try:
            blob.upload_from_string(bytes([number]) * size, if_generation_match=0)
        except exceptions.PreconditionFailed:
            return 0
        return 1

    with ThreadPoolExecutor(WRITERS) as pool:
        wins = list(pool.map(create, range(1, WRITERS + 1)))
    assert sum(wins) == 1
    assert client(cloud).bucket(bucket).blob("claim").download_as_bytes() == bytes([wins.index(1) + 1]) * size


def test_compare_and_swap_loses_no_update(cloud: LocalCloud) -> None:
    bucket = new_bucket(cloud)
    put(cloud, bucket, "counter", b"0")
    url = cloud.url("storage")

    def add(times: int) -> None:
        with httpx.Client(timeout=30) as web:
            done = 0
            while done < times:
                answer = web.get(f"{url}/storage/v1/b/{bucket}/o/counter?alt=media")
                params = {
                    "uploadType": "media",
                    "name": "counter",
                    "ifGenerationMatch": answer.headers["x-goog-generation"],
                }
                value = str(int(answer.content) + 1).encode()
                wrote = web.post(f"{url}/upload/storage/v1/b/{bucket}/o", params=params, content=value)
                assert wrote.status_code in (200, 412)
                done += wrote.status_code == 200

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, [10] * 4))
    assert call(cloud, "GET", f"/storage/v1/b/{bucket}/o/counter?alt=media").content == b"40"


def test_readers_see_whole_generations_while_writers_replace(cloud: LocalCloud) -> None:
    bucket = new_bucket(cloud)
    put(cloud, bucket, "o", b"0" * MIB)
    stop = threading.Event()

    def read() -> int:
        seen = 0
        while not stop.is_set():
            data = call(cloud, "GET", f"/storage/v1/b/{bucket}/o/o?alt=media").content
            assert len(data) == MIB
            assert len(set(data)) == 1
            seen += 1
        return seen

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for number in range(30):
            put(cloud, bucket, "o", str(number % 10).encode() * MIB)
        stop.set()
        assert all(reader.result() > 0 for reader in readers)


def test_kill_9_loses_nothing_acknowledged_and_shows_no_half_object(own_cloud: LocalCloud) -> None:
    bucket = new_bucket(own_cloud)
    url = f"{own_cloud.url('storage')}/upload/storage/v1/b/{bucket}/o?uploadType=media"
    kept: dict[str, str] = {}
    enough = threading.Event()

    def write(writer: int) -> None:
        with httpx.Client(timeout=10) as web:
            for number in range(10_000):
                name, data = (
                    f"w{writer}/{number}",
                    hashlib.sha512(f"{writer} {number}".encode()).digest() * (1 + number % 7 * 900),
                )
                try:
                    answer = web.post(f"{url}&name={name}", content=data)
                except httpx.HTTPError:
                    return
                assert answer.status_code == 200
                kept[name] = answer.json()["md5Hash"]
                if len(kept) > 150:
                    enough.set()

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    own_cloud.kill()
    for thread in threads:
        thread.join()
    own_cloud.start()
    found = {blob.name: blob for blob in client(own_cloud).list_blobs(bucket)}
    assert kept.keys() <= found.keys()
    for name, blob in found.items():
        data = blob.download_as_bytes(checksum="md5")
        assert kept.get(name, blob.md5_hash) == blob.md5_hash
        assert blob.size == len(data)
    files = [path for path in (own_cloud.state / "storage").rglob("*") if path.is_file()]
    assert len(files) == len(found)


def test_a_multipart_upload_by_xml_survives_kill_9(own_cloud: LocalCloud) -> None:
    path = f"/{new_bucket(own_cloud)}/parts"
    started = call(own_cloud, "POST", f"{path}?uploads").text
    upload = started.partition("<UploadId>")[2].partition("<")[0]
    tags = []
    for number in (1, 2):
        part = call(
            own_cloud, "PUT", f"{path}?partNumber={number}&uploadId={upload}", content=str(number).encode() * MIB
        )
        tags.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{part.headers['etag']}</ETag></Part>")
        own_cloud.kill()
        own_cloud.start()
    body = f"<CompleteMultipartUpload>{''.join(tags)}</CompleteMultipartUpload>"
    call(own_cloud, "POST", f"{path}?uploadId={upload}", content=body)
    assert call(own_cloud, "GET", path).content == b"1" * MIB + b"2" * MIB


@pytest.mark.faults
@pytest.mark.parametrize("kill", range(20))
def test_any_moment_is_good_enough_to_die(own_cloud: LocalCloud, kill: int) -> None:
    """Writers, deleters, copiers and resumable uploads at work, killed at a random moment."""
    chance = random.Random(kill)  # noqa: S311 - choices of a test
    bucket = new_bucket(own_cloud, versioning={"enabled": kill % 3 == 0})
    base = own_cloud.url("storage")
    there: dict[str, bytes] = {}
    gone: set[str] = set()

    def work(worker: int) -> None:
        with httpx.Client(base_url=base, timeout=10) as one:
            for number in range(100_000):
                name, data = f"w{worker}/{number}", f"{worker} {number} ".encode() * (1 << (number % 14))
                upload = f"/upload/storage/v1/b/{bucket}/o"
                try:
                    if number % 3 == 0:
                        started = one.post(f"{upload}?uploadType=resumable&name={name}")
                        answer = one.put(started.headers["location"], content=data)
                    else:
                        answer = one.post(f"{upload}?uploadType=media&name={name}", content=data)
                    assert answer.status_code == 200
                    there[name] = data
                    path = f"/storage/v1/b/{bucket}/o/w{worker}%2F{number}"
                    if number % 5 == 0:
                        copied = one.post(f"{path}/rewriteTo/b/{bucket}/o/copy%20{worker}%20{number}", json={})
                        assert copied.status_code == 200
                        there[f"copy {worker} {number}"] = data
                    if number % 4 == 0:
                        del there[name]
                        assert one.delete(path).status_code == 204
                        gone.add(name)
                except httpx.HTTPError:
                    return

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(chance.uniform(0.2, 1.5))
    own_cloud.kill()
    for thread in threads:
        thread.join()
    own_cloud.start()
    found = {blob.name: blob for blob in client(own_cloud).list_blobs(bucket)}
    assert there.keys() <= found.keys()
    assert not gone & found.keys()
    for name, blob in found.items():
        data = blob.download_as_bytes(checksum="md5")
        assert data == there.get(name, data)


def test_lifecycle_goes_by_the_clouds_clock(own_cloud: LocalCloud) -> None:
    rules = [
        {"action": {"type": "Delete"}, "condition": {"age": 30, "matchesPrefix": ["tmp/"]}},
        {"action": {"type": "SetStorageClass", "storageClass": "NEARLINE"}, "condition": {"age": 10}},
    ]
    bucket = new_bucket(own_cloud, lifecycle={"rule": rules})
    for name in ("tmp/a", "keep/a"):
        put(own_cloud, bucket, name)

    def state() -> dict[str, str | None]:
        return {blob.name: blob.storage_class for blob in client(own_cloud).list_blobs(bucket)}

    def becomes(expected: dict[str, str]) -> bool:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and state() != expected:
            time.sleep(0.2)
        return state() == expected

    own_cloud.control("PUT", "/clock", {"advance_s": 11 * 86400})
    assert becomes({"tmp/a": "NEARLINE", "keep/a": "NEARLINE"})
    own_cloud.control("PUT", "/clock", {"advance_s": 20 * 86400})
    assert becomes({"keep/a": "NEARLINE"})


def test_reset_leaves_no_bytes(own_cloud: LocalCloud) -> None:
    bucket = new_bucket(own_cloud)
    put(own_cloud, bucket, "a")
    own_cloud.control("POST", "/reset")
    call(own_cloud, "GET", f"/storage/v1/b/{bucket}", 404)
    assert not [path for path in (own_cloud.state / "storage").rglob("*") if path.is_file()]
    put(own_cloud, new_bucket(own_cloud), "b")
