"""What was answered is there after a kill -9; one state directory is one process's; what is started is stopped."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from localcloud.testing import LocalCloud

CORE = ("control", "iam", "resourcemanager", "serviceusage", "artifactregistry", "registry", "logging", "cloudbilling")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalCloud]:
    config = {
        "projects": [{"project_id": "demo-project", "services_enabled": "all"}],
        "ports": dict.fromkeys(CORE, 0),
    }
    cloud = LocalCloud(tmp_path / "state", config)
    yield cloud.start()
    cloud.stop()


def test_what_was_acknowledged_before_a_crash_is_there_after_it(own: LocalCloud) -> None:
    acknowledged: list[list[str]] = [[] for _ in range(4)]
    url = f"{own.url('iam')}/v1/projects/demo-project/serviceAccounts"

    def write(worker: int) -> None:
        with httpx.Client() as client:
            for number in range(10_000):
                try:
                    answer = client.post(url, json={"accountId": f"writer-{worker}-{number}"})
                except httpx.TransportError:
                    return
                acknowledged[worker].append(answer.json()["email"])

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    while sum(map(len, acknowledged)) < 200:
        threads[0].join(0.01)
    own.kill()
    for thread in threads:
        thread.join()
    own.start()
    found: set[str] = set()
    token = ""
    while True:
        page = httpx.get(url, params={"pageSize": 100, "pageToken": token}).json()
        found.update(item["email"] for item in page["accounts"])
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert {email for worker in acknowledged for email in worker} <= found


def test_tokens_policies_and_ports_survive_a_restart(own: LocalCloud) -> None:
    token = own.token("user:ana@example.com")
    url = f"{own.url('resourcemanager')}/v1/projects/demo-project"
    policy = httpx.post(f"{url}:getIamPolicy", json={}).json()
    policy["bindings"].append({"role": "roles/viewer", "members": ["user:ana@example.com"]})
    httpx.post(f"{url}:setIamPolicy", json={"policy": policy})
    own.control("PUT", "/clock", {"offset_s": 5})
    ports = dict(own.ports)
    own.kill()
    own.start()
    assert own.ports == ports
    assert httpx.get(url, headers={"authorization": f"Bearer {token}"}).status_code == 200
    assert httpx.get(f"{own.url('control')}/clock").json()["offset_s"] == 5


def test_a_second_process_on_the_same_state_refuses(own: LocalCloud) -> None:
    config = own.state.parent / "second.json"
    config.write_text(json.dumps({"ports": {"control": 0}}))
    command = [sys.executable, "-m", "localcloud", "serve", "--state", str(own.state), "--config", str(config)]
    second = subprocess.run(command, cwd=own.cwd, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert own.process is not None
    assert f"in use by process {own.process.pid}" in second.stderr


def test_a_port_that_is_taken_is_named(own: LocalCloud, tmp_path: Path) -> None:
    config = tmp_path / "taken.json"
    config.write_text(json.dumps({"ports": {"control": own.ports["control"]}}))
    command = [sys.executable, "-m", "localcloud", "serve", "--state", str(tmp_path / "other"), "--config", str(config)]
    second = subprocess.run(command, cwd=own.cwd, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert f"port {own.ports['control']} of 127.0.0.1 cannot be used" in second.stderr


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    config = tmp_path / "wrong.json"
    config.write_text(json.dumps({"colour": "blue"}))
    command = [sys.executable, "-m", "localcloud", "serve", "--state", str(tmp_path / "s"), "--config", str(config)]
    root = Path(__file__).resolve().parents[2]
    refused = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30)
    assert refused.returncode == 2
    assert "keys must be of" in refused.stderr


def test_reset_leaves_a_cloud_as_on_the_first_day(own: LocalCloud) -> None:
    url = f"{own.url('iam')}/v1/projects/demo-project/serviceAccounts"
    httpx.post(url, json={"accountId": "to-forget"})
    own.control("POST", "/reset")
    accounts = httpx.get(url).json()["accounts"]
    assert [item["displayName"] for item in accounts] == ["Default compute service account"]
    assert own.control("GET", "/status")["documents"]["project"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(own: LocalCloud, number: signal.Signals) -> None:
    process = own.process
    assert process is not None
    process.send_signal(number)
    assert process.wait(timeout=20) == 0
    assert not (own.state / "daemon.pid").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{own.url('control')}/healthz")


def test_shutdown_ends_it_in_order(own: LocalCloud) -> None:
    process = own.process
    assert process is not None
    own.control("POST", "/shutdown")
    assert process.wait(timeout=20) == 0
