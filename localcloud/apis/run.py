"""Cloud Run Admin API v2, as far as jobs need it. Beside it on the same port: the part of v1 that gcloud uses."""

from typing import TYPE_CHECKING, Any

from localcloud import operations
from localcloud.discovery import Discovery
from localcloud.errors import ApiError, failed_precondition, invalid
from localcloud.iam.routes import policy_routes
from localcloud.run import names
from localcloud.run import settings as run_settings
from localcloud.run.executions import TYPE as EXECUTION
from localcloud.run.executor import Executor
from localcloud.run.jobs import TYPE as JOB
from localcloud.run.validate import check_overrides
from localcloud.shell import Api, App, Call, Service

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

API = Api("run", Discovery("run", "v2"))
_JOBS = "run.projects.locations.jobs"
_EXECUTIONS = f"{_JOBS}.executions"
_TASKS = f"{_EXECUTIONS}.tasks"


def executor(call: Call) -> Executor:
    found: Executor = call.cloud.parts["run"]
    return found


def _job(call: Call) -> str:
    """Return the job whose policy decides: of the path's job, execution or task."""
    return names.job_of(call.params.get("name") or call.params["parent"])


def _done(call: Call, kind: str, resource: dict[str, Any], error: ApiError | None = None) -> dict[str, Any]:
    body = {"@type": kind} | resource
    parent = names.parent_of(resource["name"])
    return call.cloud.operations.done("run", parent, response=None if error else body, error=error, metadata=body)


@API.method(f"{_JOBS}.create", permission="run.jobs.create")
async def create_job(call: Call) -> dict[str, Any]:
    name = f"{call.params['parent']}/jobs/{call.query.get('jobId', '')}"
    token = _token(call, name)
    job, error = await executor(call).jobs.create(
        name, call.body, call.principal, dry=call.query.get("validateOnly", False)
    )
    return await _answer(call, job, error, token)


@API.method(f"{_JOBS}.patch", permission="run.jobs.update")
async def patch_job(call: Call) -> dict[str, Any]:
    name = call.params["name"]
    token = _token(call, name)
    missing_ok = call.query.get("allowMissing", False)
    if missing_ok:
        call.require("run.jobs.create", names.parent_of(name))
    job, error = await executor(call).jobs.replace(
        name, call.body, call.principal, dry=call.query.get("validateOnly", False), missing_ok=missing_ok
    )
    return await _answer(call, job, error, token)


def _token(call: Call, name: str) -> str:
    """Return the execution token of a job's body: the job is to be run at once under it."""
    start, run = call.body.get("startExecutionToken", ""), call.body.get("runExecutionToken", "")
    if start and run:
        raise invalid("start_execution_token and run_execution_token exclude each other.", "job")
    token = str(start or run)
    if token and len(names.short(name)) + 1 + len(token) > names.MAX_TOKEN_NAME:
        raise invalid("The sum of job name and token length must be fewer than 63 characters.", "job")
    if token:
        call.require("run.jobs.run", name)
    return token


async def _answer(call: Call, job: dict[str, Any], error: ApiError | None, token: str) -> dict[str, Any]:
    if token and error is None and not call.query.get("validateOnly"):
        name = f"{job['name']}/executions/{names.execution_id(names.short(job['name']), token)}"
        if executor(call).executions.find(name) is None:
            _launch(call, job, {}, token)
            job = executor(call).jobs.get(job["name"])
    return _done(call, JOB, job, error)


@API.method(f"{_JOBS}.get", permission="run.jobs.get")
async def get_job(call: Call) -> dict[str, Any]:
    return executor(call).jobs.get(call.params["name"])


@API.method(f"{_JOBS}.list", permission="run.jobs.list")
async def list_jobs(call: Call) -> dict[str, Any]:
    return _page(call, "jobs", executor(call).jobs.within(call.params["parent"]))


def _page(call: Call, key: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    page, token = call.page(items)
    return ({key: page} if page else {}) | ({"nextPageToken": token} if token else {})


@API.method(f"{_JOBS}.delete", permission="run.jobs.delete")
async def delete_job(call: Call) -> dict[str, Any]:
    run, name = executor(call), call.params["name"]
    job = run.jobs.get(name)
    run.jobs.check_etag(job, call.query.get("etag"))
    gone = job | {"deleteTime": call.cloud.clock.timestamp()}
    if not call.query.get("validateOnly"):
        for execution in run.executions.newest_first(name):
            _delete_execution(run, execution)
        with call.cloud.store.transaction():
            run.jobs.delete(name)
            call.cloud.iam.delete_policy(name)
    return _done(call, JOB, gone)


def _delete_execution(run: Executor, execution: dict[str, Any]) -> None:
    if "completionTime" in execution:
        run.executions.delete(execution["name"])
    else:
        run.cancel(execution["name"], delete=True)


@API.method(f"{_JOBS}.run", permission="run.jobs.run")
async def run_job(call: Call) -> dict[str, Any]:
    return start(call, call.params["name"], call.body)


def start(call: Call, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Start an execution and return its operation, which is done when the execution has ended."""
    overrides = body.get("overrides") or {}
    if overrides:
        call.require("run.jobs.runWithOverrides", name)
    run = executor(call)
    job = run.jobs.get(name)
    run.jobs.check_etag(job, body.get("etag"))
    check_overrides(overrides, job["template"]["template"])
    if body.get("validateOnly"):
        return _done(call, JOB, job)
    operation = _launch(call, job, overrides)
    if call.cloud.faults.doubled():
        _launch(call, job, overrides)  # the second delivery of the same request
    return operation


def _launch(call: Call, job: dict[str, Any], overrides: dict[str, Any], token: str = "") -> dict[str, Any]:
    run = executor(call)
    with call.cloud.store.transaction():
        execution = run.executions.create(job, overrides, call.principal, token)
        run.jobs.ran(execution)
        body = {"@type": EXECUTION} | execution
        operation = call.cloud.operations.start("run", names.parent_of(job["name"]), body)
        record = run.executions.record(execution["name"])
        record["operations"].append(operation["name"])
        run.executions.put(record)
    run.launch(execution["name"])
    return operation


@API.method(f"{_EXECUTIONS}.get", permission="run.executions.get", on=_job)
async def get_execution(call: Call) -> dict[str, Any]:
    found: dict[str, Any] = executor(call).executions.record(call.params["name"])["resource"]
    return found


@API.method(f"{_EXECUTIONS}.list", permission="run.executions.list", on=_job)
async def list_executions(call: Call) -> dict[str, Any]:
    run, parent = executor(call), call.params["parent"]
    if not parent.endswith("/-"):
        run.jobs.get(parent)
    return _page(call, "executions", run.executions.newest_first(parent))


@API.method(f"{_EXECUTIONS}.delete", permission="run.executions.delete", on=_job)
async def delete_execution(call: Call) -> dict[str, Any]:
    run, name = executor(call), call.params["name"]
    execution = run.executions.record(name)["resource"]
    run.jobs.check_etag(execution, call.query.get("etag"))
    if not call.query.get("validateOnly"):
        _delete_execution(run, execution)
    return _done(call, EXECUTION, execution | {"deleteTime": call.cloud.clock.timestamp()})


@API.method(f"{_EXECUTIONS}.cancel", permission="run.executions.cancel", on=_job)
async def cancel_execution(call: Call) -> dict[str, Any]:
    return cancel(call, call.params["name"], call.body)


def cancel(call: Call, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Cancel an execution and return the operation, which is done when its tasks have stopped."""
    run = executor(call)
    execution = run.executions.record(name)["resource"]
    run.jobs.check_etag(execution, body.get("etag"))
    if "completionTime" in execution:
        raise failed_precondition(f"Execution '{names.short(name)}' has already completed and cannot be cancelled.")
    if body.get("validateOnly"):
        return _done(call, EXECUTION, execution)
    operation = call.cloud.operations.start("run", names.parent_of(name), {"@type": EXECUTION} | execution)
    run.cancel(name, operation=operation["name"])
    return operation


@API.method(f"{_TASKS}.get", permission="run.tasks.get", on=_job)
async def get_task(call: Call) -> dict[str, Any]:
    found: dict[str, Any] = executor(call).executions.task(call.params["name"])["resource"]
    return found


@API.method(f"{_TASKS}.list", permission="run.tasks.list", on=_job)
async def list_tasks(call: Call) -> dict[str, Any]:
    run = executor(call)
    run.executions.record(call.params["parent"])
    return _page(call, "tasks", [record["resource"] for record in run.executions.tasks(call.params["parent"])])


def _exists(call: Call) -> None:
    executor(call).jobs.get(call.params["resource"])


policy_routes(API, _JOBS, "run.jobs", exists=_exists)
operations.register(API, "run.projects.locations")


def app(cloud: "Cloud") -> App:
    from localcloud.apis import run_v1

    cloud.parts["run"] = Executor(cloud, run_settings.from_settings(cloud.settings))
    return App(cloud, [API, run_v1.API])


def services(cloud: "Cloud") -> list[Service]:
    return [cloud.parts["run"]]
