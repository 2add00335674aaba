"""Cloud Run Admin API v2, as far as jobs need it. Beside it on the same port: the part of v1 that gcloud uses."""

from typing import TYPE_CHECKING, Any

from localcloud import operations
from localcloud.apis import run_v1
from localcloud.apis.forward import Forward
from localcloud.discovery import Discovery
from localcloud.errors import ApiError, invalid
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
            executor(call).run(job, {}, call.principal, token)
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
        run.delete_job(name)
    return _done(call, JOB, gone)


@API.method(f"{_JOBS}.run", permission="run.jobs.run")
async def run_job(call: Call) -> dict[str, Any]:
    name, overrides, run = call.params["name"], call.body.get("overrides") or {}, executor(call)
    if overrides:
        call.require("run.jobs.runWithOverrides", name)
    job = run.jobs.get(name)
    run.jobs.check_etag(job, call.body.get("etag"))
    if call.body.get("validateOnly"):
        check_overrides(overrides, job["template"]["template"])
        return _done(call, JOB, job)
    return run.run(job, overrides, call.principal)


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
        run.delete_execution(name)
    return _done(call, EXECUTION, execution | {"deleteTime": call.cloud.clock.timestamp()})


@API.method(f"{_EXECUTIONS}.cancel", permission="run.executions.cancel", on=_job)
async def cancel_execution(call: Call) -> dict[str, Any]:
    run, name = executor(call), call.params["name"]
    execution = run.executions.record(name)["resource"]
    run.jobs.check_etag(execution, call.body.get("etag"))
    if call.body.get("validateOnly"):
        return _done(call, EXECUTION, execution)
    return run.cancel_on_request(name)


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


def app(cloud: "Cloud") -> Forward:
    cloud.parts["run"] = Executor(cloud, run_settings.from_settings(cloud.settings))
    return Forward(cloud, App(cloud, [API, run_v1.API]), "run")


def services(cloud: "Cloud") -> list[Service]:
    return [cloud.parts["run"]]
