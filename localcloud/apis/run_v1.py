"""Cloud Run Admin API v1 (Knative's form), as far as `gcloud run jobs` uses it: a view of what v2 stores.

gcloud sends the region as the first label of the host name (europe-west1-run.googleapis.com), so it must reach this port
as a proxy: see localcloud/apis/forward.py.
"""

import re
from typing import TYPE_CHECKING, Any

from localcloud.discovery import Discovery
from localcloud.errors import ApiError, not_found
from localcloud.iam.routes import policy_routes
from localcloud.run import knative, names
from localcloud.shell import Api, Call

if TYPE_CHECKING:
    from localcloud.run.executor import Executor

API = Api("run", Discovery("run", "v1"))
_REGIONAL = re.compile(r"([a-z]+-[a-z]+\d+)-run\.")


def _executor(call: Call) -> "Executor":
    found: Executor = call.cloud.parts["run"]
    return found


def _location(call: Call) -> str:
    """Return the region of the host name; '-' if there is none, as the global host means all."""
    found = _REGIONAL.match(call.request.headers.get("host", ""))
    return found[1] if found else "-"


def _parent(call: Call) -> str:
    """Return projects/P/locations/L."""
    project = (call.params.get("name") or call.params["parent"]).split("/")[1]
    return f"projects/{project}/locations/{_location(call)}"


def _job(call: Call) -> str:
    """Return the job's full name; on the global host the job's of any region."""
    parent, short = _parent(call), names.short(call.params["name"])
    if not parent.endswith("/-"):
        return f"{parent}/jobs/{short}"
    found = [job["name"] for job in _executor(call).jobs.within(parent) if names.short(job["name"]) == short]
    return found[0] if found else f"{parent.removesuffix('-')}{call.cloud.settings.region}/jobs/{short}"


def _execution(call: Call, short: str) -> str:
    """Return an execution's full name from its short one. Raises ApiError 404."""
    run, parent = _executor(call), _parent(call)
    for job in run.jobs.within(parent):
        name = f"{job['name']}/executions/{short}"
        if short.startswith(names.short(job["name"]) + "-") and run.executions.find(name):
            return name
    raise not_found(f"Resource '{short}' of kind 'EXECUTION' in region '{_location(call)}' does not exist.")


def _list(call: Call, kind: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    start, size = int(call.query.get("continue") or 0), int(call.query.get("limit") or 0) or len(items)
    more = {"continue": str(start + size)} if start + size < len(items) else {}
    listed = {"apiVersion": knative.API_VERSION, "kind": kind, "metadata": more, "items": items[start : start + size]}
    return listed


def _selected(call: Call, label: str) -> str:
    """Return the value that a label selector asks for, empty if it asks for none."""
    for term in str(call.query.get("labelSelector", "")).split(","):
        key, _, value = term.partition("=")
        if key.strip(" !") == label:
            return value.strip(" =")
    return ""


@API.method("run.namespaces.jobs.list", permission="run.jobs.list", on=_parent)
async def list_jobs(call: Call) -> dict[str, Any]:
    return _list(call, "JobList", [knative.job(job) for job in _executor(call).jobs.within(_parent(call))])


@API.method("run.namespaces.jobs.get", permission="run.jobs.get", on=_job)
async def get_job(call: Call) -> dict[str, Any]:
    return knative.job(_executor(call).jobs.get(_job(call)))


@API.method("run.namespaces.jobs.create", permission="run.jobs.create", on=_parent)
async def create_job(call: Call) -> dict[str, Any]:
    name = f"{_parent(call)}/jobs/{call.body.get('metadata', {}).get('name', '')}"
    dry = call.query.get("dryRun") == "all"
    job, _ = await _executor(call).jobs.create(name, knative.job_v2(call.body), call.principal, dry=dry)
    return knative.job(job)


@API.method("run.namespaces.jobs.replaceJob", permission="run.jobs.update", on=_job)
async def replace_job(call: Call) -> dict[str, Any]:
    dry = call.query.get("dryRun") == "all"
    body = knative.job_v2(call.body)
    job, _ = await _executor(call).jobs.replace(_job(call), body, call.principal, dry=dry, missing_ok=False)
    return knative.job(job)


@API.method("run.namespaces.jobs.delete", permission="run.jobs.delete", on=_job)
async def delete_job(call: Call) -> dict[str, Any]:
    _executor(call).delete_job(_job(call))
    return {"status": "Success"}


@API.method("run.namespaces.jobs.run", permission="run.jobs.run", on=_job)
async def run_job(call: Call) -> dict[str, Any]:
    run, name, overrides = _executor(call), _job(call), knative.overrides(call.body.get("overrides") or {})
    if overrides:
        call.require("run.jobs.runWithOverrides", name)
    operation = run.run(run.jobs.get(name), overrides, call.principal)
    return knative.execution(operation["metadata"])


@API.method("run.namespaces.executions.list", permission="run.executions.list", on=_parent)
async def list_executions(call: Call) -> dict[str, Any]:
    job, parent = _selected(call, "run.googleapis.com/job"), _parent(call)
    run = _executor(call)
    jobs = [item["name"] for item in run.jobs.within(parent) if not job or names.short(item["name"]) == job]
    found = [execution for name in jobs for execution in run.executions.newest_first(name)]
    found.sort(key=lambda item: str(item["createTime"]), reverse=True)
    return _list(call, "ExecutionList", [knative.execution(item) for item in found])


@API.method("run.namespaces.executions.get")
async def get_execution(call: Call) -> dict[str, Any]:
    name = _required(call, "run.executions.get")
    return knative.execution(_executor(call).executions.record(name)["resource"])


@API.method("run.namespaces.executions.cancel")
async def cancel_execution(call: Call) -> dict[str, Any]:
    name = _required(call, "run.executions.cancel")
    _executor(call).cancel_on_request(name)
    return knative.execution(_executor(call).executions.record(name)["resource"])


@API.method("run.namespaces.executions.delete")
async def delete_execution(call: Call) -> dict[str, Any]:
    _executor(call).delete_execution(_required(call, "run.executions.delete"))
    return {"status": "Success"}


def _required(call: Call, permission: str) -> str:
    """Return the execution's full name, once the caller may know of it. Raises ApiError 403, 404."""
    try:
        name = _execution(call, names.short(call.params["name"]))
    except ApiError:
        call.require(permission, _parent(call))
        raise
    call.require(permission, names.job_of(name))
    return name


@API.method("run.namespaces.tasks.list", permission="run.tasks.list", on=_parent)
async def list_tasks(call: Call) -> dict[str, Any]:
    run, parent = _executor(call), _parent(call)
    asked = _selected(call, "run.googleapis.com/execution")
    executions = [_execution(call, asked)] if asked else [
        execution["name"] for job in run.jobs.within(parent) for execution in run.executions.newest_first(job["name"])
    ]  # fmt: skip
    found = [record["resource"] for name in executions for record in run.executions.tasks(name)]
    return _list(call, "TaskList", [knative.task(item) for item in found])


@API.method("run.namespaces.tasks.get", permission="run.tasks.get", on=_parent)
async def get_task(call: Call) -> dict[str, Any]:
    short = names.short(call.params["name"])
    execution = _execution(call, short.rpartition("-task")[0])
    return knative.task(_executor(call).executions.task(f"{execution}/tasks/{short}")["resource"])


def _exists(call: Call) -> None:
    _executor(call).jobs.get(call.params["resource"])


policy_routes(API, "run.projects.locations.jobs", "run.jobs", exists=_exists)
