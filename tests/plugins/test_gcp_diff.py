"""What the gcp stand-in plans: which changes are none, which are an update, which need a new resource."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.gcp_driver import checked, diff, plugin

from localcloud.plugins.gcp.provider import GcpPlugin
from localcloud.plugins.values import UNKNOWN, path_text

JOB = "gcp:cloudrunv2/job:Job"
BUCKET = "gcp:storage/bucket:Bucket"
MEMBER = "gcp:storage/bucketIAMMember:BucketIAMMember"
MARK = {"goog-pulumi-provisioned": "true"}
Plain = dict[str, Any]
GCP: GcpPlugin = plugin()


def job_inputs() -> Plain:
    """A job with much of what a job can have."""
    container = {
        "image": "h/i@sha256:0",
        "args": ["a", "b"],
        "envs": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": ""},
            {"name": "T", "valueSource": {"secretKeyRef": {"secret": "tok", "version": "latest"}}},
        ],
        "resources": {"limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}},
        "volumeMounts": [{"name": "d", "mountPath": "/mnt/d"}],
    }
    return {
        "name": "train",
        "location": "europe-west1",
        "labels": {"team": "a"},
        "deletionProtection": False,
        "template": {
            "taskCount": 3,
            "template": {
                "containers": [container],
                "maxRetries": 0,
                "timeout": "3600s",
                "volumes": [
                    {"name": "d", "gcs": {"bucket": "b", "readOnly": False, "mountOptions": ["implicit-dirs"]}}
                ],
                "nodeSelector": {"accelerator": "nvidia-l4"},
                "gpuZonalRedundancyDisabled": True,
            },
        },
    }


def job_state(inputs: Plain) -> Plain:
    """What the state holds after a server that echoes."""
    state = {key: copy.deepcopy(value) for key, value in inputs.items() if not key.startswith("__")}
    labels = {"team": "a", **MARK}
    return {
        **state,
        "project": "demo",
        "pulumiLabels": labels,
        "effectiveLabels": dict(labels),
        "deletionPolicy": "DELETE",
    }


def changes(token: str, state: Plain, inputs: Plain, ignore: tuple[str, ...] = ()) -> dict[str, str]:
    """Path -> kind, with `!` where it needs a new resource."""
    found = diff(GCP, token, state, inputs, ignore).changes
    return {path_text(change.path): change.kind + ("!" if change.replace else "") for change in found}


def set_in(value: Any, path: str, new: Any) -> None:
    """Sets (or with None removes) what lies at a path such as `template.template.containers.0.image`."""
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    for step in steps:
        value = value[step] if isinstance(step, int) else value.setdefault(step, {})
    if new is None:
        value.pop(last)
    elif isinstance(last, int) and last == len(value):
        value.append(new)
    else:
        value[last] = new


CONTAINER = "template/template/containers/0"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("effectiveLabels/other", "x"),
        ("effectiveAnnotations", {"run.googleapis.com/x": "y"}),
        ("launchStage", "GA"),
        ("template/parallelism", 2),
        ("template/template/serviceAccount", "default@x"),
        ("template/template/executionEnvironment", "EXECUTION_ENVIRONMENT_GEN2"),
        (f"{CONTAINER}/startupProbe", {"timeoutSeconds": 240, "tcpSocket": {"port": 8080}}),
        ("template/template/volumes/0/gcs/readOnly", None),
        (f"{CONTAINER}/envs/1/value", None),
        ("template/template/maxRetries", None),
        ("uid", "u"),
        ("etag", "e"),
        ("executionCount", 3),
        ("terminalConditions", [{"state": "CONDITION_SUCCEEDED"}]),
        ("client", ""),
    ],
)
def test_a_server_may_fill_this_in(path: str, value: Any) -> None:
    inputs = checked(GCP, JOB, job_inputs())
    state = job_state(inputs)
    set_in(state, path, value)
    assert changes(JOB, state, inputs) == {}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (f"{CONTAINER}/resources/limits/memory", "16384Mi", {"limits.memory": "update"}),
        (f"{CONTAINER}/resources/limits/cpu", "4000m", {"limits.cpu": "update"}),
        (f"{CONTAINER}/resources/limits/extra", "1", {"limits.extra": "delete"}),
        (f"{CONTAINER}/resources/limits/nvidia.com~gpu", "1", {}),
        ("template/template/nodeSelector", None, {"nodeSelector": "add"}),
        ("template/template/gpuZonalRedundancyDisabled", None, {"gpuZonalRedundancyDisabled": "add"}),
        ("template/template/volumes/0/gcs/mountOptions", None, {"mountOptions[0]": "add"}),
        (f"{CONTAINER}/args", None, {"args[0]": "add", "args[1]": "add"}),
        ("template/template/timeout", "3600.000s", {"timeout": "update"}),
        ("template/labels", {"x": "y"}, {"labels": "delete"}),
        ("client", "gcloud", {"client": "delete"}),
        (
            f"{CONTAINER}/envs/2/valueSource/secretKeyRef/secret",
            "projects/1/secrets/tok",
            {"secretKeyRef.secret": "update"},
        ),
        (f"{CONTAINER}/name", "job-1", {"containers[0].name": "delete"}),
        (f"{CONTAINER}/ports", [{"containerPort": 8080}], {"containers[0].ports": "delete"}),
        ("template/taskCount", None, {"template.taskCount": "add"}),
        (f"{CONTAINER}/image", "other", {"containers[0].image": "update"}),
        ("binaryAuthorization", {"useDefault": True}, {"binaryAuthorization": "delete"}),
        (f"{CONTAINER}/envs/3", {"name": "BY_HAND", "value": "1"}, {"envs[3]": "delete"}),
        ("labels/team", None, {"labels.team": "add"}),
    ],
)
def test_a_server_must_not_do_this(path: str, value: Any, expected: dict[str, str]) -> None:
    inputs = checked(GCP, JOB, job_inputs())
    state = job_state(inputs)
    set_in(state, path.replace("nvidia.com~gpu", "nvidia.com"), value) if "~" not in path else None
    found = changes(JOB, state, inputs)
    assert all(any(key.endswith(end) and found[key] == kind for key in found) for end, kind in expected.items()), found
    assert bool(found) == bool(expected)


def test_lost_labels_are_seen() -> None:
    inputs = checked(GCP, JOB, job_inputs())
    state = job_state(inputs)
    state["pulumiLabels"] = {"team": "a", "goog-pulumi-provisioned": ""}
    state["effectiveLabels"] = {"team": "a"}
    assert changes(JOB, state, inputs) == {"pulumiLabels": "update", "effectiveLabels": "update"}


@given(order=st.permutations(range(5)))
def test_environment_is_a_set(order: list[int]) -> None:
    program = job_inputs()
    program["template"]["template"]["containers"][0]["envs"] = [{"name": f"V{n}", "value": str(n)} for n in range(5)]
    state = job_state(checked(GCP, JOB, program))
    envs = state["template"]["template"]["containers"][0]["envs"]
    state["template"]["template"]["containers"][0]["envs"] = [envs[index] for index in order]
    assert changes(JOB, state, checked(GCP, JOB, program)) == {}


@given(at=st.integers(0, 4), value=st.text("abc", min_size=1))
def test_one_changed_variable_is_one_update_at_its_place(at: int, value: str) -> None:
    program = job_inputs()
    envs = [{"name": f"V{n}", "value": str(n)} for n in range(5)]
    program["template"]["template"]["containers"][0]["envs"] = envs
    state = job_state(checked(GCP, JOB, program))
    envs[at]["value"] = value
    assert changes(JOB, state, checked(GCP, JOB, program)) == {
        f"template.template.containers[0].envs[{at}].value": "update"
    }


@given(mib=st.integers(1, 64).map(lambda gib: gib * 1024))
def test_respelled_memory_is_an_update_and_never_a_replacement(mib: int) -> None:
    program = job_inputs()
    limits = program["template"]["template"]["containers"][0]["resources"]["limits"]
    limits["memory"] = f"{mib // 1024}Gi"
    state = job_state(checked(GCP, JOB, program))
    limits["memory"] = f"{mib}Mi"
    assert list(changes(JOB, state, checked(GCP, JOB, program)).values()) == ["update"]


@pytest.mark.parametrize("name", ["name", "location", "project"])
def test_what_names_a_job_replaces_it(name: str) -> None:
    program = job_inputs()
    state = job_state(checked(GCP, JOB, program))
    found = diff(GCP, JOB, state, checked(GCP, JOB, {**program, name: "other"}))
    assert [(path_text(change.path), change.replace) for change in found.changes] == [(name, True)]
    assert found.delete_before_replace


def test_made_names_let_the_new_one_be_created_first() -> None:
    program = job_inputs()
    del program["name"]
    inputs = checked(GCP, JOB, program)
    found = diff(GCP, JOB, job_state(inputs), {**inputs, "location": "other"})
    assert not found.delete_before_replace


def test_value_not_known_yet_is_an_update() -> None:
    program = job_inputs()
    state = job_state(checked(GCP, JOB, program))
    program["template"]["template"]["containers"][0]["image"] = UNKNOWN
    assert changes(JOB, state, checked(GCP, JOB, program)) == {"template.template.containers[0].image": "update"}


def test_ignored_changes_are_none() -> None:
    program = job_inputs()
    state = job_state(checked(GCP, JOB, program))
    state["client"], state["template"]["template"]["timeout"] = "gcloud", "1s"
    assert changes(JOB, state, checked(GCP, JOB, program), ("client", "template.template")) == {}


BUCKET_INPUTS: Plain = {
    "name": "demo-data",
    "location": "europe-west1",
    "lifecycleRules": [
        {"action": {"type": "Delete"}, "condition": {"age": 30, "withState": "LIVE"}},
        {"action": {"type": "SetStorageClass", "storageClass": "NEARLINE"}, "condition": {"age": 10}},
    ],
    "versioning": {"enabled": True},
    "publicAccessPrevention": "enforced",
}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("softDeletePolicy", {"retentionDurationSeconds": 1}, {}),
        ("rpo", "DEFAULT", {}),
        ("autoclass", {"enabled": False}, {}),
        ("hierarchicalNamespace", {"enabled": False}, {}),
        ("lifecycleRules/1/condition/withState", "ANY", {}),
        ("location", "europe-west1", {"location": "update!"}),
        ("location", "EUROPE-WEST4", {"location": "update!"}),
        ("publicAccessPrevention", "inherited", {"publicAccessPrevention": "update"}),
        ("lifecycleRules/0/condition/withState", None, {"lifecycleRules[0].condition.withState": "add"}),
        ("versioning", None, {"versioning": "add"}),
    ],
)
def test_bucket_as_the_server_may_answer(path: str, value: Any, expected: dict[str, str]) -> None:
    inputs = checked(GCP, BUCKET, BUCKET_INPUTS)
    state = copy.deepcopy({key: item for key, item in inputs.items() if not key.startswith("__")})
    state |= {"project": "demo", "location": "EUROPE-WEST1", "pulumiLabels": MARK, "effectiveLabels": MARK}
    set_in(state, path, value)
    assert changes(BUCKET, state, inputs) == expected


def test_location_case_in_the_program_is_no_change() -> None:
    state = {
        **BUCKET_INPUTS,
        "location": "EUROPE-WEST1",
        "storageClass": "STANDARD",
        "project": "demo",
        "forceDestroy": False,
    }
    state |= {"pulumiLabels": MARK, "effectiveLabels": MARK}
    assert changes(BUCKET, state, checked(GCP, BUCKET, {**BUCKET_INPUTS, "location": "Europe-West1"})) == {}


@pytest.mark.parametrize(
    ("name", "value", "replaces"),
    [
        ("bucket", "other", True),
        ("role", "roles/storage.objectViewer", True),
        ("member", "user:b@x.org", True),
        ("condition", {"title": "t", "expression": "true"}, True),
        ("member", "user:ANN@x.org", False),
        ("bucket", "demo-data", False),
    ],
)
def test_every_part_of_a_member_replaces_it(name: str, value: Any, replaces: bool) -> None:
    program = {"bucket": "b/demo-data", "role": "roles/storage.admin", "member": "user:ann@x.org"}
    state = {**program, "etag": "p1"}
    found = diff(GCP, MEMBER, state, checked(GCP, MEMBER, {**program, name: value}))
    assert [change.replace for change in found.changes] == ([True] if replaces else [])
