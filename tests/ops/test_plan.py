import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from pulumi.automation.events import EngineEvent

from ops.locks import holders, still_running
from ops.plan import leftovers, step_of


def event(kind: str, op: str, **more: Any) -> EngineEvent:
    urn = "urn:pulumi:local::longhaul::gcp:cloudrunv2/job:Job::heavy-runner-job"
    metadata = {"op": op, "urn": urn, "type": "gcp:cloudrunv2/job:Job", "provider": "", **more}
    return EngineEvent.from_json({"sequence": 1, "timestamp": 0, kind: {"metadata": metadata}})


def test_a_plan_is_read_from_what_begins_and_an_update_from_what_is_done() -> None:
    begun = event("resourcePreEvent", "update", diffs=["template"])
    planned = step_of(begun, plan=True)
    assert planned is not None
    assert (planned.op, planned.name, planned.keys) == ("update", "heavy-runner-job", ("template",))
    done = event("resOutputsEvent", "update")
    assert step_of(done, plan=True) is None
    finished = step_of(done)
    assert finished is not None
    assert finished.done


def test_a_step_names_the_inputs_that_force_a_replacement() -> None:
    detailed = {"location": {"diffKind": "update-replace", "inputDiff": True}, "labels": {"diffKind": "update"}}
    step = step_of(event("resourcePreEvent", "replace", detailedDiff=detailed), plan=True)
    assert step is not None
    assert step.replacing == ("location",)


def test_the_stack_itself_and_its_providers_are_no_steps() -> None:
    assert step_of(event("resourcePreEvent", "update", type="pulumi:pulumi:Stack"), plan=True) is None
    assert step_of(event("resourcePreEvent", "update", type="pulumi:providers:gcp"), plan=True) is None


def test_failed_pending_and_protected_resources_are_found_in_the_state() -> None:
    deployment = {
        "resources": [
            {"urn": "urn::failed", "initErrors": ["400"]},
            {"urn": "urn::job", "outputs": {"deletionProtection": True}},
            {"urn": "urn::kept", "protect": True},
            {"urn": "urn::plain", "outputs": {"deletionProtection": False}},
        ],
        "pending_operations": [{"resource": {"urn": "urn::half"}, "type": "creating"}],
    }
    left = leftovers(deployment)
    assert left.failed == ("urn::failed",)
    assert left.pending == ("urn::half",)
    assert left.protected == ("urn::job", "urn::kept")
    assert leftovers(None) == leftovers({"resources": None})


@pytest.mark.parametrize(("pid", "alive"), [(os.getpid(), True), (2**22 + 1, False)])
def test_a_lock_tells_who_holds_it_and_whether_they_live(tmp_path: Path, pid: int, alive: bool) -> None:
    folder = tmp_path / ".pulumi" / "locks" / "organization" / "longhaul" / "local"
    folder.mkdir(parents=True)
    lock = {"pid": pid, "username": "ada", "hostname": socket.gethostname(), "timestamp": "2026-01-01T00:00:00Z"}
    (folder / "x.json").write_text(json.dumps(lock))
    [who] = holders(f"file://{tmp_path}", "local")
    assert who.startswith(f"ada@{socket.gethostname()} (pid {pid}) since 2026-01-01")
    assert still_running(who) is alive
    assert holders("gs://bucket", "local") == []


def test_a_holder_on_another_machine_counts_as_alive() -> None:
    assert still_running("ada@elsewhere (pid 1) since 2026-01-01T00:00:00+00:00")
