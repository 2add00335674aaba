"""Workflows and executions by Google's own clients: life of both, HTTP steps, connectors, IAM, restart."""

import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from google.api_core import exceptions
from google.cloud.workflows import executions_v1
from workflow_support import PARENT, PROJECT, Workflows

from localcloud.testing import LocalCloud, local_cloud

ACCOUNT = "123456789012-compute@developer.gserviceaccount.com"
DEPLOYER = "user:deployer@example.com"
FULL = executions_v1.ExecutionView.FULL
BASIC = executions_v1.ExecutionView.BASIC
RETURN = "main:\n  params: [args]\n  steps:\n  - r: {return: '${args}'}\n"
SLEEP = "- first: {call: sys.sleep, args: {seconds: 3600}}\n- r: {return: done}\n"


@pytest.fixture(scope="module")
def workflows(cloud: LocalCloud) -> Workflows:
    return Workflows(cloud)


class Target:
    """A server that answers what it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answers: list[tuple[int, bytes, str]] = []
        target = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("content-length", 0))
                body = self.rfile.read(length).decode()
                request = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}
                target.requests.append(request)
                code, content, kind = (
                    target.answers.pop(0) if target.answers else (200, b'{"ok":true}', "application/json")
                )
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                """Nothing on the terminal."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def target() -> Iterator[Target]:
    made = Target()
    yield made
    made.server.shutdown()
    made.server.server_close()


# --- workflows ------------------------------------------------------------------------------------------------------


def test_a_workflow_is_deployed_changed_listed_and_deleted(workflows: Workflows) -> None:
    made = workflows.deploy(RETURN, "life", description="d", labels={"a": "b"}, user_env_vars={"U": "1"})
    assert made.state.name == "ACTIVE"
    assert made.service_account == f"projects/{PROJECT}/serviceAccounts/{ACCOUNT}"
    assert made.revision_id.startswith("000001-")
    assert (made.call_log_level, made.execution_history_level) == (0, 0)  # nothing is filled in
    with pytest.raises(exceptions.Conflict):
        workflows.deploy(RETURN, "life")
    made.description = "other"
    same = workflows.client.update_workflow(workflow=made, update_mask={"paths": ["description"]}).result(timeout=10)
    assert (same.revision_id, same.description) == (made.revision_id, "other")
    made.source_contents = "- r: {return: 2}"
    new = workflows.client.update_workflow(workflow=made, update_mask={"paths": ["source_contents"]}).result(timeout=10)
    assert new.revision_id.startswith("000002-")
    old = workflows.client.get_workflow({"name": made.name, "revision_id": same.revision_id})
    assert old.source_contents == RETURN
    assert made.name in [item.name for item in workflows.client.list_workflows(parent=PARENT)]
    workflows.client.delete_workflow(name=made.name).result(timeout=10)
    with pytest.raises(exceptions.NotFound):
        workflows.client.get_workflow(name=made.name)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("- a: {return: 1}\n- b: {next: nowhere}", "main.yaml:2: parse error: step b: next names no step"),
        ("- a: {call: googleapis.bigquery.v2.jobs.insert}", "no such subworkflow, function or connector"),
        ("- a: [", "main.yaml:1: parse error: YAML"),
        ("x" * 131_073, "131072"),
    ],
)
def test_a_wrong_definition_is_refused_with_its_line(workflows: Workflows, source: str, words: str) -> None:
    with pytest.raises(exceptions.BadRequest) as caught:
        workflows.deploy(source)
    assert words in str(caught.value)


def test_names_and_variables_are_checked(workflows: Workflows) -> None:
    for name in ("1st", "end-", "a" * 65, "with.dot"):
        with pytest.raises(exceptions.BadRequest, match="workflow_id"):
            workflows.deploy(RETURN, name)
    with pytest.raises(exceptions.BadRequest, match="GOOGLE"):
        workflows.deploy(RETURN, user_env_vars={"GOOGLE_X": "1"})
    with pytest.raises(exceptions.BadRequest, match="does not exist"):
        workflows.deploy(RETURN, service_account=f"nobody@{PROJECT}.iam.gserviceaccount.com")


# --- executions -----------------------------------------------------------------------------------------------------


def test_an_execution_returns_what_it_is_given_and_is_seen_in_both_views(workflows: Workflows) -> None:
    made = workflows.deploy(RETURN)
    execution = workflows.end(workflows.start(made.name, {"n": [1, 2.5, None, "é"]}, labels={"k": "v"}).name)
    assert execution.state.name == "SUCCEEDED"
    assert json.loads(execution.result) == {"n": [1, 2.5, None, "é"]}
    assert execution.workflow_revision_id == made.revision_id
    assert execution.start_time <= execution.end_time
    assert [step.step for step in execution.status.current_steps] == ["r"]
    basic = workflows.get(execution.name, BASIC)
    assert (basic.state, basic.result, basic.argument) == (execution.state, "", "")
    listed = workflows.executions.list_executions({"parent": made.name, "filter": 'labels.k="v"'})
    assert [(item.name, item.argument) for item in listed] == [(execution.name, "")]
    full = workflows.executions.list_executions({"parent": made.name, "view": FULL})
    assert [item.result for item in full] == [execution.result]
    assert list(workflows.executions.list_executions({"parent": made.name, "filter": 'state="FAILED"'})) == []


def test_the_environment_of_an_execution(workflows: Workflows) -> None:
    names = ("PROJECT_ID", "PROJECT_NUMBER", "LOCATION", "WORKFLOW_ID", "WORKFLOW_EXECUTION_ID", "SERVICE_ACCOUNT_NAME")
    values = ", ".join(f"'${{sys.get_env(\"GOOGLE_CLOUD_{name}\")}}'" for name in names)
    made = workflows.deploy(
        f"- r: {{return: [{values}, '${{sys.get_env(\"MINE\")}}']}}", "env", user_env_vars={"MINE": "m"}
    )
    execution = workflows.end(workflows.start(made.name).name)
    expected = [PROJECT, "123456789012", "europe-west1", "env", execution.name.rpartition("/")[2], ACCOUNT, "m"]
    assert json.loads(execution.result) == expected


def test_a_failed_execution_shows_payload_context_and_stack(workflows: Workflows) -> None:
    source = "main:\n  steps:\n  - call_it: {call: sub}\nsub:\n  steps:\n  - look:\n      return: ${null.x}\n"
    failed = workflows.run(source.replace("null.x", 'json.decode("{}").x'))
    assert failed.state.name == "FAILED"
    assert json.loads(failed.error.payload) == {"message": "key not found: x", "tags": ["KeyError"]}
    assert failed.error.context.startswith('KeyError: key not found: x\nin step "look", routine "sub", line: 7')
    assert [item.step for item in failed.error.stack_trace.elements] == ["look", "call_it"]
    text = workflows.run("- r: {raise: boom}")
    assert (text.error.payload, text.error.context.split("\n")[0]) == ('"boom"', 'RuntimeError: "boom"')


def test_arguments_that_are_no_json_or_too_large_are_refused(workflows: Workflows) -> None:
    made = workflows.deploy(RETURN)
    for argument in ("{", '"' + "x" * 32_768 + '"'):
        with pytest.raises(exceptions.InvalidArgument, match="argument"):
            workflows.executions.create_execution(parent=made.name, execution={"argument": argument})
    with pytest.raises(exceptions.NotFound):
        workflows.start(f"{PARENT}/workflows/none")


def test_cancel_ends_an_execution_that_waits(workflows: Workflows) -> None:
    made = workflows.deploy(SLEEP)
    execution = workflows.start(made.name)
    steps = wait(lambda: workflows.get(execution.name).status.current_steps)
    assert [(step.routine, step.step) for step in steps] == [("main", "first")]
    assert workflows.executions.cancel_execution(name=execution.name).state.name == "CANCELLED"
    assert workflows.get(execution.name).end_time
    with pytest.raises(exceptions.FailedPrecondition):
        workflows.executions.cancel_execution(name=execution.name)
    running = workflows.start(made.name)
    workflows.client.delete_workflow(name=made.name).result(timeout=10)
    with pytest.raises(exceptions.NotFound):
        workflows.get(running.name)


def test_a_loop_without_calls_does_not_keep_others_waiting(workflows: Workflows, cloud: LocalCloud) -> None:
    made = workflows.deploy(
        "- i: {assign: [n: 0]}\n- a:\n    switch: [{condition: '${n < 1000000}', next: b}]\n- b: {assign: [n: '${n + 1}'], next: a}"
    )
    execution = workflows.start(made.name)
    for _ in range(3):
        assert httpx.get(f"{cloud.url('control')}/healthz", timeout=5).status_code == 200
    ended = workflows.end(execution.name)
    assert "step limit exceeded" in ended.error.context


def test_what_is_logged_is_an_entry_of_the_execution(workflows: Workflows, cloud: LocalCloud) -> None:
    source = "- l: {call: sys.log, args: {data: {a: 1}, severity: WARNING}}\n- m: {call: sys.log, args: {text: plain}}"
    execution = workflows.run(source)
    labels = f'labels."workflows.googleapis.com/execution_id"="{execution.name.rpartition("/")[2]}"'
    body = {"resourceNames": [f"projects/{PROJECT}"], "filter": labels, "orderBy": "timestamp asc"}
    entries = httpx.post(f"{cloud.url('logging')}/v2/entries:list", json=body).json()["entries"]
    assert [entry.get("jsonPayload") or entry["textPayload"] for entry in entries] == [{"a": 1}, "plain"]
    assert entries[0]["severity"] == "WARNING"
    assert entries[0]["resource"]["type"] == "workflows.googleapis.com/Workflow"


def wait(check: Callable[[], Any], timeout_s: float = 20) -> Any:
    until = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


# --- HTTP -----------------------------------------------------------------------------------------------------------


def test_http_steps_send_what_they_are_told_and_read_json_text_and_errors(workflows: Workflows, target: Target) -> None:
    source = f"""
- post:
    call: http.post
    args:
      url: {target.url}/a?x=1
      query: {{y: [2, 3], z: true}}
      headers: {{X-Mine: v}}
      body: {{n: 1, list: [a]}}
      auth: {{type: OAuth2}}
    result: one
- get:
    call: http.request
    args: {{url: {target.url}/b, method: GET, auth: {{type: OIDC, audience: 'https://me'}}, timeout: 10}}
    result: two
- fail:
    try: {{call: http.get, args: {{url: {target.url}/c}}}}
    except: {{as: e, steps: [keep: {{assign: [three: '${{e}}']}}, r: {{return: ['${{one}}', '${{two.body}}', '${{three}}']}}]}}
"""
    target.answers = [
        (201, b'{"id": 5}', "application/json; charset=utf-8"),
        (200, b"plain", "text/plain"),
        (404, b'{"error": "gone"}', "application/json"),
    ]
    one, two, three = workflows.result(source)
    assert (one["code"], one["body"], one["headers"]["Content-Type"]) == (
        201,
        {"id": 5},
        "application/json; charset=utf-8",
    )
    assert two == "plain"
    assert (three["code"], three["tags"], three["body"]) == (404, ["HttpError"], {"error": "gone"})
    assert three["message"] == "HTTP server responded with error code 404"
    first, second, _ = target.requests
    assert (first["method"], first["path"]) == ("POST", "/a?x=1&y=2&y=3&z=true")
    assert json.loads(first["body"]) == {"n": 1, "list": ["a"]}
    assert (first["headers"]["X-Mine"], first["headers"]["Content-Type"]) == ("v", "application/json; charset=utf-8")
    assert first["headers"]["Authorization"].startswith("Bearer ya29.local.")
    assert second["headers"]["Authorization"].count(".") == 2


def test_http_failures_have_their_tags(workflows: Workflows, target: Target) -> None:
    source = (
        "- g:\n    try: {call: http.get, args: {url: 'URL'}}\n    except: {as: e, steps: [r: {return: '${e.tags[0]}'}]}"
    )
    assert workflows.result(source.replace("URL", "http://127.0.0.1:1/")) == "ConnectionFailedError"
    assert workflows.result(source.replace("URL", "https://compute.googleapis.com/x")) == "ConnectionFailedError"
    target.answers = [(200, b"x" * (2 * 2**20 + 1), "text/plain")]
    assert workflows.result(source.replace("URL", target.url)) == "ResourceLimitError"
    assert workflows.result(source.replace("'URL'", f"'{target.url}', timeout: 1801")) == "ValueError"


# --- connectors -----------------------------------------------------------------------------------------------------


def test_storage_connectors_write_and_read_objects_as_the_workflows_account(
    workflows: Workflows, cloud: LocalCloud
) -> None:
    assert (
        httpx.post(f"{cloud.url('storage')}/storage/v1/b?project={PROJECT}", json={"name": "wf-bucket"}).status_code
        == 200
    )
    source = """
- put:
    call: googleapis.storage.v1.objects.insert
    args: {bucket: wf-bucket, name: dir/manifest.json, uploadType: media, body: {count: 3, items: [a, b]}}
    result: put_result
- get:
    call: googleapis.storage.v1.objects.get
    args: {bucket: wf-bucket, object: '${text.url_encode("dir/manifest.json")}', alt: media}
    result: content
- list:
    call: googleapis.storage.v1.objects.list
    args: {bucket: wf-bucket, prefix: dir/}
    result: listed
- r: {return: ['${content.count}', '${put_result.name}', '${listed.items[0].name}']}
"""
    assert workflows.result(source) == [3, "dir/manifest.json", "dir/manifest.json"]
    missing = "- g:\n    try: {call: googleapis.storage.v1.objects.get, args: {bucket: wf-bucket, object: none}}\n    except: {as: e, steps: [r: {return: '${e.code}'}]}"
    assert workflows.result(missing) == 404


def test_secret_connectors_read_and_add_strings(workflows: Workflows, cloud: LocalCloud) -> None:
    url = f"{cloud.url('secretmanager')}/v1/projects/{PROJECT}/secrets"
    assert httpx.post(f"{url}?secretId=wf", json={"replication": {"automatic": {}}}).status_code == 200
    source = f"""
- add:
    call: googleapis.secretmanager.v1.projects.secrets.addVersionString
    args: {{project_id: {PROJECT}, secret_id: wf, data: hush}}
- get:
    call: googleapis.secretmanager.v1.projects.secrets.versions.accessString
    args: {{project_id: {PROJECT}, secret_id: wf}}
    result: secret
- r: {{return: '${{len(secret)}}'}}
"""
    denied = workflows.run(source)  # an editor may add but not read
    assert json.loads(denied.error.payload)["code"] == 403
    binding = {"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{ACCOUNT}"]}
    assert httpx.post(f"{url}/wf:setIamPolicy", json={"policy": {"bindings": [binding]}}).status_code == 200
    assert workflows.result(source) == 4


def test_a_workflow_runs_another_and_waits_for_it(workflows: Workflows) -> None:
    child = workflows.deploy(
        "main:\n  params: [args]\n  steps:\n  - c: {switch: [{condition: '${args.fail}', raise: no}]}\n  - r: {return: '${args.n + 1}'}",
        "child",
    )
    source = """
main:
  params: [args]
  steps:
  - run:
      try:
        call: googleapis.workflowexecutions.v1.projects.locations.workflows.executions.run
        args: {project_id: demo-project, location: europe-west1, workflow_id: child, argument: '${args}'}
        result: answer
      except: {as: e, steps: [bad: {return: '${e.tags[0]}'}]}
  - r: {return: '${answer}'}
"""
    assert workflows.result(source, {"n": 1, "fail": False}) == 2
    assert workflows.result(source, {"n": 1, "fail": True}) == "OperationError"
    assert len(list(workflows.executions.list_executions(parent=child.name))) == 2


def test_connectors_retry_what_may_pass(workflows: Workflows, cloud: LocalCloud) -> None:
    cloud.control("PUT", "/faults", {"error_rate": 0.5, "error_codes": [503], "apis": ["storage"], "seed": 3})
    try:
        source = "- l: {call: googleapis.storage.v1.buckets.list, args: {project: demo-project}, result: found}\n- r: {return: '${found.kind}'}"
        assert workflows.result(source) == "storage#buckets"
    finally:
        cloud.control("PUT", "/faults", {"error_rate": 0, "apis": []})


def test_wrong_connector_params_are_errors_not_silence(workflows: Workflows) -> None:
    source = "- l:\n    try: {call: googleapis.storage.v1.buckets.list, args: {project: demo-project, connector_params: {PARAMS}}}\n    except: {as: e, steps: [r: {return: '${e.message}'}]}"
    assert "unknown field time_out" in workflows.result(source.replace("PARAMS", "time_out: 3"))
    assert "timeout must be" in workflows.result(source.replace("PARAMS", "timeout: 0"))


# --- IAM ------------------------------------------------------------------------------------------------------------


def grant(cloud: LocalCloud, api: str, resource: str, role: str, member: str) -> None:
    url = f"{cloud.url(api)}/v1/{resource}"
    policy = httpx.post(f"{url}:getIamPolicy", json={}).json()
    bindings = [*policy.get("bindings", []), {"role": role, "members": [member]}]
    answer = httpx.post(f"{url}:setIamPolicy", json={"policy": {**policy, "bindings": bindings}})
    assert answer.status_code == 200, answer.text


def test_deploying_takes_a_role_and_acting_as_the_account(cloud: LocalCloud) -> None:
    runner = f"wf-runner@{PROJECT}.iam.gserviceaccount.com"
    accounts = f"{cloud.url('iam')}/v1/projects/{PROJECT}/serviceAccounts"
    assert httpx.post(accounts, json={"accountId": "wf-runner"}).status_code == 200
    mine = Workflows(cloud, DEPLOYER)
    with pytest.raises(exceptions.Forbidden, match=r"workflows\.workflows\.create"):
        mine.deploy(RETURN, service_account=runner)
    grant(cloud, "resourcemanager", f"projects/{PROJECT}", "roles/workflows.editor", DEPLOYER)
    with pytest.raises(exceptions.Forbidden, match=r"iam\.serviceAccounts\.actAs"):
        mine.deploy(RETURN, service_account=runner)
    grant(cloud, "iam", f"projects/{PROJECT}/serviceAccounts/{runner}", "roles/iam.serviceAccountUser", DEPLOYER)
    made = mine.deploy(
        "- l: {call: googleapis.batch.v1.projects.locations.jobs.list, args: {parent: projects/demo-project/locations/europe-west1}}",
        service_account=runner,
    )
    execution = mine.end(mine.start(made.name).name)  # the account itself may do nothing
    assert json.loads(execution.error.payload)["code"] == 403
    stranger = Workflows(cloud, "user:stranger@example.com")
    with pytest.raises(exceptions.PermissionDenied):
        stranger.start(made.name)
    with pytest.raises(exceptions.PermissionDenied):
        stranger.get(execution.name)


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("", set()),
        ("roles/workflows.viewer", {"read", "get", "list"}),
        ("roles/workflows.invoker", {"get", "list", "start", "cancel"}),
        ("roles/workflows.editor", {"read", "get", "list", "start", "cancel", "delete"}),
    ],
)
def test_roles_allow_what_they_say(workflows: Workflows, cloud: LocalCloud, role: str, allowed: set[str]) -> None:
    member = f"user:wf-{role.rpartition('.')[2] or 'nothing'}@example.com"
    if role:
        grant(cloud, "resourcemanager", f"projects/{PROJECT}", role, member)
    name = workflows.deploy(SLEEP).name
    execution = workflows.start(name).name
    mine = Workflows(cloud, member)
    calls: dict[str, Callable[[], Any]] = {
        "read": lambda: mine.client.get_workflow(name=name),
        "get": lambda: mine.get(execution),
        "list": lambda: list(mine.executions.list_executions(parent=name, metadata=mine.metadata)),
        "start": lambda: mine.start(name),
        "cancel": lambda: mine.executions.cancel_execution(name=execution, metadata=mine.metadata),
        "delete": lambda: mine.client.delete_workflow(name=name),
    }
    done = set()
    for verb, call in calls.items():
        try:
            call()
        except exceptions.Forbidden:
            continue
        done.add(verb)
    assert done == allowed


def test_what_is_set_to_log_calls_logs_them(workflows: Workflows, cloud: LocalCloud, target: Target) -> None:
    source = f"- g: {{call: http.get, args: {{url: {target.url}/logged}}}}"
    made = workflows.deploy(source, call_log_level="LOG_ALL_CALLS")
    quiet = workflows.end(workflows.start(made.name, call_log_level="LOG_NONE").name)
    loud = workflows.end(workflows.start(made.name).name)
    for execution, states in ((quiet, []), (loud, ["STARTED", "SUCCEEDED"])):
        labels = f'labels."workflows.googleapis.com/execution_id"="{execution.name.rpartition("/")[2]}"'
        body = {"resourceNames": [f"projects/{PROJECT}"], "filter": labels, "orderBy": "timestamp asc"}
        entries = httpx.post(f"{cloud.url('logging')}/v2/entries:list", json=body).json().get("entries", [])
        assert [entry["jsonPayload"]["state"] for entry in entries] == states


# --- restart --------------------------------------------------------------------------------------------------------


def test_an_execution_goes_on_after_a_crash_and_asks_nothing_twice(tmp_path: Path, target: Target) -> None:
    source = f"""
- ask: {{call: http.post, args: {{url: {target.url}/once, body: {{a: 1}}}}, result: answer}}
- now: {{assign: [at: '${{sys.now()}}', id: '${{uuid.generate()}}']}}
- say: {{call: sys.log, args: {{data: '${{id}}'}}}}
- wait: {{call: sys.sleep, args: {{seconds: 100}}}}
- again: {{call: http.get, args: {{url: {target.url}/after}}}}
- r: {{return: ['${{answer.body.ok}}', '${{id}}']}}
"""
    config = {"projects": [{"project_id": PROJECT, "number": 123456789012, "services_enabled": "all"}]}
    with local_cloud(tmp_path / "state", config) as cloud:
        workflows = Workflows(cloud)
        execution = workflows.start(workflows.deploy(source).name)
        wait(lambda: [step.step for step in workflows.get(execution.name).status.current_steps] == ["wait"])
        cloud.kill()
        cloud.start()
        workflows = Workflows(cloud)
        assert workflows.get(execution.name).state.name == "ACTIVE"
        cloud.control("PUT", "/clock", {"advance_s": 200})
        ended = workflows.end(execution.name)
        ok, unique = json.loads(ended.result)
        assert ok is True
        assert [request["path"] for request in target.requests] == ["/once", "/after"]
        body = {"resourceNames": [f"projects/{PROJECT}"], "filter": 'resource.type="workflows.googleapis.com/Workflow"'}
        entries = httpx.post(f"{cloud.url('logging')}/v2/entries:list", json=body).json()["entries"]
        assert [entry["textPayload"] for entry in entries] == [unique]
