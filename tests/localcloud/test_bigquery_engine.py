"""The engine behind BigQuery: started when asked for, taken up after a crash, gone with the local cloud."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from bigquery_support import PROJECT, client
from google.api_core import exceptions

from localcloud.bigquery import image
from localcloud.bigquery.settings import from_extra
from localcloud.testing import LocalCloud, local_cloud

PORTS = dict.fromkeys(("control", "bigquery", "bigquerystorage"), 0)
CONFIG = {"projects": [{"project_id": PROJECT, "services_enabled": "all"}], "ports": PORTS}


def docker(*words: str) -> str:
    command = shutil.which("docker") or "docker"
    return subprocess.run([command, *words], capture_output=True, text=True, check=True).stdout.strip()


def phase(cloud: LocalCloud) -> str:
    return str(cloud.control("GET", "/status")["parts"]["bigquery"]["engine"])


@pytest.mark.container
def test_it_starts_at_the_first_call_survives_a_crash_and_ends_with_the_cloud(tmp_path: Path) -> None:
    with local_cloud(tmp_path / "state", CONFIG) as cloud:
        assert phase(cloud) == "not started"
        bq = client(cloud)
        bq.create_dataset("kept")
        bq.query("CREATE TABLE kept.t AS SELECT 1 AS x").result()
        assert phase(cloud) == "running"
        run = json.loads((cloud.state / "bigquery" / "engine.json").read_text())
        cloud.kill()
        cloud.start()
        assert [row.x for row in client(cloud).query("SELECT x FROM kept.t").result()] == [1]
        assert phase(cloud) == "running (taken up again)"
        assert json.loads((cloud.state / "bigquery" / "engine.json").read_text()) == run
        docker("kill", run["id"])
        assert [row.x for row in client(cloud).query("SELECT x FROM kept.t").result()] == [1]
        again = json.loads((cloud.state / "bigquery" / "engine.json").read_text())
        assert again["id"] != run["id"]
    assert docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"id={again['id']}") == ""


@pytest.mark.container
def test_the_engine_serves_nobody_but_the_local_cloud(tmp_path: Path) -> None:
    with local_cloud(tmp_path / "state", CONFIG) as cloud:
        list(client(cloud).list_datasets())
        run = json.loads((cloud.state / "bigquery" / "engine.json").read_text())
        url = f"http://127.0.0.1:{run['port']}/bigquery/v2/projects/{PROJECT}/datasets"
        assert httpx.get(url).status_code == 403
        asked = httpx.post(f"{cloud.url('bigquery')}/localcloud/authorize", json={"member": "user:a@b.c", "needs": []})
        assert asked.status_code == 403
        ports = docker("inspect", "--format", "{{.HostConfig.Memory}} {{.HostConfig.NetworkMode}}", run["id"])
        assert ports.split()[1] == "host"
        assert int(ports.split()[0]) >= 1 << 30


@pytest.mark.container
def test_a_reset_forgets_all_data(tmp_path: Path) -> None:
    with local_cloud(tmp_path / "state", CONFIG) as cloud:
        client(cloud).create_dataset("gone")
        cloud.control("POST", "/reset", {})
        assert list(client(cloud).list_datasets()) == []


def test_without_an_engine_the_api_says_why_at_once(tmp_path: Path) -> None:
    config = {**CONFIG, "runtime": {"mode": "containers", "docker_host": f"unix://{tmp_path}/nothing.sock"}}
    with local_cloud(tmp_path / "state", config) as cloud:
        with pytest.raises(exceptions.ServiceUnavailable, match="BigQuery is not served here: the Docker engine at"):
            client(cloud).query("SELECT 1")
        assert cloud.control("GET", "/status")["warnings"][0].startswith("BigQuery is not served")


def test_the_image_is_named_by_what_is_in_it() -> None:
    assert image.tag("a") != image.tag("b")
    assert image.tag("a") == f"localcloud/bigquery:{image.digest('a')}"
    assert all((image.HERE / name).is_file() for name in image.FILES)


@pytest.mark.parametrize("given", [{"memory": 1}, {"memory_mib": 10}])
def test_settings_out_of_range_are_refused(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"extra\.bigquery"):
        from_extra({"bigquery": given})


def test_settings_have_a_folder_of_the_user_for_the_fallback() -> None:
    assert from_extra({}).cache_folder == Path(os.path.expanduser("~/.cache/localcloud"))
