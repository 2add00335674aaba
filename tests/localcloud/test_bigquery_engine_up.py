"""The provider's bigquery types under the real engine, against the local cloud's BigQuery."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pulumi_gcp as gcp
import pytest
from bigquery_support import PROJECT, client
from google.api_core import exceptions
from plugins.conftest import engine as engine_binary
from plugins.conftest import operations, stack_in, wrapper
from pulumi import automation

from localcloud.testing import LocalCloud

pytestmark = [pytest.mark.container, pytest.mark.system]

ENDPOINTS = {
    "bigQueryCustomEndpoint": ("bigquery", "/bigquery/v2/"),
    "iamBetaCustomEndpoint": ("iam", "/v1/"),
    "resourceManagerCustomEndpoint": ("resourcemanager", "/v1/"),
    "cloudBillingCustomEndpoint": ("cloudbilling", "/v1/"),
}


def declare() -> None:
    account = gcp.serviceaccount.Account("reader", account_id="bq-stack-reader")
    data = gcp.bigquery.Dataset(
        "data", dataset_id="stack_data", location="europe-west1", labels={"team": "a"}, delete_contents_on_destroy=True
    )
    for name, role in (("viewer", "roles/bigquery.dataViewer"), ("meta", "roles/bigquery.metadataViewer")):
        gcp.bigquery.DatasetIamMember(name, dataset_id=data.dataset_id, role=role, member=account.member)
    gcp.projects.IAMMember("jobs", project=PROJECT, role="roles/bigquery.jobUser", member=account.member)
    gcp.bigquery.Table(
        "table",
        dataset_id=data.dataset_id,
        table_id="prices",
        deletion_protection=False,
        schema='[{"name": "interval_time", "type": "TIMESTAMP", "mode": "NULLABLE"}]',
        time_partitioning={"type": "DAY", "field": "interval_time"},
        clusterings=["interval_time"],
    )
    pulumi.export("member", account.member)


@pytest.fixture
def stack(
    cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[automation.Stack, LocalCloud]]:
    wrapper(tmp_path, "gcp")
    monkeypatch.setenv("PATH", f"{tmp_path}:{engine_binary().parent}:/usr/bin:/bin")
    made = stack_in(tmp_path, declare)
    values: dict[str, Any] = {key: f"{cloud.url(port)}{path}" for key, (port, path) in ENDPOINTS.items()}
    values |= {"project": PROJECT, "region": "europe-west1", "accessToken": "local-deployer"}
    made.set_all_config({f"gcp:{key}": automation.ConfigValue(value=value) for key, value in values.items()})
    yield made, cloud
    made.destroy()


def test_datasets_members_and_tables_go_up_stay_quiet_and_leave_nothing(
    stack: tuple[automation.Stack, LocalCloud],
) -> None:
    deployed, cloud = stack
    first = deployed.up()
    assert operations(first) == {"create": 7}
    assert operations(deployed.up()) == {}
    refreshed = deployed.refresh()
    assert operations(refreshed) == {}
    assert operations(deployed.preview()) == {}

    member = first.outputs["member"].value.removeprefix("serviceAccount:")
    access = client(cloud).get_dataset("stack_data").access_entries
    roles = {entry.role for entry in access if entry.entity_id == member}
    assert roles == {"READER", "roles/bigquery.metadataViewer"}
    reader = client(cloud, cloud.token(f"serviceAccount:{member}"))
    assert list(reader.query("SELECT * FROM stack_data.prices").result()) == []
    with pytest.raises(exceptions.Forbidden):
        reader.query("DROP TABLE stack_data.prices").result()

    deployed.destroy()
    with pytest.raises(exceptions.NotFound):
        client(cloud).get_dataset("stack_data")
