import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.clock import Clock
from localcloud.cloud import Cloud
from localcloud.errors import ApiError
from localcloud.iam import roles
from localcloud.iam.conditions import Attributes, compile_condition
from localcloud.iam.members import covers
from localcloud.identity import Principal
from localcloud.settings import ProjectSettings, Settings

PROJECT = "projects/demo"
JOB = "projects/demo/locations/europe-west1/jobs/train"
RUNNER = "serviceAccount:runner@demo.iam.gserviceaccount.com"
ANA = Principal("user:ana@example.com")


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    made = Cloud(Settings(state=tmp_path, projects=(ProjectSettings(project_id="demo"),)))
    made.iam.accounts.create("demo", "runner@demo.iam.gserviceaccount.com", {})
    return made


def bind(cloud: Cloud, resource: str, role: str, *members: str, condition: str = "") -> dict[str, Any]:
    binding: dict[str, Any] = {"role": role, "members": list(members)}
    if condition:
        binding["condition"] = {"title": "t", "expression": condition}
    current = cloud.iam.get_policy(resource)
    policy = {"bindings": [*current.get("bindings", []), binding], "version": 3}
    return cloud.iam.set_policy(resource, policy, current["etag"])


def test_a_grant_on_a_job_is_for_that_job_only(cloud: Cloud) -> None:
    bind(cloud, JOB, "roles/run.invoker", ANA.member)
    assert cloud.iam.allowed(ANA, "run.jobs.run", JOB)
    assert not cloud.iam.allowed(ANA, "run.jobs.runWithOverrides", JOB)
    assert not cloud.iam.allowed(ANA, "run.jobs.run", JOB + "2")
    with pytest.raises(ApiError) as caught:
        cloud.iam.require(ANA, "run.jobs.delete", JOB)
    assert (
        caught.value.message == f"Permission 'run.jobs.delete' denied on resource '{JOB}' (or resource may not exist)."
    )
    assert caught.value.details[0]["reason"] == "IAM_PERMISSION_DENIED"


def test_a_grant_on_the_project_reaches_what_lies_in_it(cloud: Cloud) -> None:
    bind(cloud, PROJECT, "roles/run.viewer", ANA.member)
    assert cloud.iam.allowed(ANA, "run.jobs.get", JOB)
    assert cloud.iam.allowed(ANA, "run.jobs.get", "//batch/projects/demo/locations/l/jobs/x")
    assert not cloud.iam.allowed(ANA, "run.jobs.get", JOB.replace("demo", "other"))


def test_a_bucket_is_under_the_project_that_its_parent_function_says(cloud: Cloud) -> None:
    cloud.iam.parent_of("buckets/", lambda name: PROJECT if name == "buckets/mine" else None)
    bind(cloud, PROJECT, "roles/storage.objectViewer", ANA.member)
    assert cloud.iam.allowed(ANA, "storage.objects.get", "buckets/mine")
    assert not cloud.iam.allowed(ANA, "storage.objects.get", "buckets/theirs")


def test_a_condition_limits_a_grant_to_a_prefix(cloud: Cloud) -> None:
    prefix = "projects/_/buckets/b/objects/runs/"
    bind(cloud, "buckets/b", "roles/storage.objectUser", RUNNER, condition=f'resource.name.startsWith("{prefix}")')
    runner = Principal(RUNNER)
    assert cloud.iam.allowed(runner, "storage.objects.get", "buckets/b", (), name=prefix + "1")
    assert not cloud.iam.allowed(runner, "storage.objects.get", "buckets/b", (), name="projects/_/buckets/b/objects/x")
    assert not cloud.iam.allowed(runner, "storage.objects.list", "buckets/b", (), name="projects/_/buckets/b")


def test_a_policy_written_over_a_newer_one_is_refused(cloud: Cloud) -> None:
    old = cloud.iam.get_policy(JOB)["etag"]
    bind(cloud, JOB, "roles/run.invoker", ANA.member)
    with pytest.raises(ApiError) as caught:
        cloud.iam.set_policy(JOB, {"bindings": []}, old)
    assert (caught.value.code, caught.value.status) == (409, "ABORTED")
    cloud.iam.set_policy(JOB, {"version": 3})
    assert "bindings" not in cloud.iam.get_policy(JOB)


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ({"bindings": [{"role": "roles/x", "members": ["ana@example.com"]}]}, "unknown type"),
        ({"bindings": [{"role": "viewer", "members": ["user:a@b.c"]}]}, "Role viewer is not supported"),
        (
            {"bindings": [{"role": "roles/x", "members": ["serviceAccount:no@demo.iam.gserviceaccount.com"]}]},
            "does not exist",
        ),
        ({"bindings": [{"role": "roles/x", "members": ["allUsers"]}]}, "not allowed on projects"),
        ({"bindings": [{"members": ["user:a@b.c"]}]}, "Role must be set"),
        ({"version": 2}, "Invalid policy version"),
        (
            {
                "version": 1,
                "bindings": [
                    {"role": "roles/x", "members": ["user:a@b.c"], "condition": {"title": "t", "expression": "true"}}
                ],
            },
            "must have version 3",
        ),
        (
            {
                "version": 3,
                "bindings": [
                    {"role": "roles/x", "members": ["user:a@b.c"], "condition": {"title": "t", "expression": "1 +"}}
                ],
            },
            "compilation failed",
        ),
    ],
)
def test_a_policy_that_the_cloud_refuses_is_refused_and_changes_nothing(
    cloud: Cloud, policy: dict[str, Any], text: str
) -> None:
    before = cloud.iam.get_policy(PROJECT)
    with pytest.raises(ApiError, match=text):
        cloud.iam.set_policy(PROJECT, policy)
    assert cloud.iam.get_policy(PROJECT) == before


def test_an_unknown_role_grants_nothing_and_is_remembered(cloud: Cloud) -> None:
    bind(cloud, JOB, "roles/run.imaginary", ANA.member)
    assert cloud.iam.unknown_roles() == {"roles/run.imaginary": JOB}
    assert not cloud.iam.allowed(ANA, "run.jobs.get", JOB)


def test_a_client_that_asks_for_version_1_sees_conditional_roles_renamed(cloud: Cloud) -> None:
    bind(cloud, JOB, "roles/run.invoker", ANA.member, condition='resource.type == "x"')
    plain = cloud.iam.get_policy(JOB, 1)
    assert plain["version"] == 1
    assert plain["bindings"][0]["role"].startswith("roles/run.invoker_withcond_")
    assert "condition" not in plain["bindings"][0]


def test_bindings_of_one_role_are_merged_and_empty_ones_dropped(cloud: Cloud) -> None:
    policy = {
        "bindings": [
            {"role": "roles/run.invoker", "members": ["user:a@b.c"]},
            {"role": "roles/run.invoker", "members": ["user:b@b.c", "user:a@b.c"]},
            {"role": "roles/run.viewer", "members": []},
        ]
    }
    assert cloud.iam.set_policy(JOB, policy)["bindings"] == [
        {"role": "roles/run.invoker", "members": ["user:a@b.c", "user:b@b.c"]}
    ]


def test_a_grant_and_an_account_become_visible_after_the_delay(tmp_path: Path) -> None:
    cloud = Cloud(Settings(state=tmp_path, projects=(ProjectSettings(project_id="demo"),)))
    cloud.clock = cloud.iam._clock = cloud.iam.accounts._clock = Clock(source=lambda: 1_000_000_000.0 + 10**9)
    cloud.faults.update({"visibility_delay_s": 30.0})
    bind(cloud, JOB, "roles/run.invoker", ANA.member)
    cloud.iam.accounts.create("demo", "late@demo.iam.gserviceaccount.com", {})
    assert cloud.iam.get_policy(JOB)["bindings"]
    assert not cloud.iam.allowed(ANA, "run.jobs.run", JOB)
    with pytest.raises(ApiError, match="does not exist"):
        bind(cloud, JOB, "roles/run.viewer", "serviceAccount:late@demo.iam.gserviceaccount.com")
    cloud.clock.move(30)
    assert cloud.iam.allowed(ANA, "run.jobs.run", JOB)
    bind(cloud, JOB, "roles/run.viewer", "serviceAccount:late@demo.iam.gserviceaccount.com")


def test_a_deleted_account_keeps_no_grant_and_its_successor_gets_none(cloud: Cloud) -> None:
    bind(cloud, JOB, "roles/run.invoker", RUNNER)
    email = RUNNER.partition(":")[2]
    record = cloud.iam.accounts.find(email)
    assert record is not None
    cloud.iam.accounts.put({**record, "deleted_at": 1.0})
    cloud.iam.bury(email, record["account"]["uniqueId"])
    with pytest.raises(ApiError) as caught:
        cloud.iam.check_alive(Principal(RUNNER))
    assert caught.value.code == 401
    cloud.iam.accounts.create("demo", email, {})
    assert not cloud.iam.allowed(Principal(RUNNER), "run.jobs.run", JOB)
    assert cloud.iam.get_policy(JOB)["bindings"][0]["members"][0].startswith(f"deleted:{RUNNER}?uid=")


@pytest.mark.parametrize(
    ("member", "covered"),
    [
        ("user:ana@example.com", True),
        ("user:bob@example.com", False),
        ("allUsers", True),
        ("allAuthenticatedUsers", True),
        ("domain:example.com", True),
        ("domain:ample.com", False),
        ("group:everyone@example.com", False),
        ("serviceAccount:ana@example.com", False),
        ("deleted:user:ana@example.com?uid=1", False),
        ("projectOwner:demo", True),
        ("projectViewer:demo", False),
    ],
)
def test_members_cover_whom_they_say(member: str, covered: bool) -> None:
    assert covers(member, ANA, lambda project, role: role == "roles/owner") is covered


def test_nobody_known_is_not_an_authenticated_user() -> None:
    assert not covers("allAuthenticatedUsers", Principal("allUsers"), lambda project, role: False)


GIVEN = Attributes(
    name="projects/_/buckets/b/objects/a/1", type="storage.googleapis.com/Object", service="s", time=1_800_000_000
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('resource.name.startsWith("projects/_/buckets/b/objects/a/")', True),
        ('!resource.name.startsWith("projects/_/buckets/b/objects/a/")', False),
        ("resource.name == 'x' || resource.type == 'storage.googleapis.com/Object'", True),
        ("resource.name == 'x' || resource.service == 's' && resource.type != 't'", True),
        ("(resource.name == 'x' || resource.service == 's') && resource.type == 't'", False),
        ('resource.name.endsWith("/1") && request.time < timestamp("2040-01-01T00:00:00Z")', True),
        ('request.time >= timestamp("2040-01-01T00:00:00Z")', False),
        ("!(resource.service == 's')", False),
        ("resource.type in ['a', 'storage.googleapis.com/Object']", True),
        ('resource.service in ["t"]', False),
        ("true", True),
    ],
)
def test_conditions_are_evaluated(expression: str, expected: bool) -> None:
    assert compile_condition(expression)(GIVEN) is expected


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "resource.name",
        "resource.nameX == 'a'",
        "resource.matchTag('a', 'b')",
        "request.time == 'x'",
        "resource.name < 'x'",
        "request.time < timestamp('tomorrow')",
        "resource.name.matches('.*')",
        "request.time in ['a']",
        "resource.name in []",
        "resource.name.startsWith(resource.type)",
        "api.getAttribute('x', []).hasOnly(['y'])",
        "resource.name == 'a' resource.name == 'b'",
    ],
)
def test_a_condition_outside_the_supported_part_is_refused(expression: str) -> None:
    with pytest.raises(ApiError) as caught:
        compile_condition(expression)
    assert caught.value.code == 400


texts = st.text(alphabet="abc/", max_size=6)


def build(draw_tree: Any) -> tuple[str, Any]:
    kind = draw_tree[0]
    if kind == "leaf":
        _, field, text = draw_tree
        return f'resource.{field}.startsWith("{text}")', lambda given: getattr(given, field).startswith(text)
    if kind == "not":
        inner, test = build(draw_tree[1])
        return f"!({inner})", lambda given: not test(given)
    left, one = build(draw_tree[1])
    right, two = build(draw_tree[2])
    if kind == "and":
        return f"({left} && {right})", lambda given: one(given) and two(given)
    return f"({left} || {right})", lambda given: one(given) or two(given)


trees = st.recursive(
    st.tuples(st.just("leaf"), st.sampled_from(["name", "type", "service"]), texts),
    lambda inner: st.tuples(st.just("not"), inner) | st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    max_leaves=8,
)


@given(trees, texts, texts, texts)
def test_conditions_mean_what_python_would(tree: Any, name: str, type_: str, service: str) -> None:
    expression, expected = build(tree)
    given_ = Attributes(name=name, type=type_, service=service)
    assert compile_condition(expression)(given_) == expected(given_)


def test_the_table_names_a_source_for_every_role() -> None:
    assert set(roles.SOURCES) == set(roles.TABLE)
    assert all(url.startswith("https://cloud.google.com/") for url in roles.SOURCES.values())


def test_roles_that_must_not_hold_more_do_not() -> None:
    assert roles.permissions("roles/run.invoker") == {"run.jobs.run", "run.routes.invoke"}
    creator = roles.permissions("roles/storage.objectCreator")
    assert "storage.objects.create" in creator
    assert not creator & {"storage.objects.get", "storage.objects.list", "storage.objects.delete"}
    assert "iam.serviceAccounts.getAccessToken" not in roles.permissions("roles/owner")
    assert "run.jobs.setIamPolicy" not in roles.permissions("roles/editor")
    assert "secretmanager.versions.access" not in roles.permissions("roles/viewer")
    assert not {
        item for item in roles.permissions("roles/viewer") if item.endswith((".create", ".delete", ".update", ".run"))
    }


def asked_permissions() -> set[str]:
    """Permissions that the source of the local cloud names where it asks for one."""
    root = Path(roles.__file__).parents[1]
    text = "\n".join(path.read_text() for path in root.rglob("*.py") if "iam/role" not in str(path))
    pattern = (
        r'(?:permission=|permission:\s*str\s*=\s*|require\(|allowed\([^"()=]*?)\s*f?"([a-z]+\.[a-zA-Z]+\.[a-zA-Z]+)"'
    )
    return set(re.findall(pattern, text))


def test_every_permission_that_is_asked_for_is_held_by_some_role() -> None:
    asked = asked_permissions()
    assert {"run.jobs.create", "logging.logEntries.list", "iam.serviceAccounts.actAs"} <= asked
    assert asked - roles.ALL == set()
