"""The provider's functions that a program may call."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from localcloud.plugins.contract import PluginError
from localcloud.plugins.gcp.rest import Rest
from localcloud.plugins.values import Plain


def get_client_config(rest: Rest, args: Plain) -> Plain:
    """gcp:organizations/getClientConfig: no call."""
    settings = rest.settings
    return {
        "id": f'projects/"{settings.project}"/regions/"{settings.region}"',
        "project": settings.project,
        "region": settings.region,
        "zone": "",
        "accessToken": settings.token,
        "defaultLabels": dict(settings.default_labels),
    }


def get_project(rest: Rest, args: Plain) -> Plain:
    """gcp:organizations/getProject: the project and its billing account."""
    project = args.get("projectId") or rest.settings.project
    if not project:
        raise PluginError("project: required field is not set")
    found = rest.call("GET", "resourceManager", f"projects/{project}")
    billing = rest.call("GET", "cloudBilling", f"projects/{project}/billingInfo")
    parent = found.get("parent") or {}
    return {
        "id": f"projects/{project}",
        "projectId": found.get("projectId", project),
        "name": found.get("name", ""),
        "number": str(found.get("projectNumber", "")),
        "labels": found.get("labels") or {},
        "effectiveLabels": found.get("labels") or {},
        "pulumiLabels": {},
        "orgId": parent.get("id", "") if parent.get("type") == "organization" else "",
        "folderId": parent.get("id", "") if parent.get("type") == "folder" else "",
        "billingAccount": str(billing.get("billingAccountName", "")).removeprefix("billingAccounts/"),
        "autoCreateNetwork": True,
        "deletionPolicy": "PREVENT",
        "tags": {},
    }


FUNCTIONS: Final[dict[str, Callable[[Rest, Plain], Mapping[str, Any]]]] = {
    "gcp:organizations/getClientConfig:getClientConfig": get_client_config,
    "gcp:organizations/getProject:getProject": get_project,
}
