"""Cloud Billing v1: that a project has a billing account, which is all that its clients here ask.

https://cloud.google.com/billing/docs/reference/rest/v1/projects/getBillingInfo (2026-11)
"""

from typing import Any

from localcloud.cloud import Cloud
from localcloud.discovery import Discovery
from localcloud.errors import denied
from localcloud.shell import Api, App, Call

ACCOUNT = "billingAccounts/000000-000000-000000"
"""Not a real account: nothing here costs anything."""

api = Api("cloudbilling", Discovery("cloudbilling", "v1"))


@api.method("cloudbilling.projects.getBillingInfo", permission="resourcemanager.projects.get")
async def get_billing_info(call: Call) -> dict[str, Any]:
    project = call.cloud.projects.get(call.params["projectsId"])
    if project is None:
        raise denied("resourcemanager.projects.get", call.params["name"])
    return {
        "name": f"projects/{project['projectId']}/billingInfo",
        "projectId": project["projectId"],
        "billingAccountName": ACCOUNT,
        "billingEnabled": True,
    }


def app(cloud: Cloud) -> App:
    return App(cloud, [api])
