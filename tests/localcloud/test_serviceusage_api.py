"""Service Usage by Google's Python client, and what an API that is not enabled does to the others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from localcloud.testing import LocalCloud, local_cloud

PARENT = "projects/fresh"
AR = "artifactregistry.googleapis.com"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A cloud whose project has enabled nothing beyond what every new project has."""
    ports = dict.fromkeys(("control", "serviceusage", "artifactregistry", "registry", "iam"), 0)
    state: Path = tmp_path_factory.mktemp("fresh") / "state"
    with local_cloud(state, {"projects": ["fresh"], "ports": ports}) as running:
        yield running


def services(cloud: LocalCloud, version: str = "v1") -> Any:
    credentials = Credentials(token="local-deployer")
    endpoint = {"api_endpoint": cloud.url("serviceusage")}
    made = build("serviceusage", version, credentials=credentials, client_options=endpoint, static_discovery=True)
    return made.services()


def repositories(cloud: LocalCloud) -> httpx.Response:
    return httpx.get(f"{cloud.url('artifactregistry')}/v1/{PARENT}/locations/europe-west1/repositories")


def test_an_api_works_once_it_is_enabled_and_not_before(fresh: LocalCloud) -> None:
    refused = repositories(fresh).json()["error"]
    assert (refused["code"], refused["details"][0]["reason"]) == (403, "SERVICE_DISABLED")
    assert "has not been used in project" in refused["message"]
    operation = services(fresh).enable(name=f"{PARENT}/services/{AR}", body={}).execute()
    assert operation["done"] is True
    polled = httpx.get(f"{fresh.url('serviceusage')}/v1/{operation['name']}").json()
    assert polled["response"]["service"]["state"] == "ENABLED"
    assert repositories(fresh).status_code == 200
    disable = services(fresh).disable(name=f"{PARENT}/services/{AR}", body={"checkIfServiceHasUsage": "SKIP"})
    assert disable.execute()["response"]["service"]["state"] == "DISABLED"
    assert repositories(fresh).status_code == 403


def test_the_list_that_the_provider_asks_for_has_only_the_asked_fields(fresh: LocalCloud) -> None:
    services(fresh).batchEnable(
        parent=PARENT, body={"serviceIds": ["run.googleapis.com", "batch.googleapis.com"]}
    ).execute()
    query = {"filter": "state:ENABLED", "fields": "services/name,nextPageToken", "pageSize": "200", "alt": "json"}
    listed = httpx.get(f"{fresh.url('serviceusage')}/v1/{PARENT}/services", params=query).json()
    assert set(listed) == {"services"}
    assert all(set(item) == {"name"} for item in listed["services"])
    names = [item["name"].rpartition("/")[2] for item in listed["services"]]
    assert {"run.googleapis.com", "batch.googleapis.com", "iam.googleapis.com"} <= set(names)


def test_services_are_listed_in_pages(fresh: LocalCloud) -> None:
    names, token = [], ""
    while True:
        page = services(fresh).list(parent=PARENT, pageSize=7, pageToken=token).execute()
        names += [item["name"] for item in page["services"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert len(names) == len(set(names)) > 14


@pytest.mark.parametrize("name", ["nothing.googleapis.com", "Run"])
def test_an_unknown_service_is_refused(fresh: LocalCloud, name: str) -> None:
    with pytest.raises(HttpError) as caught:
        services(fresh).enable(name=f"{PARENT}/services/{name}", body={}).execute()
    assert caught.value.resp.status == 403


def test_an_api_that_is_not_served_here_can_be_enabled_all_the_same(fresh: LocalCloud) -> None:
    operation = services(fresh).enable(name=f"{PARENT}/services/eventarc.googleapis.com", body={}).execute()
    assert operation["response"]["service"]["state"] == "ENABLED"


def test_the_older_version_answers_too(fresh: LocalCloud) -> None:
    got = services(fresh, "v1beta1").get(name=f"{PARENT}/services/logging.googleapis.com").execute()
    assert got["state"] == "ENABLED"


def test_enabling_takes_effect_after_the_delay(fresh: LocalCloud) -> None:
    fresh.control("PUT", "/faults", {"visibility_delay_s": 60})
    try:
        services(fresh).enable(name=f"{PARENT}/services/{AR}", body={}).execute()
        assert repositories(fresh).status_code == 403
        fresh.control("PUT", "/clock", {"advance_s": 61})
        assert repositories(fresh).status_code == 200
    finally:
        fresh.control("PUT", "/faults", {"visibility_delay_s": 0})
