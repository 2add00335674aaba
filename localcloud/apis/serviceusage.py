"""Service Usage v1 and v1beta1: which APIs a project has enabled.

https://cloud.google.com/service-usage/docs/reference/rest (2026-11)
"""

import re
from typing import Any

from localcloud.cloud import Cloud
from localcloud.discovery import Discovery, service_names
from localcloud.errors import ApiError, error_info, invalid
from localcloud.shell import Api, App, Call

v1 = Api("serviceusage", Discovery("serviceusage", "v1"))
v1beta1 = Api("serviceusage", Discovery("serviceusage", "v1beta1"))
MAX_BATCH = 20
"""Services in one batchEnable, https://cloud.google.com/service-usage/docs/reference/rest/v1/services/batchEnable."""
SERVICE_NAME = re.compile(r"^[a-z0-9][-a-z0-9.]*\.[a-z]{2,}$")
TITLES = {
    "artifactregistry.googleapis.com": "Artifact Registry API",
    "batch.googleapis.com": "Batch API",
    "bigquery.googleapis.com": "BigQuery API",
    "bigquerystorage.googleapis.com": "BigQuery Storage API",
    "cloudbilling.googleapis.com": "Cloud Billing API",
    "cloudbuild.googleapis.com": "Cloud Build API",
    "cloudresourcemanager.googleapis.com": "Cloud Resource Manager API",
    "cloudscheduler.googleapis.com": "Cloud Scheduler API",
    "compute.googleapis.com": "Compute Engine API",
    "iam.googleapis.com": "Identity and Access Management (IAM) API",
    "iamcredentials.googleapis.com": "IAM Service Account Credentials API",
    "logging.googleapis.com": "Cloud Logging API",
    "monitoring.googleapis.com": "Cloud Monitoring API",
    "run.googleapis.com": "Cloud Run Admin API",
    "secretmanager.googleapis.com": "Secret Manager API",
    "servicemanagement.googleapis.com": "Service Management API",
    "serviceusage.googleapis.com": "Service Usage API",
    "storage-api.googleapis.com": "Google Cloud Storage JSON API",
    "storage-component.googleapis.com": "Cloud Storage",
    "storage.googleapis.com": "Cloud Storage API",
    "sts.googleapis.com": "Security Token Service API",
    "vpcaccess.googleapis.com": "Serverless VPC Access API",
    "workflowexecutions.googleapis.com": "Workflow Executions API",
    "workflows.googleapis.com": "Workflows API",
}
REQUIRES = {
    "workflows.googleapis.com": ("workflowexecutions.googleapis.com",),
    "bigquery.googleapis.com": ("bigquerystorage.googleapis.com",),
}
"""Enabled along, as in the cloud."""


def _project(call: Call) -> str:
    """Project id of the path; 403 for a project that is not here."""
    parent = call.params.get("name") or call.params["parent"]
    project = call.cloud.projects.get(parent.split("/")[1])
    if not parent.startswith("projects/") or project is None:
        info = error_info("USER_PROJECT_DENIED", {"consumer": parent, "service": "serviceusage.googleapis.com"})
        raise ApiError(403, "PERMISSION_DENIED", f"Permission denied on resource {parent}.", details=[info])
    return str(project["projectId"])


def _resource(call: Call) -> str:
    return f"projects/{_project(call)}"


def _service(call: Call, name: str) -> dict[str, Any]:
    project = call.cloud.projects.get(_project(call))
    if project is None:
        raise LookupError(name)
    parent = f"projects/{project['projectNumber']}"
    enabled = call.cloud.projects.enabled(project["projectId"], name)
    return {
        "name": f"{parent}/services/{name}",
        "config": {"name": name, "title": TITLES.get(name, name), "documentation": {}, "usage": {}},
        "state": "ENABLED" if enabled else "DISABLED",
        "parent": parent,
    }


def _check_known(name: str) -> None:
    google = name.endswith(".googleapis.com")
    if not SERVICE_NAME.match(name) or (google and name not in TITLES and name not in service_names()):
        info = error_info(
            "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED", {"services": name}, "serviceusage.googleapis.com"
        )
        raise ApiError(
            403,
            "PERMISSION_DENIED",
            f"Not found or permission denied for service(s): {name}.",
            details=[info],
        )


def _switch_on(call: Call, names: list[str]) -> None:
    project = _project(call)
    at = call.cloud.clock.now() + call.cloud.faults.settings.visibility_delay_s
    services = dict(call.cloud.projects.services(project))
    for name in names:
        for each in (name, *REQUIRES.get(name, ())):
            services.setdefault(each, at)
    call.cloud.projects.set_services(project, services)


def _done(call: Call, kind: str, response: dict[str, Any]) -> dict[str, Any]:
    version = call.api.discovery.version
    typed = {"@type": f"type.googleapis.com/google.api.serviceusage.{version}.{kind}", **response}
    return call.cloud.operations.done("serviceusage", "", typed)


async def enable(call: Call) -> dict[str, Any]:
    name = call.params["name"].rpartition("/")[2]
    _check_known(name)
    _switch_on(call, [name])
    service = _service(call, name)
    if call.api is v1beta1:
        return _done(call, "Service", service)
    return _done(call, "EnableServiceResponse", {"service": service})


async def disable(call: Call) -> dict[str, Any]:
    project, name = _project(call), call.params["name"].rpartition("/")[2]
    _check_known(name)
    services = dict(call.cloud.projects.services(project))
    users = sorted(user for user, needs in REQUIRES.items() if name in needs and user in services)
    if users and not call.body.get("disableDependentServices"):
        raise ApiError(
            400,
            "FAILED_PRECONDITION",
            f"The service {name} is depended on by the following active service(s): {','.join(users)}; Please specify "
            "disable_dependent_services=true if you want to proceed with disabling all services.",
            details=[
                error_info(
                    "COMMON_SU_SERVICE_HAS_DEPENDENT_SERVICES", {"services": name}, "serviceusage.googleapis.com"
                )
            ],
        )
    for each in (name, *users):
        services.pop(each, None)
    call.cloud.projects.set_services(project, services)
    service = _service(call, name)
    if call.api is v1beta1:
        return _done(call, "Service", service)
    return _done(call, "DisableServiceResponse", {"service": service})


async def batch_enable(call: Call) -> dict[str, Any]:
    names = call.body.get("serviceIds", [])
    if not 1 <= len(names) <= MAX_BATCH:
        raise invalid(f"service_ids must name 1 to {MAX_BATCH} services.", "service_ids")
    for name in names:
        _check_known(name)
    _switch_on(call, names)
    return _done(call, "BatchEnableServicesResponse", {"services": [_service(call, name) for name in names]})


async def get(call: Call) -> dict[str, Any]:
    name = call.params["name"].rpartition("/")[2]
    _check_known(name)
    return _service(call, name)


async def batch_get(call: Call) -> dict[str, Any]:
    names = [name.rpartition("/")[2] for name in call.query.get("names", [])]
    for name in names:
        _check_known(name)
    return {"services": [_service(call, name) for name in names]}


async def list_(call: Call) -> dict[str, Any]:
    text = call.query.get("filter", "").replace(" ", "").replace('"', "")
    if text not in ("", "state:ENABLED", "state:DISABLED", "state=ENABLED", "state=DISABLED"):
        raise invalid(f"Invalid filter: {text}. It must be state:ENABLED or state:DISABLED.", "filter")
    names = sorted({*TITLES, *(name for name in call.cloud.projects.services(_project(call)) if "." in name)})
    services = [_service(call, name) for name in names]
    if text:
        services = [item for item in services if item["state"] == text[6:]]
    page, token = call.page(services, 50, 200)
    return {**({"services": page} if page else {}), **({"nextPageToken": token} if token else {})}


async def get_operation(call: Call) -> dict[str, Any]:
    return call.cloud.operations.get("serviceusage", call.params["name"])


async def list_operations(call: Call) -> dict[str, Any]:
    page, token = call.page(call.cloud.operations.list("serviceusage"))
    return {"operations": page, **({"nextPageToken": token} if token else {})}


def _register(api: Api) -> None:
    for verb, handler, permission in (
        ("enable", enable, "enable"),
        ("disable", disable, "disable"),
        ("batchEnable", batch_enable, "enable"),
        ("get", get, "get"),
        ("batchGet", batch_get, "get"),
        ("list", list_, "list"),
    ):
        method_id = f"serviceusage.services.{verb}"
        if method_id in api.discovery.methods:
            api.method(method_id, permission=f"serviceusage.services.{permission}", on=_resource)(handler)
    api.method("serviceusage.operations.get")(get_operation)
    api.method("serviceusage.operations.list")(list_operations)


_register(v1)
_register(v1beta1)


def app(cloud: Cloud) -> App:
    return App(cloud, [v1, v1beta1])
