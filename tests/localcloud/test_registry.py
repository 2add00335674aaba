"""The registry by the distribution API itself; real Docker clients are in test_registry_docker.py."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from localcloud_support import INDEX, digest_of, manifest_of, push, push_blob, put_manifest

from localcloud.testing import LocalCloud, local_cloud

REPOSITORY = "demo-project/images"
APP = f"{REPOSITORY}/app"


def make_repository(cloud: LocalCloud, name: str, **fields: object) -> None:
    url = f"{cloud.url('artifactregistry')}/v1/projects/demo-project/locations/europe-west1/repositories"
    answer = httpx.post(url, params={"repositoryId": name}, json={"format": "DOCKER", **fields})
    assert answer.status_code in (200, 409), answer.text


@pytest.fixture(scope="module")
def base(cloud: LocalCloud) -> str:
    make_repository(cloud, "images")
    return cloud.url("registry")


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["errors"][0]["code"])


def test_an_image_is_pushed_and_pulled_by_tag_and_by_digest(base: str) -> None:
    digest = push(base, APP, "v1", b"some layer")
    for reference in ("v1", digest):
        got = httpx.get(f"{base}/v2/{APP}/manifests/{reference}")
        assert got.headers["docker-content-digest"] == digest == digest_of(got.content)
        assert got.headers["content-type"] == "application/vnd.oci.image.manifest.v1+json"
        head = httpx.head(f"{base}/v2/{APP}/manifests/{reference}")
        assert head.headers["content-length"] == str(len(got.content))
        assert not head.content
    layer = got.json()["layers"][0]["digest"]
    assert httpx.get(f"{base}/v2/{APP}/blobs/{layer}").content == b"some layer"
    part = httpx.get(f"{base}/v2/{APP}/blobs/{layer}", headers={"range": "bytes=5-"})
    assert (part.status_code, part.content) == (206, b"layer")


def test_a_blob_may_come_in_chunks_in_order_only(base: str) -> None:
    place = httpx.post(f"{base}/v2/{APP}/blobs/uploads/").headers["location"]
    first = httpx.patch(f"{base}{place}", content=b"hello ", headers={"content-range": "0-5"})
    assert (first.status_code, first.headers["range"]) == (202, "0-5")
    wrong = httpx.patch(f"{base}{place}", content=b"x", headers={"content-range": "9-9"})
    assert (wrong.status_code, code_of(wrong)) == (416, "BLOB_UPLOAD_INVALID")
    assert httpx.get(f"{base}{place}").headers["range"] == "0-5"
    httpx.patch(f"{base}{place}", content=b"world", headers={"content-range": "6-10"})
    done = httpx.put(f"{base}{place}", params={"digest": digest_of(b"hello world")})
    assert done.status_code == 201
    assert httpx.get(f"{base}{done.headers['location']}").content == b"hello world"


def test_a_blob_may_come_in_one_post(base: str) -> None:
    data = b"at once"
    answer = httpx.post(f"{base}/v2/{APP}/blobs/uploads/", params={"digest": digest_of(data)}, content=data)
    assert answer.status_code == 201
    assert httpx.head(f"{base}/v2/{APP}/blobs/{digest_of(data)}").headers["content-length"] == str(len(data))


def test_a_wrong_digest_leaves_nothing_behind(base: str) -> None:
    place = httpx.post(f"{base}/v2/{APP}/blobs/uploads/").headers["location"]
    claimed = digest_of(b"what was promised")
    answer = httpx.put(f"{base}{place}", params={"digest": claimed}, content=b"what came")
    assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")
    assert httpx.head(f"{base}/v2/{APP}/blobs/{claimed}").status_code == 404
    assert httpx.head(f"{base}/v2/{APP}/blobs/{digest_of(b'what came')}").status_code == 404


def test_a_blob_is_mounted_from_another_image_instead_of_sent_again(cloud: LocalCloud, base: str) -> None:
    make_repository(cloud, "other")
    digest = push_blob(base, APP, b"shared layer")
    target = f"{base}/v2/demo-project/other/app/blobs"
    assert httpx.head(f"{target}/{digest}").status_code == 404
    mounted = httpx.post(f"{target}/uploads/", params={"mount": digest, "from": APP})
    assert mounted.status_code == 201
    assert httpx.get(f"{target}/{digest}").content == b"shared layer"
    unknown = httpx.post(f"{target}/uploads/", params={"mount": digest_of(b"never seen"), "from": APP})
    assert unknown.status_code == 202


def test_a_manifest_needs_its_blobs_and_its_own_digest(base: str) -> None:
    push_blob(base, APP, b"{}")
    lacking = put_manifest(base, APP, "broken", manifest_of(b"{}", b"never pushed"))
    assert (lacking.status_code, code_of(lacking)) == (404, "MANIFEST_BLOB_UNKNOWN")
    wrong = put_manifest(base, APP, digest_of(b"other"), manifest_of(b"{}", b"{}"))
    assert (wrong.status_code, code_of(wrong)) == (400, "DIGEST_INVALID")
    assert code_of(put_manifest(base, APP, "broken", b"no json")) == "MANIFEST_INVALID"


def test_an_index_of_images_is_kept(base: str) -> None:
    digest = push(base, APP, "amd64")
    index: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{"digest": digest, "size": 1, "mediaType": "x"}],
    }
    assert put_manifest(base, APP, "multi", json.dumps(index).encode(), INDEX).status_code == 201
    assert httpx.get(f"{base}/v2/{APP}/manifests/multi").headers["content-type"] == INDEX
    index["manifests"][0]["digest"] = digest_of(b"nothing")
    assert code_of(put_manifest(base, APP, "multi", json.dumps(index).encode(), INDEX)) == "MANIFEST_UNKNOWN"


def test_tags_are_listed_in_pages_and_deleted(base: str) -> None:
    name = f"{REPOSITORY}/tagged"
    for tag in ("a", "b", "c"):
        digest = push(base, name, tag)
    first = httpx.get(f"{base}/v2/{name}/tags/list", params={"n": 2})
    assert first.json() == {"name": name, "tags": ["a", "b"]}
    following = first.headers["link"].split(">")[0].lstrip("<")
    assert httpx.get(f"{base}{following}").json()["tags"] == ["c"]
    assert httpx.delete(f"{base}/v2/{name}/manifests/a").status_code == 202
    assert httpx.get(f"{base}/v2/{name}/tags/list").json()["tags"] == ["b", "c"]
    assert httpx.delete(f"{base}/v2/{name}/manifests/{digest}").status_code == 202
    assert httpx.get(f"{base}/v2/{name}/manifests/b").status_code == 404
    assert name not in httpx.get(f"{base}/v2/_catalog").json()["repositories"]


def test_a_repository_that_was_not_created_is_unknown(base: str) -> None:
    answer = httpx.post(f"{base}/v2/demo-project/nowhere/app/blobs/uploads/")
    assert (answer.status_code, code_of(answer)) == (404, "NAME_UNKNOWN")
    assert 'Repository "nowhere" not found' in answer.json()["errors"][0]["message"]


def test_a_tag_of_a_repository_with_immutable_tags_stays(cloud: LocalCloud, base: str) -> None:
    make_repository(cloud, "fixed", dockerConfig={"immutableTags": True})
    name = "demo-project/fixed/app"
    digest = push(base, name, "v1")
    assert push(base, name, "v1") == digest
    push_blob(base, name, b"another")
    push_blob(base, name, b"{}")
    refused = put_manifest(base, name, "v1", manifest_of(b"{}", b"another"))
    assert (refused.status_code, code_of(refused)) == (400, "MANIFEST_INVALID")


def test_reading_and_writing_need_their_grants(cloud: LocalCloud, base: str) -> None:
    make_repository(cloud, "guarded")
    name = "demo-project/guarded/app"
    digest = push(base, name, "v1")
    repository = "projects/demo-project/locations/europe-west1/repositories/guarded"
    policy = {"bindings": [{"role": "roles/artifactregistry.reader", "members": ["user:reader@example.com"]}]}
    url = f"{cloud.url('artifactregistry')}/v1/{repository}:setIamPolicy"
    assert httpx.post(url, json={"policy": policy}).status_code == 200
    secret = cloud.token("user:reader@example.com")
    basic = base64.b64encode(f"oauth2accesstoken:{secret}".encode()).decode()
    reader = {"authorization": f"Basic {basic}"}
    stranger = {"authorization": f"Bearer {cloud.token('user:stranger@example.com')}"}
    assert httpx.get(f"{base}/v2/{name}/manifests/{digest}", headers=reader).status_code == 200
    denied = httpx.get(f"{base}/v2/{name}/manifests/{digest}", headers=stranger)
    assert (denied.status_code, code_of(denied)) == (403, "DENIED")
    assert "artifactregistry.repositories.downloadArtifacts" in denied.text
    written = httpx.post(f"{base}/v2/{name}/blobs/uploads/", headers=reader)
    assert (written.status_code, code_of(written)) == (403, "DENIED")
    assert name not in httpx.get(f"{base}/v2/_catalog", headers=stranger).json()["repositories"]


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[LocalCloud]:
    config = {
        "anonymous": "deny",
        "projects": [{"project_id": "demo-project", "services_enabled": "all"}],
        "ports": dict.fromkeys(("control", "artifactregistry", "registry"), 0),
    }
    with local_cloud(tmp_path / "state", config) as running:
        yield running


def test_without_a_token_a_strict_registry_asks_for_one(strict: LocalCloud) -> None:
    answer = httpx.get(f"{strict.url('registry')}/v2/")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic realm=")
    forged = {"authorization": "Bearer ya29.local.e30.AAAA"}
    assert httpx.get(f"{strict.url('registry')}/v2/", headers=forged).status_code == 401
    known = {"authorization": "Bearer local-deployer"}
    assert httpx.get(f"{strict.url('registry')}/v2/", headers=known).status_code == 200


def test_an_upload_goes_on_after_a_crash(strict: LocalCloud) -> None:
    headers = {"authorization": "Bearer local-deployer"}
    url = f"{strict.url('artifactregistry')}/v1/projects/demo-project/locations/europe-west1/repositories"
    httpx.post(url, params={"repositoryId": "images"}, json={"format": "DOCKER"}, headers=headers)
    base = strict.url("registry")
    place = httpx.post(f"{base}/v2/{APP}/blobs/uploads/", headers=headers).headers["location"]
    httpx.patch(f"{base}{place}", content=b"first half, ", headers=headers)
    strict.kill()
    strict.start()
    done = httpx.put(
        f"{base}{place}",
        params={"digest": digest_of(b"first half, second half")},
        content=b"second half",
        headers=headers,
    )
    assert done.status_code == 201
