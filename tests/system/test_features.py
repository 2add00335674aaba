"""Pairs of the feature pipeline, from tables in the local BigQuery to training files in the bucket, and what ends them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow.parquet as pq
import pytest
import yaml
from system_support import DEPLOYER, ROOT, Lab, until

from workloads.feature_pipeline.contract import HORIZONS, ErrorCode, checkpoints_prefix, training_object

STACK = "features"
FEATURES = {
    "features_dataset": "fx_features",
    "raw_dataset": "fx_raw",
    "create_datasets": True,
    "pairs": ["eurusd", "gbpusd"],
    "cpu": 1,
    "memory_gib": 2,
    "task_timeout_s": 300,
}
PROJECT = "/v1/projects/longhaul-local"
DATASET = "/bigquery/v2/projects/longhaul-local/datasets/fx_features"
LEGACY = {"roles/bigquery.dataViewer": "READER"}
"""How a dataset's own list calls a role."""
WIDEST = 9_900
"""Columns of one table; BigQuery ends at 10,000."""


def write_stack(lab: Lab, **changes: Any) -> None:
    """Write the stack's file: the local cloud's, with the feature pipeline alone."""
    document = yaml.safe_load((lab.folder / "Pulumi.local.yaml").read_text())
    document["config"].pop("longhaul:heavy_runner", None)
    document["config"]["longhaul:feature_pipeline"] = FEATURES | changes
    (lab.folder / f"Pulumi.{STACK}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def up(lab: Lab) -> None:
    done = lab.longhaul("up", "--stack", STACK, "--yes", timeout_s=800)
    assert done.returncode == 0, done.stdout + done.stderr


def seed(lab: Lab) -> None:
    """Load prices and compute the tables that are not there."""
    address = f"http://127.0.0.1:{lab.cloud.ports()['bigquery']}"
    command = [sys.executable, "-m", "examples.fx.seed", "--project", "longhaul-local", "--pairs", "eurusd,gbpusd"]
    env = {**os.environ, "GOOGLE_OAUTH_ACCESS_TOKEN": "local-deployer"}
    done = subprocess.run(
        [*command, "--bigquery", address], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def lab(own_cloud: Lab) -> Iterator[Lab]:
    """A local cloud with a stack `features`, and tables of two pairs."""
    write_stack(own_cloud)
    up(own_cloud)
    seed(own_cloud)
    yield own_cloud
    own_cloud.stack(STACK).destroy(remove=True)


def run(lab: Lab, pairs: str, batch: str, *more: str, code: int = 0) -> Any:
    return lab.json("run", "features", "--pairs", pairs, "--batch", batch, "--stack", STACK, *more, code=code)


def buckets(lab: Lab) -> dict[str, str]:
    system = lab.outputs(STACK).require_features()
    return {"output": system.output_bucket, "staging": system.staging_bucket}


def objects(lab: Lab, bucket: str, prefix: str) -> list[str]:
    path = f"/storage/v1/b/{buckets(lab)[bucket]}/o?prefix={quote(prefix, safe='')}"
    return [item["name"] for item in lab.rest("storage", "GET", path).get("items", [])]


def checkpoints(lab: Lab, pair: str) -> list[str]:
    return [name for name in objects(lab, "staging", checkpoints_prefix(pair)) if name.endswith(".parquet")]


def table(name: str = "") -> str:
    return f"{DATASET}/tables{f'/{name}' if name else ''}"


@dataclass(frozen=True)
class Policy:
    """Who may do what on one resource of the stack, as its API shows it."""

    lab: Lab
    resource: str
    """output, staging, dataset or project."""

    def read(self) -> Any:
        match self.resource:
            case "project":
                body = {"options": {"requestedPolicyVersion": 3}}
                return self.lab.rest("resourcemanager", "POST", f"{PROJECT}:getIamPolicy", body)
            case "dataset":
                return self.lab.rest("bigquery", "GET", DATASET)
        return self.lab.rest("storage", "GET", f"{self._bucket}/iam?optionsRequestedPolicyVersion=3")

    def write(self, policy: Any) -> None:
        match self.resource:
            case "project":
                self.lab.rest("resourcemanager", "POST", f"{PROJECT}:setIamPolicy", {"policy": policy})
            case "dataset":
                self.lab.rest("bigquery", "PATCH", DATASET, {"access": policy["access"]})
            case _:
                # conditions are of version 3, which the policy does not say while it has none
                self.lab.rest("storage", "PUT", f"{self._bucket}/iam", {**policy, "version": 3})

    @property
    def _bucket(self) -> str:
        return f"/storage/v1/b/{buckets(self.lab)[self.resource]}"


@contextmanager
def without(lab: Lab, resource: str, role: str) -> Iterator[None]:
    """Take a role of the container's on one resource away for a while."""
    account = lab.outputs(STACK).require_features().service_account
    policy, key = Policy(lab, resource), "access" if resource == "dataset" else "bindings"
    before = policy.read()

    def is_it(entry: Mapping[str, Any]) -> bool:
        named = entry.get("userByEmail") == account or entry.get("members") == [f"serviceAccount:{account}"]
        return named and entry.get("role") in (role, LEGACY.get(role))

    assert any(is_it(entry) for entry in before[key]), before
    policy.write({**before, key: [entry for entry in before[key] if not is_it(entry)]})
    try:
        yield
    finally:
        policy.write({**policy.read(), key: before[key]})


def test_two_pairs_become_validated_training_files(lab: Lab, tmp_path: Path) -> None:
    found = run(lab, "all", "whole", "--parallel", "2")
    assert [(each["pair"], each["state"]) for each in found["pairs"]] == [
        ("eurusd", "SUCCEEDED"),
        ("gbpusd", "SUCCEEDED"),
    ]
    for each in found["pairs"]:
        assert all(each["checks"].values()), each
        assert {"rows", "columns", "horizons"} <= set(each["checks"])
        assert each["tables"] >= 60
        assert 0 < each["usd_delayed"] < each["usd"] < 0.01
    assert [item["text"] for item in found["checklist"] if not item["ok"]] == []
    assert found["usd"] == pytest.approx(sum(each["usd"] for each in found["pairs"]), abs=1e-5)
    for pair in ("eurusd", "gbpusd"):
        assert checkpoints(lab, pair) == [], "cleaned up once the upload was verified"

    url = f"http://127.0.0.1:{lab.cloud.ports()['storage']}/storage/v1/b/{buckets(lab)['output']}/o/"
    answer = httpx.get(f"{url}{training_object('gbpusd')}?alt=media", headers=DEPLOYER, trust_env=False, timeout=60)
    file = tmp_path / "training.parquet"
    file.write_bytes(answer.raise_for_status().content)
    read = pq.read_table(file)
    told = found["pairs"][1]
    assert (read.num_rows, read.num_columns, file.stat().st_size) == (told["rows"], told["columns"], told["bytes"])
    assert all(any(name.endswith(f"h{horizon}") for name in read.column_names) for horizon in HORIZONS)
    times = read.column("interval_time").to_pylist()
    assert times == sorted(set(times))


def test_what_runs_left_is_found_by_every_command(lab: Lab, tmp_path: Path) -> None:
    row = lab.json("status", "whole-eurusd", "--stack", STACK)
    assert (row["system"], row["pair"], row["state"], row["stage"]) == ("features", "eurusd", "SUCCEEDED", "clean_up")
    assert row["started_by"] == "user:operator@longhaul.local"
    said = lab.longhaul("logs", "whole-eurusd", "--stack", STACK).stdout
    assert "stage merge done" in said
    cost = lab.json("cost", "whole-eurusd", "--stack", STACK)
    assert (cost["cpu"], cost["memory_gib"]) == (1, 2)
    assert [each["system"] for each in lab.json("cost", "--stack", STACK)["systems"]] == ["features"]
    fetched = lab.json("fetch", "whole-eurusd", "--stack", STACK, "--out", tmp_path)
    assert {"manifest.json", "run_metadata.json", "status.json", "validation.html", "validation.json"} <= set(
        fetched["files"]
    )
    assert lab.json("reap", "whole-eurusd", "--stack", STACK)[0]["wrote"] is False


def test_a_batch_that_is_called_again_leaves_alone_what_has_succeeded(lab: Lab) -> None:
    found = run(lab, "all", "whole")
    assert {each["run_id"] for each in found["pairs"]} == {"whole-eurusd", "whole-gbpusd"}


def test_a_second_up_and_a_refresh_change_nothing(lab: Lab) -> None:
    assert lab.stack(STACK).preview(refresh=True).is_quiet


def test_a_container_that_is_killed_in_mid_run_is_resumed_without_extracting_twice(lab: Lab) -> None:
    run(lab, "eurusd", "killed", "--detach")
    until(lambda: len(checkpoints(lab, "eurusd")) >= 10, every_s=0.05)
    lab.docker("kill", "--signal", "KILL", lab.containers()[0])
    until(lambda: lab.json("status", "killed-eurusd", "--stack", STACK)["state"] == "FAILED")
    there = len(checkpoints(lab, "eurusd"))
    (result,) = run(lab, "eurusd", "killed")["pairs"]
    assert (result["run_id"], result["state"]) == ("killed-eurusd-2", "SUCCEEDED")
    # the last checkpoint may have been written without its entry in the manifest
    assert there - 2 <= result["tables_reused"] <= there
    first = lab.json("status", "killed-eurusd", "--stack", STACK)
    assert (first["state"], first["recorded"]) == ("FAILED", True)
    assert first["error_code"] in ("lost", "out_of_memory")


def test_an_interrupted_command_leaves_the_run_going_and_says_how_to_follow_it(lab: Lab) -> None:
    words = ("run", "features", "--pairs", "eurusd", "--batch", "left", "--stack", STACK)
    call = [sys.executable, "-m", "ops.cli", "--project", str(lab.folder), *words]
    with subprocess.Popen(
        call, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as command:
        until(lambda: checkpoints(lab, "eurusd"), every_s=0.05)
        os.killpg(command.pid, signal.SIGINT)
        said, _ = command.communicate(timeout=60)
    assert command.returncode == 0, said
    assert "goes on without you" in said
    assert "--batch left" in said
    (result,) = run(lab, "eurusd", "left")["pairs"]
    assert (result["run_id"], result["state"]) == ("left-eurusd", "SUCCEEDED")


def test_a_cancelled_run_goes_on_later(lab: Lab) -> None:
    run(lab, "gbpusd", "stopped", "--detach")
    until(lambda: len(checkpoints(lab, "gbpusd")) >= 5, every_s=0.05)
    assert lab.json("cancel", "stopped-gbpusd", "--stack", STACK)["state"] == "CANCELLED"
    (result,) = run(lab, "gbpusd", "stopped")["pairs"]
    assert (result["run_id"], result["state"]) == ("stopped-gbpusd-2", "SUCCEEDED")
    assert result["tables_reused"] >= 4


def test_a_missing_table_fails_the_pair_and_is_named(lab: Lab) -> None:
    lab.rest("bigquery", "DELETE", table("momentum_20_gbpusd"))
    try:
        (result,) = run(lab, "gbpusd", "missing", code=2)["pairs"]
    finally:
        seed(lab)
    assert result["error_code"] == ErrorCode.TABLES_MISSING
    assert "momentum_20_gbpusd" in result["message"]
    assert result["training_uri"] == ""


@pytest.mark.parametrize(
    ("resource", "role", "permission"),
    [
        ("staging", "roles/storage.objectUser", "storage.objects."),
        ("dataset", "roles/bigquery.dataViewer", "bigquery."),
        ("project", "roles/bigquery.jobUser", "bigquery.jobs.create"),
        ("project", "roles/bigquery.readSessionUser", "bigquery.readsessions.create"),
    ],
)
def test_a_permission_that_is_gone_is_named(lab: Lab, resource: str, role: str, permission: str) -> None:
    with without(lab, resource, role):
        found = run(lab, "gbpusd", f"no-{role.rpartition('.')[2]}", code=2)
    (result,) = found["pairs"]
    assert result["error_code"] == ErrorCode.PERMISSION_DENIED
    assert permission in result["message"]
    (item,) = (item for item in found["checklist"] if item["text"].startswith("service account"))
    assert item["ok"] is False


def test_too_little_memory_is_refused_with_the_numbers_before_anything_is_read(lab: Lab) -> None:
    key = {"name": "interval_time", "type": "TIMESTAMP"}
    wide = [key, *({"name": f"c{index}", "type": "FLOAT64"} for index in range(WIDEST))]
    names = ("shared_wide", "shared_wider")
    for name in names:
        reference = {"projectId": "longhaul-local", "datasetId": "fx_features", "tableId": name}
        lab.rest("bigquery", "POST", table(), {"tableReference": reference, "schema": {"fields": wide}})
    try:
        write_stack(lab, memory_gib=0.5)
        up(lab)
        # a pair without a run to go on with: that would read the tables of its own moment
        (result,) = run(lab, "eurusd", "small", code=2)["pairs"]
    finally:
        for name in names:
            lab.rest("bigquery", "DELETE", table(name))
    assert result["error_code"] == ErrorCode.TOO_LARGE
    assert "the limit is 0.50 GiB" in result["message"]
    assert "raise memory_gib" in result["message"]
    assert checkpoints(lab, "eurusd") == []
