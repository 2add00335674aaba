"""The fan-out's workflow as a resource, its two identities, and what it refuses."""

import json
from typing import Any

import pulumi
import pytest
from conftest import Recorder, run, start

from components.batch_fanout import BatchFanout
from components.batch_jobs import workflow_source
from components.batch_workflow import check_source
from components.limits import WORKFLOW_EXPRESSION, WORKFLOW_SOURCE, WORKFLOW_VARIABLES
from workloads.batch_fanout.contract import FanoutEnv
from workloads.common.contract import Endpoints

IMAGE = "host/acme/images/batch-fanout@sha256:" + "4d" * 32
GOOD: dict[str, Any] = {
    "image": IMAGE,
    "project": "acme",
    "location": "us-central1",
    "account_id": "lh-test-fanout",
    "workflow_account_id": "lh-test-fanout-flow",
    "bucket": "data",
    "index_bucket": pulumi.Output.from_input("runs"),
    "repository_id": pulumi.Output.from_input("images"),
}
TASK = "serviceAccount:lh-test-fanout@test-project.iam.gserviceaccount.com"
WORKFLOW = "serviceAccount:lh-test-fanout-flow@test-project.iam.gserviceaccount.com"


def build(**changes: Any) -> dict[str, Any]:
    outputs: dict[str, Any] = {}

    def declare() -> None:
        made = BatchFanout("fan", {**GOOD, **changes})  # type: ignore[typeddict-item]  # some cases are wrong on purpose
        for name in BatchFanout.__annotations__:
            getattr(made, name).apply(lambda value, name=name: outputs.update({name: value}))

    run(declare)
    return outputs


def grants(cloud: Recorder, member: str) -> dict[str, tuple[str, str]]:
    """Name -> role and where it is held."""
    places = ("bucket", "serviceAccountId", "repository", "secretId", "project")
    return {
        name: (found["role"], next(found[place] for place in places if place in found))
        for name, found in cloud.resources.items()
        if found.get("member") == member
    }


def test_the_tasks_may_do_what_their_contract_needs_and_no_more(cloud: Recorder) -> None:
    build(github_secret="github-pat")
    assert grants(cloud, TASK) == {
        "fan-reports": ("roles/batch.agentReporter", "acme"),
        "fan-logs": ("roles/logging.logWriter", "acme"),
        "fan-images": ("roles/artifactregistry.reader", "images"),
        "fan-github": ("roles/secretmanager.secretAccessor", "github-pat"),
        "fan-data-bucket-list": ("roles/storage.legacyBucketReader", "data"),
        "fan-data-bucket-write": ("roles/storage.objectUser", "data"),
    }
    condition = cloud.resources["fan-data-bucket-write"]["condition"]["expression"]
    assert condition == 'resource.name.startsWith("projects/_/buckets/data/objects/fanout/")'


def test_the_workflow_may_act_as_the_tasks_and_as_nobody_else(cloud: Recorder) -> None:
    build()
    assert grants(cloud, WORKFLOW) == {
        "fan-workflow-jobs": ("roles/batch.jobsEditor", "acme"),
        "fan-workflow-logs": ("roles/logging.logWriter", "acme"),
        "fan-workflow-acts-as": ("roles/iam.serviceAccountUser", "fan-sa"),
        "fan-workflow-data-bucket-list": ("roles/storage.legacyBucketReader", "data"),
        "fan-workflow-data-bucket-write": ("roles/storage.objectUser", "data"),
        "fan-workflow-index-bucket-list": ("roles/storage.legacyBucketReader", "runs"),
        "fan-workflow-index-bucket-write": ("roles/storage.objectUser", "runs"),
    }
    assert cloud.resources["fan-workflow"]["serviceAccount"] == "fan-workflow-sa-id"


def test_a_bucket_without_uniform_access_gets_grants_without_condition(cloud: Recorder) -> None:
    build(uniform_access=False)
    for name in ("fan-data-bucket-write", "fan-workflow-data-bucket-write"):
        assert cloud.resources[name]["role"] == "roles/storage.objectUser"
        assert "condition" not in cloud.resources[name]
    assert "condition" in cloud.resources["fan-workflow-index-bucket-write"]


def test_the_bucket_and_the_secret_are_neither_made_nor_read(cloud: Recorder) -> None:
    build(github_secret="github-pat", github_repo="o/r")
    types = {found["type"] for found in cloud.resources.values()}
    assert not {"gcp:storage/bucket:Bucket", "gcp:secretmanager/secret:Secret"} & types
    assert not any("SecretVersion" in name for name in types)


def test_the_source_is_complete_without_the_engine_and_its_variables_carry_the_rest(cloud: Recorder) -> None:
    build()
    workflow = cloud.resources["fan-workflow"]
    assert workflow["sourceContents"] == workflow_source(GOOD)  # type: ignore[arg-type]
    assert workflow["userEnvVars"] == {
        "BUCKET": "data",
        "IMAGE": IMAGE,
        "INDEX_BUCKET": "runs",
        "RUNTIME_ACCOUNT": "lh-test-fanout@test-project.iam.gserviceaccount.com",
    }
    assert workflow["deletionProtection"] is True
    assert len(workflow["userEnvVars"]) <= WORKFLOW_VARIABLES.high


def test_a_preview_shows_the_source_before_anything_exists() -> None:
    cloud = start(preview=True)
    build()
    assert cloud.resources["fan-workflow"]["sourceContents"].startswith("main:")


def test_execution_waits_for_the_grants(cloud: Recorder) -> None:
    build()
    waits = {urn.rsplit("::", 1)[1] for urn in cloud.requests["fan-workflow"].dependencies}
    assert {"fan-workflow-acts-as", "fan-workflow-jobs", "fan-reports", "fan-images"} <= waits


def test_machines_without_external_address_and_nat_if_it_is_asked_for(cloud: Recorder) -> None:
    network = {"network": "projects/acme/global/networks/n", "subnetwork": "s"}
    build(network={**network, "nat": True, "nat_min_ports": 1024})
    values = cloud.resources["fan-workflow"]["userEnvVars"]
    assert (values["NETWORK"], values["SUBNETWORK"]) == (network["network"], "s")
    nat = cloud.resources["fan-nat"]
    assert (nat["enableDynamicPortAllocation"], nat["minPortsPerVm"]) == (True, 1024)
    assert "noExternalIpAddress" in cloud.resources["fan-workflow"]["sourceContents"]
    assert cloud.resources["fan-router"]["network"] == network["network"]


def test_without_a_network_there_is_neither_router_nor_nat(cloud: Recorder) -> None:
    build()
    assert not {"fan-router", "fan-nat"} & set(cloud.resources)
    assert "networkInterfaces" not in cloud.resources["fan-workflow"]["sourceContents"]


def test_operators_start_watch_and_cancel_and_read_results(cloud: Recorder) -> None:
    build(operators={"team": "group:team@example.com"})
    assert grants(cloud, "group:team@example.com") == {
        "fan-operator-team-runs": ("roles/workflows.invoker", "acme"),
        "fan-operator-team-workflows": ("roles/workflows.viewer", "acme"),
        "fan-operator-team-jobs": ("roles/batch.jobsEditor", "acme"),
        "fan-operator-team-data-bucket-list": ("roles/storage.legacyBucketReader", "data"),
        "fan-operator-team-data-bucket-write": ("roles/storage.objectUser", "data"),
    }


def test_a_failed_execution_raises_an_alert_where_one_is_asked_for(cloud: Recorder) -> None:
    build(alert={"channels": ["projects/acme/notificationChannels/1"]})
    (condition,) = cloud.resources["fan-failed"]["conditions"]
    assert 'resource.labels.workflow_id = "fan-workflow"' in condition["conditionThreshold"]["filter"]
    assert 'metric.labels.status = "FAILED"' in condition["conditionThreshold"]["filter"]


def test_a_job_template_is_a_job_of_the_same_shape_with_values_in_place_of_expressions(cloud: Recorder) -> None:
    outputs = build(env={"FANOUT_FORMAT": "json", **Endpoints(storage="http://127.0.0.1:1").to_env()})
    assert sorted(outputs["job_templates"]) == ["a", "b", "c"]
    for stage, text in outputs["job_templates"].items():
        assert "${" not in text
        job = json.loads(text)
        container = job["taskGroups"][0]["taskSpec"]["runnables"][0]["container"]
        assert container["imageUri"] == IMAGE
        told = job["taskGroups"][0]["taskSpec"]["environment"]["variables"]
        env = FanoutEnv.from_env(told)
        assert (env.bucket, env.format, env.job_id) == ("data", "json", "RUN_ID")
        assert "fanout/manual/RUN_ID/" in env.out_prefix, stage
        assert told["LONGHAUL_STORAGE_ENDPOINT"] == "http://127.0.0.1:1"


def test_outputs_name_the_workflow_and_how_to_start_it(cloud: Recorder) -> None:
    outputs = build()
    assert outputs["workflow_id"] == "projects/acme/locations/us-central1/workflows/fan-workflow"
    assert outputs["gcloud_command"] == (
        'gcloud workflows run fan-workflow --project acme --location us-central1 --data \'{"count": 10, "seed": 1}\''
    )
    assert outputs["longhaul_command"] == "uv run longhaul run fanout --stack test --count 200 --seed 1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "host/i:latest"}, "fan: image must be HOST/PATH@sha256:DIGEST"),
        ({"max_parallelism": 5_001}, r"fan: max_parallelism must be 1\.\.5000 tasks at the same time"),
        ({"stage_b": {"max_retries": 11}}, r"fan: stage_b: max_retries must be 0\.\.10 retries"),
        ({"stage_b": {"timeout_s": 10**7}}, r"fan: stage_b: timeout_s must be .* split the work into more tasks"),
        ({"stage_a": {"machine_type": "big"}}, "fan: stage_a: machine_type must be a machine type such as"),
        ({"stage_c": {"memory_mib": 1}}, "fan: stage_c: memory_mib must be"),
        ({"prefix": "fanout"}, "fan: prefix must be empty, or letters"),
        ({"prefix": '"/'}, "fan: prefix must be"),
        ({"workflow_account_id": "lh-test-fanout"}, "another account than account_id"),
        ({"account_id": "x"}, "fan: account_id must be"),
        ({"github_repo": "o/r"}, "fan: github_secret must be set with github_repo, got none"),
        ({"github_repo": "o", "github_secret": "s"}, "fan: github_repo must be OWNER/REPOSITORY"),
        ({"github_secret": "ghp_a b"}, "fan: github_secret must be the id of a secret"),
        ({"env": {"FANOUT_FORMAT": "dill"}}, "fan: env must be what the tasks accept"),
        ({"env": {"X": "${sys.get_env('A')}"}}, "fan: X must be text without quotes"),
        ({"env": {"OUT_PREFIX": "a/"}}, "fan: env must be free of what every run decides, got OUT_PREFIX"),
        ({"job_wait_s": 10}, "fan: job_wait_s must be"),
        ({"poll_s": 0}, r"fan: poll_s must be 1\.\.300 s"),
    ],
)
def test_an_argument_out_of_range_is_refused_before_anything_is_declared(
    cloud: Recorder, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(**changes)
    assert cloud.resources == {}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("main: [", "source must be YAML"),
        ("main:\n  steps:\n  - a: {assign: [" + ", ".join("x: 1" for _ in range(51)) + "]}\n", "50 assignments of a step"),
        ("main:\n  steps:\n  - a: {return: '${" + "1+" * 250 + "1}'}\n", "expressions of up to 400 characters, got 501"),
        ("# " + "x" * (128 * 1024), r"source must be 1\.\.131072 bytes"),
    ],
)  # fmt: skip
def test_a_source_beyond_a_limit_of_the_platform_is_refused(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_source("fan", source)


def test_the_limits_of_a_source_name_where_they_come_from() -> None:
    for limit in (WORKFLOW_SOURCE, WORKFLOW_EXPRESSION):
        assert limit.source.startswith("https://cloud.google.com/workflows/")
        assert limit.as_of
