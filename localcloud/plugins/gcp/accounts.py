"""serviceaccount.Account: accounts are eventually consistent, so the provider looks until it sees them."""

from typing import Final

from localcloud.plugins.contract import PluginError
from localcloud.plugins.gcp.crud import Behaviour, changed_names
from localcloud.plugins.gcp.plan import Plan
from localcloud.plugins.gcp.rest import ApiError
from localcloud.plugins.gcp.target import Target
from localcloud.plugins.values import Plain

LOOKS: Final = 3
LOOK_PAUSE_S: Final = 0.5
SETTLE_S: Final = 10.0
MOST_LOOKS: Final = 120
MASK: Final = {"description": "description", "displayName": "display_name"}


class Account(Behaviour):
    """Service accounts."""

    def create(self, target: Target, values: Plain) -> Target:
        """Makes the account and waits until it is seen; an existing one is taken over if the program allows it."""
        account = {key: values[key] for key in ("displayName", "description") if values.get(key)}
        body = {"accountId": values["accountId"], "serviceAccount": account}
        made = target.at(
            target.path("projects/{project}/serviceAccounts/{accountId}@{project}.iam.gserviceaccount.com")
        )
        try:
            answer = target.call("POST", target.row.create, body)
        except ApiError as error:
            if error.code == 409 and values.get("createIgnoreAlreadyExists"):
                return made
            raise PluginError(f"Error creating service account: {error}") from error
        made = target.at(answer.get("name", made.id))
        _look(made)
        made.rest.wait(0 if made.loopback else SETTLE_S)
        if values.get("disabled"):
            made.call("POST", "{id}:disable", {})
        return made

    def update(self, target: Target, plan: Plan, olds: Plain) -> None:
        """Patches names and description; disabling and enabling are calls of their own."""
        changed = changed_names(plan)
        try:
            if "disabled" in changed:
                target.call("POST", "{id}:disable" if plan.values.get("disabled") else "{id}:enable", {})
            fields = [MASK[name] for name in ("description", "displayName") if name in changed]
            if fields:
                _patch(target, plan.values, fields)
        except ApiError as error:
            raise PluginError(f'Error updating service account "{target.id}": {error}') from error

    def values(self, target: Target, body: Plain, prior: Plain) -> Plain:
        """What the API gives, and the two properties it does not."""
        values = super().values(target, body, prior)
        values["accountId"] = values.get("accountId") or str(body.get("email", "")).split("@")[0]
        values["disabled"] = bool(body.get("disabled", False))
        return values


def _patch(target: Target, values: Plain, fields: list[str]) -> None:
    account = target.call("GET", "{id}")
    body = {key: values.get(key, "") for key in ("displayName", "description")}
    update = {"serviceAccount": {**body, "etag": account.get("etag", "")}, "updateMask": ",".join(fields)}
    target.call("PATCH", "{id}", update)
    _look(target)


def _look(target: Target) -> None:
    seen = 0
    for _ in range(MOST_LOOKS):
        try:
            target.call("GET", "{id}")
            seen += 1
        except ApiError as error:
            if error.code not in (403, 404):
                raise
            seen = 0
        if seen == LOOKS:
            return
        # an account that is there needs no pause on this machine; one that is delayed does
        target.rest.wait(0 if seen and target.loopback else LOOK_PAUSE_S)
    raise PluginError(f"timeout while waiting for service account {target.id} to be seen")
