"""The clients that people bring: the XML API of Google's own, signed URLs, Polars, Arrow, gcloud."""

import datetime
import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars
import pyarrow.dataset
import pyarrow.fs
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud.storage import transfer_manager
from google.oauth2 import service_account
from storage_support import MIB, PROJECT, account, call, client, grant, new_bucket, put

from localcloud.testing import LocalCloud


@pytest.fixture(scope="module")
def bucket(cloud: LocalCloud) -> str:
    return new_bucket(cloud)


# --- XML --------------------------------------------------------------------------------------------------------------


def test_objects_by_xml(cloud: LocalCloud, bucket: str) -> None:
    path = f"/{bucket}/x%20ml/%C3%BC.txt"
    made = call(
        cloud,
        "PUT",
        path,
        content=b"bytes",
        headers={"content-type": "text/x", "x-goog-meta-a": "b", "x-goog-if-generation-match": "0"},
    )
    refused = call(cloud, "PUT", path, 412, content=b"other", headers={"x-goog-if-generation-match": "0"})
    assert "<Code>PreconditionFailed</Code>" in refused.text
    head = call(cloud, "HEAD", path)
    assert head.headers["content-length"] == "5"
    assert head.headers["x-goog-meta-a"] == "b"
    assert head.headers["etag"] == made.headers["etag"]
    assert head.content == b""
    assert call(cloud, "GET", path, 206, headers={"range": "bytes=1-2"}).content == b"yt"
    call(cloud, "GET", path, 304, headers={"if-none-match": head.headers["etag"]})
    call(cloud, "PUT", path, 400, content=b"x", headers={"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="})
    call(cloud, "PUT", f"/{bucket}/copy", headers={"x-goog-copy-source": path, "x-goog-if-generation-match": "0"})
    assert client(cloud).bucket(bucket).get_blob("copy").metadata == {"a": "b"}
    call(cloud, "DELETE", path, 204)
    assert "<Code>NoSuchKey</Code>" in call(cloud, "GET", path, 404).text
    assert "<Code>NoSuchBucket</Code>" in call(cloud, "GET", "/no-such-bucket-here/x", 404).text


@pytest.mark.parametrize("version", ["1", "2"])
def test_lists_by_xml_come_in_pages(cloud: LocalCloud, version: str) -> None:
    name = new_bucket(cloud)
    for item in ("a/1", "a/2", "b", "c&d"):
        put(cloud, name, item)
    keys, prefixes, params = (
        [],
        [],
        {"max-keys": "1", "delimiter": "/", **({"list-type": "2"} if version == "2" else {})},
    )
    while True:
        text = call(cloud, "GET", f"/{name}", params=params).text
        keys += re.findall("<Key>(.*?)</Key>", text)
        prefixes += re.findall("<CommonPrefixes><Prefix>(.*?)</Prefix>", text)
        following = re.search("<(?:NextContinuationToken|NextMarker)>(.*?)</", text)
        if following is None:
            break
        params["continuation-token" if version == "2" else "marker"] = following[1]
    assert (keys, prefixes) == (["b", "c&amp;d"], ["a/"])


def test_transfer_manager_in_both_directions(cloud: LocalCloud, bucket: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(random.Random(1).randbytes(17 * MIB + 5))  # noqa: S311 - test data
    blob = client(cloud).bucket(bucket).blob("parallel")
    transfer_manager.upload_chunks_concurrently(
        str(source), blob, chunk_size=5 * MIB, max_workers=4, worker_type=transfer_manager.THREAD
    )
    transfer_manager.download_chunks_concurrently(
        blob, str(target), chunk_size=4 * MIB, max_workers=4, worker_type=transfer_manager.THREAD
    )
    assert target.read_bytes() == source.read_bytes()
    assert client(cloud).bucket(bucket).get_blob("parallel").md5_hash is None


def test_a_multipart_upload_by_xml_is_picky(cloud: LocalCloud, bucket: str) -> None:
    path = f"/{bucket}/mpu"
    text = call(cloud, "POST", f"{path}?uploads", headers={"content-type": "text/z"}).text
    upload = re.search("<UploadId>(.*?)</UploadId>", text)[1]  # type: ignore[index]  # no match fails the test as well
    tags = [
        call(cloud, "PUT", f"{path}?partNumber={n}&uploadId={upload}", content=bytes([n]) * 10).headers["etag"]
        for n in (2, 1)
    ]
    assert call(cloud, "GET", f"{path}?uploadId={upload}").text.count("<Part>") == 2
    assert "mpu" in call(cloud, "GET", f"/{bucket}?uploads").text

    def complete(order: tuple[int, int], status: int, **headers: str) -> None:
        parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tags[2 - n]}</ETag></Part>" for n in order)
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
        call(cloud, "POST", f"{path}?uploadId={upload}", status, content=body, headers=headers)

    complete((2, 1), 400)
    put(cloud, bucket, "mpu", b"already")
    complete((1, 2), 412, **{"x-goog-if-generation-match": "0"})
    complete((1, 2), 200)
    seen = client(cloud).bucket(bucket).get_blob("mpu")
    assert seen.download_as_bytes() == b"\1" * 10 + b"\2" * 10
    assert seen.content_type == "text/z"
    complete((1, 2), 404)
    call(cloud, "PUT", f"{path}?partNumber=1&uploadId={upload}", 404, content=b"x")


# --- signed URLs ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sign(cloud: LocalCloud, bucket: str) -> Callable[..., str]:
    """Makes a V4 URL by a key of an account, as its owner would; answers the path."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()

    def make(email: str, name: str, method: str = "GET", **options: object) -> str:
        info = {"client_email": email, "private_key": pem, "token_uri": "http://127.0.0.1/"}
        url = client(cloud).bucket(bucket).blob(name).generate_signed_url(
            version="v4", method=method, api_access_endpoint=cloud.url("storage"),
            credentials=service_account.Credentials.from_service_account_info(info),
            **{"expiration": datetime.timedelta(minutes=5), **options},
        )  # fmt: skip
        return str(url).removeprefix(cloud.url("storage"))

    return make


def test_signed_urls_act_for_their_signer_until_they_expire(
    cloud: LocalCloud, bucket: str, sign: Callable[..., str]
) -> None:
    member, _ = account(cloud, "signer-account")
    email = member.partition(":")[2]
    put(cloud, bucket, "signed", b"secret")
    call(cloud, "GET", sign(email, "signed"), 403)
    grant(cloud, bucket, "roles/storage.objectUser", member)
    assert call(cloud, "GET", sign(email, "signed")).content == b"secret"
    call(cloud, "PUT", sign(email, "by url", method="PUT"), content=b"new")
    assert call(cloud, "GET", sign(email, "by url")).content == b"new"
    old = sign(email, "signed").replace("X-Goog-Date=2", "X-Goog-Date=1")
    assert "<Code>ExpiredToken</Code>" in call(cloud, "GET", old, 400).text
    call(cloud, "GET", sign(f"nobody@{PROJECT}.iam.gserviceaccount.com", "signed"), 403)
    started = call(
        cloud, "POST", sign(email, "resumed", method="RESUMABLE"), 201, headers={"x-goog-resumable": "start"}
    )
    call(cloud, "PUT", started.headers["location"].removeprefix(cloud.url("storage")), content=b"resumed")
    assert call(cloud, "GET", sign(email, "resumed")).content == b"resumed"


# --- data frames ------------------------------------------------------------------------------------------------------


def test_polars_reads_and_writes(cloud: LocalCloud, bucket: str) -> None:
    key = {
        "gcs_base_url": cloud.url("storage"),
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    options = {"service_account_key": json.dumps(key)}
    frame = polars.DataFrame({"n": range(1000), "text": [str(n) for n in range(1000)]})
    for part in range(3):
        frame.with_columns(part=part).lazy().sink_parquet(
            f"gs://{bucket}/frames/{part}.parquet", storage_options=options
        )
    read = polars.scan_parquet(f"gs://{bucket}/frames/*.parquet", storage_options=options)
    assert read.filter(polars.col("n") == 7).select("part", "text").collect().sort("part").rows() == [
        (0, "7"),
        (1, "7"),
        (2, "7"),
    ]


def test_arrow_reads_and_writes(cloud: LocalCloud, bucket: str) -> None:
    address = cloud.url("storage").removeprefix("http://")
    files = pyarrow.fs.GcsFileSystem(anonymous=True, endpoint_override=address, scheme="http")
    table = pyarrow.table({"n": list(range(200_000)), "part": [n % 2 for n in range(200_000)]})
    pyarrow.dataset.write_dataset(table, f"{bucket}/arrow", filesystem=files, format="parquet", partitioning=["part"])
    found = files.get_file_info(pyarrow.fs.FileSelector(f"{bucket}/arrow", recursive=True))
    assert {info.base_name for info in found if info.is_file} == {"part-0.parquet"}
    data = pyarrow.dataset.dataset(f"{bucket}/arrow", filesystem=files, partitioning=["part"])
    assert data.to_table(filter=pyarrow.dataset.field("part") == 1).num_rows == 100_000
    with files.open_output_stream(f"{bucket}/arrow.bin") as out:
        for _ in range(3):
            out.write(b"z" * 5 * MIB)
    with files.open_input_file(f"{bucket}/arrow.bin") as file:
        assert file.size() == 15 * MIB
        file.seek(14 * MIB)
        assert file.read() == b"z" * MIB


# --- gcloud -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
def test_gcloud_storage(cloud: LocalCloud, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": PROJECT,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{cloud.url('storage')}/storage/v1/",
    }

    def gcloud(*arguments: str) -> str:
        done = subprocess.run(
            ["gcloud", "storage", *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    name = f"gs://gcloud-{os.getpid()}"
    small, large, back = tmp_path / "small.txt", tmp_path / "large.bin", tmp_path / "back"
    small.write_text("hello")
    large.write_bytes(random.Random(2).randbytes(20 * MIB))  # noqa: S311 - test data
    back.mkdir()
    gcloud("buckets", "create", name, "--location=europe-west1", "--uniform-bucket-level-access")
    described = json.loads(gcloud("buckets", "describe", name, "--format=json"))
    assert (described["location"], described["uniform_bucket_level_access"]) == ("EUROPE-WEST1", True)
    gcloud("cp", str(small), str(large), f"{name}/dir/")
    listed = gcloud("ls", "-l", f"{name}/dir/")
    assert f"{name}/dir/small.txt" in listed
    assert str(20 * MIB) in listed
    gcloud("cp", f"{name}/dir/*", str(back))
    assert (back / "large.bin").read_bytes() == large.read_bytes()
    assert gcloud("cat", f"{name}/dir/small.txt") == "hello"
    gcloud("rm", "--recursive", name)
    call(cloud, "GET", f"/storage/v1/b/{name.removeprefix('gs://')}", 404)
