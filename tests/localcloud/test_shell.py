"""What the HTTP side does for every API."""

import gzip
import json
import socket
import urllib.parse
from collections.abc import Iterator

import httpx
import pytest

from localcloud.testing import LocalCloud


def send(url: str, text: str) -> tuple[int, dict[str, object]]:
    """A request as written, byte for byte."""
    host = urllib.parse.urlsplit(url)
    with socket.create_connection((host.hostname or "", host.port or 0), timeout=10) as connection:
        connection.sendall(text.replace("\n", "\r\n").encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_a_request_line_may_be_absolute_as_a_proxy_gets_it(cloud: LocalCloud) -> None:
    line = "GET http://europe-west1-cloudresourcemanager.emulator/v1/projects/demo-project?alt=json HTTP/1.1"
    status, body = send(cloud.url("resourcemanager"), f"{line}\nHost: x.emulator\nConnection: close\n\n")
    assert (status, body["projectId"]) == (200, "demo-project")


def test_a_gzipped_body_is_read(cloud: LocalCloud) -> None:
    url = f"{cloud.url('resourcemanager')}/v1/projects/demo-project:getIamPolicy"
    body = gzip.compress(json.dumps({"options": {"requestedPolicyVersion": 3}}).encode())
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    assert httpx.post(url, content=body, headers=headers).json()["bindings"]
    assert httpx.post(url, content=b"no gzip", headers=headers).status_code == 400


def test_a_gzip_bomb_is_refused(cloud: LocalCloud) -> None:
    url = f"{cloud.url('resourcemanager')}/v1/projects/demo-project:getIamPolicy"
    bomb = gzip.compress(b" " * (40 * 2**20))
    assert httpx.post(url, content=bomb, headers={"content-encoding": "gzip"}).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'"text"',
        b"[1]",
        b"\xff\xfe",
        b'{"accountId": NaN}',
        b'{"accountId": "\\ud800"}',
        b'{"serviceAccount":' * 100_000,
        b'{"accountId": ' + b"9" * 5000 + b"}",
    ],
    ids=["cut", "text", "list", "not-utf8", "nan", "half-a-character", "deep", "endless-number"],
)
def test_a_body_that_is_no_message_is_400_in_google_s_form(cloud: LocalCloud, body: bytes) -> None:
    answer = httpx.post(f"{cloud.url('iam')}/v1/projects/demo-project/serviceAccounts", content=body)
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert answer.json()["error"]["message"].startswith("Invalid JSON payload received.")


def test_an_unknown_path_is_404_and_a_method_that_is_not_here_501(cloud: LocalCloud) -> None:
    unknown = httpx.get(f"{cloud.url('iam')}/v1/nothing/here")
    assert (unknown.status_code, unknown.json()["error"]["status"]) == (404, "NOT_FOUND")
    missing = httpx.get(f"{cloud.url('iam')}/v1/projects/demo-project/roles")
    assert (missing.status_code, missing.json()["error"]["status"]) == (501, "UNIMPLEMENTED")
    assert "iam.projects.roles.list" in missing.json()["error"]["message"]


def test_system_parameters_are_taken_and_unknown_ones_are_not(cloud: LocalCloud) -> None:
    url = f"{cloud.url('resourcemanager')}/v1/projects/demo-project"
    known = {"alt": "json", "$alt": "json;enum-encoding=int", "prettyPrint": "false", "key": "k", "quotaUser": "u"}
    assert httpx.get(url, params=known).status_code == 200
    assert httpx.get(url, params={"fields": "projectId"}).json() == {"projectId": "demo-project"}
    assert httpx.get(url, params={"colour": "blue"}).status_code == 400


def test_a_project_that_is_not_here_is_named_in_a_403(cloud: LocalCloud) -> None:
    answer = httpx.get(f"{cloud.url('artifactregistry')}/v1/projects/nowhere/locations/europe-west1/repositories")
    assert answer.status_code == 403
    assert answer.json()["error"]["message"] == "Permission denied on resource project nowhere."


@pytest.fixture
def failing(cloud: LocalCloud) -> Iterator[LocalCloud]:
    cloud.control("PUT", "/faults", {"error_rate": 1.0, "error_codes": [429], "apis": ["iam"]})
    yield cloud
    cloud.control("PUT", "/faults", {"error_rate": 0.0, "error_codes": [503], "apis": []})


def test_requests_fail_on_request_and_only_there(failing: LocalCloud) -> None:
    answer = httpx.get(f"{failing.url('iam')}/v1/projects/demo-project/serviceAccounts")
    assert (answer.status_code, answer.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert httpx.get(f"{failing.url('resourcemanager')}/v1/projects/demo-project").status_code == 200


def test_writes_to_the_control_api_need_its_key(cloud: LocalCloud) -> None:
    assert httpx.get(f"{cloud.url('control')}/healthz").json() == {"status": "ok"}
    for path in ("/tokens", "/reset", "/shutdown", "/id-tokens"):
        assert httpx.post(f"{cloud.url('control')}{path}", json={}).status_code == 403
    assert httpx.put(f"{cloud.url('control')}/faults", json={"error_rate": 1}).status_code == 403
    assert (cloud.state / "admin.key").stat().st_mode & 0o077 == 0


def test_status_names_the_roles_that_grant_nothing(cloud: LocalCloud) -> None:
    url = f"{cloud.url('resourcemanager')}/v1/projects/demo-project"
    policy = httpx.post(f"{url}:getIamPolicy", json={}).json()
    added = [*policy["bindings"], {"role": "roles/imaginary.role", "members": ["user:a@example.com"]}]
    httpx.post(f"{url}:setIamPolicy", json={"policy": {**policy, "bindings": added}})
    status = httpx.get(f"{cloud.url('control')}/status").json()
    assert status["unknown_roles"]["roles/imaginary.role"] == "projects/demo-project"
    assert status["apis"]["iam"] == cloud.url("iam")


def test_control_refuses_what_is_out_of_range(cloud: LocalCloud) -> None:
    headers = {"X-Localcloud-Admin-Key": cloud.admin_key}
    for verb, path, body in (
        ("PUT", "/faults", {"error_rate": 5}),
        ("PUT", "/faults", {"colour": 1}),
        ("PUT", "/clock", {"offset_s": "late"}),
        ("POST", "/tokens", {"member": "ana", "ttl_s": 5}),
        ("POST", "/tokens", {"member": "user:ana@example.com", "ttl_s": 10**9}),
    ):
        answer = httpx.request(verb, f"{cloud.url('control')}{path}", json=body, headers=headers)
        assert answer.status_code == 400, (path, body)


def test_a_web_page_of_another_site_gets_nothing(cloud: LocalCloud) -> None:
    url = f"{cloud.url('iam')}/v1/projects/demo-project/serviceAccounts"
    assert httpx.get(url, headers={"origin": "https://evil.example.com"}).status_code == 403
    assert httpx.get(url, headers={"origin": "null"}).status_code == 403
    assert httpx.get(url, headers={"origin": "http://127.0.0.1:8000"}).status_code == 200
