"""What the gcp stand-in refuses in a preview, what it lets pass, and the names and defaults it makes."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.gcp_driver import checked, plugin, problems, resource
from plugins.sdk_names import sdk_properties

from localcloud.plugins.contract import Autoname, PluginError
from localcloud.plugins.gcp import schema
from localcloud.plugins.gcp.rows import ROWS
from localcloud.plugins.values import UNKNOWN, Properties

JOB = "gcp:cloudrunv2/job:Job"
MEMBER = "gcp:cloudrunv2/jobIamMember:JobIamMember"


def job(**template: Any) -> dict[str, Any]:
    """Inputs of a job."""
    return {
        "location": "europe-west1",
        "template": {"template": {"containers": [{"image": "i:1"}], **template}},
    }


@pytest.mark.parametrize(
    ("token", "inputs", "expected"),
    [
        (
            JOB,
            job(timeout="1h"),
            '"template.0.template.0.timeout" ("1h") doesn\'t match regexp "^[0-9]+(?:\\\\.[0-9]{1,9})?s$". '
            "Examine values at 'thing.template.template.timeout'.",
        ),
        (
            JOB,
            job(executionEnvironment="GEN3"),
            'expected template.0.template.0.execution_environment to be one of ["EXECUTION_ENVIRONMENT_GEN1" '
            "\"EXECUTION_ENVIRONMENT_GEN2\"], got GEN3. Examine values at 'thing.template.template.executionEnvironment'.",
        ),
        (JOB, job(maxRetries="many"), 'strconv.ParseInt: parsing "many": invalid syntax. Examine values at '),
        (JOB, job(memory="1Gi"), "Invalid or unknown key. Examine values at 'thing.template.template.memory'."),
        (
            JOB,
            {"location": "europe-west1"},
            'Missing required argument. The argument "template" is required, but no definition was found.. '
            "Examine values at 'thing.template'.",
        ),
        (
            JOB,
            job(containers=[{"args": ["x"]}]),
            "Examine values at 'thing.template.template.containers[0].image'.",
        ),
        (JOB, {**job(), "etag": "x"}, "Computed attributes cannot be set"),
        (
            MEMBER,
            {"name": "train", "role": "roles/run.invoker", "member": "foo"},
            "invalid value for member (IAM members must have one of the values outlined here: https://cloud.google.com/"
            "billing/docs/reference/rest/v1/Policy#Binding). Examine values at 'thing.member'.",
        ),
        ("gcp:serviceaccount/account:Account", {"accountId": "short"}, '"account_id" ("short") doesn\'t match regexp'),
        ("gcp:serviceaccount/account:Account", {"accountId": "Capitals"}, "doesn't match regexp"),
        (
            "gcp:serviceaccount/iAMMember:IAMMember",
            {"serviceAccountId": "runner", "role": "r", "member": "user:a@x.org"},
            '"service_account_id" ("runner") doesn\'t match regexp',
        ),
        ("gcp:projects/service:Service", {"service": "run"}, '"service" ("run") doesn\'t match regexp'),
        (
            "gcp:storage/bucketObject:BucketObject",
            {"bucket": "b", "name": "n"},
            "only one of `content,source` must be specified",
        ),
        (
            "gcp:cloudscheduler/job:Job",
            {"httpTarget": {"uri": "u", "body": "not base64!"}},
            "could not decode http_target.0.body as a valid base64 value",
        ),
        ("gcp:cloudscheduler/job:Job", {"schedule": "* * * * *"}, "must be specified"),
        (
            "gcp:bigquery/table:Table",
            {"datasetId": "d", "tableId": "t", "schema": "["},
            '"schema" contains an invalid JSON',
        ),
        ("gcp:bigquery/dataset:Dataset", {"datasetId": "a-b"}, "doesn't match regexp"),
    ],
)
def test_wrong_inputs_are_refused_in_the_providers_words(token: str, inputs: dict[str, Any], expected: str) -> None:
    found = problems(token, inputs)
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    "template",
    [
        {"containers": [{"image": "", "resources": {"limits": {"memory": "banana", "cpu": "3.7"}}}]},
        {"maxRetries": 99},
        {"maxRetries": "2"},
        {"containers": []},
        {"containers": [{"image": "i", "envs": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}]},
        {"timeout": UNKNOWN, "serviceAccount": UNKNOWN},
    ],
)
def test_what_only_a_server_can_refuse_passes_a_preview(template: dict[str, Any]) -> None:
    assert problems(JOB, {**job(**template), "name": "Bad_Name_"}) == []


def test_unknown_type_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(
        PluginError, match=r"stand-in for the gcp plugin has no row for gcp:pubsub/topic:Topic; it has gcp"
    ):
        plugin().check(resource("gcp:pubsub/topic:Topic"), Properties(values={}), Properties(values={}), Autoname())


def test_defaults_are_filled_in_and_named() -> None:
    inputs = checked(plugin(), JOB, job())
    assert inputs["deletionProtection"] is True
    assert inputs["template"]["template"]["maxRetries"] == 3
    assert set(inputs["__defaults"]) == {"deletionProtection", "name"}


@given(seed=st.binary(min_size=1, max_size=32))
def test_name_is_the_logical_one_and_seven_hex_digits_of_the_seed(seed: bytes) -> None:
    made = plugin()
    name = checked(made, JOB, job(), seed=seed)["name"]
    assert re.fullmatch(r"thing-[0-9a-f]{7}", name)
    assert checked(made, JOB, job(), seed=seed)["name"] == name


def test_made_name_is_kept_for_the_life_of_the_resource() -> None:
    made = plugin()
    first = checked(made, JOB, job(), seed=b"1")
    assert checked(made, JOB, job(), olds=first, seed=b"2")["name"] == first["name"]


def test_service_names_are_cut_to_fifty_letters() -> None:
    long = plugin().check(
        resource("gcp:cloudrunv2/service:Service", "s" * 70),
        Properties(values={}),
        Properties(values={"location": "l", "template": {}}),
        Autoname(seed=b"1"),
    )
    assert len(long.inputs.values["name"]) == 50


def test_autonaming_of_the_project_wins() -> None:
    named = plugin().check(
        resource(JOB), Properties(values={}), Properties(values=job()), Autoname(proposed="theirs", seed=b"1")
    )
    assert named.inputs.values["name"] == "theirs"


def test_secrets_stay_secret_where_they_are() -> None:
    path = ("template", "template", "containers", 0, "envs", 0, "value")
    inputs = job(containers=[{"image": "i", "envs": [{"name": "T", "value": "made-up"}]}])
    result = plugin().check(
        resource(JOB), Properties(values={}), Properties(values=inputs, secrets=frozenset({path})), Autoname(seed=b"1")
    )
    assert result.inputs.secrets == {path}


def test_secret_fields_are_marked_even_if_the_program_does_not() -> None:
    inputs = {"secret": "projects/demo/secrets/s", "secretData": "made-up"}
    result = plugin().check(
        resource("gcp:secretmanager/secretVersion:SecretVersion"),
        Properties(values={}),
        Properties(values=inputs),
        Autoname(),
    )
    assert ("secretData",) in result.inputs.secrets


@pytest.mark.parametrize("token", sorted(ROWS))
def test_properties_of_a_row_are_those_of_the_sdk(token: str) -> None:
    fields = schema.load(ROWS[token].table)
    inputs, outputs = sdk_properties(token)
    assert {name for name, field in fields.items() if field.input} == inputs
    # what only goes in is no output: secretDataWo and the like
    assert {name for name in fields if name not in inputs} == outputs - inputs
