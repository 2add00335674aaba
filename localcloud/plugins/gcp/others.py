"""Types that need a call more than the others: schedules, secret versions, dataset members, tables."""

import base64
from typing import Any

from localcloud.plugins.contract import PluginError
from localcloud.plugins.gcp.crud import Behaviour, changed_names
from localcloud.plugins.gcp.iam import IamMember
from localcloud.plugins.gcp.plan import Plan
from localcloud.plugins.gcp.rest import ApiError
from localcloud.plugins.gcp.row import Iam
from localcloud.plugins.gcp.target import Target
from localcloud.plugins.values import Plain

LEGACY_ROLES = {
    "READER": "roles/bigquery.dataViewer",
    "WRITER": "roles/bigquery.dataEditor",
    "OWNER": "roles/bigquery.dataOwner",
}
MEMBER_KEYS = {
    "user": "userByEmail",
    "serviceAccount": "userByEmail",
    "group": "groupByEmail",
    "domain": "domain",
    "specialGroup": "specialGroup",
    "iamMember": "iamMember",
}


class Schedule(Behaviour):
    """cloudscheduler.Job: paused or not is a call of its own, made after every create."""

    def create(self, target: Target, values: Plain) -> Target:
        """Makes the job, then resumes or pauses it."""
        made = super().create(target, values)
        made.call("POST", "{id}:pause" if values.get("paused") else "{id}:resume", {})
        return made

    def update(self, target: Target, plan: Plan, olds: Plain) -> None:
        """Patches the job, then pauses or resumes it if that changed."""
        super().update(target, plan, olds)
        if "paused" in changed_names(plan):
            target.call("POST", "{id}:pause" if plan.values.get("paused") else "{id}:resume", {})

    def values(self, target: Target, body: Plain, prior: Plain) -> Plain:
        """What the API gives; the state says whether it is paused."""
        return {**super().values(target, body, prior), "paused": body.get("state") == "PAUSED"}


class SecretVersion(Behaviour):
    """secretmanager.SecretVersion: added, enabled, and destroyed instead of deleted."""

    def create(self, target: Target, values: Plain) -> Target:
        """Adds a version and enables (or disables) it."""
        data = str(values.get("secretData") or values.get("secretDataWo") or "")
        payload = data if values.get("isSecretDataBase64") else base64.b64encode(data.encode()).decode()
        try:
            answer = target.call("POST", target.row.create, {"payload": {"data": payload}})
            made = target.at(answer["name"])
            self._enable(made, values)
        except ApiError as error:
            raise PluginError(f"Error creating SecretVersion: {error}") from error
        return made

    def _enable(self, target: Target, values: Plain) -> None:
        target.call("POST", "{id}:enable" if values.get("enabled", True) else "{id}:disable")

    def read(self, target: Target) -> Plain | None:
        """The version and, while it is enabled, its payload."""
        body = super().read(target)
        if body is None or body.get("state") == "DESTROYED":
            return None
        if body.get("state", "ENABLED") == "ENABLED":
            body["payload"] = target.call("GET", "{id}:access").get("payload", {})
        return body

    def update(self, target: Target, plan: Plan, olds: Plain) -> None:
        """Only enabled or not."""
        if "enabled" in changed_names(plan):
            self._enable(target, plan.values)

    def delete(self, target: Target, olds: Plain) -> None:
        """Destroys the version's payload."""
        try:
            target.call("POST", "{id}:destroy")
        except ApiError as error:
            if error.code != 404:
                raise PluginError(f"Error when reading or editing SecretVersion: {error}") from error

    def values(self, target: Target, body: Plain, prior: Plain) -> Plain:
        """What the API gives, with the payload as the program wrote it."""
        values = super().values(target, body, prior)
        data = body.get("payload", {}).get("data")
        if data is not None and "secretDataWoVersion" not in prior:
            raw = prior.get("isSecretDataBase64")
            values["secretData"] = data if raw else base64.b64decode(data).decode()
        values["enabled"] = body.get("state", "ENABLED") == "ENABLED"
        return values


class DatasetIamMember(IamMember):
    """bigquery.DatasetIamMember: a dataset's policy is its `access` list."""

    def read_policy(self, parent: Target) -> Plain:
        """The access list, as bindings; entries without a role (views, routines) are kept aside."""
        dataset = parent.call("GET", "{id}")
        bindings = [_binding(entry) for entry in dataset.get("access", []) if entry.get("role")]
        rest = [entry for entry in dataset.get("access", []) if not entry.get("role")]
        return {"bindings": bindings, "rest": rest, "etag": dataset.get("etag")}

    def write_policy(self, parent: Target, iam: Iam, policy: Plain) -> None:
        """Writes the access list back."""
        entries = [_entry(binding, member) for binding in policy["bindings"] for member in binding["members"]]
        parent.call(iam.set_method, iam.set, {"access": [*policy["rest"], *entries]})


def _binding(entry: Plain) -> Plain:
    key = next(
        (name for name in ("userByEmail", "groupByEmail", "domain", "specialGroup", "iamMember") if name in entry), ""
    )
    kind = {"userByEmail": "user", "groupByEmail": "group"}.get(key, key)
    email = str(entry.get(key, ""))
    if key == "userByEmail" and email.endswith(".gserviceaccount.com"):
        kind = "serviceAccount"
    role = LEGACY_ROLES.get(entry["role"], entry["role"])
    binding: Plain = {"role": role, "members": [email if key == "iamMember" else f"{kind}:{email}"]}
    return {**binding, "condition": entry["condition"]} if entry.get("condition") else binding


def _entry(binding: Plain, member: str) -> Plain:
    kind, _, rest = member.partition(":")
    key = MEMBER_KEYS.get(kind, "iamMember")
    entry: Plain = {"role": binding["role"], key: member if key == "iamMember" else rest}
    return {**entry, "condition": binding["condition"]} if binding.get("condition") else entry


class Table(Behaviour):
    """bigquery.Table: read before it is written."""

    def update(self, target: Target, plan: Plan, olds: Plain) -> None:
        """Reads, then writes all of it."""
        if any(not target.fields[name].local for name in changed_names(plan)):
            self.read(target)
        super().update(target, plan, olds)

    def body(self, target: Target, values: Plain, *, create: bool) -> Plain:
        """Time partitioning always says whether a filter is required."""
        body: dict[str, Any] = super().body(target, values, create=create)
        if "timePartitioning" in body:
            body["timePartitioning"].setdefault("requirePartitionFilter", False)
        return body
