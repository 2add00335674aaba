"""The calls of each type, against those of the real provider: create, a quiet second look, update, delete."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from plugins.gcp_driver import checked, create, diff, plugin, resource
from plugins.stub import Stub

from localcloud.plugins.contract import Call, InitFailed, PluginError, State
from localcloud.plugins.gcp.provider import GcpPlugin
from localcloud.plugins.values import Properties

Plain = dict[str, Any]
P = "projects/demo"
L = f"{P}/locations/europe-west1"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Inputs of a type, a change in place, and the calls of each step (operations are left out)."""

    token: str
    inputs: Plain
    change: Plain
    created: list[str]
    updated: list[str]
    deleted: list[str]
    bodies: Plain = field(default_factory=dict)
    id: str = ""


CASES = [
    Case(
        token="gcp:cloudrunv2/service:Service",
        inputs={
            "name": "api",
            "location": "europe-west1",
            "deletionProtection": False,
            "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
            "template": {
                "maxInstanceRequestConcurrency": 10,
                "scaling": {"maxInstanceCount": 2, "minInstanceCount": 0},
                "containers": [{"image": "i:1", "ports": {"containerPort": 8080}}],
            },
        },
        change={"template": {"containers": [{"image": "i:2"}]}},
        created=[f"POST {L}/services?serviceId=api", f"GET {L}/services/api"],
        updated=[f"PATCH {L}/services/api", f"GET {L}/services/api"],
        deleted=[f"DELETE {L}/services/api"],
        bodies={
            f"POST {L}/services?serviceId=api": {
                "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
                "labels": {"goog-pulumi-provisioned": "true"},
                "template": {
                    "containers": [{"image": "i:1", "ports": [{"containerPort": 8080}]}],
                    "maxInstanceRequestConcurrency": 10,
                    "scaling": {"maxInstanceCount": 2},
                },
            }
        },
        id=f"{L}/services/api",
    ),
    Case(
        token="gcp:workflows/workflow:Workflow",
        inputs={"name": "wf", "sourceContents": "a", "deletionProtection": False, "userEnvVars": {"U": "1"}},
        change={"sourceContents": "b"},
        created=[f"POST {L}/workflows?workflowId=wf", f"GET {L}/workflows/wf"],
        updated=[f"PATCH {L}/workflows/wf?updateMask=sourceContents", f"GET {L}/workflows/wf"],
        deleted=[f"DELETE {L}/workflows/wf"],
        bodies={
            f"POST {L}/workflows": {
                "name": "wf",
                "labels": {"goog-pulumi-provisioned": "true"},
                "sourceContents": "a",
                "userEnvVars": {"U": "1"},
            },
            f"PATCH {L}/workflows": {
                "labels": {"goog-pulumi-provisioned": "true"},
                "sourceContents": "b",
                "userEnvVars": {"U": "1"},
            },
        },
        id=f"{L}/workflows/wf",
    ),
    Case(
        token="gcp:cloudscheduler/job:Job",
        inputs={
            "name": "s1",
            "schedule": "*/5 * * * *",
            "httpTarget": {
                "httpMethod": "POST",
                "uri": "https://x",
                "body": "e30=",
                "oauthToken": {"serviceAccountEmail": "a@x"},
            },
        },
        change={"schedule": "0 * * * *", "paused": True},
        created=[f"POST {L}/jobs", f"POST {L}/jobs/s1:resume", f"GET {L}/jobs/s1"],
        updated=[f"PATCH {L}/jobs/s1", f"POST {L}/jobs/s1:pause", f"GET {L}/jobs/s1"],
        deleted=[f"DELETE {L}/jobs/s1"],
        bodies={
            f"POST {L}/jobs": {
                "name": f"{L}/jobs/s1",
                "schedule": "*/5 * * * *",
                "timeZone": "Etc/UTC",
                "httpTarget": {
                    "httpMethod": "POST",
                    "uri": "https://x",
                    "body": "e30=",
                    "oauthToken": {"serviceAccountEmail": "a@x"},
                },
            }
        },
        id=f"{L}/jobs/s1",
    ),
    Case(
        token="gcp:secretmanager/secret:Secret",
        inputs={"secretId": "tok", "replication": {"auto": {}}},
        change={"ttl": "3600s"},
        created=[f"POST {P}/secrets?secretId=tok", f"GET {P}/secrets/tok"],
        updated=[f"PATCH {P}/secrets/tok?updateMask=ttl", f"GET {P}/secrets/tok"],
        deleted=[f"DELETE {P}/secrets/tok"],
        bodies={
            f"POST {P}/secrets?secretId=tok": {
                "labels": {"goog-pulumi-provisioned": "true"},
                "replication": {"automatic": {}},
            }
        },
        id=f"{P}/secrets/tok",
    ),
    Case(
        token="gcp:secretmanager/secretVersion:SecretVersion",
        inputs={"secret": f"{P}/secrets/tok", "secretData": "made-up"},
        change={"enabled": False},
        created=[
            f"POST {P}/secrets/tok:addVersion",
            f"POST {P}/secrets/tok/versions/1:enable",
            f"GET {P}/secrets/tok/versions/1",
            f"GET {P}/secrets/tok/versions/1:access",
        ],
        updated=[f"POST {P}/secrets/tok/versions/1:disable", f"GET {P}/secrets/tok/versions/1"],
        deleted=[f"POST {P}/secrets/tok/versions/1:destroy"],
        bodies={f"POST {P}/secrets/tok:addVersion": {"payload": {"data": "bWFkZS11cA=="}}},
        id=f"{P}/secrets/tok/versions/1",
    ),
    Case(
        token="gcp:bigquery/dataset:Dataset",
        inputs={"datasetId": "ds", "location": "EU", "deleteContentsOnDestroy": True},
        change={"description": "d"},
        created=[f"POST {P}/datasets?accessPolicyVersion=3", f"GET {P}/datasets/ds?accessPolicyVersion=3"],
        updated=[f"PUT {P}/datasets/ds?accessPolicyVersion=3", f"GET {P}/datasets/ds?accessPolicyVersion=3"],
        deleted=[f"DELETE {P}/datasets/ds?deleteContents=true"],
        bodies={
            f"POST {P}/datasets?accessPolicyVersion=3": {
                "datasetReference": {"datasetId": "ds"},
                "labels": {"goog-pulumi-provisioned": "true"},
                "location": "EU",
            }
        },
        id=f"{P}/datasets/ds",
    ),
    Case(
        token="gcp:bigquery/table:Table",
        inputs={
            "datasetId": "ds",
            "tableId": "tb",
            "deletionProtection": False,
            "schema": '[{"name":"a","type":"STRING"}]',
            "timePartitioning": {"type": "DAY"},
        },
        change={"schema": '[{"name":"a","type":"STRING"},{"name":"b","type":"INT64"}]'},
        created=[f"POST {P}/datasets/ds/tables", f"GET {P}/datasets/ds/tables/tb"],
        updated=[
            f"GET {P}/datasets/ds/tables/tb",
            f"PUT {P}/datasets/ds/tables/tb",
            f"GET {P}/datasets/ds/tables/tb",
        ],
        deleted=[f"DELETE {P}/datasets/ds/tables/tb"],
        bodies={
            f"POST {P}/datasets/ds/tables": {
                "tableReference": {"projectId": "demo", "datasetId": "ds", "tableId": "tb"},
                "labels": {"goog-pulumi-provisioned": "true"},
                "schema": {"fields": [{"policyTags": {"names": []}, "name": "a", "type": "STRING"}]},
                "timePartitioning": {"type": "DAY", "requirePartitionFilter": False},
            }
        },
        id=f"{P}/datasets/ds/tables/tb",
    ),
    Case(
        token="gcp:monitoring/notificationChannel:NotificationChannel",
        inputs={"type": "email", "labels": {"email_address": "a@x"}},
        change={"displayName": "d"},
        created=[f"POST {P}/notificationChannels", f"GET {P}/notificationChannels/1"],
        updated=[f"PATCH {P}/notificationChannels/1?updateMask=displayName", f"GET {P}/notificationChannels/1"],
        deleted=[f"DELETE {P}/notificationChannels/1?force=false"],
        id=f"{P}/notificationChannels/1",
    ),
    Case(
        token="gcp:monitoring/alertPolicy:AlertPolicy",
        inputs={
            "displayName": "d",
            "combiner": "OR",
            "conditions": [
                {
                    "displayName": "c",
                    "conditionThreshold": {"duration": "60s", "comparison": "COMPARISON_GT", "thresholdValue": 1.5},
                }
            ],
        },
        change={
            "conditions": [
                {"displayName": "c", "conditionThreshold": {"duration": "120s", "comparison": "COMPARISON_GT"}}
            ]
        },
        created=[f"POST {P}/alertPolicies", f"GET {P}/alertPolicies/1"],
        updated=[f"PATCH {P}/alertPolicies/1?updateMask=conditions", f"GET {P}/alertPolicies/1"],
        deleted=[f"DELETE {P}/alertPolicies/1"],
        id=f"{P}/alertPolicies/1",
    ),
    Case(
        token="gcp:logging/metric:Metric",
        inputs={"name": "errors", "filter": "severity>=ERROR"},
        change={"filter": "severity>=WARNING"},
        created=[f"POST {P}/metrics", f"GET {P}/metrics/errors"],
        updated=[f"PUT {P}/metrics/errors", f"GET {P}/metrics/errors"],
        deleted=[f"DELETE {P}/metrics/errors"],
        bodies={f"POST {P}/metrics": {"name": "errors", "filter": "severity>=ERROR"}},
        id="errors",
    ),
    Case(
        token="gcp:artifactregistry/repository:Repository",
        inputs={"repositoryId": "images", "format": "DOCKER"},
        change={"description": "d"},
        created=[f"POST {L}/repositories?repository_id=images", f"GET {L}/repositories/images"],
        updated=[f"PATCH {L}/repositories/images?updateMask=description", f"GET {L}/repositories/images"],
        deleted=[f"DELETE {L}/repositories/images"],
        id=f"{L}/repositories/images",
    ),
    Case(
        token="gcp:serviceaccount/account:Account",
        inputs={"accountId": "runner", "displayName": "R"},
        change={"displayName": "S"},
        created=[f"POST {P}/serviceAccounts", *[f"GET {P}/serviceAccounts/runner@demo.iam.gserviceaccount.com"] * 4],
        updated=[
            f"GET {P}/serviceAccounts/runner@demo.iam.gserviceaccount.com",
            f"PATCH {P}/serviceAccounts/runner@demo.iam.gserviceaccount.com",
            *[f"GET {P}/serviceAccounts/runner@demo.iam.gserviceaccount.com"] * 4,
        ],
        deleted=[f"DELETE {P}/serviceAccounts/runner@demo.iam.gserviceaccount.com"],
        bodies={
            f"PATCH {P}/serviceAccounts/runner@demo.iam.gserviceaccount.com": {
                "serviceAccount": {"displayName": "S", "description": "", "etag": "e1"},
                "updateMask": "display_name",
            }
        },
        id=f"{P}/serviceAccounts/runner@demo.iam.gserviceaccount.com",
    ),
    Case(
        token="gcp:storage/bucket:Bucket",
        inputs={
            "name": "data",
            "location": "europe-west1",
            "labels": {"a": "1", "b": "2"},
            "lifecycleRules": [{"action": {"type": "Delete"}, "condition": {"age": 1}}],
        },
        change={"labels": {"a": "1"}, "storageClass": "NEARLINE", "lifecycleRules": None},
        created=["POST b?project=demo", "GET b/data", "GET b/data"],
        updated=["PATCH b/data", "GET b/data"],
        deleted=["GET b/data/anywhereCaches/", "GET b/data/o?versions=true", "DELETE b/data"],
        bodies={
            "PATCH b/data": {
                "labels": {"a": "1", "b": None, "goog-pulumi-provisioned": "true"},
                "storageClass": "NEARLINE",
                "lifecycle": {"rule": []},
            }
        },
        id="data",
    ),
    Case(
        token="gcp:storage/bucketObject:BucketObject",
        inputs={"bucket": "data", "name": "a/b.txt", "content": "one"},
        change={"content": "two"},
        created=["POST upload/b/data/o?name=a/b.txt&uploadType=multipart", "GET b/data/o/a/b.txt"],
        updated=["POST upload/b/data/o?name=a/b.txt&uploadType=multipart", "GET b/data/o/a/b.txt"],
        deleted=["DELETE b/data/o/a/b.txt"],
        id="data-a/b.txt",
    ),
    Case(
        token="gcp:projects/service:Service",
        inputs={"service": "run.googleapis.com", "disableOnDestroy": True},
        change={"disableOnDestroy": True, "disableDependentServices": True},
        created=[
            f"GET {P}/services?filter=state:ENABLED&fields=services/name,nextPageToken&pageSize=200",
            f"POST {P}/services/run.googleapis.com:enable",
            f"GET {P}",
            f"GET {P}/services?filter=state:ENABLED&fields=services/name,nextPageToken&pageSize=200",
        ],
        updated=[
            f"GET {P}",
            f"GET {P}/services?filter=state:ENABLED&fields=services/name,nextPageToken&pageSize=200",
        ],
        deleted=[f"POST {P}/services/run.googleapis.com:disable"],
        bodies={f"POST {P}/services/run.googleapis.com:enable": {}},
        id="demo/run.googleapis.com",
    ),
    Case(
        token="gcp:bigquery/datasetIamMember:DatasetIamMember",
        inputs={
            "datasetId": "ds",
            "role": "roles/bigquery.dataViewer",
            "member": "serviceAccount:a@x.gserviceaccount.com",
        },
        change={},
        created=[f"GET {P}/datasets/ds", f"PATCH {P}/datasets/ds", *[f"GET {P}/datasets/ds"] * 4],
        updated=[],
        deleted=[f"GET {P}/datasets/ds", f"PATCH {P}/datasets/ds", *[f"GET {P}/datasets/ds"] * 3],
        id=f"{P}/datasets/ds/roles/bigquery.dataViewer/serviceAccount:a@x.gserviceaccount.com",
    ),
    Case(
        token="gcp:secretmanager/secretIamMember:SecretIamMember",
        inputs={"secretId": "tok", "role": "roles/secretmanager.secretAccessor", "member": "user:a@x.org"},
        change={},
        created=[
            f"GET {P}/secrets/tok:getIamPolicy?options.requestedPolicyVersion=3",
            f"POST {P}/secrets/tok:setIamPolicy",
            *[f"GET {P}/secrets/tok:getIamPolicy?options.requestedPolicyVersion=3"] * 4,
        ],
        updated=[],
        deleted=[
            f"GET {P}/secrets/tok:getIamPolicy?options.requestedPolicyVersion=3",
            f"POST {P}/secrets/tok:setIamPolicy",
            *[f"GET {P}/secrets/tok:getIamPolicy?options.requestedPolicyVersion=3"] * 3,
        ],
        id=f"{P}/secrets/tok/roles/secretmanager.secretAccessor/user:a@x.org",
    ),
]


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
