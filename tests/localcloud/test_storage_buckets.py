"""Buckets and their policies, with Google's client and with the calls that the Pulumi provider was seen to make."""

import pytest
from google.api_core import exceptions
from storage_support import PROJECT, call, client, new_bucket, put, reason

from localcloud.testing import LocalCloud


def test_a_bucket_comes_back_as_the_provider_needs_it(cloud: LocalCloud) -> None:
    rules = [
        {"action": {"type": "Delete"}, "condition": {"age": 30, "matchesPrefix": ["tmp/"]}},
        {"action": {"type": "SetStorageClass", "storageClass": "NEARLINE"}, "condition": {"age": 10, "isLive": True}},
        {"action": {"type": "Delete"}, "condition": {"age": 1}},
    ]
    body = {
        "name": "shaped-bucket",
        "location": "europe-west1",
        "storageClass": "STANDARD",
        "labels": {"goog-pulumi-provisioned": "true", "team": "a"},
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}, "publicAccessPrevention": "enforced"},
        "versioning": {"enabled": True},
        "lifecycle": {"rule": rules},
    }
    made = call(cloud, "POST", f"/storage/v1/b?project={PROJECT}&alt=json&prettyPrint=false", json=body).json()
    read = call(cloud, "GET", "/storage/v1/b/shaped-bucket?alt=json&prettyPrint=false").json()
    assert read == made
    assert read["location"] == "EUROPE-WEST1"
    assert read["locationType"] == "region"
    assert read["lifecycle"]["rule"] == rules
    assert read["labels"] == body["labels"]
    assert read["iamConfiguration"]["publicAccessPrevention"] == "enforced"
    assert read["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] is True
    assert read["metageneration"] == "1"
    assert read["projectNumber"] == "123456789012"
    assert read["selfLink"] == f"{cloud.url('storage')}/storage/v1/b/shaped-bucket"
    assert {"kind", "id", "etag", "timeCreated", "updated", "versioning"} <= set(read)


def test_a_second_bucket_of_the_name_is_409(cloud: LocalCloud) -> None:
    name = new_bucket(cloud)
    answer = call(cloud, "POST", f"/storage/v1/b?project={PROJECT}", 409, json={"name": name})
    assert reason(answer) == "conflict"
    with pytest.raises(exceptions.Conflict):
        client(cloud).create_bucket(name)


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Capital"},
        {"name": "ab"},
        {"name": "goog-mine"},
        {"name": "192.168.5.4"},
        {"name": "ok-name", "location": "nowhere 9"},
        {"name": "ok-name", "storageClass": "GOLD"},
        {"name": "ok-name", "labels": {"UPPER": "x"}},
        {"name": "ok-name", "unknownField": 1},
        {"name": "ok-name", "versioning": {"enabled": "perhaps"}},
        {"name": "ok-name", "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {}}]}},
    ],
)
def test_what_no_bucket_may_be_is_400(cloud: LocalCloud, body: dict[str, object]) -> None:
    assert reason(call(cloud, "POST", f"/storage/v1/b?project={PROJECT}", 400, json=body)) == "invalid"


def test_patch_merges_and_update_replaces(cloud: LocalCloud) -> None:
    name = new_bucket(cloud, labels={"a": "1", "b": "2"}, versioning={"enabled": True})
    patched = call(cloud, "PATCH", f"/storage/v1/b/{name}", json={"labels": {"a": None, "c": "3"}}).json()
    assert patched["labels"] == {"b": "2", "c": "3"}
    assert patched["versioning"] == {"enabled": True}
    assert patched["metageneration"] == "2"
    updated = call(cloud, "PUT", f"/storage/v1/b/{name}", json={"labels": {"d": "4"}}).json()
    assert updated["labels"] == {"d": "4"}
    assert "versioning" not in updated
    assert updated["metageneration"] == "3"
    rules = [{"action": {"type": "Delete"}, "condition": {"age": 3}}]
    assert call(cloud, "PATCH", f"/storage/v1/b/{name}", json={"lifecycle": {"rule": rules}}).json()["lifecycle"]
    assert "lifecycle" not in call(cloud, "PATCH", f"/storage/v1/b/{name}", json={"lifecycle": {"rule": []}}).json()


def test_bucket_preconditions_hold_for_every_verb(cloud: LocalCloud) -> None:
    name = new_bucket(cloud)
    path = f"/storage/v1/b/{name}"
    call(cloud, "GET", f"{path}?ifMetagenerationMatch=1")
    call(cloud, "GET", f"{path}?ifMetagenerationMatch=2", 412)
    call(cloud, "GET", f"{path}?ifMetagenerationNotMatch=1", 304)
    call(cloud, "PATCH", f"{path}?ifMetagenerationMatch=7", 412, json={"labels": {"a": "b"}})
    call(cloud, "PUT", f"{path}?ifMetagenerationNotMatch=1", 412, json={"labels": {"a": "b"}})
    call(cloud, "DELETE", f"{path}?ifMetagenerationMatch=7", 412)
    assert reason(call(cloud, "DELETE", f"{path}?ifMetagenerationMatch=7", 412)) == "conditionNotMet"
    call(cloud, "DELETE", f"{path}?ifMetagenerationMatch=1", 204)


def test_deleting_as_the_provider_does(cloud: LocalCloud) -> None:
    name = new_bucket(cloud)
    put(cloud, name, "a")
    call(cloud, "GET", f"/storage/v1/b/{name}/anywhereCaches/", 404)
    found = call(cloud, "GET", f"/storage/v1/b/{name}/o?versions=true").json()["items"]
    assert reason(call(cloud, "DELETE", f"/storage/v1/b/{name}", 409)) == "conflict"
    call(cloud, "DELETE", f"/storage/v1/b/{name}/o/a?generation={found[0]['generation']}", 204)
    call(cloud, "DELETE", f"/storage/v1/b/{name}", 204)
    assert reason(call(cloud, "GET", f"/storage/v1/b/{name}", 404)) == "notFound"


def test_buckets_are_listed_by_project_in_pages(cloud: LocalCloud) -> None:
    mine = sorted(new_bucket(cloud) for _ in range(3))
    listed = [bucket.name for bucket in client(cloud).list_buckets(page_size=2, prefix=mine[0][:-1])]
    assert set(mine) <= set(listed)
    assert listed == sorted(listed)
    assert reason(call(cloud, "GET", "/storage/v1/b", 400)) in ("required", "invalid")


def test_policies_keep_conditions_and_etags(cloud: LocalCloud) -> None:
    bucket = client(cloud).bucket(new_bucket(cloud))
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.version = 3
    condition = {"title": "runs", "expression": 'resource.name.startsWith("projects/_/buckets/x/objects/runs/")'}
    policy.bindings.append(
        {"role": "roles/storage.objectUser", "members": {"user:a@example.com"}, "condition": condition}
    )
    bucket.set_iam_policy(policy)
    again = bucket.get_iam_policy(requested_policy_version=3)
    assert condition in [binding.get("condition") for binding in again.bindings]
    policy.etag = "AAAA"
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.set_iam_policy(policy)
    path = f"/storage/v1/b/{bucket.name}/iam"
    assert "bindings" not in call(cloud, "PUT", path, json={"version": 3}).json()
    assert call(cloud, "GET", f"{path}?optionsRequestedPolicyVersion=3").json()["kind"] == "storage#policy"
    asked = bucket.test_iam_permissions(["storage.objects.get", "storage.buckets.delete"])
    assert asked == ["storage.objects.get", "storage.buckets.delete"]


def test_public_access_prevention_refuses_and_hides_public_members(cloud: LocalCloud) -> None:
    name = new_bucket(cloud)
    public = {"version": 3, "bindings": [{"role": "roles/storage.objectViewer", "members": ["allUsers"]}]}
    call(cloud, "PUT", f"/storage/v1/b/{name}/iam", json=public)
    call(cloud, "PATCH", f"/storage/v1/b/{name}", json={"iamConfiguration": {"publicAccessPrevention": "enforced"}})
    assert "allUsers" not in call(cloud, "GET", f"/storage/v1/b/{name}/iam").text
    assert reason(call(cloud, "PUT", f"/storage/v1/b/{name}/iam", 412, json=public)) == "conditionNotMet"


def test_acl_calls_answer_as_under_uniform_access(cloud: LocalCloud) -> None:
    name = new_bucket(cloud)
    put(cloud, name, "a")
    for path in ("acl", "defaultObjectAcl", "o/a/acl"):
        assert reason(call(cloud, "GET", f"/storage/v1/b/{name}/{path}", 400)) == "invalid"
    call(cloud, "GET", f"/storage/v1/b/{name}?projection=full")
    answer = call(
        cloud,
        "POST",
        f"/upload/storage/v1/b/{name}/o?uploadType=media&name=b&predefinedAcl=publicRead",
        400,
        content=b"",
    )
    assert "uniform bucket-level access" in answer.text


def test_small_questions_of_clients_are_answered(cloud: LocalCloud) -> None:
    name = new_bucket(cloud)
    assert client(cloud).get_service_account_email().endswith("gs-project-accounts.iam.gserviceaccount.com")
    assert list(client(cloud).bucket(name).list_notifications()) == []
    assert call(cloud, "GET", f"/storage/v1/b/{name}/storageLayout").json()["locationType"] == "multi-region"
    assert reason(call(cloud, "GET", "/storage/v1/nothing/here", 404)) == "notFound"
