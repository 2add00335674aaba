"""What the engine does to the stack: nothing twice, updates in place, replacements, protection, an end without rest."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping

import pytest
from system_support import SHAPE, Lab

from ops.errors import BadRequest, OpsError

OTHER = {"longhaul:operators": {"other": "user:other@longhaul.local"}}
"""A grant on the project belongs to whoever made it last: two stacks of one project need operators of their own."""


def image_of(lab: Lab) -> str:
    return lab.outputs().require_heavy().image


@pytest.fixture
def spare(lab: Lab) -> Iterator[Lab]:
    """A second stack, `spare`, in the same local cloud, whose image is pinned to that of `local`."""
    change(lab, {})
    lab.stack("spare").up()
    yield lab
    change(lab, {})
    stack = lab.stack("spare")
    if stack.leftovers().protected:
        stack.up()
    stack.destroy(remove=True)


def change(lab: Lab, changes: Mapping[str, object]) -> None:
    lab.write_stack("spare", {"longhaul:images": {"heavy_runner": image_of(lab)}, **OTHER, **changes})


def job_of(lab: Lab, stack: str = "spare") -> dict[str, object]:
    return dict(lab.rest("run", "GET", f"/v2/{lab.outputs(stack).require_heavy().job_id}"))


def container_of(job: dict[str, object]) -> dict[str, object]:
    template: dict[str, dict[str, list[dict[str, object]]]] = job["template"]  # type: ignore[assignment]  # JSON
    return template["template"]["containers"][0]


def test_a_second_up_and_a_preview_after_refresh_change_nothing(lab: Lab) -> None:
    assert lab.stack().up().is_quiet
    assert lab.stack().refresh().is_quiet
    assert lab.stack().preview(refresh=True).is_quiet


def test_plain_pulumi_says_no_changes(lab: Lab) -> None:
    environ = lab.project.engine_environ(local=True)
    if shutil.which("pulumi-language-python", path=environ["PATH"]) is None:
        pytest.fail("the set-up builds pulumi-language-python: run `make setup`")
    command = ["pulumi", "preview", "--stack", "local", "--expect-no-changes", "--non-interactive"]
    done = subprocess.run(command, cwd=lab.folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_memory_and_a_variable_change_in_place(spare: Lab) -> None:
    before = job_of(spare)
    change(spare, {"longhaul:heavy_runner": {**SHAPE, "memory_gib": 2, "env": {"log_live_mib": 8}}})
    plan = spare.stack("spare").preview()
    assert {step.op for step in plan.steps if step.op != "same"} == {"update"}
    spare.stack("spare").up()
    after = job_of(spare)
    assert (after["uid"], after["name"]) == (before["uid"], before["name"])
    container = container_of(after)
    assert container["resources"] == {"limits": {"cpu": "1", "memory": "2Gi"}}
    assert {"name": "HEAVY_RUNNER_LOG_LIVE_MIB", "value": "8"} in container["env"]  # type: ignore[operator]  # JSON
    assert spare.stack("spare").preview(refresh=True).is_quiet


def test_another_region_replaces_what_has_one_and_the_plan_says_why(spare: Lab) -> None:
    before = job_of(spare)
    change(spare, {"gcp:region": "europe-west4"})
    plan = {step.name: step for step in spare.stack("spare").preview().steps if step.op == "replace"}
    assert "location" in plan["heavy-runner-job"].replacing
    assert "heavy-runner-sa" not in plan
    spare.stack("spare").up()
    after = spare.outputs("spare").require_heavy()
    assert after.location == "europe-west4"
    assert after.job_id != before["name"]
    assert spare.stack("spare").preview(refresh=True).is_quiet


def test_protection_stops_destroy_and_replacement_before_anything_is_touched(spare: Lab) -> None:
    protected = {"longhaul:deletion_protection": True, "longhaul:force_destroy": False}
    change(spare, protected)
    spare.stack("spare").up()
    resources = spare.stack("spare").leftovers()
    assert {urn.rpartition("::")[2] for urn in resources.protected} >= {"heavy-runner-job", "foundation-runs"}
    with pytest.raises(BadRequest, match=r"protected from deletion: .*heavy-runner-job.*; nothing has been touched"):
        spare.stack("spare").destroy()
    change(spare, {**protected, "gcp:region": "europe-west4"})
    with pytest.raises(BadRequest, match="protected from deletion"):
        spare.stack("spare").up()
    change(spare, protected)
    assert spare.stack("spare").preview(refresh=True).is_quiet


def test_an_update_that_failed_is_sent_again_by_the_next_up(spare: Lab) -> None:
    spare.cloud.control("PUT", "/faults", {"error_rate": 1, "error_codes": [504], "apis": ["run"]})
    change(spare, {"longhaul:heavy_runner": {**SHAPE, "memory_gib": 2}})
    try:
        with pytest.raises(OpsError, match="504"):
            spare.stack("spare").up()
    finally:
        spare.cloud.control("PUT", "/faults", {"error_rate": 0})
    assert spare.stack("spare").leftovers().failed
    outcome = spare.stack("spare").up()
    assert "heavy-runner-job" in outcome.repaired
    assert container_of(job_of(spare))["resources"] == {"limits": {"cpu": "1", "memory": "2Gi"}}
    assert spare.stack("spare").preview(refresh=True).is_quiet


def test_an_image_that_does_not_exist_is_refused_by_name(spare: Lab) -> None:
    image = image_of(spare)
    change(spare, {"longhaul:images": {"heavy_runner": image.partition("@")[0] + "@sha256:" + "0" * 64}})
    with pytest.raises(OpsError, match=r"(?i)image .* not found"):
        spare.stack("spare").up()


def test_destroy_leaves_nothing(lab: Lab) -> None:
    lab.write_stack("brief", {"longhaul:images": {"heavy_runner": image_of(lab)}, **OTHER})
    stack = lab.stack("brief")
    stack.up()
    names = lab.outputs("brief").require_heavy()
    stack.destroy(remove=True)
    left = {
        "jobs": lab.rest("run", "GET", "/v2/projects/longhaul-local/locations/europe-west1/jobs").get("jobs", []),
        "buckets": lab.rest("storage", "GET", "/storage/v1/b?project=longhaul-local").get("items", []),
        "accounts": lab.rest("iam", "GET", "/v1/projects/longhaul-local/serviceAccounts").get("accounts", []),
        "repositories": lab.rest(
            "artifactregistry", "GET", "/v1/projects/longhaul-local/locations/europe-west1/repositories"
        ).get("repositories", []),
    }
    shown = {kind: [str(item.get("name")) for item in items] for kind, items in left.items()}
    assert names.job_id not in shown["jobs"]
    assert names.bucket not in shown["buckets"]
    assert not [name for name in shown["accounts"] if name.endswith(names.service_account)]
    assert not [name for name in shown["repositories"] if "lh-brief" in name]
    policy = lab.rest("resourcemanager", "POST", "/v1/projects/longhaul-local:getIamPolicy", {})
    assert names.service_account not in str(policy)
