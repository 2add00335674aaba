"""The gcp stand-in under the real engine, against an HTTP server that records calls."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pulumi_gcp as gcp
import pytest
from plugins.conftest import configure, operations, stack_in
from plugins.stub import Stub
from pulumi import automation

pytestmark = pytest.mark.system
Stacks = Callable[[Callable[[], None]], automation.Stack]
PARENT = "projects/demo/locations/europe-west1"
ACCOUNT = "runner@demo.iam.gserviceaccount.com"
DEFAULTS: dict[str, Any] = {
    "memory": "16Gi",
    "envs": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    "location": "europe-west1",
    "protect": False,
}


class Program:
    """Every type of the program, with settings a test can change between two `up`s."""

    def __init__(self) -> None:
        self.settings = copy.deepcopy(DEFAULTS)

    def declare(self) -> None:
        gcp.projects.Service("run", service="run.googleapis.com")
        gcp.projects.Service("storage", service="storage.googleapis.com")
        account = gcp.serviceaccount.Account("account", account_id="runner", display_name="Runner")
        bucket = gcp.storage.Bucket(
            "bucket",
            name="demo-data",
            location="europe-west1",
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            labels={"team": "a"},
            lifecycle_rules=[
                {
                    "action": {"type": "Delete"},
                    "condition": {"age": 30, "matches_prefixes": ["tmp/"], "with_state": "LIVE"},
                }
            ],
        )
        gcp.storage.BucketIAMMember(
            "reader",
            bucket=bucket.name,
            role="roles/storage.objectUser",
            member=account.member,
            condition={"title": "runs", "expression": "resource.name.startsWith('x')"},
        )
        gcp.storage.BucketObject("object", bucket=bucket.name, name="a/b.txt", content="hello")
        repository = gcp.artifactregistry.Repository(
            "repository",
            repository_id="images",
            format="DOCKER",
            cleanup_policies=[{"id": "keep", "action": "KEEP", "most_recent_versions": {"keep_count": 5}}],
        )
        gcp.artifactregistry.RepositoryIamMember(
            "puller", repository=repository.name, role="roles/artifactregistry.reader", member=account.member
        )
        gcp.projects.IAMMember("logs", project="demo", role="roles/logging.logWriter", member=account.member)
        gcp.projects.IAMMember("metrics", project="demo", role="roles/monitoring.metricWriter", member=account.member)
        gcp.serviceaccount.IAMMember(
            "user", service_account_id=account.name, role="roles/iam.serviceAccountUser", member="user:Ann@x.org"
        )
        job = self.job(account)
        gcp.cloudrunv2.JobIamMember(
            "invoker", name=job.name, location=job.location, role="roles/run.invoker", member="user:ann@x.org"
        )
        pulumi.export("job", job.id)

    def job(self, account: gcp.serviceaccount.Account) -> gcp.cloudrunv2.Job:
        """The job, whose settings vary."""
        return gcp.cloudrunv2.Job(
            "job",
            name="train",
            location=self.settings["location"],
            deletion_protection=self.settings["protect"],
            template={
                "template": {
                    "service_account": account.email,
                    "max_retries": 0,
                    "timeout": "3600s",
                    "containers": [
                        {
                            "image": "h/i@sha256:0",
                            "envs": self.settings["envs"],
                            "resources": {"limits": {"cpu": "4", "memory": self.settings["memory"]}},
                        }
                    ],
                }
            },
        )


@pytest.fixture
def program() -> Program:
    """A program with the usual settings."""
    return Program()


@pytest.fixture(scope="module")
def baseline(server: Stub, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The program's first `up`, made once: its state, and the cloud it left."""
    folder = tmp_path_factory.mktemp("baseline")
    configure(stack_in(folder, Program().declare), server).up()
    state = server.save()
    server.restore({**state, "resources": {}, "policies": {}, "enabled": set(), "calls": [], "bodies": []})
    return folder, state


@pytest.fixture
def deployed(baseline: tuple[Path, dict[str, Any]], tmp_path: Path, stub: Stub, program: Program) -> automation.Stack:
    """The program, up, for one test."""
    folder, state = baseline
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    stub.restore(state)
    return stack_in(tmp_path, program.declare)


def calls_about(calls: list[str], *words: str) -> list[str]:
    """The calls that name one of `words`."""
    return [call for call in calls if any(word in call for word in words)]


def test_first_up_makes_the_calls_of_the_real_provider(deployed: automation.Stack, stub: Stub) -> None:
    job = f"{PARENT}/jobs/train"
    assert calls_about(stub.calls, "jobs/train", "jobs?")[:3] == [
        f"POST {PARENT}/jobs?jobId=train",
        f"GET {job}",
        f"GET {job}:getIamPolicy",
    ]
    assert calls_about(stub.calls, "train:") == [
        f"GET {job}:getIamPolicy",
        f"POST {job}:setIamPolicy",
        *[f"GET {job}:getIamPolicy"] * 4,
    ]
    bucket = [call for call in stub.calls if call.endswith(("b?project=demo", "b/demo-data"))]
    assert bucket == ["POST b?project=demo", "GET b/demo-data", "GET b/demo-data"]
    assert f"POST {PARENT}/repositories?repository_id=images" in stub.calls
    assert "POST projects/demo/serviceAccounts" in stub.calls
    assert stub.calls.count(f"GET projects/demo/serviceAccounts/{ACCOUNT}") == 4
    assert f"POST projects/demo/serviceAccounts/{ACCOUNT}:getIamPolicy?options.requestedPolicyVersion=3" in stub.calls
    assert calls_about(stub.calls, "services:batchEnable", "googleapis.com:enable")
    assert "POST projects/demo:setIamPolicy" in stub.calls
    assert "PUT b/demo-data/iam" in stub.calls


def test_bodies_have_the_shape_of_the_real_provider(deployed: automation.Stack, stub: Stub) -> None:
    mark = {"goog-pulumi-provisioned": "true"}
    assert stub.body_of(f"POST {PARENT}/jobs?") == {
        "labels": mark,
        "template": {
            "template": {
                "containers": [
                    {
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        "image": "h/i@sha256:0",
                        "resources": {"limits": {"cpu": "4", "memory": "16Gi"}},
                    }
                ],
                "maxRetries": 0,
                "serviceAccount": ACCOUNT,
                "timeout": "3600s",
            }
        },
    }
    assert stub.body_of("POST b?") == {
        "name": "demo-data",
        "location": "europe-west1",
        "storageClass": "STANDARD",
        "labels": {"team": "a", **mark},
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}, "publicAccessPrevention": "enforced"},
        "lifecycle": {
            "rule": [
                {"action": {"type": "Delete"}, "condition": {"age": 30, "isLive": True, "matchesPrefix": ["tmp/"]}}
            ]
        },
    }
    assert stub.body_of(f"POST {PARENT}/repositories?") == {
        "cleanupPolicies": {"keep": {"action": "KEEP", "mostRecentVersions": {"keepCount": 5}}},
        "format": "DOCKER",
        "labels": mark,
        "mode": "STANDARD_REPOSITORY",
    }
    assert stub.body_of("POST projects/demo/serviceAccounts") == {
        "accountId": "runner",
        "serviceAccount": {"displayName": "Runner"},
    }
    assert stub.body_of("POST projects/demo:setIamPolicy")["updateMask"] == "bindings,etag,auditConfigs"
    assert stub.body_of("PUT b/demo-data/iam") == {
        "bindings": [
            {
                "members": [f"serviceAccount:{ACCOUNT}"],
                "role": "roles/storage.objectUser",
                "condition": {"title": "runs", "expression": "resource.name.startsWith('x')"},
            }
        ],
        "etag": "p0",
        "version": 3,
    }


def test_second_up_and_previews_are_quiet_and_make_no_call(deployed: automation.Stack, stub: Stub) -> None:
    mark = len(stub.calls)
    assert operations(deployed.up()) == {}
    assert operations(deployed.preview(expect_no_changes=True)) == {}
    assert stub.since(mark) == []
    deployed.refresh(expect_no_changes=True)
    assert operations(deployed.preview(expect_no_changes=True)) == {}


def test_update_in_place_sends_the_whole_job_without_a_mask(
    deployed: automation.Stack, stub: Stub, program: Program
) -> None:
    mark = len(stub.calls)
    program.settings["memory"] = "32Gi"
    program.settings["envs"][1]["value"] = "3"
    assert operations(deployed.preview()) == {"update": 1}
    assert stub.since(mark) == []
    assert operations(deployed.up()) == {"update": 1}
    job = f"{PARENT}/jobs/train"
    assert [call for call in stub.since(mark) if "operations" not in call] == [f"PATCH {job}", f"GET {job}"]
    body = stub.body_of(f"PATCH {job}")
    assert body["launchStage"] == "GA"
    assert body["template"]["template"]["executionEnvironment"] == "EXECUTION_ENVIRONMENT_GEN2"
    assert body["template"]["template"]["containers"][0]["resources"]["limits"]["memory"] == "32Gi"
    assert "name" not in body
    assert operations(deployed.up()) == {}


def test_drift_the_user_sees_and_drift_he_does_not(deployed: automation.Stack, stub: Stub) -> None:
    job = stub.resources[f"{PARENT}/jobs/train"]
    job["labels"]["other"] = "x"
    job["template"]["template"]["containers"][0]["startupProbe"] = {"timeoutSeconds": 240, "tcpSocket": {"port": 8080}}
    deployed.refresh()
    assert operations(deployed.preview(expect_no_changes=True)) == {}
    job["template"]["template"]["containers"][0]["env"].append({"name": "BY_HAND", "value": "1"})
    deployed.refresh()
    assert operations(deployed.preview()) == {"update": 1}


def test_location_replaces_the_job_and_its_members_first_deleted(
    deployed: automation.Stack, stub: Stub, program: Program
) -> None:
    mark = len(stub.calls)
    program.settings["location"] = "europe-west4"
    assert operations(deployed.up()) == {"replace": 2}
    jobs = [call for call in stub.since(mark) if call.startswith(("POST", "DELETE"))]
    assert jobs == [
        f"POST {PARENT}/jobs/train:setIamPolicy",
        f"DELETE {PARENT}/jobs/train",
        "POST projects/demo/locations/europe-west4/jobs?jobId=train",
        "POST projects/demo/locations/europe-west4/jobs/train:setIamPolicy",
    ]


def test_failed_update_is_sent_again_only_by_the_third_up(
    deployed: automation.Stack, stub: Stub, program: Program
) -> None:
    job = f"{PARENT}/jobs/train"
    stub.fail(f"PATCH {job}", 400, "bad memory", "INVALID_ARGUMENT")
    program.settings["memory"] = "64Gi"
    with pytest.raises(automation.CommandError, match="googleapi: Error 400: bad memory, INVALID_ARGUMENT"):
        deployed.up()
    mark = len(stub.calls)
    assert operations(deployed.up()) == {"update": 1}
    assert stub.since(mark) == [f"GET {job}"]
    assert operations(deployed.up()) == {"update": 1}
    assert f"PATCH {job}" in stub.since(mark)
    assert operations(deployed.up()) == {}


def test_refresh_heals_a_failed_update_in_one_step(deployed: automation.Stack, stub: Stub, program: Program) -> None:
    stub.fail(f"PATCH {PARENT}/jobs/train", 409, "busy", "ABORTED")
    program.settings["memory"] = "64Gi"
    with pytest.raises(automation.CommandError, match="Error 409: busy"):
        deployed.up()
    assert operations(deployed.up(refresh=True)) == {"update": 1}
    assert stub.resources[f"{PARENT}/jobs/train"]["template"]["template"]["containers"][0]["resources"]["limits"][
        "memory"
    ] == ("64Gi")


def test_failed_operation_of_a_create_keeps_the_resource_in_state(
    new_stack: Stacks, stub: Stub, program: Program
) -> None:
    stack = new_stack(_job_alone)
    stub.operation_error = {"code": 9, "message": "image not found"}
    with pytest.raises(automation.CommandError, match="Error waiting to create Job: Error code 9, message: image not"):
        stack.up()
    mark = len(stub.calls)
    assert operations(stack.up()) == {"update": 1}
    assert stub.since(mark) == [f"GET {PARENT}/jobs/train"]


def _job_alone() -> None:
    gcp.cloudrunv2.Job(
        "job",
        name="train",
        location="europe-west1",
        deletion_protection=False,
        template={"template": {"containers": [{"image": "i:1"}]}},
    )


def test_failed_create_leaves_nothing_in_state(new_stack: Stacks, stub: Stub) -> None:
    stack = new_stack(_job_alone)
    stub.fail(f"POST {PARENT}/jobs", 403, "Permission 'run.jobs.create' denied", "PERMISSION_DENIED")
    with pytest.raises(
        automation.CommandError, match=r"Error creating Job: googleapi: Error 403: Permission 'run.jobs"
    ):
        stack.up()
    assert operations(stack.preview()) == {"create": 1}


def test_429_and_503_are_retried(deployed: automation.Stack, stub: Stub, program: Program) -> None:
    stub.fail(f"PATCH {PARENT}/jobs/train", 429, "slow down", "RESOURCE_EXHAUSTED")
    stub.fail(f"PATCH {PARENT}/jobs/train", 503, "not now", "UNAVAILABLE")
    program.settings["memory"] = "64Gi"
    assert operations(deployed.up()) == {"update": 1}
    assert stub.calls.count(f"PATCH {PARENT}/jobs/train") == 3


def test_concurrent_policy_change_is_read_again(new_stack: Stacks, stub: Stub) -> None:
    def one() -> None:
        gcp.projects.IAMMember("logs", project="demo", role="roles/logging.logWriter", member="user:a@x.org")

    stack = new_stack(one)
    stub.fail("POST projects/demo:setIamPolicy", 409, "There were concurrent policy changes.", "ABORTED")
    stack.up()
    assert stub.calls.count("POST projects/demo:setIamPolicy") == 2
    assert stub.policies["projects/demo"]["bindings"] == [
        {"members": ["user:a@x.org"], "role": "roles/logging.logWriter"}
    ]


def test_deletion_protection_stops_a_destroy_before_any_call_about_the_job(
    deployed: automation.Stack, stub: Stub, program: Program
) -> None:
    program.settings["protect"] = True
    mark = len(stub.calls)
    assert operations(deployed.up()) == {"update": 1}
    assert f"PATCH {PARENT}/jobs/train" in stub.since(mark)
    mark = len(stub.calls)
    with pytest.raises(automation.CommandError, match="cannot destroy job without setting deletion_protection=false"):
        deployed.destroy()
    assert not [call for call in stub.since(mark) if call.startswith(f"DELETE {PARENT}/jobs")]
    program.settings["protect"] = False
    deployed.up()
    deployed.destroy()
    assert stub.resources == {}


def test_destroy_leaves_nothing_but_enabled_services(deployed: automation.Stack, stub: Stub) -> None:
    mark = len(stub.calls)
    deployed.destroy()
    assert stub.resources == {}
    assert all("bindings" not in policy for policy in stub.policies.values())
    assert stub.enabled == {"run.googleapis.com", "storage.googleapis.com"}
    assert calls_about(stub.since(mark), "demo-data")[-3:] == [
        "GET b/demo-data/anywhereCaches/",
        "GET b/demo-data/o?versions=true",
        "DELETE b/demo-data",
    ]


def test_deleted_by_hand_is_made_again_after_a_refresh(deployed: automation.Stack, stub: Stub) -> None:
    del stub.resources[f"{PARENT}/jobs/train"]
    del stub.policies[f"{PARENT}/jobs/train"]
    deployed.refresh()
    assert operations(deployed.preview()) == {"create": 2}


def test_refresh_fails_on_403(deployed: automation.Stack, stub: Stub) -> None:
    stub.fail(f"GET {PARENT}/jobs/train", 403, "Permission 'run.jobs.get' denied", "PERMISSION_DENIED")
    with pytest.raises(automation.CommandError, match=r"Error 403: Permission 'run.jobs.get' denied"):
        deployed.refresh()


def test_wrong_inputs_are_refused_in_a_preview(new_stack: Stacks, stub: Stub) -> None:
    def wrong() -> None:
        gcp.cloudrunv2.Job(
            "train",
            location="europe-west1",
            template={"template": {"timeout": "1h", "containers": [{"image": "i:1"}]}},
        )

    stack = new_stack(wrong)
    with pytest.raises(automation.CommandError, match=r"Examine values at 'train.template.template.timeout'\."):
        stack.preview()
