"""Who may do what: policies of datasets from their `access`, and refusals in BigQuery's words.

https://cloud.google.com/bigquery/docs/access-control-basic-roles#dataset-basic-roles (2026-11)
"""

from typing import TYPE_CHECKING, Any

from localcloud.errors import ApiError, unauthenticated
from localcloud.identity import Principal

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

ROLE_OF = {
    "READER": "roles/bigquery.dataViewer",
    "WRITER": "roles/bigquery.dataEditor",
    "OWNER": "roles/bigquery.dataOwner",
}
LEGACY_OF = {role: legacy for legacy, role in ROLE_OF.items()}
SPECIAL_GROUPS = {
    "projectOwners": "projectOwner",
    "projectWriters": "projectEditor",
    "projectReaders": "projectViewer",
}
RESULTS = "_results"
"""Where the engine keeps the results of queries; readable by who asked."""


def dataset_name(project: str, dataset: str) -> str:
    """The policy's resource name."""
    return f"//bigquery/projects/{project}/datasets/{dataset}"


def table_name(project: str, dataset: str, table: str) -> str:
    return f"{dataset_name(project, dataset)}/tables/{table}"


# --- a dataset's access list ----------------------------------------------------------------------------------------


def normalised(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the API answers them: basic roles by their old names, members by their kind, none twice."""
    found: list[dict[str, Any]] = []
    for entry in entries:
        entry = dict(entry)
        if "role" in entry:
            entry["role"] = LEGACY_OF.get(entry["role"], entry["role"])
        member = str(entry.get("iamMember", ""))
        kind, _, rest = member.partition(":")
        if kind in ("user", "serviceAccount", "group"):
            del entry["iamMember"]
            entry["groupByEmail" if kind == "group" else "userByEmail"] = rest
        if entry not in found:
            found.append(entry)
    return found


def default_access(creator: Principal) -> list[dict[str, Any]]:
    """What a dataset gets that is made without `access`."""
    return [
        {"role": "WRITER", "specialGroup": "projectWriters"},
        {"role": "OWNER", "specialGroup": "projectOwners"},
        {"role": "OWNER", "userByEmail": creator.email},
        {"role": "READER", "specialGroup": "projectReaders"},
    ]


def member_of(entry: dict[str, Any], project: str) -> str:
    """As policies write it; empty for an entry that is no grant to somebody (a view, a routine, a dataset)."""
    if email := entry.get("userByEmail"):
        return f"serviceAccount:{email}" if email.endswith("gserviceaccount.com") else f"user:{email}"
    if group := entry.get("groupByEmail"):
        return f"group:{group}"
    if domain := entry.get("domain"):
        return f"domain:{domain}"
    if special := entry.get("specialGroup"):
        return f"{SPECIAL_GROUPS[special]}:{project}" if special in SPECIAL_GROUPS else str(special)
    return str(entry.get("iamMember", ""))


def bindings_of(access: list[dict[str, Any]], project: str) -> list[dict[str, Any]]:
    """The policy's bindings. Raises ApiError 400 for an entry without a role."""
    bindings = []
    for entry in access:
        member = member_of(entry, project)
        if not member:
            continue
        if not entry.get("role"):
            raise ApiError(400, "INVALID_ARGUMENT", "Required parameter is missing: role", "required")
        binding: dict[str, Any] = {"role": ROLE_OF.get(entry["role"], entry["role"]), "members": [member]}
        if entry.get("condition"):
            binding["condition"] = {"title": "condition", **entry["condition"]}
        bindings.append(binding)
    return bindings


# --- decisions ------------------------------------------------------------------------------------------------------


class Access:
    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    def refusal(
        self, principal: Principal, permission: str, project: str, dataset: str = "", table: str = ""
    ) -> str | None:
        """Why not, in BigQuery's words; None if the caller may."""
        if permission.startswith("storage.objects."):
            return self._storage_refusal(principal, permission, dataset, table)
        target = f"projects/{project}"
        above: tuple[str, ...] = ()
        if table:
            target, above = table_name(project, dataset, table), (dataset_name(project, dataset), f"projects/{project}")
        elif dataset:
            target, above = dataset_name(project, dataset), (f"projects/{project}",)
        if self._cloud.iam.allowed(principal, permission, target, above, service="bigquery.googleapis.com"):
            return None
        return _words(permission, project, dataset, table)

    def _storage_refusal(self, principal: Principal, permission: str, bucket: str, name: str) -> str | None:
        storage = self._cloud.parts.get("storage")
        if storage is None or storage.access.allowed(principal, permission, bucket, name):
            return None
        return (
            f"Access Denied: File gs://{bucket}/{name}: {principal.email} does not have {permission} access to the "
            f"Google Cloud Storage object. Permission '{permission}' denied on resource (or it may not exist)."
        )

    def require(self, principal: Principal, permission: str, project: str, dataset: str = "", table: str = "") -> None:
        """Raises ApiError 403 with the reason accessDenied."""
        refused = self.refusal(principal, permission, project, dataset, table)
        if refused and not principal.authenticated:
            raise unauthenticated()
        if refused:
            raise ApiError(403, "PERMISSION_DENIED", refused, "accessDenied")

    def set_dataset(self, project: str, dataset: str, access: list[dict[str, Any]]) -> None:
        """Makes the dataset's policy what its access list says. Raises ApiError 400 for a member that is not there."""
        bindings = bindings_of(access, project)
        version = 3 if any("condition" in binding for binding in bindings) else 1
        policy = {"bindings": bindings, "version": version}
        name = dataset_name(project, dataset)
        try:
            self._cloud.iam.set_policy(name, policy)
        except ApiError as error:
            message = f"IAM setPolicy failed for Dataset {project}:{dataset}: {error.message}"
            raise ApiError(error.code, error.status, message, "invalid") from None

    def forget(self, project: str, dataset: str, table: str = "") -> None:
        name = table_name(project, dataset, table) if table else dataset_name(project, dataset)
        self._cloud.iam.delete_policy(name)


def _words(permission: str, project: str, dataset: str, table: str) -> str:
    if table and permission == "bigquery.tables.getData":
        label = f"{project}:{dataset}.{table}"
        return (
            f"Access Denied: Table {label}: User does not have permission to query table {label}, or perhaps it does "
            "not exist."
        )
    if table:
        label, kind = f"{project}:{dataset}.{table}", "Table"
    elif dataset:
        label, kind = f"{project}:{dataset}", "Dataset"
    else:
        return f"Access Denied: Project {project}: User does not have {permission} permission in project {project}."
    return f"Access Denied: {kind} {label}: Permission {permission} denied on {kind.lower()} {label} (or it may not exist)."
