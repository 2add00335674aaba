"""projects.Service: enabled APIs, listed and enabled in batches."""

from typing import Any, Final

from localcloud.plugins.contract import PluginError
from localcloud.plugins.gcp import operations
from localcloud.plugins.gcp.batches import Batches
from localcloud.plugins.gcp.crud import Behaviour
from localcloud.plugins.gcp.plan import Plan
from localcloud.plugins.gcp.rest import ApiError
from localcloud.plugins.gcp.target import Target
from localcloud.plugins.values import Plain

WINDOW_S: Final = 3.0
LOOPBACK_WINDOW_S: Final = 0.1
LIST: Final = {"filter": "state:ENABLED", "fields": "services/name,nextPageToken", "pageSize": "200"}


class ProjectService(Behaviour):
    """Enabling is one call for all services asked for within the window."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def create(self, target: Target, values: Plain) -> Target:
        """Enables the API unless it is enabled already."""
        service = values["service"]
        made = target.at(target.path(target.row.id))
        try:
            if service not in self._enabled(target):
                self._submit(target, "enable", service, lambda items: _enable(target, items))
        except ApiError as error:
            raise PluginError(f"Error when reading or editing Project Service {made.id}: {error}") from error
        return made

    def read(self, target: Target) -> Plain | None:
        """The service if the project is active and has it enabled."""
        project = target.params["project"]
        try:
            found = target.rest.call("GET", "resourceManager", f"projects/{project}", timeout_s=target.timeout_s)
            if found.get("lifecycleState", "ACTIVE") != "ACTIVE" or target.params["service"] not in self._enabled(
                target
            ):
                return None
        except ApiError as error:
            if error.code == 404:
                return None
            raise PluginError(f"Error when reading or editing Project Service {target.id}: {error}") from error
        return {}

    def update(self, target: Target, plan: Plan, olds: Plain) -> None:
        """Only the provider's own switches change in place: no call."""

    def delete(self, target: Target, olds: Plain) -> None:
        """Leaves the API enabled, unless disableOnDestroy says otherwise."""
        if not olds.get("disableOnDestroy"):
            return
        body: Plain = {"checkIfServiceHasUsage": "CHECK" if olds.get("checkIfServiceHasUsageOnDestroy") else "SKIP"}
        if olds.get("disableDependentServices"):
            body["disableDependentServices"] = True
        try:
            target.wait(target.call("POST", "projects/{project}/services/{service}:disable", body))
        except ApiError as error:
            raise PluginError(f"Error disabling service {target.params['service']!r}: {error}") from error

    def _enabled(self, target: Target) -> set[str]:
        enabled: set[str] = self._submit(target, "list", None, lambda items: _list(target))
        return enabled

    def _submit(self, target: Target, what: str, item: Any, run: Any) -> Any:
        window_s = LOOPBACK_WINDOW_S if target.loopback else WINDOW_S
        key = f"services/{what}/{target.params['project']}"
        return self._batches.submit(key, item, run, window_s, target.rest.wait)


def _list(target: Target) -> set[str]:
    names: set[str] = set()
    query = dict(LIST)
    while True:
        page = target.call("GET", "projects/{project}/services", **query)
        names |= {item["name"].rsplit("/", 1)[-1] for item in page.get("services", [])}
        if not page.get("nextPageToken"):
            return names
        query["pageToken"] = page["nextPageToken"]


def _enable(target: Target, services: list[str]) -> None:
    names = sorted(set(services))
    if len(names) == 1:
        operation = target.call("POST", f"projects/{{project}}/services/{names[0]}:enable", {})
    else:
        operation = target.call("POST", "projects/{project}/services:batchEnable", {"serviceIds": names})
    operations.wait(target.rest, target.row.service, operation, target.timeout_s)
