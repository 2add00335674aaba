"""What Pulumi's gcp provider sends to these APIs for each resource, call by call, and needs back to be content."""

from typing import Any

import httpx
import pytest

from localcloud.testing import LocalCloud

PROJECT = "demo-project"
LABELS = {"goog-pulumi-provisioned": "true"}


class Provider:
    """Sends as the provider does: any token, alt=json, its user agent."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud
        agent = "google-api-go-client/0.5 Pulumi/3.0 (GPN:Pulumi; https://www.pulumi.com) pulumi-gcp/10.2.0"
        headers = {"authorization": "Bearer dummy", "user-agent": agent, "x-goog-user-project": PROJECT}
        self._client = httpx.Client(headers=headers)

    def __call__(self, verb: str, api: str, path: str, body: Any = None, *, code: int = 200) -> Any:
        joint = "&" if "?" in path else "?"
        url = f"{self._cloud.url(api)}/v1/{path}{joint}alt=json&prettyPrint=false"
        answer = self._client.request(verb, url, json=body) if body is not None else self._client.request(verb, url)
        assert answer.status_code == code, answer.text
        return answer.json()


@pytest.fixture
def send(cloud: LocalCloud) -> Provider:
    return Provider(cloud)


def add_member(send: Provider, api: str, read: tuple[str, str, Any], set_: str, role: str, member: str) -> None:
    """Read, write with the etag and version 3, read again, take away, write without bindings."""
    verb, path, body = read
    policy = send(verb, api, path, body)
    grant = {"role": role, "members": [member]}
    bindings = [*policy.get("bindings", []), grant]
    send("POST", api, set_, {"policy": {"bindings": bindings, "etag": policy["etag"], "version": 3}})
    again = send(verb, api, path, body)
    assert grant in again["bindings"]
    left = [item for item in again["bindings"] if item != grant]
    without: dict[str, Any] = {"etag": again["etag"], "version": 3}
    send("POST", api, set_, {"policy": {**without, **({"bindings": left} if left else {})}})
    assert grant not in send(verb, api, path, body).get("bindings", [])


def test_a_service_account_and_its_grants(send: Provider) -> None:
    parent = f"projects/{PROJECT}/serviceAccounts"
    given = {"displayName": "Runner", "description": "runs"}
    made = send("POST", "iam", parent, {"accountId": "by-provider", "serviceAccount": given})
    name = made["name"]
    for _ in range(3):
        assert send("GET", "iam", name)["displayName"] == "Runner"
    update = {"serviceAccount": {**made, "displayName": "New"}, "updateMask": "description,display_name"}
    assert send("PATCH", "iam", name, update)["displayName"] == "New"
    policy = f"{name}:getIamPolicy?options.requestedPolicyVersion=3"
    add_member(
        send, "iam", ("POST", policy, None), f"{name}:setIamPolicy", "roles/iam.serviceAccountUser", "user:a@b.c"
    )
    assert send("DELETE", "iam", name) == {}
    send("DELETE", "iam", name, code=404)


def test_a_grant_on_the_project(send: Provider) -> None:
    path = f"projects/{PROJECT}"
    policy = send("POST", "resourcemanager", f"{path}:getIamPolicy", {"options": {"requestedPolicyVersion": 3}})
    grant = {"role": "roles/logging.viewer", "members": ["user:by-provider@example.com"]}
    new = {"bindings": [*policy["bindings"], grant], "etag": policy["etag"], "version": 3}
    body = {"policy": new, "updateMask": "bindings,etag,auditConfigs"}
    assert grant in send("POST", "resourcemanager", f"{path}:setIamPolicy", body)["bindings"]
    conflict = send("POST", "resourcemanager", f"{path}:setIamPolicy", body, code=409)
    assert conflict["error"]["status"] == "ABORTED"
    old = {
        **new,
        "bindings": policy["bindings"],
        "etag": send("POST", "resourcemanager", f"{path}:getIamPolicy", {})["etag"],
    }
    send("POST", "resourcemanager", f"{path}:setIamPolicy", {**body, "policy": old})


@pytest.mark.parametrize("names", [["run.googleapis.com"], ["run.googleapis.com", "batch.googleapis.com"]])
def test_enabled_apis(send: Provider, names: list[str]) -> None:
    listing = f"projects/{PROJECT}/services?filter=state:ENABLED&fields=services/name,nextPageToken&pageSize=200"
    send("GET", "serviceusage", listing)
    if len(names) == 1:
        operation = send("POST", "serviceusage", f"projects/{PROJECT}/services/{names[0]}:enable", {})
    else:
        operation = send("POST", "serviceusage", f"projects/{PROJECT}/services:batchEnable", {"serviceIds": names})
    assert operation["name"].startswith("operations/")
    assert operation["done"] is True
    assert send("GET", "resourcemanager", f"projects/{PROJECT}")["lifecycleState"] == "ACTIVE"
    assert send("GET", "cloudbilling", f"projects/{PROJECT}/billingInfo")["projectId"] == PROJECT
    enabled = {item["name"].rpartition("/")[2] for item in send("GET", "serviceusage", listing)["services"]}
    assert set(names) <= enabled


def test_a_repository_and_its_grants(send: Provider) -> None:
    parent = f"projects/{PROJECT}/locations/us-central1/repositories"
    body = {
        "cleanupPolicies": {"keep": {"action": "KEEP", "mostRecentVersions": {"keepCount": 5}}},
        "description": "images",
        "format": "DOCKER",
        "labels": LABELS,
        "mode": "STANDARD_REPOSITORY",
    }
    operation = send("POST", "artifactregistry", f"{parent}?repository_id=by-provider", body)
    assert operation["done"] is True
    name = f"{parent}/by-provider"
    read = send("GET", "artifactregistry", name)
    assert {key: read[key] for key in ("description", "format", "labels", "mode")} == {
        key: body[key] for key in ("description", "format", "labels", "mode")
    }
    assert not {"cleanupPolicyDryRun", "dockerConfig"} & set(read), "filling these in would be a diff for ever"
    changed = send(
        "PATCH", "artifactregistry", f"{name}?updateMask=description,labels", {**body, "description": "more"}
    )
    assert (changed["name"], changed["description"]) == (name, "more")
    read_policy = ("GET", f"{name}:getIamPolicy", None)
    role = "roles/artifactregistry.reader"
    add_member(send, "artifactregistry", read_policy, f"{name}:setIamPolicy", role, "user:a@b.c")
    assert send("DELETE", "artifactregistry", name)["done"] is True
    send("DELETE", "artifactregistry", name, code=404)
    send("GET", "artifactregistry", name, code=404)
