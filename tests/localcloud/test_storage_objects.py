"""Objects: uploads, preconditions on every verb, lists, ranges, copies, batches."""

import base64
import gzip
import hashlib
import json
import random
from typing import Any

import google_crc32c
import httpx
import pytest
from google.api_core import exceptions
from storage_support import MIB, call, client, new_bucket, put, reason, web

from localcloud.testing import LocalCloud

ODD_NAMES = [
    "plain.txt",
    "a/b/c",
    "a/../x",
    "a//b",
    "with space",
    "per%20cent",
    "ques?tion",
    "ha#sh",
    "plus+and&=",
    "ünï/çødé/日本語/🎈",
    "back\\slash",
    "quote\"'",
    "trailing/",
    "123456789012",
    "projects/123456789012/x",
    "o",
]


def related(resource: dict[str, Any], data: bytes, newline: str = "\r\n") -> tuple[bytes, dict[str, str]]:
    """Body and headers of a multipart upload."""
    head = newline.join(
        ["--sep", "Content-Type: application/json", "", json.dumps(resource), "--sep", "Content-Type: text/csv", "", ""]
    )
    body = head.encode() + data + f"{newline}--sep--{newline}".encode()
    return body, {"content-type": 'multipart/related; boundary="sep"'}


def hashes(data: bytes) -> tuple[str, str]:
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    return md5, base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


@pytest.fixture(scope="module")
def bucket(cloud: LocalCloud) -> str:
    return new_bucket(cloud)


def test_an_object_comes_back_with_everything_it_was_given(cloud: LocalCloud, bucket: str) -> None:
    blob = client(cloud).bucket(bucket).blob("dir/one.json")
    blob.metadata = {"owner": "me", "ключ": "значение"}
    blob.cache_control = "no-store"
    blob.content_language = "en"
    blob.upload_from_string(b"{}", content_type="application/json")
    seen = client(cloud).bucket(bucket).get_blob("dir/one.json")
    assert seen.metadata == {"owner": "me", "ключ": "значение"}
    assert (seen.content_type, seen.cache_control, seen.content_language) == ("application/json", "no-store", "en")
    assert (seen.md5_hash, seen.crc32c) == hashes(b"{}")
    assert (seen.size, seen.metageneration, seen.storage_class) == (2, 1, "STANDARD")
    assert seen.generation == blob.generation
    assert seen.download_as_bytes() == b"{}"
    raw = call(cloud, "GET", f"/storage/v1/b/{bucket}/o/dir%2Fone.json").json()
    assert raw["kind"] == "storage#object"
    assert raw["id"] == f"{bucket}/dir/one.json/{seen.generation}"
    assert raw["selfLink"] == f"{cloud.url('storage')}/storage/v1/b/{bucket}/o/dir%2Fone.json"
    assert call(cloud, "GET", raw["mediaLink"].removeprefix(cloud.url("storage"))).content == b"{}"
    assert call(cloud, "GET", f"/storage/v1/b/{bucket}/o/dir%2Fone.json?fields=name,size").json() == {
        "name": "dir/one.json",
        "size": "2",
    }


@pytest.mark.parametrize("size", [0, 1, 3 * MIB + 7, 9 * MIB])
def test_bytes_survive_every_kind_of_upload(cloud: LocalCloud, bucket: str, size: int) -> None:
    data = random.Random(size).randbytes(size)  # noqa: S311 - test data
    put(cloud, bucket, "kinds")
    one = client(cloud).bucket(bucket).blob("kinds", chunk_size=MIB)
    one.upload_from_string(data)
    assert client(cloud).bucket(bucket).blob("kinds").download_as_bytes() == data
    body, headers = related({"name": "kinds"}, data)
    made = call(
        cloud, "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart", content=body, headers=headers
    ).json()
    assert (made["md5Hash"], made["crc32c"]) == hashes(data)
    assert made["contentType"] == "text/csv"
    put(cloud, bucket, "kinds", data)
    assert call(cloud, "GET", f"/download/storage/v1/b/{bucket}/o/kinds?alt=media").content == data


def test_multipart_bodies_with_bare_newlines_are_read(cloud: LocalCloud, bucket: str) -> None:
    data = b"line one\r\nline two\n\r\n--se\r"
    body, headers = related({"name": "lf"}, data, newline="\n")
    call(cloud, "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart", content=body, headers=headers)
    assert call(cloud, "GET", f"/storage/v1/b/{bucket}/o/lf?alt=media").content == data


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--sep\r\n\r\n{}\r\n--sep--",
        b"--sep\r\n\r\n{}\r\n--sep\r\n\r\nno end",
        b"--sep\r\n\r\nnot json\r\n--sep\r\n\r\n\r\n--sep--",
    ],
)
def test_broken_multipart_bodies_are_400_and_leave_nothing(cloud: LocalCloud, bucket: str, body: bytes) -> None:
    path = f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart&name=broken"
    call(cloud, "POST", path, 400, content=body, headers={"content-type": "multipart/related; boundary=sep"})
    call(cloud, "GET", f"/storage/v1/b/{bucket}/o/broken", 404)


def test_wrong_hashes_are_400_and_leave_nothing(cloud: LocalCloud, bucket: str) -> None:
    _, crc = hashes(b"other")
    for resource in ({"crc32c": crc}, {"md5Hash": hashes(b"other")[0]}):
        body, headers = related({"name": "wrong", **resource}, b"data")
        answer = call(
            cloud, "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart", 400, content=body, headers=headers
        )
        assert reason(answer) == "invalid"
    put(cloud, bucket, "wrong", b"data", status=400, headers={"x-goog-hash": f"crc32c={crc}"})
    put(cloud, bucket, "wrong", b"data", headers={"x-goog-hash": "md5={},crc32c={}".format(*hashes(b"data"))})
    call(cloud, "DELETE", f"/storage/v1/b/{bucket}/o/wrong", 204)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_names(cloud: LocalCloud, name: str) -> None:
    bucket = client(cloud).bucket(new_bucket(cloud))
    bucket.blob(name).upload_from_string(name)
    assert [blob.name for blob in bucket.list_blobs()] == [name]
    assert bucket.get_blob(name).download_as_text() == name
    renamed = bucket.copy_blob(bucket.blob(name), bucket, "copy of " + name)
    assert renamed.download_as_text() == name
    bucket.blob(name).delete()
    assert not bucket.blob(name).exists()


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 1025, "a\nb"])
def test_what_no_object_may_be_called_is_400(cloud: LocalCloud, bucket: str, name: str) -> None:
    put(cloud, bucket, name, status=400)


# --- preconditions ----------------------------------------------------------------------------------------------------

VERBS = [
    "media",
    "multipart",
    "resumable",
    "patch",
    "update",
    "delete",
    "copy",
    "rewrite",
    "compose",
    "get",
    "media get",
]


def ask(cloud: LocalCloud, verb: str, bucket: str, condition: str) -> int:
    """Status of `verb` on the object `o` under a condition."""
    base, upload = f"/storage/v1/b/{bucket}/o", f"/upload/storage/v1/b/{bucket}/o"
    body, headers = related({"name": "o"}, b"new")
    requests: dict[str, tuple[str, str, dict[str, Any]]] = {
        "media": ("POST", f"{upload}?uploadType=media&name=o", {"content": b"new"}),
        "multipart": ("POST", f"{upload}?uploadType=multipart", {"content": body, "headers": headers}),
        "resumable": ("POST", f"{upload}?uploadType=resumable", {"json": {"name": "o"}}),
        "patch": ("PATCH", f"{base}/o?", {"json": {"metadata": {"k": "v"}}}),
        "update": ("PUT", f"{base}/o?", {"json": {"metadata": {"k": "v"}}}),
        "delete": ("DELETE", f"{base}/o?", {}),
        "copy": ("POST", f"{base}/source/copyTo/b/{bucket}/o/o?", {"json": {}}),
        "rewrite": ("POST", f"{base}/source/rewriteTo/b/{bucket}/o/o?", {"json": {}}),
        "compose": ("POST", f"{base}/o/compose?", {"json": {"sourceObjects": [{"name": "source"}]}}),
        "get": ("GET", f"{base}/o?", {}),
        "media get": ("GET", f"{base}/o?alt=media", {}),
    }
    method, path, options = requests[verb]
    return web.request(method, f"{cloud.url('storage')}{path}&{condition}", **options).status_code


@pytest.mark.parametrize("verb", VERBS)
def test_preconditions_hold_for_every_verb(cloud: LocalCloud, verb: str) -> None:
    bucket = new_bucket(cloud)
    put(cloud, bucket, "source")
    made = put(cloud, bucket, "o").json()
    generation = made["generation"]
    failed = [
        f"ifGenerationMatch={int(generation) - 1}",
        "ifGenerationMatch=0",
        "ifMetagenerationMatch=2",
    ]
    for condition in failed:
        assert ask(cloud, verb, bucket, condition) == 412, condition
    unchanged = 304 if "get" in verb else 412
    if verb == "compose":  # the API has no NotMatch for it
        assert ask(cloud, verb, bucket, f"ifGenerationMatch={generation}&ifMetagenerationMatch=1") == 200
        return
    for condition in (f"ifGenerationNotMatch={generation}", "ifMetagenerationNotMatch=1"):
        assert ask(cloud, verb, bucket, condition) == unchanged, condition
    assert call(cloud, "GET", f"/storage/v1/b/{bucket}/o/o").json() == made
    assert ask(cloud, verb, bucket, "ifGenerationMatch=abc") == 400
    met = f"ifGenerationMatch={generation}&ifMetagenerationMatch=1&ifGenerationNotMatch=7&ifMetagenerationNotMatch=9"
    assert ask(cloud, verb, bucket, met) in (200, 204)


@pytest.mark.parametrize("verb", ["copy", "rewrite"])
def test_source_preconditions_hold(cloud: LocalCloud, verb: str) -> None:
    bucket = new_bucket(cloud)
    generation = put(cloud, bucket, "source").json()["generation"]
    for condition in (
        "ifSourceGenerationMatch=1",
        "ifSourceMetagenerationMatch=2",
        f"ifSourceGenerationNotMatch={generation}",
        "ifSourceMetagenerationNotMatch=1",
    ):
        assert ask(cloud, verb, bucket, condition) == 412, condition
    assert (
        ask(
            cloud,
            verb,
            bucket,
            f"ifSourceGenerationMatch={generation}&sourceGeneration={generation}&ifGenerationMatch=0",
        )
        == 200
    )
    assert ask(cloud, verb, bucket, "sourceGeneration=5") == 404
    body = {"sourceObjects": [{"name": "source", "objectPreconditions": {"ifGenerationMatch": "5"}}]}
    call(cloud, "POST", f"/storage/v1/b/{bucket}/o/c/compose", 412, json=body)


def test_a_metadata_change_keeps_the_generation(cloud: LocalCloud, bucket: str) -> None:
    blob = client(cloud).bucket(bucket).blob("meta")
    blob.upload_from_string("x")
    generation = blob.generation
    blob.metadata = {"a": "1", "b": "2"}
    blob.patch(if_metageneration_match=1)
    assert (blob.generation, blob.metageneration) == (generation, 2)
    blob.metadata = {"a": None, "c": "3"}
    blob.patch()
    assert blob.metadata == {"b": "2", "c": "3"}
    answer = call(
        cloud, "PUT", f"/storage/v1/b/{bucket}/o/meta", json={"contentType": "text/x", "metadata": {"only": "1"}}
    )
    assert (answer.json()["metadata"], answer.json()["metageneration"]) == ({"only": "1"}, "4")
    assert answer.json()["md5Hash"] == blob.md5_hash


# --- reading ----------------------------------------------------------------------------------------------------------


def test_ranges(cloud: LocalCloud, bucket: str) -> None:
    data = bytes(range(256)) * 10
    put(cloud, bucket, "range", data)
    path = f"/storage/v1/b/{bucket}/o/range?alt=media"
    for header, part in (
        ("bytes=0-9", data[:10]),
        ("bytes=100-", data[100:]),
        ("bytes=-5", data[-5:]),
        ("bytes=2550-9999", data[2550:]),
    ):
        answer = call(cloud, "GET", path, 206, headers={"range": header})
        assert answer.content == part
        assert answer.headers["content-range"].endswith("/2560")
    for header in ("bytes=2560-", "bytes=9999-10000"):
        assert call(cloud, "GET", path, 416, headers={"range": header}).headers["content-range"] == "bytes */2560"
    assert call(cloud, "GET", path, 200, headers={"range": "lines=1-2"}).content == data
    put(cloud, bucket, "nothing", b"")
    call(cloud, "GET", f"/storage/v1/b/{bucket}/o/nothing?alt=media", 416, headers={"range": "bytes=0-0"})
    assert client(cloud).bucket(bucket).blob("range").download_as_bytes(start=10, end=19) == data[10:20]
    with client(cloud).bucket(bucket).blob("range").open("rb") as file:
        file.seek(2000)
        assert file.read(5) == data[2000:2005]


def test_gzip_is_unpacked_only_for_who_cannot_take_it(cloud: LocalCloud, bucket: str) -> None:
    text = b"to be unpacked\n" * 100_000
    packed = gzip.compress(text)
    blob = client(cloud).bucket(bucket).blob("packed.txt")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed, content_type="text/plain")
    assert blob.download_as_bytes() == text
    assert blob.download_as_bytes(raw_download=True) == packed
    path = f"/storage/v1/b/{bucket}/o/packed.txt?alt=media"
    plain = call(cloud, "GET", path, headers={"accept-encoding": "identity"})
    assert plain.content == text
    assert "content-encoding" not in plain.headers
    assert plain.headers["x-goog-stored-content-encoding"] == "gzip"
    blob.cache_control = "no-transform"
    blob.patch()
    assert call(cloud, "GET", path, headers={"accept-encoding": "identity"}).headers["content-encoding"] == "gzip"


def test_downloads_of_what_is_not_there_say_so_in_text(cloud: LocalCloud, bucket: str) -> None:
    answer = call(cloud, "GET", f"/download/storage/v1/b/{bucket}/o/absent?alt=media", 404)
    assert answer.text == f"No such object: {bucket}/absent"
    with pytest.raises(exceptions.NotFound, match="No such object"):
        client(cloud).bucket(bucket).blob("absent").download_as_bytes()
    call(cloud, "GET", "/storage/v1/b/no-such-bucket-here/o/absent?alt=media", 404)


def test_entity_tags(cloud: LocalCloud, bucket: str) -> None:
    made = put(cloud, bucket, "tagged", b"data").json()
    for path in (
        f"/storage/v1/b/{bucket}/o/tagged",
        f"/storage/v1/b/{bucket}/o/tagged?alt=media",
        f"/download/storage/v1/b/{bucket}/o/tagged",
    ):
        call(cloud, "GET", path, 304, headers={"if-none-match": made["etag"]})
        call(cloud, "GET", path, 412, headers={"if-match": '"other"'})
        call(cloud, "GET", path, 200, headers={"if-match": made["etag"]})
    home = client(cloud).bucket(bucket)
    assert home.blob("tagged").download_as_bytes(if_etag_match=made["etag"]) == b"data"


def test_files_are_written_in_pieces(cloud: LocalCloud, bucket: str) -> None:
    home = client(cloud).bucket(bucket)
    with home.blob("pieces").open("wb", chunk_size=MIB // 4, if_generation_match=0) as file:
        for number in range(7):
            file.write(bytes([number]) * 100_000)
    assert home.blob("pieces").download_as_bytes() == b"".join(bytes([number]) * 100_000 for number in range(7))
    with home.blob("lines").open("w") as file:
        file.writelines(f"{number}\n" for number in range(3))
    with home.blob("lines").open("r") as file:
        assert file.read().split() == ["0", "1", "2"]


def test_a_large_body_that_is_refused_early_leaves_the_connection_usable(cloud: LocalCloud, bucket: str) -> None:
    put(cloud, bucket, "there")
    with httpx.Client(base_url=cloud.url("storage"), timeout=30) as one:
        for _ in range(2):
            path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name=there&ifGenerationMatch=0"
            assert one.post(path, content=b"x" * 8 * MIB).status_code == 412
            assert one.get(f"/storage/v1/b/{bucket}/o/there").json()["size"] == "1"


def test_sub_resources_and_keys_that_are_not_here_are_refused(cloud: LocalCloud, bucket: str) -> None:
    put(cloud, bucket, "kept", b"data")
    call(cloud, "PUT", f"/{bucket}/kept?acl", 501, content=b"<acl/>")
    put(cloud, bucket, "kept", b"other", status=501, headers={"x-goog-encryption-algorithm": "AES256"})
    call(cloud, "POST", f"/storage/v1/b/{bucket}/o/kept/acl", 400, json={"entity": "allUsers", "role": "READER"})
    call(cloud, "POST", f"/storage/v1/b/{bucket}/o?name=x", 400, content=b"x")
    call(cloud, "POST", f"/upload/storage/v1/b/{bucket}/o?name=x", 400, content=b"x")
    assert call(cloud, "GET", f"/{bucket}/kept").content == b"data"


def test_faults_can_be_injected(cloud: LocalCloud, bucket: str) -> None:
    cloud.control("PUT", "/faults", {"error_rate": 1.0, "error_codes": [503], "apis": ["storage"]})
    try:
        put(cloud, bucket, "unlucky", status=503)
        call(cloud, "GET", f"/storage/v1/b/{bucket}/o", 503)
        assert "<Error>" in call(cloud, "GET", f"/{bucket}/unlucky", 503).text
    finally:
        cloud.control("PUT", "/faults", {"error_rate": 0.0, "apis": []})
    call(cloud, "GET", f"/storage/v1/b/{bucket}/o/unlucky", 404)


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(cloud: LocalCloud) -> str:
    name = new_bucket(cloud)
    for item in ("a/", "a/1.csv", "a/2.txt", "a/b/3.csv", "a/b/c/4.csv", "b.csv", "c/5.csv", "c0", "日/6.csv"):
        put(cloud, name, item)
    return name


@pytest.mark.parametrize(
    ("query", "items", "prefixes"),
    [
        ({"prefix": "a/b"}, ["a/b/3.csv", "a/b/c/4.csv"], []),
        ({"delimiter": "/"}, ["b.csv", "c0"], ["a/", "c/", "日/"]),
        ({"prefix": "a/", "delimiter": "/"}, ["a/", "a/1.csv", "a/2.txt"], ["a/b/"]),
        ({"delimiter": "/", "includeTrailingDelimiter": True}, ["a/", "b.csv", "c0"], ["a/", "c/", "日/"]),
        ({"startOffset": "a/b/3.csv", "endOffset": "c0"}, ["a/b/3.csv", "a/b/c/4.csv", "b.csv", "c/5.csv"], []),
        ({"startOffset": "b", "delimiter": "/"}, ["b.csv", "c0"], ["c/", "日/"]),
        ({"matchGlob": "a/*.csv"}, ["a/1.csv"], []),
        ({"matchGlob": "a/**.csv"}, ["a/1.csv", "a/b/3.csv", "a/b/c/4.csv"], []),
        ({"matchGlob": "**/[34].csv"}, ["a/b/3.csv", "a/b/c/4.csv"], []),
        ({"matchGlob": "{b,c0}*"}, ["b.csv", "c0"], []),
        ({"prefix": "nothing"}, [], []),
        ({"delimiter": ".c"}, ["a/", "a/2.txt", "c0"], ["a/1.c", "a/b/3.c", "a/b/c/4.c", "b.c", "c/5.c", "日/6.c"]),
    ],
)
@pytest.mark.parametrize("page", [1, 2, 1000])
def test_lists(
    cloud: LocalCloud, tree: str, query: dict[str, Any], items: list[str], prefixes: list[str], page: int
) -> None:
    seen_items, seen_prefixes, token = [], [], None
    while True:
        params = {**query, "maxResults": page, **({"pageToken": token} if token else {})}
        answer = call(cloud, "GET", f"/storage/v1/b/{tree}/o", params=params).json()
        assert len(answer.get("items", [])) + len(answer.get("prefixes", [])) <= max(page, 2)
        seen_items += [item["name"] for item in answer.get("items", [])]
        seen_prefixes += answer.get("prefixes", [])
        token = answer.get("nextPageToken")
        if token is None:
            break
    assert (seen_items, seen_prefixes) == (items, prefixes)


def test_a_long_list_comes_in_full(cloud: LocalCloud) -> None:
    bucket = new_bucket(cloud)
    for number in range(30):
        put(cloud, bucket, f"d{number % 3}/{number:03d}")
    blobs = client(cloud).list_blobs(bucket, page_size=7, delimiter="/", prefix="d1/")
    assert [blob.name for blob in blobs] == [f"d1/{number:03d}" for number in range(1, 30, 3)]
    call(cloud, "GET", f"/storage/v1/b/{bucket}/o?pageToken=%25%25", 400)
    call(cloud, "GET", "/storage/v1/b/no-such-bucket-here/o", 404)


# --- copies, compositions, batches ------------------------------------------------------------------------------------


def test_rewrite_keeps_metadata_unless_given_other(cloud: LocalCloud, bucket: str) -> None:
    source = client(cloud).bucket(bucket).blob("src")
    source.metadata = {"a": "1"}
    source.upload_from_string("bytes", content_type="text/x-one")
    target = client(cloud).bucket(new_bucket(cloud)).blob("dst")
    token, done, total = target.rewrite(source)
    assert (token, done, total) == (None, 5, 5)
    target.reload()
    assert (target.metadata, target.content_type, target.md5_hash) == ({"a": "1"}, "text/x-one", source.md5_hash)
    target.metadata = {"b": "2"}
    target.content_type = "text/x-two"
    target.rewrite(source)
    target.reload()
    assert (target.metadata, target.content_type) == ({"b": "2"}, "text/x-two")
    source.delete()
    assert target.download_as_bytes() == b"bytes"


def test_move_and_rename(cloud: LocalCloud, bucket: str) -> None:
    home = client(cloud).bucket(bucket)
    home.blob("from").upload_from_string("m")
    home.rename_blob(home.blob("from"), "via")
    home.move_blob(home.blob("via"), "to")
    assert not home.blob("from").exists()
    assert not home.blob("via").exists()
    assert home.blob("to").download_as_bytes() == b"m"


def test_compose_joins_in_order_without_md5(cloud: LocalCloud, bucket: str) -> None:
    home = client(cloud).bucket(bucket)
    for number in range(3):
        home.blob(f"part{number}").upload_from_string(str(number) * 1000)
    whole = home.blob("whole")
    whole.content_type = "text/plain"
    whole.compose([home.blob(f"part{number}") for number in (2, 0, 1)], if_generation_match=0)
    whole.reload()
    assert whole.download_as_text() == "2" * 1000 + "0" * 1000 + "1" * 1000
    assert (whole.md5_hash, whole.component_count) == (None, 3)
    whole.compose([whole, home.blob("part1")])
    whole.reload()
    assert (whole.size, whole.component_count) == (4000, 4)
    call(cloud, "POST", f"/storage/v1/b/{bucket}/o/w/compose", 400, json={"sourceObjects": []})
    call(cloud, "POST", f"/storage/v1/b/{bucket}/o/w/compose", 404, json={"sourceObjects": [{"name": "absent"}]})


def test_batches_answer_each_call(cloud: LocalCloud, bucket: str) -> None:
    users = client(cloud)
    home = users.bucket(bucket)
    for number in range(3):
        home.blob(f"batch {number}").upload_from_string("x")
    with users.batch():
        for number in range(3):
            blob = home.blob(f"batch {number}")
            blob.metadata = {"n": str(number)}
            blob.patch()
    assert home.get_blob("batch 2").metadata == {"n": "2"}
    with pytest.raises(exceptions.NotFound), users.batch():
        home.delete_blobs(["batch 0", "absent"], on_error=None)
    assert not home.blob("batch 0").exists()
    call(cloud, "POST", "/batch/storage/v1", 400, content=b"x", headers={"content-type": "multipart/mixed"})
    media = f"--s\r\nContent-Type: application/http\r\n\r\nGET /storage/v1/b/{bucket}/o/whole?alt=media\r\n\r\n--s--".encode()
    headers = {"content-type": "multipart/mixed; boundary=s"}
    call(cloud, "POST", "/batch/storage/v1", 400, content=media, headers=headers)


# --- versions, holds, retention ---------------------------------------------------------------------------------------


def test_versioned_buckets_keep_what_is_replaced(cloud: LocalCloud) -> None:
    home = client(cloud).bucket(new_bucket(cloud, versioning={"enabled": True}))
    generations = []
    for text in ("one", "two", "three"):
        blob = home.blob("v")
        blob.upload_from_string(text)
        generations.append(blob.generation)
    home.blob("v0").upload_from_string("other")
    assert [blob.generation for blob in home.list_blobs(versions=True, prefix="v", page_size=1)][:3] == generations
    assert [blob.name for blob in home.list_blobs()] == ["v", "v0"]
    assert home.blob("v", generation=generations[0]).download_as_text() == "one"
    home.blob("v").delete()
    assert not home.blob("v").exists()
    home.copy_blob(home.blob("v"), home, "v", source_generation=generations[1])
    assert home.blob("v").download_as_text() == "two"
    home.delete_blob("v", generation=generations[0])
    assert home.get_blob("v", generation=generations[0]) is None


def test_holds_and_retention_refuse_delete_and_overwrite(cloud: LocalCloud, bucket: str) -> None:
    put(cloud, bucket, "held")
    call(cloud, "PATCH", f"/storage/v1/b/{bucket}/o/held", json={"temporaryHold": True})
    assert reason(call(cloud, "DELETE", f"/storage/v1/b/{bucket}/o/held", 403)) == "objectUnderActiveHold"
    call(cloud, "PATCH", f"/storage/v1/b/{bucket}/o/held", json={"temporaryHold": False})
    call(cloud, "DELETE", f"/storage/v1/b/{bucket}/o/held", 204)
    kept = new_bucket(cloud, retentionPolicy={"retentionPeriod": "3600"})
    put(cloud, kept, "young")
    assert reason(put(cloud, kept, "young", status=403)) == "retentionPolicyNotMet"
    assert reason(call(cloud, "DELETE", f"/storage/v1/b/{kept}/o/young", 403)) == "retentionPolicyNotMet"
