"""The feature pipeline's job, its grants, what it makes beside itself, and what it refuses."""

import base64
import json
from typing import Any

import pulumi
import pytest
from conftest import Recorder, run, start

from components import feature_pipeline
from components.feature_pipeline import FeaturePipelineJob
from components.limits import EPHEMERAL_DISK
from workloads.common.contract import index_object
from workloads.feature_pipeline import contract

IMAGE = "host/acme/images/feature-pipeline@sha256:" + "4d" * 32
GOOD: dict[str, Any] = {
    "image": IMAGE,
    "project": "acme",
    "location": "us-central1",
    "account_id": "lh-test-features",
    "bucket": pulumi.Output.from_input("runs"),
    "features_dataset": "features",
    "raw_dataset": "lake-1.prices",
}
MEMBER = "serviceAccount:lh-test-features@test-project.iam.gserviceaccount.com"
SCHEDULE = {"schedule": {"cron": "0 3 * * *", "only": ["eurusd", "gbpusd"]}, "scheduler_account_id": "lh-test-cron"}


def build(**changes: Any) -> dict[str, Any]:
    outputs: dict[str, Any] = {}

    def declare() -> None:
        made = FeaturePipelineJob("fp", {**GOOD, **changes})  # type: ignore[typeddict-item]  # some cases are wrong on purpose
        for name in FeaturePipelineJob.__annotations__:
            getattr(made, name).apply(lambda value, name=name: outputs.update({name: value}))

    run(declare)
    return outputs


def task(cloud: Recorder) -> Any:
    return cloud.resources["fp-job"]["template"]["template"]


def env(cloud: Recorder) -> dict[str, str]:
    (container,) = task(cloud)["containers"]
    return {variable["name"]: variable["value"] for variable in container["envs"]}


def grants(cloud: Recorder, member: str) -> dict[str, tuple[str, str]]:
    """Name -> role and where it is held."""
    return {
        name: (found["role"], found.get("bucket") or found.get("datasetId") or found.get("name") or found["project"])
        for name, found in cloud.resources.items()
        if found.get("member") == member
    }


def test_by_default_it_has_4_vcpu_12_gib_two_hours_and_no_retry(cloud: Recorder) -> None:
    build()
    assert task(cloud)["containers"][0]["resources"]["limits"] == {"cpu": "4", "memory": "12Gi"}
    assert (task(cloud)["timeout"], task(cloud)["maxRetries"]) == ("7200s", 0)
    assert "volumes" not in task(cloud)


def test_the_container_reads_from_its_environment_what_the_stack_says(cloud: Recorder) -> None:
    told = contract.FeatureEnv(
        project="-", features_dataset="-", raw_dataset="-", output_bucket="-", staging_bucket="-",
        key_column="at", horizons=(5, 10), workers=3, pairs=("eurusd", "usdjpy"), missing_allowed=("a", "b"),
    )  # fmt: skip
    build(env={**told.to_env(), "LONGHAUL_BIGQUERY_ENDPOINT": "http://127.0.0.1:1"}, cpu=2, memory_gib=4)
    found = contract.FeatureEnv.from_env(env(cloud))
    assert (found.project, found.features_dataset, found.raw_dataset) == ("acme", "features", "lake-1.prices")
    assert (found.output_bucket, found.staging_bucket, found.bucket) == ("fp-output", "fp-staging", "runs")
    assert (found.key_column, found.horizons, found.workers, found.missing_allowed) == ("at", (5, 10), 3, ("a", "b"))
    assert (found.pair, found.pairs, found.image) == ("eurusd", ("eurusd", "usdjpy"), IMAGE)
    assert (found.cpu, found.memory_gib, found.scratch) == (2, 4, "memory")
    assert env(cloud)["LONGHAUL_BIGQUERY_ENDPOINT"] == "http://127.0.0.1:1"


def test_its_identity_may_do_what_the_contract_needs_and_no_more(cloud: Recorder) -> None:
    build()
    assert grants(cloud, MEMBER) == {
        "fp-features-viewer": ("roles/bigquery.dataViewer", "features"),
        "fp-raw-viewer": ("roles/bigquery.dataViewer", "prices"),
        "fp-bigquery-jobs": ("roles/bigquery.jobUser", "acme"),
        "fp-bigquery-sessions": ("roles/bigquery.readSessionUser", "acme"),
        "fp-index-bucket-list": ("roles/storage.legacyBucketReader", "runs"),
        "fp-index-bucket-write": ("roles/storage.objectUser", "runs"),
        "fp-output-bucket-list": ("roles/storage.legacyBucketReader", "fp-output"),
        "fp-output-bucket-write": ("roles/storage.objectUser", "fp-output"),
        "fp-staging-bucket-list": ("roles/storage.legacyBucketReader", "fp-staging"),
        "fp-staging-bucket-write": ("roles/storage.objectUser", "fp-staging"),
    }
    assert (cloud.resources["fp-raw-viewer"]["project"], cloud.resources["fp-features-viewer"]["project"]) == (
        "lake-1",
        "acme",
    )
    for name in grants(cloud, MEMBER):
        assert ("condition" in cloud.resources[name]) == name.endswith("-write"), name


def test_one_dataset_for_both_is_granted_once(cloud: Recorder) -> None:
    build(raw_dataset="features")
    assert [name for name in cloud.resources if name.endswith("-viewer")] == ["fp-features-viewer"]


def test_the_prefixes_granted_are_those_of_the_contract() -> None:
    assert contract.training_object("eurusd").startswith(feature_pipeline.OUTPUT_PREFIXES)
    assert contract.records_prefix("eurusd", "r").startswith(feature_pipeline.OUTPUT_PREFIXES)
    assert contract.records_prefix("eurusd", "r").startswith(feature_pipeline.REPORT_PREFIXES)
    assert not contract.training_object("eurusd").startswith(feature_pipeline.REPORT_PREFIXES)
    assert contract.checkpoints_prefix("eurusd").startswith(feature_pipeline.STAGING_PREFIXES)
    assert contract.snapshot_object("eurusd").startswith(feature_pipeline.STAGING_PREFIXES)
    assert index_object(contract.SYSTEM, "r").startswith(feature_pipeline.INDEX_PREFIXES)


def test_an_operator_may_start_and_watch_runs_and_read_what_they_leave(cloud: Recorder) -> None:
    build(operators={"team": "group:team@example.com"})
    assert grants(cloud, "group:team@example.com") == {
        "fp-operator-team": ("roles/run.jobsExecutorWithOverrides", "fp-job"),
        "fp-viewer-team": ("roles/run.viewer", "fp-job"),
        "fp-output-operator-team-bucket-list": ("roles/storage.legacyBucketReader", "fp-output"),
        "fp-output-operator-team-bucket-read": ("roles/storage.objectViewer", "fp-output"),
        "fp-output-operator-team-bucket-write": ("roles/storage.objectUser", "fp-output"),
    }


def test_checkpoints_expire_and_training_files_stay(cloud: Recorder) -> None:
    build(staging_days=3)
    staging, output = cloud.resources["fp-staging"], cloud.resources["fp-output"]
    assert staging["lifecycleRules"] == [{"action": {"type": "Delete"}, "condition": {"age": 3}}]
    assert staging["softDeletePolicy"] == {"retentionDurationSeconds": 0}
    assert "lifecycleRules" not in output
    assert output["publicAccessPrevention"] == staging["publicAccessPrevention"] == "enforced"


def test_what_exists_is_used_and_not_made(cloud: Recorder) -> None:
    made = build(output_bucket="mine", staging_bucket="scratch")
    assert (made["output_bucket"], made["staging_bucket"]) == ("mine", "scratch")
    kinds = {found["type"] for found in cloud.resources.values()}
    assert not {"gcp:storage/bucket:Bucket", "gcp:bigquery/dataset:Dataset"} & kinds


def test_datasets_are_made_on_request_and_granted_after(cloud: Recorder) -> None:
    build(raw_dataset="prices", create_datasets=True, force_destroy=True, deletion_protection=False)
    made = {name: found for name, found in cloud.resources.items() if found["type"].endswith(":Dataset")}
    assert {name: found["datasetId"] for name, found in made.items()} == {"fp-features": "features", "fp-raw": "prices"}
    assert all(found["deleteContentsOnDestroy"] is True for found in made.values())
    order = list(cloud.resources)
    assert order.index("fp-features") < order.index("fp-features-viewer")


def test_what_holds_data_is_protected(cloud: Recorder) -> None:
    build(raw_dataset="prices", create_datasets=True)
    for name in ("fp-output", "fp-staging", "fp-features", "fp-raw"):
        assert cloud.requests[name].protect is True, name


def test_a_disk_for_the_scratch_space_is_mounted_and_told(cloud: Recorder) -> None:
    build(scratch="disk", scratch_gib=8)
    assert task(cloud)["volumes"] == [{"name": "scratch", "emptyDir": {"medium": "DISK", "sizeLimit": "8Gi"}}]
    assert task(cloud)["containers"][0]["volumeMounts"] == [{"name": "scratch", "mountPath": "/scratch"}]
    told = contract.FeatureEnv.from_env(env(cloud))
    assert (told.scratch, told.scratch_dir) == ("disk", "/scratch/features")


def test_a_larger_disk_needs_more_quota_than_every_project_has(cloud: Recorder) -> None:
    with pytest.raises(ValueError, match=r"fp: scratch_gib must be 1\.\.10 GiB, got 24; ask for more quota") as refused:
        build(scratch="disk", scratch_gib=24)
    assert EPHEMERAL_DISK.source in str(refused.value)
    assert EPHEMERAL_DISK.as_of in str(refused.value)
    build(scratch="disk", scratch_gib=24, disk_quota_gib=50)
    assert task(cloud)["volumes"][0]["emptyDir"]["sizeLimit"] == "24Gi"


def test_a_schedule_starts_each_pair_with_an_identity_that_can_do_nothing_else(cloud: Recorder) -> None:
    build(**SCHEDULE)
    cron = "serviceAccount:lh-test-cron@test-project.iam.gserviceaccount.com"
    assert grants(cloud, cron) == {"fp-scheduler": ("roles/run.jobsExecutorWithOverrides", "fp-job")}
    jobs = {name: found for name, found in cloud.resources.items() if found["type"] == "gcp:cloudscheduler/job:Job"}
    assert set(jobs) == {"fp-schedule-eurusd", "fp-schedule-gbpusd"}
    target = jobs["fp-schedule-gbpusd"]["httpTarget"]
    assert target["uri"] == "https://run.googleapis.com/v2/projects/acme/locations/us-central1/jobs/fp-job:run"
    assert target["oauthToken"]["serviceAccountEmail"] == cron.removeprefix("serviceAccount:")
    overrides = json.loads(base64.b64decode(target["body"]))["overrides"]
    assert {"name": "TARGET_PAIR", "value": "gbpusd"} in overrides["containerOverrides"][0]["env"]
    assert "delayExecution" not in overrides
    assert jobs["fp-schedule-eurusd"]["schedule"] == "0 3 * * *"


def test_a_schedule_can_ask_for_delayed_executions(cloud: Recorder) -> None:
    build(**{**SCHEDULE, "schedule": {"cron": "0 3 * * *", "delayed": True}})
    jobs = [found for found in cloud.resources.values() if found["type"] == "gcp:cloudscheduler/job:Job"]
    assert len(jobs) == len(contract.PAIRS) == 26
    assert all(json.loads(base64.b64decode(job["httpTarget"]["body"]))["overrides"]["delayExecution"] for job in jobs)


def test_an_alert_tells_of_executions_that_failed(cloud: Recorder) -> None:
    build(alert={"channels": ["projects/acme/notificationChannels/1"]})
    policy = cloud.resources["fp-failed"]
    (condition,) = policy["conditions"]
    said = condition["conditionThreshold"]["filter"]
    assert 'resource.labels.job_name = "fp-job"' in said
    assert 'metric.type = "run.googleapis.com/job/completed_execution_count"' in said
    assert 'metric.labels.result = "failed"' in said
    assert policy["notificationChannels"] == ["projects/acme/notificationChannels/1"]


def test_neither_schedule_nor_alert_without_being_asked(cloud: Recorder) -> None:
    build()
    assert not [name for name, found in cloud.resources.items() if "cloudscheduler" in found["type"]]
    assert not [name for name, found in cloud.resources.items() if "monitoring" in found["type"]]


def test_it_says_how_to_run_a_pair() -> None:
    start(stack_name="dev")
    made = build()
    assert made["gcloud_command"] == (
        "gcloud run jobs execute fp-job --project acme --region us-central1 --wait --update-env-vars TARGET_PAIR=eurusd"
    )
    assert made["longhaul_command"] == "uv run longhaul run features --stack dev --pairs eurusd"
    assert made["job_id"] == "projects/acme/locations/us-central1/jobs/fp-job"
    assert made["service_account_email"] == MEMBER.removeprefix("serviceAccount:")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memory_gib": 32}, "fp: memory_gib must be 2..16 GiB with 4 vCPU, got 32; 32 GiB goes with cpu 8"),
        ({"image": "r/fp:latest"}, "fp: image must be HOST/PATH@sha256:DIGEST, got 'r/fp:latest'"),
        ({"task_timeout_s": 604_801}, r"fp: timeout_s must be 1\.\.604800 s, got 604801"),
        ({"staging_days": 0}, r"fp: staging_days must be 1\.\.365 days, got 0"),
        ({"features_dataset": "with-dash"}, "fp: features_dataset must be DATASET or PROJECT.DATASET, got 'with-dash'"),
        ({"create_datasets": True}, "fp: raw_dataset must be in project acme, got 'lake-1.prices'"),
        ({"scratch": "tape"}, "scratch: must be one of memory, disk, got 'tape'"),
        ({"env": {"FEATURES_HORIZONS": "15,-1"}}, "horizons: must be one or more minutes above 0"),
        ({"env": {"FEATURES_WORKERS": "many"}}, "FEATURES_WORKERS: must be a whole number, got 'many'"),
        ({"output_bucket": "b", "staging_bucket": "b"}, "fp: staging_bucket must be another bucket than output_bucket"),
        ({"schedule": {"cron": "0 3 * * *"}}, "fp: scheduler_account_id must be set with schedule, got none"),
        ({**SCHEDULE, "schedule": {"cron": "daily"}}, r"fp: schedule.cron must be five fields of cron"),
        ({**SCHEDULE, "schedule": {"cron": "0 3 * * *", "only": ["abcdef"]}}, "fp: schedule.only must be some of eur"),
    ],
)
def test_an_argument_out_of_range_is_refused_before_anything_is_declared(
    cloud: Recorder, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(**changes)
    made = [name for name, found in cloud.resources.items() if found["type"] != "longhaul:index:FeaturePipelineJob"]
    assert made == []
