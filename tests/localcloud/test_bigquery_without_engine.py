"""BigQuery on a machine that can have no engine: a program with datasets deploys, and what takes an engine says so."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from localcloud.testing import LocalCloud, local_cloud

PROJECT = "demo-project"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A Docker engine is demanded and is not there."""
    config = {
        "ports": ["control", "bigquery"],
        "projects": [{"project_id": PROJECT, "services_enabled": "all"}],
        "runtime": {"mode": "containers", "docker_host": "unix:///no/such/docker.sock"},
    }
    with local_cloud(tmp_path_factory.mktemp("bare") / "state", config) as cloud:
        yield cloud


@pytest.fixture
def client(bare: LocalCloud) -> bigquery.Client:
    options = {"api_endpoint": bare.url("bigquery")}
    return bigquery.Client(project=PROJECT, credentials=AnonymousCredentials(), client_options=options)


def dataset(name: str, **fields: object) -> bigquery.Dataset:
    made = bigquery.Dataset(f"{PROJECT}.{name}")
    made.location = "EU"
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def test_a_dataset_is_made_changed_and_deleted(client: bigquery.Client) -> None:
    made = client.create_dataset(dataset("kept", labels={"team": "fx"}, description="first"))
    assert (made.dataset_id, made.location, made.labels) == ("kept", "EU", {"team": "fx"})
    assert made.etag
    made.description = "second"
    made.labels = {"team": "rates"}
    client.update_dataset(made, ["description", "labels"])
    found = client.get_dataset("kept")
    assert (found.description, found.labels["team"], found.created) == ("second", "rates", made.created)
    assert [item.dataset_id for item in client.list_datasets()] == ["kept"]
    with pytest.raises(exceptions.Conflict, match="Already Exists: Dataset demo-project:kept"):
        client.create_dataset(dataset("kept"))
    client.delete_dataset("kept")
    with pytest.raises(exceptions.NotFound, match="Not found: Dataset demo-project:kept"):
        client.get_dataset("kept")


def test_its_grants_count(bare: LocalCloud, client: bigquery.Client) -> None:
    made = client.create_dataset(dataset("shut"))
    entry = bigquery.AccessEntry("READER", "userByEmail", "ana@example.com")
    made.access_entries = [*made.access_entries, entry]
    client.update_dataset(made, ["access_entries"])
    assert entry in client.get_dataset("shut").access_entries
    assert may_see(bare, "ana@example.com") == 200
    assert may_see(bare, "ben@example.com") == 403


def may_see(cloud: LocalCloud, who: str) -> int:
    url = f"{cloud.url('bigquery')}/bigquery/v2/projects/{PROJECT}/datasets/shut"
    return httpx.get(url, headers={"Authorization": f"Bearer {cloud.token(f'user:{who}')}"}).status_code


def test_what_takes_an_engine_says_what_is_missing(client: bigquery.Client) -> None:
    client.create_dataset(dataset("empty"))
    with pytest.raises(exceptions.ServiceUnavailable, match=r"BigQuery is not served here: .*/no/such/docker.sock"):
        client.create_table(bigquery.Table(f"{PROJECT}.empty.t"), retry=None)  # type: ignore[arg-type]  # None is documented: no retries


def test_a_dataset_outlives_a_crash(tmp_path: Path) -> None:
    config = {
        "ports": ["control", "bigquery"],
        "projects": [{"project_id": PROJECT, "services_enabled": "all"}],
        "runtime": {"mode": "containers", "docker_host": "unix:///no/such/docker.sock"},
    }
    with local_cloud(tmp_path / "state", config) as cloud:
        options = {"api_endpoint": cloud.url("bigquery")}
        own = bigquery.Client(project=PROJECT, credentials=AnonymousCredentials(), client_options=options)
        own.create_dataset(dataset("lasting"))
        cloud.kill()
        cloud.start()
        assert own.get_dataset("lasting").location == "EU"
