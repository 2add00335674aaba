"""What the real engine makes of failures of the gcp stand-in."""

from collections.abc import Callable

import pulumi_gcp as gcp
import pytest
from plugins.conftest import operations
from plugins.gcp_program import PARENT, Program
from plugins.stub import Stub
from pulumi import automation

pytestmark = pytest.mark.system
Stacks = Callable[[Callable[[], None]], automation.Stack]


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
