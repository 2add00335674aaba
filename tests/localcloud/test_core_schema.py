import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud import masks
from localcloud.discovery import Discovery
from localcloud.errors import ApiError

RUN = Discovery("run", "v2")
JOB = "GoogleCloudRunV2Job"


def refused(
    body: object, schema: str = JOB, discovery: Discovery = RUN, method: str = "", required: bool = False
) -> ApiError:
    with pytest.raises(ApiError) as caught:
        discovery.check(schema, body, method, required=required)
    assert caught.value.code == 400
    return caught.value


def test_a_body_comes_out_in_camel_case_with_its_types() -> None:
    body = {"launch_stage": "GA", "template": {"task_count": "3", "template": {"maxRetries": 0, "timeout": "3.5s"}}}
    assert RUN.check(JOB, body) == {
        "launchStage": "GA",
        "template": {"taskCount": 3, "template": {"maxRetries": 0, "timeout": "3.5s"}},
    }


def test_output_only_fields_and_nulls_are_dropped() -> None:
    assert RUN.check(JOB, {"uid": "x", "generation": "7", "labels": None, "client": "c"}) == {"client": "c"}


def test_every_violation_is_reported_with_google_s_wording() -> None:
    error = refused({"colour": 1, "template": {"taskCount": "many"}, "launchStage": "SOON", "labels": {"a": 5}})
    assert error.message.splitlines() == [
        "Invalid JSON payload received. Unknown name \"colour\" at 'job': Cannot find field.",
        "Invalid value at 'job.template.task_count' (TYPE_INT32), \"many\"",
        "Invalid value at 'job.launch_stage', \"SOON\"",
        "Invalid value at 'job.labels[a]' (TYPE_STRING), 5",
    ]
    (details,) = error.details
    assert [item["field"] for item in details["fieldViolations"]][1:3] == [
        "job.template.task_count",
        "job.launch_stage",
    ]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"template": {"template": {"timeout": "1h"}}}, "Illegal duration format; duration must end with 's'"),
        ({"template": []}, "Invalid value at 'job.template'"),
        (
            {"template": {"template": {"containers": [{"env": "A=1"}]}}},
            "Invalid value at 'job.template.template.containers[0].env[0]'",
        ),
        ({"template": {"parallelism": 2**31}}, "TYPE_INT32"),
        ({"template": {"template": {"gpuZonalRedundancyDisabled": "yes"}}}, "TYPE_BOOL"),
        ([], "Root element must be a message"),
        ("text", "Root element must be a message"),
    ],
)
def test_a_wrong_shape_is_refused(body: object, text: str) -> None:
    assert text in refused(body).message


def test_int64_becomes_a_string_as_proto_json_has_it() -> None:
    logging = Discovery("logging", "v2")
    checked = logging.check("LogEntry", {"httpRequest": {"requestSize": 12}, "jsonPayload": {"free": {"form": [1]}}})
    assert checked == {"httpRequest": {"requestSize": "12"}, "jsonPayload": {"free": {"form": [1]}}}


def test_bytes_must_be_base64() -> None:
    secrets = Discovery("secretmanager", "v1")
    assert secrets.check("SecretPayload", {"data": "aGk="}) == {"data": "aGk="}
    assert "Base64 decoding failed" in refused({"data": "!"}, "SecretPayload", secrets).message


@pytest.mark.parametrize(
    ("schema", "field", "number", "name"),
    [
        ("GoogleCloudRunV2Job", "launchStage", 4, "GA"),
        ("GoogleCloudRunV2VpcAccess", "egress", 2, "PRIVATE_RANGES_ONLY"),
    ],
)
def test_enums_may_come_as_numbers(schema: str, field: str, number: int, name: str) -> None:
    assert RUN.check(schema, {field: number}) == {field: name}


@pytest.mark.parametrize(
    ("package", "message", "field", "discovery", "schema"),
    [
        ("google.cloud.artifactregistry_v1", "Repository.Format", "format", ("artifactregistry", "v1"), "Repository"),
        ("google.cloud.artifactregistry_v1", "Repository.Mode", "mode", ("artifactregistry", "v1"), "Repository"),
        (
            "google.cloud.run_v2",
            "ExecutionEnvironment",
            "executionEnvironment",
            ("run", "v2"),
            "GoogleCloudRunV2TaskTemplate",
        ),
        ("google.cloud.run_v2", "VpcAccess.VpcEgress", "egress", ("run", "v2"), "GoogleCloudRunV2VpcAccess"),
        (
            "google.cloud.run_v2",
            "EmptyDirVolumeSource.Medium",
            "medium",
            ("run", "v2"),
            "GoogleCloudRunV2EmptyDirVolumeSource",
        ),
    ],
)
def test_the_numbers_of_enums_are_those_of_google_s_client(
    package: str, message: str, field: str, discovery: tuple[str, str], schema: str
) -> None:
    module: object = __import__(package, fromlist=["_"])
    for part in message.split("."):
        module = getattr(module, part)
    document = Discovery(*discovery)
    for member in module:  # type: ignore[attr-defined]  # an enum class, found by name
        if member.name in document.schemas[schema]["properties"][field]["enum"]:
            assert document.check(schema, {field: int(member)}) == {field: member.name}


def test_the_severity_and_launch_stage_numbers_are_google_s() -> None:
    log_severity_pb2 = importlib.import_module("google.logging.type.log_severity_pb2")
    launch_stage_pb2 = importlib.import_module("google.api.launch_stage_pb2")
    logging = Discovery("logging", "v2")
    for name, number in log_severity_pb2.LogSeverity.items():
        assert logging.check("LogEntry", {"severity": number}) == {"severity": name}
    for name, number in launch_stage_pb2.LaunchStage.items():
        assert RUN.check(JOB, {"launchStage": number}) == {"launchStage": name}


def test_required_fields_are_asked_for_only_where_wanted() -> None:
    iam = Discovery("iam", "v1")
    assert iam.check("CreateServiceAccountRequest", {}) == {}
    assert "account_id" in refused({}, "CreateServiceAccountRequest", iam, required=True).message
    storage = Discovery("storage", "v1", strict=False)
    assert "name" in refused({}, "Bucket", storage, "storage.buckets.insert").message


def test_query_parameters_are_typed_and_known() -> None:
    create, listing = RUN.method("run.projects.locations.jobs.create"), RUN.method("run.projects.locations.jobs.list")
    assert RUN.check_query(create, [("job_id", "a"), ("$alt", "json;enum-encoding=int"), ("prettyPrint", "false")]) == {
        "jobId": "a"
    }
    assert RUN.check_query(listing, [("pageSize", "5"), ("showDeleted", "true")]) == {
        "pageSize": 5,
        "showDeleted": True,
    }
    with pytest.raises(ApiError, match=r"Cannot bind query parameter\. Field 'colour' could not be found"):
        RUN.check_query(create, [("colour", "blue")])
    with pytest.raises(ApiError, match="TYPE_INT32"):
        RUN.check_query(listing, [("pageSize", "many")])


@pytest.mark.parametrize(
    "spelling", ["options.requestedPolicyVersion", "optionsRequestedPolicyVersion", "options.requested_policy_version"]
)
def test_the_policy_version_is_understood_in_every_spelling(spelling: str) -> None:
    method = RUN.method("run.projects.locations.jobs.getIamPolicy")
    assert RUN.check_query(method, [(spelling, "3")]) == {"options.requestedPolicyVersion": 3}


def test_paths_give_the_resource_name_and_its_ids() -> None:
    found = RUN.method("run.projects.locations.jobs.get").match("v2/projects/p/locations/l/jobs/j")
    assert found == {"name": "projects/p/locations/l/jobs/j", "projectsId": "p", "locationsId": "l", "jobsId": "j"}
    storage = Discovery("storage", "v1").method("storage.objects.get")
    assert storage.match("storage/v1/b/bucket/o/a%2Fb%20c") == {"bucket": "bucket", "object": "a/b c"}


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ("items/name,next", {"items": [{"name": "a"}, {"name": "b"}], "next": "t"}),
        ("items(name,size/x)", {"items": [{"name": "a", "size": {"x": 1}}, {"name": "b"}]}),
        ("*/name", {"items": [{"name": "a"}, {"name": "b"}], "next": "t"}),
        ("*", {"items": [{"name": "a", "size": {"x": 1, "y": 2}}, {"name": "b"}], "next": "t"}),
    ],
)
def test_partial_responses_keep_what_is_named(fields: str, left: object) -> None:
    whole = {"items": [{"name": "a", "size": {"x": 1, "y": 2}}, {"name": "b"}], "next": "t"}
    assert masks.select(whole, fields) == left


@pytest.mark.parametrize("fields", ["", "a(", "a,,b", "a)b", "(a)"])
def test_a_broken_selection_is_refused(fields: str) -> None:
    with pytest.raises(ApiError, match="Invalid field selection"):
        masks.parse(fields)


def test_an_update_mask_takes_sets_and_clears() -> None:
    current = {"a": 1, "b": {"c": 2, "d": 3}, "labels": {"x": "1"}}
    changed = masks.update(current, {"a": 9, "b": {"c": 8, "d": 7}}, "b.c,labels")
    assert changed == {"a": 1, "b": {"c": 8, "d": 3}}
    assert current["b"] == {"c": 2, "d": 3}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(json_values)
def test_no_body_at_all_breaks_the_checker(body: object) -> None:
    try:
        checked = RUN.check(JOB, body)
    except ApiError as error:
        checked = {"code": error.code}
    assert checked.get("code", 400) == 400


@given(
    st.dictionaries(
        st.sampled_from(["labels", "template", "client", "annotations", "etag", "launchStage"]), json_values
    )
)
def test_what_was_checked_once_passes_again_unchanged(body: dict[str, object]) -> None:
    try:
        once = RUN.check(JOB, body)
    except ApiError:
        return
    assert RUN.check(JOB, once) == once
