"""IAM v1 service accounts, and IAM Credentials v1 on the same port.

https://cloud.google.com/iam/docs/reference/rest (2026-11). Keys are refused: nothing here needs one.
"""

import re
from typing import Any

from localcloud import masks
from localcloud.clock import rfc3339
from localcloud.cloud import Cloud
from localcloud.discovery import Discovery
from localcloud.errors import ApiError, conflict, failed_precondition, invalid, not_found
from localcloud.iam import roles
from localcloud.iam.accounts import DOMAIN, new_etag
from localcloud.iam.routes import policy_routes
from localcloud.schema import camel
from localcloud.shell import Api, App, Call

ACCOUNT_ID = re.compile(r"^[a-z]([-a-z0-9]{4,28}[a-z0-9])$")
MAX_DISPLAY_NAME_BYTES = 100
MAX_DESCRIPTION_BYTES = 256
MAX_TOKEN_S = 3600
UNDELETE_S = 30 * 86400
BASE = "iam.projects.serviceAccounts"

iam = Api("iam", Discovery("iam", "v1"))
credentials = Api("iam", Discovery("iamcredentials", "v1"))


def _key(call: Call) -> tuple[str, str]:
    """Project (or -) and email or unique id of the path."""
    _, project, _, key, *_ = (call.params.get("name") or call.params["resource"]).split("/")
    return project, key


def account_resource(call: Call) -> str:
    """The canonical name of the account, also for `projects/-` and for a unique id."""
    project, key = _key(call)
    record = call.cloud.iam.accounts.find(key)
    if record is not None and project in ("-", record["account"]["projectId"]):
        return str(record["account"]["name"])
    if project == "-" and key.endswith(DOMAIN):
        project = key.partition("@")[2].removesuffix(DOMAIN)
    return f"projects/{project}/serviceAccounts/{key}"


def _require(call: Call) -> dict[str, Any]:
    project, key = _key(call)
    return call.cloud.iam.accounts.require(key, project)


def _check_exists(call: Call) -> None:
    _require(call)


def _project(call: Call) -> str:
    return call.params["name"]


def _check_texts(fields: dict[str, Any]) -> None:
    for name, limit in (("displayName", MAX_DISPLAY_NAME_BYTES), ("description", MAX_DESCRIPTION_BYTES)):
        if len(fields.get(name, "").encode()) > limit:
            raise invalid(
                f"The {name} field of a service account must not exceed {limit} bytes.", f"service_account.{name}"
            )


@iam.method(f"{BASE}.create", permission="iam.serviceAccounts.create", on=_project)
async def create(call: Call) -> dict[str, Any]:
    account_id = call.body.get("accountId", "")
    if not ACCOUNT_ID.match(account_id):
        raise invalid(
            "Service account ID must be between 6 and 30 characters. Service account ID must start with a lower case "
            "letter, followed by one or more lower case alphanumerical characters that can be separated by hyphens.",
            "account_id",
        )
    given = call.body.get("serviceAccount", {})
    fields = {key: given[key] for key in ("displayName", "description") if given.get(key)}
    _check_texts(fields)
    project = _existing_project(call, _project(call).split("/")[1])
    account = call.cloud.iam.accounts.create(project, f"{account_id}@{project}{DOMAIN}", fields)
    # of a deleted account of the same name
    call.cloud.iam.delete_policy(account["name"])
    return account


def _existing_project(call: Call, project: str) -> str:
    found = call.cloud.projects.get(project)
    if found is None:
        raise not_found(f"Unknown project id: {project}")
    return str(found["projectId"])


@iam.method(f"{BASE}.get", permission="iam.serviceAccounts.get", on=account_resource)
async def get(call: Call) -> dict[str, Any]:
    return _require(call)


@iam.method(f"{BASE}.list", permission="iam.serviceAccounts.list", on=_project)
async def list_(call: Call) -> dict[str, Any]:
    page, token = call.page(call.cloud.iam.accounts.list(_project(call).split("/")[1]), 20, 100)
    return {**({"accounts": page} if page else {}), **({"nextPageToken": token} if token else {})}


@iam.method(f"{BASE}.patch", permission="iam.serviceAccounts.update", on=account_resource)
async def patch(call: Call) -> dict[str, Any]:
    mask = call.body.get("updateMask", "")
    given = call.body.get("serviceAccount", {})
    if not mask:
        raise invalid("The update mask must be set.", "update_mask")
    unknown = {camel(path) for path in mask.split(",")} - {"displayName", "description"}
    if unknown:
        raise invalid(
            f"Update mask contains fields that cannot be updated: {', '.join(sorted(unknown))}.", "update_mask"
        )
    return _update(call, given, mask)


@iam.method(f"{BASE}.update", permission="iam.serviceAccounts.update", on=account_resource)
async def update(call: Call) -> dict[str, Any]:
    return _update(call, call.body, "displayName,description" if "description" in call.body else "displayName")


def _update(call: Call, given: dict[str, Any], mask: str) -> dict[str, Any]:
    account = _require(call)
    if given.get("etag") and given["etag"] != account["etag"]:
        raise conflict("The service account was changed concurrently. Please read it again and retry.")
    changed = masks.update(account, given, mask)
    _check_texts(changed)
    return _replace(call, {**changed, "etag": new_etag()})


def _replace(call: Call, account: dict[str, Any]) -> dict[str, Any]:
    record = call.cloud.iam.accounts.find(account["email"])
    if record is None:
        raise not_found(f"Service account {account['email']} does not exist.")
    call.cloud.iam.accounts.put({**record, "account": account})
    return account


@iam.method(f"{BASE}.delete", permission="iam.serviceAccounts.delete", on=account_resource)
async def delete(call: Call) -> dict[str, Any]:
    account = _require(call)
    record = call.cloud.iam.accounts.find(account["email"])
    if record is not None:
        call.cloud.iam.accounts.put({**record, "deleted_at": call.cloud.clock.now()})
    call.cloud.iam.bury(account["email"], account["uniqueId"])
    return {}


@iam.method(f"{BASE}.undelete", permission="iam.serviceAccounts.undelete", on=account_resource)
async def undelete(call: Call) -> dict[str, Any]:
    _, key = _key(call)
    record = call.cloud.iam.accounts.find(key)
    if record is None or call.cloud.clock.now() - record["deleted_at"] > UNDELETE_S:
        raise not_found(f"Service account {key} does not exist.")
    if not record["deleted_at"]:
        raise failed_precondition(f"Service account {key} is not deleted.")
    call.cloud.iam.accounts.put({**record, "deleted_at": 0.0})
    call.cloud.iam.unbury(record["account"]["email"], record["account"]["uniqueId"])
    return {"restoredAccount": record["account"]}


@iam.method(f"{BASE}.disable", permission="iam.serviceAccounts.disable", on=account_resource)
async def disable(call: Call) -> dict[str, Any]:
    _replace(call, {**_require(call), "disabled": True})
    return {}


@iam.method(f"{BASE}.enable", permission="iam.serviceAccounts.enable", on=account_resource)
async def enable(call: Call) -> dict[str, Any]:
    account = dict(_require(call))
    account.pop("disabled", None)
    _replace(call, account)
    return {}


@iam.method(f"{BASE}.keys.list", permission="iam.serviceAccountKeys.list", on=account_resource)
async def list_keys(call: Call) -> dict[str, Any]:
    _require(call)
    return {}


@iam.method(f"{BASE}.keys.create")
async def create_key(call: Call) -> dict[str, Any]:
    raise ApiError(
        400, "FAILED_PRECONDITION", "Key creation is not allowed on this service account: the local cloud has no keys."
    )


policy_routes(iam, BASE, "iam.serviceAccounts", name=account_resource, exists=_check_exists)


@iam.method("iam.roles.list")
async def list_roles(call: Call) -> dict[str, Any]:
    page, token = call.page([{"name": name} for name in sorted(roles.TABLE)], 300)
    return {"roles": page, **({"nextPageToken": token} if token else {})}


@iam.method("iam.roles.get")
async def get_role(call: Call) -> dict[str, Any]:
    name = call.params["name"]
    if not roles.known(name):
        raise not_found(f"The role named {name} was not found.")
    return {"name": name, "includedPermissions": sorted(roles.permissions(name)), "stage": "GA", "etag": "AA=="}


# --- IAM Credentials ----------------------------------------------------------------------------------------------


def _lifetime(call: Call) -> float:
    seconds = float(call.body.get("lifetime", f"{MAX_TOKEN_S}s").removesuffix("s"))
    if not 0 < seconds <= MAX_TOKEN_S:
        raise invalid(f"The lifetime must be more than 0s and at most {MAX_TOKEN_S}s.", "lifetime")
    return seconds


def _usable(call: Call) -> dict[str, Any]:
    account = _require(call)
    call.cloud.iam.accounts.check_alive(account["email"])
    return account


@credentials.method(
    "iamcredentials.projects.serviceAccounts.generateAccessToken",
    permission="iam.serviceAccounts.getAccessToken",
    on=account_resource,
)
async def generate_access_token(call: Call) -> dict[str, Any]:
    account, seconds = _usable(call), _lifetime(call)
    if not call.body.get("scope"):
        raise invalid("Scope required.", "scope")
    token = call.cloud.tokens.mint(f"serviceAccount:{account['email']}", seconds)
    expires = rfc3339(round(call.cloud.clock.now() + seconds)).replace(".000000", "")
    return {"accessToken": token, "expireTime": expires}


@credentials.method(
    "iamcredentials.projects.serviceAccounts.generateIdToken",
    permission="iam.serviceAccounts.getOpenIdToken",
    on=account_resource,
)
async def generate_id_token(call: Call) -> dict[str, Any]:
    account = _usable(call)
    if not call.body.get("audience"):
        raise invalid("Audience required.", "audience")
    return {"token": call.cloud.id_tokens.mint(account, call.body["audience"])}


def app(cloud: Cloud) -> App:
    return App(cloud, [iam, credentials])
