"""Secrets and workflows by the gcp stand-in under the real engine, against the local cloud itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pulumi
import pulumi_gcp as gcp
import pytest
from plugins.conftest import operations, stack_in
from pulumi import automation

from localcloud.testing import LocalCloud, local_cloud

pytestmark = pytest.mark.system
PROJECT, REGION = "demo-project", "europe-west1"
APIS = (
    "control", "iam", "resourcemanager", "serviceusage", "secretmanager", "workflows", "workflowexecutions", "logging",
)  # fmt: skip


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    projects = [{"project_id": PROJECT, "number": 123456789012, "services_enabled": "all"}]
    with local_cloud(tmp_path / "cloud", {"projects": projects, "ports": dict.fromkeys(APIS, 0)}) as running:
        yield running


class Program:
    """What a fan-out declares; `settings` can change between two `up`s."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {"source": "- r: {return: 1}\n", "value": "needle-one", "labels": {"a": "b"}}

    def __call__(self) -> None:
        given = self.settings
        account = gcp.serviceaccount.Account("account", account_id="runner")
        secret = gcp.secretmanager.Secret("secret", secret_id="tok", replication={"auto": {}}, labels=given["labels"])
        gcp.secretmanager.SecretVersion("version", secret=secret.id, secret_data=pulumi.Output.secret(given["value"]))
        gcp.secretmanager.SecretIamMember(
            "reader",
            secret_id=secret.secret_id,
            role="roles/secretmanager.secretAccessor",
            member=account.member,
        )
        gcp.workflows.Workflow(
            "workflow",
            name="wf",
            region=REGION,
            service_account=account.email,
            source_contents=given["source"],
            user_env_vars={"U": "1"},
            deletion_protection=False,
        )


def configured(cloud: LocalCloud, folder: Path, program: Program) -> automation.Stack:
    folder.mkdir()
    stack = stack_in(folder, program)
    paths = {
        "iamBeta": "iam",
        "resourceManager": "resourcemanager",
        "secretManager": "secretmanager",
        "workflows": "workflows",
    }
    values = {f"{key}CustomEndpoint": f"{cloud.url(api)}/v1/" for key, api in paths.items()}
    values |= {"project": PROJECT, "region": REGION}
    config = {f"gcp:{key}": automation.ConfigValue(value=value) for key, value in values.items()}
    stack.set_all_config({**config, "gcp:accessToken": automation.ConfigValue(value="dummy", secret=True)})
    return stack


def test_secrets_and_workflows_go_up_stay_quiet_change_in_place_and_go_down(cloud: LocalCloud, tmp_path: Path) -> None:
    program = Program()
    stack = configured(cloud, tmp_path / "stack", program)
    assert operations(stack.up()) == {"create": 6}
    assert operations(stack.up()) == {}
    stack.refresh(expect_no_changes=True)
    assert operations(stack.preview(expect_no_changes=True)) == {}
    secrets = f"{cloud.url('secretmanager')}/v1/projects/{PROJECT}/secrets/tok"
    assert httpx.get(f"{secrets}/versions/1").json()["state"] == "ENABLED"
    [binding] = httpx.get(f"{secrets}:getIamPolicy").json()["bindings"]
    assert binding["members"] == [f"serviceAccount:runner@{PROJECT}.iam.gserviceaccount.com"]
    workflow = f"{cloud.url('workflows')}/v1/projects/{PROJECT}/locations/{REGION}/workflows/wf"
    assert httpx.get(workflow).json()["userEnvVars"] == {"U": "1"}

    program.settings |= {"source": "- r: {return: 2}\n", "labels": {"a": "c"}}
    assert operations(stack.up()) == {"update": 2}
    assert httpx.get(workflow).json()["revisionId"].startswith("000002-")
    program.settings["value"] = "needle-two"
    assert operations(stack.up()) == {"replace": 1}
    assert [httpx.get(f"{secrets}/versions/{number}").json()["state"] for number in (1, 2)] == ["DESTROYED", "ENABLED"]
    held = [file for file in (tmp_path / "stack").rglob("*") if file.is_file()]
    assert not [file for file in held if b"needle" in file.read_bytes()]

    stack.destroy()
    assert [httpx.get(url).status_code for url in (secrets, workflow)] == [404, 404]
