"""The heavy runner's job, its grants and what it hands out."""

from typing import Any

import pulumi
import pytest
from conftest import Recorder, run, start

from components import heavy_runner
from components.heavy_runner import HeavyRunnerJob
from workloads.common.contract import index_object
from workloads.heavy_runner import contract

IMAGE = "host/acme/images/heavy-runner@sha256:" + "4d" * 32
GOOD: dict[str, Any] = {
    "image": IMAGE,
    "project": "acme",
    "location": "us-central1",
    "account_id": "lh-test-heavy",
    "bucket": pulumi.Output.from_input("runs"),
}


def build(**changes: Any) -> dict[str, Any]:
    outputs: dict[str, Any] = {}

    def declare() -> None:
        made = HeavyRunnerJob("hr", {**GOOD, **changes})  # type: ignore[typeddict-item]  # some cases are wrong on purpose
        for name in HeavyRunnerJob.__annotations__:
            getattr(made, name).apply(lambda value, name=name: outputs.update({name: value}))

    run(declare)
    return outputs


def task(cloud: Recorder) -> Any:
    return cloud.resources["hr-job"]["template"]["template"]


def env(cloud: Recorder) -> dict[str, str]:
    (container,) = task(cloud)["containers"]
    return {variable["name"]: variable["value"] for variable in container["envs"]}


def test_by_default_it_has_8_vcpu_32_gib_half_an_hour_and_no_retry(cloud: Recorder) -> None:
    build()
    assert task(cloud)["containers"][0]["resources"]["limits"] == {"cpu": "8", "memory": "32Gi"}
    assert (task(cloud)["timeout"], task(cloud)["maxRetries"]) == ("1800s", 0)


def test_the_container_reads_from_its_environment_what_the_stack_says(cloud: Recorder) -> None:
    build(script_timeout_s=900, task_timeout_s=1_200, env={"LONGHAUL_STORAGE_ENDPOINT": "http://127.0.0.1:1"})
    told = contract.HeavyRunnerEnv.from_env(env(cloud))
    assert (told.bucket, told.image, told.script_timeout_s, told.task_timeout_s) == ("runs", IMAGE, 900, 1_200)
    assert env(cloud)["LONGHAUL_STORAGE_ENDPOINT"] == "http://127.0.0.1:1"


def test_its_identity_may_do_what_the_contract_needs_and_no_more(cloud: Recorder) -> None:
    build()
    member = "serviceAccount:lh-test-heavy@test-project.iam.gserviceaccount.com"
    grants = {name: found for name, found in cloud.resources.items() if "role" in found}
    assert {name: found["role"] for name, found in grants.items()} == {
        "hr-bucket-list": "roles/storage.legacyBucketReader",
        "hr-bucket-read": "roles/storage.objectViewer",
        "hr-bucket-write": "roles/storage.objectUser",
    }
    assert {(found["member"], found["bucket"]) for found in grants.values()} == {(member, "runs")}
    under = 'resource.name.startsWith("projects/_/buckets/runs/objects/'
    assert grants["hr-bucket-read"]["condition"]["expression"] == f'{under}datasets/") || {under}inputs/")'
    assert grants["hr-bucket-write"]["condition"]["expression"] == f'{under}outputs/") || {under}runs/heavy/")'
    assert "condition" not in grants["hr-bucket-list"]


def test_the_prefixes_granted_are_those_of_the_contract() -> None:
    assert contract.dataset_object("r").startswith(heavy_runner.READ_PREFIXES)
    assert contract.request_object("r").startswith(heavy_runner.READ_PREFIXES)
    assert contract.script_object("r").startswith(heavy_runner.READ_PREFIXES)
    assert contract.support_object("r", "data/x.json").startswith(heavy_runner.READ_PREFIXES)
    assert contract.outputs_prefix("r", 2).startswith(heavy_runner.WRITE_PREFIXES)
    assert index_object(contract.SYSTEM, "r").startswith(heavy_runner.WRITE_PREFIXES)


def test_an_operator_may_start_it_with_overrides_and_watch_it(cloud: Recorder) -> None:
    build(operators={"team": "group:team@example.com"})
    granted = {found["role"]: found["type"] for name, found in cloud.resources.items() if name.endswith("-team")}
    assert granted == dict.fromkeys(
        ["roles/run.jobsExecutorWithOverrides", "roles/run.viewer"], "gcp:cloudrunv2/jobIamMember:JobIamMember"
    )


def test_it_says_how_to_start_it() -> None:
    start(stack_name="dev")
    made = build()
    assert made["gcloud_command"] == (
        "gcloud run jobs execute hr-job --project acme --region us-central1 --wait --update-env-vars "
        "INPUT_URI=gs://runs/inputs/RUN_ID.json,OUTPUT_URI=gs://runs/outputs/RUN_ID/"
    )
    assert made["longhaul_command"] == "uv run longhaul run heavy --stack dev --data DATA.csv --script SCRIPT.py"


def test_a_calling_system_gets_its_variables_as_one_block(cloud: Recorder) -> None:
    assert build(script_timeout_s=600)["env_block"].splitlines() == [
        "HEAVY_RUNNER_ENABLED=true",
        "HEAVY_RUNNER_JOB=hr-job",
        "HEAVY_RUNNER_REGION=us-central1",
        "HEAVY_RUNNER_BUCKET=runs",
        "HEAVY_RUNNER_PROJECT=acme",
        "HEAVY_RUNNER_SCRIPT_TIMEOUT_SECONDS=600",
    ]


def test_it_hands_out_names(cloud: Recorder) -> None:
    made = build()
    assert made["job_name"] == "hr-job"
    assert made["job_id"] == "projects/acme/locations/us-central1/jobs/hr-job"
    assert made["service_account_email"] == "lh-test-heavy@test-project.iam.gserviceaccount.com"
    assert (made["bucket"], made["location"]) == ("runs", "us-central1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cpu": 4}, "hr: memory_gib must be 2..16 GiB with 4 vCPU, got 32; 32 GiB goes with cpu 8"),
        ({"image": "r/hr:latest"}, "hr: image must be HOST/PATH@sha256:DIGEST, got 'r/hr:latest'"),
        ({"script_timeout_s": 1_741}, r"hr: script_timeout_s must be 60\.\.1740 s, got 1741; the last 60 s of task_"),
        ({"script_timeout_s": 59}, r"hr: script_timeout_s must be 60\.\.1740 s, got 59"),
        ({"task_timeout_s": 604_801}, r"hr: timeout_s must be 1\.\.604800 s, got 604801"),
        ({"max_retries": 11}, r"hr: max_retries must be 0\.\.10 retries, got 11"),
    ],
)
def test_an_argument_out_of_range_is_refused(cloud: Recorder, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**changes)
