"""IAM, IAM Credentials, Resource Manager and billing by Google's Python client."""

import base64
import json
from typing import Any

import httpx
import pytest
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import Resource, build
from googleapiclient.errors import HttpError

from localcloud.testing import LocalCloud

PROJECT = "projects/demo-project"
DOMAIN = "demo-project.iam.gserviceaccount.com"


def client(cloud: LocalCloud, port: str, name: str, version: str, token: str = "") -> Resource:
    return build(
        name,
        version,
        credentials=Credentials(token=token or "local-deployer"),
        client_options={"api_endpoint": cloud.url(port)},
        static_discovery=True,
        cache_discovery=False,
    )


@pytest.fixture(scope="module")
def accounts(cloud: LocalCloud) -> Any:
    return client(cloud, "iam", "iam", "v1").projects().serviceAccounts()


def make(accounts: Any, account_id: str, **fields: str) -> dict[str, Any]:
    body = {"accountId": account_id, "serviceAccount": fields}
    made: dict[str, Any] = accounts.create(name=PROJECT, body=body).execute()
    return made


def failure(request: Any) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        request.execute()
    return caught.value.resp.status, json.loads(caught.value.content)["error"]["message"]


def test_an_account_is_made_found_changed_and_deleted(accounts: Any) -> None:
    made = make(accounts, "runner-one", displayName="Runner", description="runs")
    assert made["name"] == f"{PROJECT}/serviceAccounts/runner-one@{DOMAIN}"
    assert len(made["uniqueId"]) == 21
    for name in (
        made["name"],
        f"projects/-/serviceAccounts/{made['email']}",
        f"projects/-/serviceAccounts/{made['uniqueId']}",
    ):
        assert accounts.get(name=name).execute() == made
    body = {"serviceAccount": {"displayName": "New", "etag": made["etag"]}, "updateMask": "display_name"}
    changed = accounts.patch(name=made["name"], body=body).execute()
    assert (changed["displayName"], changed["description"]) == ("New", "runs")
    assert failure(accounts.patch(name=made["name"], body=body))[0] == 409
    listed = accounts.list(name=PROJECT, pageSize=1).execute()
    assert listed["nextPageToken"]
    assert accounts.delete(name=made["name"]).execute() == {}
    assert failure(accounts.get(name=made["name"])) == (404, f"Service account {made['email']} does not exist.")
    undeleted = accounts.undelete(name=f"projects/-/serviceAccounts/{made['uniqueId']}", body={}).execute()
    assert undeleted["restoredAccount"]["email"] == made["email"]


def test_what_the_cloud_refuses_is_refused(accounts: Any) -> None:
    make(accounts, "taken-one")
    status, message = failure(accounts.create(name=PROJECT, body={"accountId": "taken-one"}))
    assert (status, message) == (409, "Service account taken-one already exists within project projects/demo-project.")
    assert failure(accounts.create(name=PROJECT, body={"accountId": "X"}))[0] == 400
    assert failure(accounts.create(name=PROJECT, body={"accountId": "colourful", "colour": "blue"}))[0] == 400
    name = f"{PROJECT}/serviceAccounts/taken-one@{DOMAIN}"
    assert failure(accounts.patch(name=name, body={"serviceAccount": {}, "updateMask": "email"}))[0] == 400
    assert "no keys" in failure(accounts.keys().create(name=name, body={}))[1]
    assert failure(accounts.create(name="projects/elsewhere", body={"accountId": "taken-one"}))[0] == 403


def test_the_policy_of_an_account_is_read_by_post_and_written_with_its_etag(accounts: Any) -> None:
    name = make(accounts, "guarded-one")["name"]
    policy = accounts.getIamPolicy(resource=name, options_requestedPolicyVersion=3).execute()
    assert policy == {"etag": "ACAB"}
    policy["bindings"] = [{"role": "roles/iam.serviceAccountUser", "members": ["user:ana@example.com"]}]
    policy["version"] = 3
    written = accounts.setIamPolicy(resource=name, body={"policy": policy}).execute()
    assert written["bindings"] == policy["bindings"]
    assert failure(accounts.setIamPolicy(resource=name, body={"policy": {**policy, "etag": "ACAB"}}))[0] == 409
    cleared = accounts.setIamPolicy(resource=name, body={"policy": {"etag": written["etag"], "version": 3}}).execute()
    assert "bindings" not in cleared


def test_permissions_are_tested_for_the_caller(cloud: LocalCloud, accounts: Any) -> None:
    name = make(accounts, "tested-one")["name"]
    policy = {"bindings": [{"role": "roles/iam.serviceAccountUser", "members": ["user:ana@example.com"]}]}
    accounts.setIamPolicy(resource=name, body={"policy": policy}).execute()
    hers = client(cloud, "iam", "iam", "v1", cloud.token("user:ana@example.com")).projects().serviceAccounts()
    asked = {"permissions": ["iam.serviceAccounts.actAs", "iam.serviceAccounts.delete"]}
    assert hers.testIamPermissions(resource=name, body=asked).execute() == {
        "permissions": ["iam.serviceAccounts.actAs"]
    }
    status, message = failure(hers.delete(name=name))
    assert status == 403
    assert (
        message == f"Permission 'iam.serviceAccounts.delete' denied on resource '{name}' (or resource may not exist)."
    )


def test_a_token_is_made_for_an_account_by_those_who_may(cloud: LocalCloud, accounts: Any) -> None:
    name = make(accounts, "tokened-one")["name"]
    email = name.rpartition("/")[2]
    body = {"scope": ["https://www.googleapis.com/auth/cloud-platform"], "lifetime": "60s"}
    owner = client(cloud, "iam", "iamcredentials", "v1").projects().serviceAccounts()
    wildcard = f"projects/-/serviceAccounts/{email}"
    assert "iam.serviceAccounts.getAccessToken" in failure(owner.generateAccessToken(name=wildcard, body=body))[1]
    policy = {
        "bindings": [{"role": "roles/iam.serviceAccountTokenCreator", "members": ["user:deployer@longhaul.local"]}]
    }
    accounts.setIamPolicy(resource=name, body={"policy": policy}).execute()
    token = owner.generateAccessToken(name=wildcard, body=body).execute()["accessToken"]
    its = client(cloud, "resourcemanager", "cloudresourcemanager", "v1", token).projects()
    assert failure(its.get(projectId="demo-project"))[0] == 403
    assert failure(owner.generateAccessToken(name=wildcard, body={**body, "lifetime": "7200s"}))[0] == 400
    accounts.disable(name=name, body={}).execute()
    url = f"{cloud.url('resourcemanager')}/v1/projects/demo-project"
    assert httpx.get(url, headers={"authorization": f"Bearer {token}"}).status_code == 401


def test_an_id_token_verifies_with_the_served_keys(cloud: LocalCloud, accounts: Any) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    made = make(accounts, "id-token-one")
    policy = {
        "bindings": [
            {"role": "roles/iam.serviceAccountOpenIdTokenCreator", "members": ["user:deployer@longhaul.local"]}
        ]
    }
    accounts.setIamPolicy(resource=made["name"], body={"policy": policy}).execute()
    owner = client(cloud, "iam", "iamcredentials", "v1").projects().serviceAccounts()
    body = {"audience": "https://service.example.com", "includeEmail": True}
    token = owner.generateIdToken(name=made["name"], body=body).execute()["token"]
    (key,) = httpx.get(f"{cloud.url('control')}/jwks").json()["keys"]
    n, e = (int.from_bytes(base64.urlsafe_b64decode(key[part] + "==")) for part in ("n", "e"))
    head, claims, signature = token.split(".")
    public = rsa.RSAPublicNumbers(e, n).public_key()
    signed = base64.urlsafe_b64decode(signature + "==")
    public.verify(signed, f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    decoded = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert (decoded["aud"], decoded["email"]) == ("https://service.example.com", made["email"])


def test_a_project_is_found_by_id_and_number_in_both_versions(cloud: LocalCloud) -> None:
    v1 = client(cloud, "resourcemanager", "cloudresourcemanager", "v1").projects()
    v3 = client(cloud, "resourcemanager", "cloudresourcemanager", "v3").projects()
    project = v1.get(projectId="demo-project").execute()
    assert (project["projectNumber"], project["lifecycleState"]) == ("123456789012", "ACTIVE")
    assert v3.get(name="projects/123456789012").execute()["projectId"] == "demo-project"
    assert (
        v1.getAncestry(projectId="demo-project", body={}).execute()["ancestor"][0]["resourceId"]["id"] == "demo-project"
    )
    assert failure(v1.get(projectId="nowhere"))[0] == 403
    assert v3.search(query="id:demo-*").execute()["projects"][0]["name"] == "projects/123456789012"
    assert v1.list(filter="projectId=nowhere").execute()["projects"] == []
    billing = client(cloud, "cloudbilling", "cloudbilling", "v1").projects()
    assert billing.getBillingInfo(name="projects/demo-project").execute()["billingEnabled"] is True


def test_both_versions_write_the_same_project_policy(cloud: LocalCloud) -> None:
    v1 = client(cloud, "resourcemanager", "cloudresourcemanager", "v1").projects()
    v3 = client(cloud, "resourcemanager", "cloudresourcemanager", "v3").projects()
    policy = v1.getIamPolicy(resource="demo-project", body={"options": {"requestedPolicyVersion": 3}}).execute()
    condition = {"title": "soon", "expression": 'request.time < timestamp("2100-01-01T00:00:00Z")'}
    grant = {"role": "roles/browser", "members": ["user:guest@example.com"], "condition": condition}
    policy = {**policy, "version": 3, "bindings": [*policy["bindings"], grant]}
    body = {"policy": policy, "updateMask": "bindings,etag,auditConfigs"}
    written = v1.setIamPolicy(resource="demo-project", body=body).execute()
    assert written["version"] == 3
    assert v3.getIamPolicy(resource=PROJECT, body={"options": {"requestedPolicyVersion": 3}}).execute() == written
    plain = v3.getIamPolicy(resource=PROJECT, body={}).execute()
    assert any(item["role"].startswith("roles/browser_withcond_") for item in plain["bindings"])
    guest = client(
        cloud, "resourcemanager", "cloudresourcemanager", "v3", cloud.token("user:guest@example.com")
    ).projects()
    assert guest.get(name=PROJECT).execute()["projectId"] == "demo-project"
    assert failure(guest.setIamPolicy(resource=PROJECT, body={"policy": {}}))[0] == 403
    without = {**written, "bindings": [item for item in written["bindings"] if item["role"] != "roles/browser"]}
    v1.setIamPolicy(resource="demo-project", body={"policy": without}).execute()
    assert failure(guest.get(name=PROJECT))[0] == 403


def test_a_forged_token_is_401_with_google_s_text(cloud: LocalCloud) -> None:
    answer = httpx.get(
        f"{cloud.url('resourcemanager')}/v1/projects/demo-project", headers={"authorization": "Bearer ya29.local.e30.x"}
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["status"] == "UNAUTHENTICATED"
    assert "invalid authentication credentials" in answer.json()["error"]["message"]


def test_a_new_account_of_a_deleted_one_s_name_starts_without_its_policy(accounts: Any) -> None:
    made = make(accounts, "reborn-one")
    policy = {"bindings": [{"role": "roles/iam.serviceAccountUser", "members": ["user:ana@example.com"]}]}
    accounts.setIamPolicy(resource=made["name"], body={"policy": policy}).execute()
    accounts.delete(name=made["name"]).execute()
    again = make(accounts, "reborn-one")
    assert again["uniqueId"] != made["uniqueId"]
    assert accounts.getIamPolicy(resource=made["name"]).execute() == {"etag": "ACAB"}
