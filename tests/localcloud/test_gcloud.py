"""The gcloud command, pointed here by its documented settings only; skipped where it is not installed."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from localcloud.testing import LocalCloud

OVERRIDES = {
    "ARTIFACTREGISTRY": "artifactregistry",
    "CLOUDRESOURCEMANAGER": "resourcemanager",
    "IAM": "iam",
    "LOGGING": "logging",
    "SERVICEUSAGE": "serviceusage",
}
Gcloud = Callable[..., Any]

pytestmark = pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")


@pytest.fixture(scope="module")
def gcloud(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Gcloud:
    """Runs a command and gives its JSON."""
    environment = {
        **os.environ,
        "CLOUDSDK_CONFIG": str(tmp_path_factory.mktemp("gcloud")),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": "demo-project",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": f"{cloud.url(port)}/" for name, port in OVERRIDES.items()},
    }

    def run(*arguments: str, fails: bool = False) -> Any:
        command = ["gcloud", *arguments, "--format=json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode != 0) is fails, done.stderr
        return done.stderr if fails else json.loads(done.stdout or "null")

    return run


def test_service_accounts_and_their_grants(gcloud: Gcloud) -> None:
    gcloud("iam", "service-accounts", "create", "by-gcloud", "--display-name=By gcloud")
    email = "by-gcloud@demo-project.iam.gserviceaccount.com"
    assert email in [item["email"] for item in gcloud("iam", "service-accounts", "list")]
    member, role = f"--member=serviceAccount:{email}", "--role=roles/logging.logWriter"
    policy = gcloud("projects", "add-iam-policy-binding", "demo-project", member, role)
    assert gcloud("projects", "get-iam-policy", "demo-project")["etag"] == policy["etag"]
    missing = "--member=serviceAccount:not-there@demo-project.iam.gserviceaccount.com"
    refused = gcloud("projects", "add-iam-policy-binding", "demo-project", missing, role, fails=True)
    assert "Service account not-there@demo-project.iam.gserviceaccount.com does not exist." in refused
    gcloud("iam", "service-accounts", "delete", email)


def test_repositories(gcloud: Gcloud) -> None:
    where = "--location=europe-west1"
    gcloud("artifacts", "repositories", "create", "by-gcloud", "--repository-format=docker", where)
    listed = gcloud("artifacts", "repositories", "list")
    assert "by-gcloud" in [item["name"].rpartition("/")[2] for item in listed]
    changed = gcloud("artifacts", "repositories", "update", "by-gcloud", where, "--description=changed")
    assert changed["description"] == "changed"
    gcloud("artifacts", "repositories", "delete", "by-gcloud", where)


def test_services_and_logs(gcloud: Gcloud) -> None:
    gcloud("services", "enable", "run.googleapis.com")
    enabled = [item["config"]["name"] for item in gcloud("services", "list", "--enabled")]
    assert "run.googleapis.com" in enabled
    gcloud("logging", "write", "by-gcloud", "hello from gcloud", "--severity=ERROR")
    (entry,) = gcloud("logging", "read", 'logName:"by-gcloud" AND severity>=ERROR', "--limit=5")
    assert entry["textPayload"] == "hello from gcloud"
