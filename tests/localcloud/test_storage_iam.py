"""Who may do what: each role against each verb, conditions, and what a caller without rights is told."""

import re
from typing import Any

import pytest
from google.api_core import exceptions
from storage_support import PROJECT, QUANTUM, account, call, client, grant, new_bucket, put, reason, web

from localcloud.testing import LocalCloud, local_cloud

CREATE, OVERWRITE, READ, LIST, PATCH, DELETE, COPY, RESUME, BUCKET, POLICY = [
    "create",
    "overwrite",
    "read",
    "list",
    "patch",
    "delete",
    "copy",
    "resume",
    "bucket",
    "policy",
]
VERBS = (CREATE, OVERWRITE, READ, LIST, PATCH, DELETE, COPY, RESUME, BUCKET, POLICY)
ROLES: dict[str, set[str]] = {
    "roles/storage.objectViewer": {READ, LIST},
    "roles/storage.objectCreator": {CREATE, RESUME},
    "roles/storage.objectUser": {CREATE, OVERWRITE, READ, LIST, PATCH, DELETE, COPY, RESUME},
    "roles/storage.objectAdmin": {CREATE, OVERWRITE, READ, LIST, PATCH, DELETE, COPY, RESUME},
    "roles/storage.admin": set(VERBS),
    "roles/storage.legacyBucketReader": {LIST, BUCKET},
    "roles/storage.legacyObjectReader": {READ},
    "": set(),
}


def attempt(cloud: LocalCloud, verb: str, bucket: str, token: str) -> Any:
    """The answer to `verb` by the bearer of `token`; `there` exists, `new` does not."""
    base, upload = f"/storage/v1/b/{bucket}", f"/upload/storage/v1/b/{bucket}/o"
    requests: dict[str, tuple[str, str, dict[str, Any]]] = {
        CREATE: ("POST", f"{upload}?uploadType=media&name=new", {"content": b"x"}),
        OVERWRITE: ("POST", f"{upload}?uploadType=media&name=there", {"content": b"x"}),
        READ: ("GET", f"{base}/o/there?alt=media", {}),
        LIST: ("GET", f"{base}/o", {}),
        PATCH: ("PATCH", f"{base}/o/there", {"json": {"metadata": {"a": "b"}}}),
        DELETE: ("DELETE", f"{base}/o/there", {}),
        COPY: ("POST", f"{base}/o/there/rewriteTo/b/{bucket}/o/copied", {"json": {}}),
        RESUME: ("POST", f"{upload}?uploadType=resumable&name=resumed", {}),
        BUCKET: ("GET", base, {}),
        POLICY: ("GET", f"{base}/iam", {}),
    }
    method, path, options = requests[verb]
    headers = {"authorization": f"Bearer {token}"}
    return web.request(method, cloud.url("storage") + path, headers=headers, **options)


@pytest.fixture(scope="module")
def accounts(cloud: LocalCloud) -> dict[str, tuple[str, str]]:
    """Role -> (member, token) of an account of its own."""
    return {role: account(cloud, f"matrix-{number}-account") for number, role in enumerate(ROLES)}


@pytest.mark.parametrize("verb", VERBS)
def test_each_role_allows_exactly_its_verbs(cloud: LocalCloud, accounts: dict[str, tuple[str, str]], verb: str) -> None:
    for role, allowed in ROLES.items():
        bucket = new_bucket(cloud)
        put(cloud, bucket, "there")
        member, token = accounts[role]
        if role:
            grant(cloud, bucket, role, member)
        answer = attempt(cloud, verb, bucket, token)
        if verb in allowed:
            assert answer.is_success, f"{role} {verb}: {answer.text}"
        else:
            assert answer.status_code == 403, f"{role} {verb}: {answer.status_code}"
            assert "does not have storage." in answer.text
            assert member.partition(":")[2] in answer.text


def test_a_condition_on_the_name_holds_for_objects_and_never_grants_list(cloud: LocalCloud) -> None:
    bucket = new_bucket(cloud)
    member, token = account(cloud, "prefix-account")
    grant(
        cloud, bucket, "roles/storage.objectUser", member,
        f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/runs/")',
    )  # fmt: skip
    put(cloud, bucket, "other/a")
    user = client(cloud, token).bucket(bucket)
    user.blob("runs/a").upload_from_string("1", if_generation_match=0)
    user.blob("runs/a").upload_from_string("2")
    assert user.blob("runs/a").download_as_bytes() == b"2"
    with pytest.raises(exceptions.Forbidden):
        user.blob("other/b").upload_from_string("x")
    with pytest.raises(exceptions.Forbidden):
        user.blob("other/a").download_as_bytes()
    with pytest.raises(exceptions.Forbidden, match=re.escape("storage.objects.list")):
        user.blob("runs/absent").download_as_bytes()
    with pytest.raises(exceptions.Forbidden, match=re.escape("storage.objects.list")):
        list(user.list_blobs(prefix="runs/"))
    with pytest.raises(exceptions.Forbidden, match=re.escape("storage.objects.list")):
        user.blob("runs/absent").delete()
    with pytest.raises(exceptions.Forbidden):
        user.copy_blob(user.blob("runs/a"), user, "other/c")
    grant(cloud, bucket, "roles/storage.legacyBucketReader", member)
    with pytest.raises(exceptions.NotFound):
        user.blob("runs/absent").download_as_bytes()


def test_create_alone_cannot_overwrite_in_any_way(cloud: LocalCloud) -> None:
    bucket = new_bucket(cloud)
    member, token = account(cloud, "creator-account")
    grant(cloud, bucket, "roles/storage.objectCreator", member)
    grant(cloud, bucket, "roles/storage.objectViewer", member)
    user = client(cloud, token).bucket(bucket)
    user.blob("a").upload_from_string("1")
    user.blob("b").upload_from_string("1")
    with pytest.raises(exceptions.Forbidden, match=re.escape("storage.objects.delete")):
        user.blob("a").upload_from_string("2")
    with pytest.raises(exceptions.Forbidden, match=re.escape("storage.objects.delete")):
        user.blob("a", chunk_size=QUANTUM).upload_from_string(b"2" * 3 * QUANTUM)
    with pytest.raises(exceptions.Forbidden, match=re.escape("storage.objects.delete")):
        user.copy_blob(user.blob("a"), user, "b")
    with pytest.raises(exceptions.Forbidden, match=re.escape("storage.objects.delete")):
        user.blob("a").compose([user.blob("b")])
    assert user.blob("a").download_as_bytes() == b"1"


def test_rights_lost_during_an_upload_are_lost_at_its_end(cloud: LocalCloud) -> None:
    bucket = new_bucket(cloud)
    member, token = account(cloud, "loser-account")
    grant(cloud, bucket, "roles/storage.objectCreator", member)
    started = call(cloud, "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=a", token=token)
    session = started.headers["location"].removeprefix(cloud.url("storage"))
    call(cloud, "PUT", f"/storage/v1/b/{bucket}/iam", json={"version": 3})
    assert reason(call(cloud, "PUT", session, 403, content=b"x")) == "forbidden"


def test_batches_and_xml_obey_the_same_grants(cloud: LocalCloud) -> None:
    bucket = new_bucket(cloud)
    put(cloud, bucket, "a")
    _, token = account(cloud, "nobody-account")
    call(cloud, "GET", f"/{bucket}/a", 403, token=token)
    call(cloud, "PUT", f"/{bucket}/b", 403, token=token, content=b"x")
    call(cloud, "DELETE", f"/{bucket}/a", 403, token=token)
    call(cloud, "GET", f"/{bucket}?list-type=2", 403, token=token)
    call(cloud, "POST", f"/{bucket}/c?uploads", 403, token=token)
    user = client(cloud, token)
    with pytest.raises(exceptions.Forbidden), user.batch():
        user.bucket(bucket).blob("a").delete()
    call(cloud, "GET", f"/storage/v1/b/{bucket}/o/a")


def test_buckets_are_made_and_listed_by_whom_the_project_allows(cloud: LocalCloud) -> None:
    _, token = account(cloud, "outsider-account")
    denied = call(cloud, "POST", f"/storage/v1/b?project={PROJECT}", 403, token=token, json={"name": "not-for-me"})
    assert "storage.buckets.create" in denied.text
    call(cloud, "GET", f"/storage/v1/b?project={PROJECT}", 403, token=token)
    bucket = new_bucket(cloud)
    for method, path, body in (
        ("PATCH", "", {"labels": {"a": "b"}}),
        ("DELETE", "", None),
        ("PUT", "/iam", {"version": 3}),
        ("GET", "/o/a/acl", None),
    ):
        call(cloud, method, f"/storage/v1/b/{bucket}{path}", 403, token=token, json=body)
    asked = {"permissions": ["storage.objects.get"]}
    assert (
        "permissions"
        not in call(cloud, "GET", f"/storage/v1/b/{bucket}/iam/testPermissions", token=token, params=asked).json()
    )


def test_forged_tokens_are_401(cloud: LocalCloud) -> None:
    bucket = new_bucket(cloud)
    _, token = account(cloud, "forger-account")
    call(cloud, "GET", f"/storage/v1/b/{bucket}/o", 401, token=token[:-4] + "AAAA")
    put(cloud, bucket, "a", status=401, token=token[:-4] + "AAAA")


def test_without_credentials_only_public_objects_are_seen_where_anonymous_is_denied(tmp_path: Any) -> None:
    config = {
        "anonymous": "deny",
        "ports": ["control", "storage"],
        "projects": [{"project_id": PROJECT, "services_enabled": "all"}],
    }
    with local_cloud(tmp_path / "state", config) as strict:
        owner = "local-deployer"
        call(strict, "POST", f"/storage/v1/b?project={PROJECT}", token=owner, json={"name": "strict-bucket"})
        put(strict, "strict-bucket", "a", token=owner)
        assert reason(call(strict, "GET", "/storage/v1/b/strict-bucket/o", 401)) in ("required", "authError")
        put(strict, "strict-bucket", "b", status=401)
        call(strict, "GET", "/strict-bucket/a", 401)
        public = {"version": 3, "bindings": [{"role": "roles/storage.objectViewer", "members": ["allUsers"]}]}
        call(strict, "PUT", "/storage/v1/b/strict-bucket/iam", token=owner, json=public)
        call(strict, "GET", "/strict-bucket/a")
        call(strict, "GET", "/download/storage/v1/b/strict-bucket/o/a?alt=media")
        put(strict, "strict-bucket", "b", status=401)
