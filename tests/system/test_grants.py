"""Every grant of the local stack is needed: without it exactly what it serves breaks, and the error names what is missing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from system_support import Lab, until

IAM_TYPES = ("IAMMember", "IamMember")


@dataclass(frozen=True)
class Grant:
    """One IAM member resource of the stack."""

    name: str
    type: str
    inputs: dict[str, Any]

    def policy(self, lab: Lab) -> dict[str, Any]:
        service, get, path, body, _ = self._calls(lab)
        return dict(lab.rest(service, get, path, body))

    def set_policy(self, lab: Lab, policy: dict[str, Any]) -> None:
        service, _, _, _, (verb, path, wrapped) = self._calls(lab)
        lab.rest(service, verb, path, {"policy": policy} if wrapped else policy)

    def _calls(self, lab: Lab) -> tuple[str, str, str, Any, tuple[str, str, bool]]:
        if self.type.startswith("gcp:storage/"):
            path = f"/storage/v1/b/{self.inputs['bucket']}/iam"
            return "storage", "GET", f"{path}?optionsRequestedPolicyVersion=3", None, ("PUT", path, False)
        if self.type.startswith("gcp:projects/"):
            path = f"/v1/projects/{lab.outputs().project}"
            body = {"options": {"requestedPolicyVersion": 3}}
            return "resourcemanager", "POST", f"{path}:getIamPolicy", body, ("POST", f"{path}:setIamPolicy", True)
        if self.type.startswith("gcp:cloudrunv2/"):
            path = f"/v2/{lab.outputs().require_heavy().job_id}"
            return "run", "GET", f"{path}:getIamPolicy", None, ("POST", f"{path}:setIamPolicy", True)
        raise AssertionError(f"no way known to change the policy behind {self.type}")


def grants(lab: Lab) -> dict[str, Grant]:
    """Return the stack's grants by name, as its state has them."""
    deployment = lab.stack()._stack.export_stack().deployment
    assert deployment is not None
    found = [r for r in deployment["resources"] if r["type"].endswith(IAM_TYPES)]
    return {(n := r["urn"].rpartition("::")[2]): Grant(n, r["type"], r["inputs"]) for r in found}


@contextmanager
def without(lab: Lab, grant: Grant) -> Iterator[None]:
    """Take one grant away for a while."""
    before = grant.policy(lab)
    role, member = grant.inputs["role"], grant.inputs["member"]
    title = (grant.inputs.get("condition") or {}).get("title")

    def is_it(binding: dict[str, Any]) -> bool:
        same = (binding.get("condition") or {}).get("title") == title
        return same and binding["role"] == role and member in binding["members"]

    assert any(is_it(binding) for binding in before["bindings"]), f"{grant.name} is not in the policy"
    kept = [b for b in before["bindings"] if not is_it(b)]
    others = [{**b, "members": [m for m in b["members"] if m != member]} for b in before["bindings"] if is_it(b)]
    grant.set_policy(lab, {**before, "bindings": kept + [b for b in others if b["members"]]})
    try:
        yield
    finally:
        grant.set_policy(lab, {**grant.policy(lab), "bindings": before["bindings"]})


Check = Callable[[Lab, Path, str], None]


def run(lab: Lab, scripts: Path, run_id: str, *more: str, script: str = "well.py") -> Any:
    table, file = scripts / "table.csv", scripts / script
    call = ("run", "heavy", "--data", table, "--script", file, "--sandbox", "never", "--run-id", run_id)
    return lab.longhaul(*call, *more)


def no_objects(lab: Lab, scripts: Path, run_id: str) -> None:
    done = run(lab, scripts, run_id)
    assert done.returncode == 1
    assert "storage.objects." in done.stderr


def no_log(lab: Lab, scripts: Path, run_id: str) -> None:
    done = run(lab, scripts, run_id)
    assert done.returncode == 0, done.stderr
    assert "logging.logEntries.list" in done.stderr


def no_start(lab: Lab, scripts: Path, run_id: str) -> None:
    done = run(lab, scripts, run_id)
    assert done.returncode == 1
    assert "run.jobs.run" in done.stderr
    row = lab.json("status", run_id)
    assert (row["state"], row["error_code"]) == ("FAILED", "not_started")


def no_view(lab: Lab, scripts: Path, run_id: str) -> None:
    done = run(lab, scripts, run_id, "--detach", script="sleep.py")
    assert done.returncode == 0, done.stderr
    until(lambda: lab.json("status", run_id)["state"] == "RUNNING")
    done = lab.longhaul("cancel", run_id)
    assert done.returncode == 1
    assert "run.executions.get" in done.stderr


def no_input(lab: Lab, scripts: Path, run_id: str) -> None:
    done = run(lab, scripts, run_id)
    assert done.returncode in (1, 2), done.stdout
    assert "storage.objects.get" in done.stdout + done.stderr


def no_output(lab: Lab, scripts: Path, run_id: str) -> None:
    done = run(lab, scripts, run_id)
    assert done.returncode in (1, 2), done.stdout
    assert "storage.objects.create" in done.stdout + done.stderr


def no_list(lab: Lab, scripts: Path, run_id: str) -> None:
    """Without it the container cannot tell a table that is not there from one it may not read."""
    error = without_table(lab, scripts, run_id)
    assert error["code"] != "input_missing"
    assert "storage.objects." in error["message"] + str(error.get("details"))


def without_table(lab: Lab, scripts: Path, run_id: str) -> dict[str, Any]:
    execution = lab.start_by_hand(run_id, scripts / "table.csv", scripts / "well.py", lose_table=True)
    done = until(lambda: (e := lab.rest("run", "GET", f"/v2/{execution}")).get("completionTime") and e)
    assert done["failedCount"] == 1
    return lab.object(run_id, "error.json")


CHECKS: dict[str, Check] = {
    "foundation-runs-operator-local": no_objects,
    "foundation-logs-operator-local": no_log,
    "heavy-runner-operator-local": no_start,
    "heavy-runner-viewer-local": no_view,
    "heavy-runner-bucket-read": no_input,
    "heavy-runner-bucket-write": no_output,
    "heavy-runner-bucket-list": no_list,
}


def test_every_grant_of_the_stack_has_a_test_here(lab: Lab) -> None:
    assert set(grants(lab)) == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_without_the_grant_what_it_serves_breaks(lab: Lab, scripts: Path, name: str) -> None:
    with without(lab, grants(lab)[name]):
        CHECKS[name](lab, scripts, f"no-{name}")
    # whatever the missing grant left running
    lab.longhaul("cancel", f"no-{name}")


def test_with_all_grants_the_run_works(lab: Lab, scripts: Path) -> None:
    done = run(lab, scripts, "all-grants")
    assert done.returncode == 0, done.stderr
    assert without_table(lab, scripts, "lost-table")["code"] == "input_missing"
