"""The gcp stand-in under the real engine, against an HTTP server that records calls."""

from collections.abc import Callable

import pulumi_gcp as gcp
import pytest
from plugins.conftest import operations
from plugins.gcp_program import ACCOUNT, PARENT, Program
from plugins.stub import Stub
from pulumi import automation

pytestmark = pytest.mark.system
Stacks = Callable[[Callable[[], None]], automation.Stack]


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
