"""What all jobs share, rendered so that a second preview is quiet."""

from typing import Any

import pulumi
import pytest
from conftest import Recorder, run

from components.container_job import container_job

GOOD: dict[str, Any] = {
    "image": "host/acme/images/thing@sha256:" + "3c" * 32,
    "location": "us-central1",
    "account_id": "lh-test-thing",
    "cpu": 4,
    "memory_gib": 12,
    "timeout_s": 600,
}


class Owner(pulumi.ComponentResource):
    def __init__(self, name: str, args: Any) -> None:
        super().__init__("longhaul:index:Owner", name, {})
        container_job(name, args, self)


def build(**changes: Any) -> None:
    run(lambda: Owner("thing", {**GOOD, **changes}))


def job(cloud: Recorder) -> Any:
    return cloud.resources["thing-job"]


def task(cloud: Recorder) -> Any:
    return job(cloud)["template"]["template"]


def container(cloud: Recorder) -> Any:
    (found,) = task(cloud)["containers"]
    return found


def test_the_smallest_job_says_what_the_platform_would_fill_in_and_no_more(cloud: Recorder) -> None:
    build()
    assert job(cloud) == {
        "type": "gcp:cloudrunv2/job:Job",
        "location": "us-central1",
        "deletionProtection": True,
        "template": {
            "taskCount": 1,
            "template": {
                "serviceAccount": "lh-test-thing@test-project.iam.gserviceaccount.com",
                "timeout": "600s",
                "maxRetries": 0,
                "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
                "containers": [{"image": GOOD["image"], "resources": {"limits": {"cpu": "4", "memory": "12Gi"}}}],
            },
        },
    }


def test_variables_are_sorted_whatever_the_program_says(cloud: Recorder) -> None:
    build(env={"B": "2", "A": "1"}, secrets={"AB": {"secret": "token"}})
    assert [variable["name"] for variable in container(cloud)["envs"]] == ["A", "AB", "B"]


def test_a_secret_is_a_reference_that_the_job_may_read(cloud: Recorder) -> None:
    build(secrets={"API_KEY": {"secret": "api-key", "version": "3"}})
    reference = {"secret": "api-key", "version": "3"}
    assert container(cloud)["envs"] == [{"name": "API_KEY", "valueSource": {"secretKeyRef": reference}}]
    grant = cloud.resources["thing-secret-api-key"]
    assert (grant["secretId"], grant["role"]) == ("api-key", "roles/secretmanager.secretAccessor")
    assert grant["member"] == "serviceAccount:lh-test-thing@test-project.iam.gserviceaccount.com"


def test_the_job_waits_for_its_grants_on_secrets(cloud: Recorder) -> None:
    build(secrets={"API_KEY": {"secret": "api-key"}})
    assert "thing-secret-api-key" in {urn.rpartition("::")[2] for urn in cloud.requests["thing-job"].dependencies}


def test_a_secret_used_twice_is_granted_once(cloud: Recorder) -> None:
    volume = {"mount_path": "/secrets", "secret": {"secret": "api-key"}, "file": "key"}
    build(secrets={"API_KEY": {"secret": "api-key"}}, volumes={"keys": volume})
    assert [name for name in cloud.resources if name.startswith("thing-secret-")] == ["thing-secret-api-key"]


def test_volumes_of_every_kind(cloud: Recorder) -> None:
    build(
        volumes={
            "videos": {"mount_path": "/in", "bucket": "b", "read_only": True, "mount_options": ["implicit-dirs"]},
            "out": {"mount_path": "/out", "bucket": "o"},
            "scratch": {"mount_path": "/scratch", "memory_gib": 0.5},
            "keys": {"mount_path": "/keys", "secret": {"secret": "s"}, "file": "key.json"},
        }
    )
    assert task(cloud)["volumes"] == [
        {"name": "keys", "secret": {"secret": "s", "items": [{"path": "key.json", "version": "latest"}]}},
        {"name": "out", "gcs": {"bucket": "o"}},
        {"name": "scratch", "emptyDir": {"medium": "MEMORY", "sizeLimit": "512Mi"}},
        {"name": "videos", "gcs": {"bucket": "b", "readOnly": True, "mountOptions": ["implicit-dirs"]}},
    ]
    assert [mount["mountPath"] for mount in container(cloud)["volumeMounts"]] == ["/keys", "/out", "/scratch", "/in"]
    assert "launchStage" not in job(cloud)


def test_a_disk_asks_for_the_preview_and_does_not_mind_what_comes_back(cloud: Recorder) -> None:
    build(volumes={"disk": {"mount_path": "/disk", "disk_gib": 10}})
    assert task(cloud)["volumes"] == [{"name": "disk", "emptyDir": {"medium": "DISK", "sizeLimit": "10Gi"}}]
    assert job(cloud)["launchStage"] == "BETA"
    assert list(cloud.requests["thing-job"].ignoreChanges) == ["launchStage"]


def test_a_task_joins_a_network_directly(cloud: Recorder) -> None:
    build(vpc={"network": "n", "subnetwork": "s", "tags": ["egress"], "egress": "ALL_TRAFFIC"})
    interface = {"network": "n", "subnetwork": "s", "tags": ["egress"]}
    assert task(cloud)["vpcAccess"] == {"egress": "ALL_TRAFFIC", "networkInterfaces": [interface]}


def test_a_task_uses_a_connector(cloud: Recorder) -> None:
    build(vpc={"connector": "c"})
    assert task(cloud)["vpcAccess"] == {"egress": "PRIVATE_RANGES_ONLY", "connector": "c"}


def test_a_gpu_comes_without_zonal_redundancy(cloud: Recorder) -> None:
    build(accelerator="nvidia-l4", cpu=8, memory_gib=32)
    assert task(cloud)["nodeSelector"] == {"accelerator": "nvidia-l4"}
    assert task(cloud)["gpuZonalRedundancyDisabled"] is True
    assert container(cloud)["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_tasks_arguments_and_labels_are_passed_on(cloud: Recorder) -> None:
    build(task_count=26, parallelism=4, max_retries=3, args=["--all"], labels={"system": "thing"})
    assert (job(cloud)["template"]["taskCount"], job(cloud)["template"]["parallelism"]) == (26, 4)
    assert job(cloud)["labels"] == job(cloud)["template"]["labels"] == {"system": "thing"}
    assert (task(cloud)["maxRetries"], container(cloud)["args"]) == (3, ["--all"])


def test_nobody_may_start_it_by_default(cloud: Recorder) -> None:
    build()
    assert set(cloud.resources) == {"thing", "thing-sa", "thing-job"}


def test_invokers_and_operators_are_granted_on_the_job_alone(cloud: Recorder) -> None:
    build(invokers={"clock": "serviceAccount:c@x"}, operators={"team": "group:t@x"}, deletion_protection=False)
    grants = {name: found for name, found in cloud.resources.items() if "role" in found}
    assert {name: (found["role"], found["member"]) for name, found in grants.items()} == {
        "thing-invoker-clock": ("roles/run.invoker", "serviceAccount:c@x"),
        "thing-operator-team": ("roles/run.jobsExecutorWithOverrides", "group:t@x"),
        "thing-viewer-team": ("roles/run.viewer", "group:t@x"),
    }
    assert {found["name"] for found in grants.values()} == {"thing-job"}
    assert job(cloud)["deletionProtection"] is False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "host/i/thing:latest"}, "thing: image must be HOST/PATH@sha256:DIGEST, got 'host/i/thing:latest'"),
        ({"account_id": "x"}, r"thing: account_id must be 6\.\.30 lower-case letters"),
        ({"cpu": 3}, "thing: cpu must be one of 1, 2, 4, 6, 8 vCPU, got 3"),
        (
            {"vpc": {"network": "n", "egress": "private-ranges-only"}},
            "thing: vpc.egress must be one of ALL_TRAFFIC, PRIVATE_RANGES_ONLY, got 'private-ranges-only'; "
            "the API wants PRIVATE_RANGES_ONLY",
        ),
        (
            {"vpc": {"connector": "c", "subnetwork": "s"}},
            "thing: vpc must be connector, or network and subnetwork, got connector and subnetwork; .* keep one",
        ),
        ({"vpc": {"egress": "ALL_TRAFFIC"}}, "thing: vpc must be connector, or network and subnetwork, got neither"),
        ({"volumes": {"v": {"mount_path": "/v"}}}, "thing: volumes.v must be one of bucket, .*, got none"),
        (
            {"volumes": {"v": {"mount_path": "/v", "bucket": "b", "disk_gib": 1}}},
            "thing: volumes.v must be one of bucket, .*, got bucket and disk_gib",
        ),
        (
            {"volumes": {"v": {"mount_path": "v", "bucket": "b"}}},
            "thing: volumes.v.mount_path must be an absolute path",
        ),
        ({"volumes": {"v": {"mount_path": "/v", "disk_gib": 11}}}, r"volumes.v.disk_gib must be 1\.\.10 GiB, got 11"),
        ({"volumes": {"v": {"mount_path": "/v", "secret": {"secret": "s"}}}}, "volumes.v.file must be the name of the"),
        ({"volumes": {"V": {"mount_path": "/v", "bucket": "b"}}}, "thing: volumes must be named by lower-case letters"),
    ],
)
def test_a_job_that_the_platform_would_refuse_is_refused(
    cloud: Recorder, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_a_tag_that_is_known_late_is_refused(cloud: Recorder) -> None:
    with pytest.raises(Exception, match="image must be HOST/PATH@sha256:DIGEST"):
        build(image=pulumi.Output.from_input("host/i/thing:latest"))
