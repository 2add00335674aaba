"""Projects: made from the settings, found by id or number, with the APIs they have enabled."""

import zlib
from typing import TYPE_CHECKING, Any

from localcloud.clock import Clock
from localcloud.errors import ApiError, error_info
from localcloud.settings import ProjectSettings, Settings
from localcloud.store import Store

if TYPE_CHECKING:
    from localcloud.iam.engine import Iam
    from localcloud.shell import Call

ALWAYS_ON = frozenset(
    {
        "cloudbilling.googleapis.com",
        "cloudresourcemanager.googleapis.com",
        "iam.googleapis.com",
        "iamcredentials.googleapis.com",
        "serviceusage.googleapis.com",
    }
)
"""Needed to enable anything at all; not asked about."""
ENABLED_BY_DEFAULT = (
    "bigquery.googleapis.com",
    "bigquerystorage.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "servicemanagement.googleapis.com",
    "serviceusage.googleapis.com",
    "storage-api.googleapis.com",
    "storage-component.googleapis.com",
    "storage.googleapis.com",
)
"""https://cloud.google.com/service-usage/docs/enabled-service#default (2026-11), as far as this cloud has them."""


class Projects:
    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._numbers: dict[str, str] = {}
        self._services: dict[str, dict[str, float]] = {}

    def seed(self, iam: "Iam") -> None:
        """Makes the projects of the settings that are not there yet, with the owner's grant and the default account."""
        for item in self._settings.projects:
            if self._store.get("project", item.project_id) is None:
                with self._store.transaction():
                    self._create(item, iam)
        self._numbers = {value["projectNumber"]: name for name, value in self._store.list("project")}

    def _create(self, item: ProjectSettings, iam: "Iam") -> None:
        project = item.project_id
        number = item.number or 10**11 + zlib.crc32(project.encode())
        created = {
            "projectId": project,
            "projectNumber": str(number),
            "name": project,
            "createTime": self._clock.timestamp(),
        }
        self._store.put("project", project, created)
        self._store.put("services", project, dict.fromkeys((*ENABLED_BY_DEFAULT, *item.services_enabled), 0.0))
        compute = f"{number}-compute@developer.gserviceaccount.com"
        iam.accounts.create(project, compute, {"displayName": "Default compute service account"}, immediate=True)
        iam.add_binding(f"projects/{project}", "roles/owner", self._settings.owner)
        iam.add_binding(f"projects/{project}", "roles/editor", f"serviceAccount:{compute}")

    def get(self, id_or_number: str) -> dict[str, Any] | None:
        """projectId, projectNumber, name, createTime, labels; None for one that is not here."""
        return self._store.get("project", self._numbers.get(id_or_number, id_or_number))

    def list(self) -> list[dict[str, Any]]:
        return [value for _, value in self._store.list("project")]

    def put(self, project: dict[str, Any]) -> None:
        self._store.put("project", project["projectId"], project)

    def default_account(self, project: str) -> str:
        """Email of the Compute Engine default service account."""
        found = self.get(project)
        if found is None:
            raise LookupError(project)
        return f"{found['projectNumber']}-compute@developer.gserviceaccount.com"

    def normalise(self, params: dict[str, str]) -> dict[str, str]:
        """Path parameters with a project's number replaced by its id."""
        return {key: self._by_id(value) for key, value in params.items()}

    def _by_id(self, value: str) -> str:
        if value in self._numbers:
            return self._numbers[value]
        head, slash, rest = value.partition("/")
        if head in ("projects", "namespaces") and slash:
            number, colon, tail = rest.partition("/")
            if number in self._numbers:
                return f"{head}/{self._numbers[number]}{colon}{tail}"
        return value

    def services(self, project: str) -> dict[str, float]:
        """API -> time from which it is enabled."""
        if project not in self._services:
            self._services[project] = self._store.get("services", project) or {}
        return self._services[project]

    def set_services(self, project: str, services: dict[str, float]) -> None:
        self._store.put("services", project, services)
        self._services[project] = services

    def enabled(self, project: str, service: str) -> bool:
        services = self.services(project)
        return service in ALWAYS_ON or "all" in services or services.get(service, float("inf")) <= self._clock.now()

    def forget(self) -> None:
        """After a reset of the store."""
        self._services.clear()
        self._numbers.clear()

    def check_service(self, service: str, call: "Call") -> None:
        """Raises ApiError 403 for a project that does not exist or has not enabled the API that is called."""
        asked = project_of(call)
        if asked is None or service in ALWAYS_ON:
            return
        project = self.get(asked)
        if project is None:
            raise ApiError(
                403,
                "PERMISSION_DENIED",
                f"Permission denied on resource project {asked}.",
                reason="forbidden",
                details=[error_info("CONSUMER_INVALID", {"consumer": f"projects/{asked}", "service": service})],
            )
        self.require_enabled(service, project)

    def require_enabled(self, service: str, project: dict[str, Any]) -> None:
        """Raises ApiError 403 SERVICE_DISABLED."""
        if self._settings.check_services and not self.enabled(project["projectId"], service):
            raise disabled(service, project)


def project_of(call: "Call") -> str | None:
    for key in ("projectsId", "projectId", "namespacesId"):
        if key in call.params:
            return call.params[key]
    found = call.query.get("project")
    return str(found) if found else None


def disabled(service: str, project: dict[str, Any]) -> ApiError:
    title = service.removesuffix(".googleapis.com")
    number = project["projectNumber"]
    url = f"https://console.developers.google.com/apis/api/{service}/overview?project={project['projectId']}"
    message = (
        f"{title} API has not been used in project {number} before or it is disabled. Enable it by visiting {url} then "
        "retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry."
    )
    info = error_info("SERVICE_DISABLED", {"service": service, "consumer": f"projects/{number}"})
    return ApiError(403, "PERMISSION_DENIED", message, reason="accessNotConfigured", details=[info])
