"""The metadata server: what Google's auth library asks of it, and what it refuses."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from localcloud.testing import LocalCloud

FLAVOR = {"Metadata-Flavor": "Google"}


@pytest.fixture(scope="module")
def server(cloud: LocalCloud) -> httpx.Client:
    return httpx.Client(base_url=f"{cloud.url('metadata')}/computeMetadata/v1", headers=FLAVOR)


LIBRARY = """
import google.auth, google.auth.transport.requests
credentials, project = google.auth.default()
credentials.refresh(google.auth.transport.requests.Request())
print(project, credentials.service_account_email, credentials.token)
"""


def test_request_without_the_header_or_through_a_proxy_is_refused(cloud: LocalCloud, server: httpx.Client) -> None:
    bare = httpx.get(f"{cloud.url('metadata')}/computeMetadata/v1/project/project-id")
    assert bare.status_code == 403
    assert bare.headers["Metadata-Flavor"] == "Google"
    assert server.get("/project/project-id", headers={"X-Forwarded-For": "1.2.3.4"}).status_code == 403
    assert server.post("/project/project-id").status_code == 405
    assert httpx.get(cloud.url("metadata")).headers["Metadata-Flavor"] == "Google"


def test_values_have_the_forms_of_the_cloud(server: httpx.Client) -> None:
    assert server.get("/project/project-id").text == "demo-project"
    assert server.get("/project/numeric-project-id").text == "123456789012"
    assert server.get("/instance/region").text == "projects/123456789012/regions/europe-west1"
    assert server.get("/instance/zone").text == "projects/123456789012/zones/europe-west1-1"
    assert server.get("/universe/universe-domain").text == "googleapis.com"
    assert len(server.get("/instance/id").text) == 64
    assert server.get("/instance/none").status_code == 404


def test_directories_are_listed_and_read_at_once(server: httpx.Client) -> None:
    assert server.get("/instance/service-accounts").status_code == 301
    assert server.get("/instance/service-accounts/").text == "default/\noperator@longhaul.local/\n"
    found = server.get("/instance/service-accounts/default/?recursive=true").json()
    assert found["email"] == "operator@longhaul.local"
    assert found["aliases"] == ["default"]
    assert found["scopes"] == ["https://www.googleapis.com/auth/cloud-platform"]
    assert server.get("/project/?recursive=true").json() == {
        "numericProjectId": "123456789012",
        "projectId": "demo-project",
    }


def test_auth_library_takes_its_token_here_and_the_apis_know_it(cloud: LocalCloud, tmp_path: Path) -> None:
    address = f"127.0.0.1:{cloud.ports['metadata']}"
    env = dict.fromkeys(("GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT"), address)
    env |= {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }  # the library reads it when it is imported: a process of its own
    found = subprocess.run([sys.executable, "-c", LIBRARY], env=env, capture_output=True, text=True, check=True)
    project, email, token = found.stdout.split()
    assert (project, email) == ("demo-project", "operator@longhaul.local")
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(f"{cloud.url('run')}/v2/projects/demo-project/locations/europe-west1/jobs", headers=headers)
    assert answer.status_code == 403  # the operator is known, and has been granted nothing
    assert "run.jobs.list" in answer.json()["error"]["message"]


def test_identity_needs_an_audience_and_a_service_account(server: httpx.Client) -> None:
    assert server.get("/instance/service-accounts/default/identity").status_code == 400
    assert server.get("/instance/service-accounts/default/identity?audience=https://x").status_code == 404
