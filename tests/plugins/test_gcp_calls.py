"""The calls of each type, against those of the real provider: create, a quiet second look, update, delete."""

import copy
from collections.abc import Iterator

import pytest
from plugins.gcp_cases import CASES, Case, L, P, Plain
from plugins.gcp_driver import checked, create, diff, plugin, resource
from plugins.stub import Stub

from localcloud.plugins.contract import Call, InitFailed, PluginError, State
from localcloud.plugins.gcp.provider import GcpPlugin
from localcloud.plugins.values import Properties


@pytest.fixture
def gcp(stub: Stub) -> Iterator[GcpPlugin]:
    """A plugin that speaks to the stub."""
    stub.resources[f"{P}/datasets/ds"] = {"access": [{"role": "OWNER", "userByEmail": "me@x.org"}, {"view": {"x": 1}}]}
    made = plugin(**stub.config())
    yield made
    made.cancel()


def calls(stub: Stub, mark: int) -> list[str]:
    """Calls after `mark`, without the polls of operations."""
    return [call for call in stub.since(mark) if "operations/" not in call]


def outputs_of(gcp: GcpPlugin, case: Case, state: State, olds: Plain) -> Plain:
    """The state after a read, as a refresh does it."""
    read = gcp.read(
        Call(resource=resource(case.token), id=state.id, olds=state.outputs, old_inputs=Properties(values=olds))
    )
    assert read is not None
    return read.outputs.values


@pytest.mark.parametrize("case", CASES, ids=[case.token for case in CASES])
def test_a_resource_lives_by_the_calls_of_the_real_provider(gcp: GcpPlugin, stub: Stub, case: Case) -> None:
    stub.resources.pop(case.id, None)
    inputs = checked(gcp, case.token, case.inputs)
    state = create(gcp, case.token, inputs)
    assert calls(stub, 0) == case.created
    assert state.id == case.id
    assert diff(gcp, case.token, state.outputs.values, inputs).changes == []
    assert diff(gcp, case.token, outputs_of(gcp, case, state, inputs), inputs).changes == []
    if case.change:
        changed = {name: value for name, value in (case.inputs | case.change).items() if value is not None}
        _update(gcp, stub, case, state, checked(gcp, case.token, changed))
    mark = len(stub.calls)
    gcp.delete(Call(resource=resource(case.token), id=state.id, olds=state.outputs))
    assert calls(stub, mark) == case.deleted
    for call, body in case.bodies.items():
        assert stub.body_of(call) == body


def _update(gcp: GcpPlugin, stub: Stub, case: Case, state: State, inputs: Plain) -> None:
    found = diff(gcp, case.token, state.outputs.values, inputs)
    assert found.changes
    assert not any(change.replace for change in found.changes)
    mark = len(stub.calls)
    call = Call(resource=resource(case.token), id=state.id, olds=state.outputs, news=Properties(values=inputs))
    after = gcp.update(call).values
    assert calls(stub, mark) == case.updated
    assert diff(gcp, case.token, after, inputs).changes == []


JOB = "gcp:cloudrunv2/job:Job"
JOB_INPUTS: Plain = {
    "name": "train",
    "location": "europe-west1",
    "template": {"template": {"containers": [{"image": "i:1"}]}},
}


def test_import_reads_once_and_then_only_the_protection_differs(gcp: GcpPlugin, stub: Stub) -> None:
    create(gcp, JOB, checked(gcp, JOB, JOB_INPUTS))
    mark = len(stub.calls)
    found = gcp.read(Call(resource=resource(JOB), id=f"{L}/jobs/train"))
    assert found is not None
    assert found.inputs is not None
    assert stub.since(mark) == [f"GET {L}/jobs/train"]
    assert found.inputs.values["template"]["template"]["containers"] == [{"image": "i:1"}]
    program = checked(gcp, JOB, {**JOB_INPUTS, "deletionProtection": False})
    changes = diff(gcp, JOB, found.outputs.values, program).changes
    assert [change.path for change in changes] == [("deletionProtection",)]


def test_import_of_a_wrong_id_says_what_one_looks_like(gcp: GcpPlugin) -> None:
    with pytest.raises(
        PluginError, match="import id must be projects/PROJECT/locations/LOCATION/jobs/NAME, got 'train'"
    ):
        gcp.read(Call(resource=resource(JOB), id="train"))


def test_import_of_a_member_finds_role_and_member(gcp: GcpPlugin, stub: Stub) -> None:
    token = "gcp:storage/bucketIAMMember:BucketIAMMember"
    stub.policies["b/data"] = {"etag": "p1", "bindings": [{"role": "roles/x", "members": ["user:a@x.org"]}]}
    found = gcp.read(Call(resource=resource(token), id="b/data/roles/x/user:a@x.org"))
    assert found is not None
    assert found.inputs is not None
    assert {key: found.inputs.values[key] for key in ("bucket", "role", "member")} == {
        "bucket": "b/data",
        "role": "roles/x",
        "member": "user:a@x.org",
    }


def test_read_of_what_is_gone_is_none(gcp: GcpPlugin) -> None:
    assert gcp.read(Call(resource=resource(JOB), id=f"{L}/jobs/train")) is None


def test_delete_of_what_is_gone_succeeds(gcp: GcpPlugin, stub: Stub) -> None:
    state = create(gcp, JOB, checked(gcp, JOB, {**JOB_INPUTS, "deletionProtection": False}))
    stub.resources.clear()
    gcp.delete(Call(resource=resource(JOB), id=state.id, olds=state.outputs))


def test_delete_of_a_protected_resource_makes_no_call(gcp: GcpPlugin, stub: Stub) -> None:
    state = create(gcp, JOB, checked(gcp, JOB, JOB_INPUTS))
    mark = len(stub.calls)
    with pytest.raises(PluginError, match="cannot destroy job without setting deletion_protection=false and running"):
        gcp.delete(Call(resource=resource(JOB), id=state.id, olds=state.outputs))
    assert stub.since(mark) == []


def test_bucket_with_objects_is_kept_or_emptied_as_the_program_says(gcp: GcpPlugin, stub: Stub) -> None:
    token = "gcp:storage/bucket:Bucket"
    state = create(gcp, token, checked(gcp, token, {"name": "data", "location": "EU"}))
    stub.resources["b/data/o/x"] = {"name": "x", "generation": "7"}
    call = Call(resource=resource(token), id="data", olds=state.outputs)
    with pytest.raises(PluginError, match="bucket data containing objects without `force_destroy` set to true"):
        gcp.delete(call)
    assert "DELETE b/data" not in stub.calls
    forced = Properties(values={**state.outputs.values, "forceDestroy": True})
    gcp.delete(Call(resource=resource(token), id="data", olds=forced))
    assert stub.calls[-3:] == ["DELETE b/data/o/x?generation=7", "GET b/data/o?versions=true", "DELETE b/data"]


def test_job_that_cannot_be_read_after_its_create_is_an_error(gcp: GcpPlugin, stub: Stub) -> None:
    stub.fail(f"GET {L}/jobs/train", 404, "not found", "NOT_FOUND")
    with pytest.raises(PluginError, match="expected non-nil error with nil state during Create of urn:pulumi"):
        create(gcp, JOB, checked(gcp, JOB, JOB_INPUTS))


def test_failed_update_keeps_the_new_values_in_the_state(gcp: GcpPlugin, stub: Stub) -> None:
    state = create(gcp, JOB, checked(gcp, JOB, JOB_INPUTS))
    program = copy.deepcopy(JOB_INPUTS)
    program["template"]["template"]["containers"][0]["image"] = "i:2"
    stub.fail("PATCH", 400, "no such image", "INVALID_ARGUMENT")
    news = Properties(values=checked(gcp, JOB, program))
    with pytest.raises(InitFailed, match="googleapi: Error 400: no such image, INVALID_ARGUMENT") as failed:
        gcp.update(Call(resource=resource(JOB), id=state.id, olds=state.outputs, news=news))
    kept = failed.value.state.outputs
    assert kept.values["template"]["template"]["containers"][0]["image"] == "i:2"
    mark = len(stub.calls)
    repaired = gcp.update(Call(resource=resource(JOB), id=state.id, olds=kept, news=news)).values
    assert stub.since(mark) == [f"GET {L}/jobs/train"]
    assert repaired["template"]["template"]["containers"][0]["image"] == "i:1"


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 412, 504])
def test_these_answers_are_not_retried(gcp: GcpPlugin, stub: Stub, code: int) -> None:
    stub.fail(f"POST {L}/jobs", code, "no", "SOME_STATUS")
    with pytest.raises(PluginError, match=rf"Error creating Job: googleapi: Error {code}: no, SOME_STATUS"):
        create(gcp, JOB, checked(gcp, JOB, JOB_INPUTS))
    assert len(stub.calls) == 1


def test_existing_account_is_taken_over_if_the_program_says_so(gcp: GcpPlugin, stub: Stub) -> None:
    token = "gcp:serviceaccount/account:Account"
    inputs = {"accountId": "runner", "displayName": "R", "createIgnoreAlreadyExists": True}
    create(gcp, token, checked(gcp, token, inputs))
    mark = len(stub.calls)
    create(gcp, token, checked(gcp, token, inputs))
    assert [call.split()[0] for call in stub.since(mark)] == ["POST", "GET"]


def test_dataset_policy_keeps_views_and_rewrites_legacy_roles(gcp: GcpPlugin, stub: Stub) -> None:
    token = "gcp:bigquery/datasetIamMember:DatasetIamMember"
    create(gcp, token, {"datasetId": "ds", "role": "roles/bigquery.dataViewer", "member": "group:g@x.org"})
    assert stub.body_of(f"PATCH {P}/datasets/ds") == {
        "access": [
            {"view": {"x": 1}},
            {"role": "roles/bigquery.dataOwner", "userByEmail": "me@x.org"},
            {"role": "roles/bigquery.dataViewer", "groupByEmail": "g@x.org"},
        ]
    }


def test_default_labels_and_no_mark(stub: Stub) -> None:
    made = plugin(**stub.config(), defaultLabels='{"team":"a"}', addPulumiAttributionLabel="false")
    state = create(made, JOB, checked(made, JOB, {**JOB_INPUTS, "labels": {"x": "y"}}))
    assert stub.body_of(f"POST {L}/jobs")["labels"] == {"team": "a", "x": "y"}
    assert state.outputs.values["labels"] == {"x": "y"}
    assert state.outputs.values["pulumiLabels"] == {"team": "a", "x": "y"}


def test_functions_read_the_project(gcp: GcpPlugin, stub: Stub) -> None:
    stub.resources[f"{P}/billingInfo"] = {"billingAccountName": "billingAccounts/1"}
    found = gcp.invoke("gcp:organizations/getProject:getProject", {})
    assert (found["projectId"], found["number"], found["billingAccount"]) == ("demo", "1", "1")
    assert stub.calls == [f"GET {P}", f"GET {P}/billingInfo"]
    with pytest.raises(PluginError, match="has no function gcp:x/y:y"):
        gcp.invoke("gcp:x/y:y", {})
