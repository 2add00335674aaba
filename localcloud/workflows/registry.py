"""Workflows and their revisions in the store."""

import re
import secrets
from typing import TYPE_CHECKING, Any

from localcloud.errors import ApiError, already_exists, invalid, not_found
from localcloud.workflows import connectors, source
from localcloud.workflows.errors import SourceError
from localcloud.workflows.program import Program

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

WORKFLOW, REVISION = "workflow", "workflow.revision"
TYPE = "type.googleapis.com/google.cloud.workflows.v1.Workflow"
NAME = re.compile(r"[a-zA-Z]([a-zA-Z0-9_-]{0,62}[a-zA-Z0-9])?")
MAX_ENV, MAX_ENV_BYTES = 20, 4096
"""https://cloud.google.com/workflows/docs/use-environment-variables (2026-11)."""
MUTABLE = (
    "description", "labels", "serviceAccount", "sourceContents", "callLogLevel", "userEnvVars", "cryptoKeyName",
    "executionHistoryLevel", "tags",
)  # fmt: skip
_REVISED = ("serviceAccount", "sourceContents", "userEnvVars")
"""Fields of which a change makes a new revision."""

Workflow = dict[str, Any]


class Registry:
    def __init__(self, cloud: "Cloud") -> None:
        self._cloud, self._store = cloud, cloud.store
        self._programs: dict[str, Program] = {}

    def forget(self) -> None:
        """After a reset of the store."""
        self._programs.clear()

    def get(self, name: str) -> Workflow:
        """Raises ApiError 404."""
        if (found := self._store.get(WORKFLOW, name)) is None:
            raise not_found(f"workflow {name} not found")
        return found

    def within(self, parent: str) -> list[Workflow]:
        prefix = parent.removesuffix("-") if parent.endswith("/locations/-") else f"{parent}/workflows/"
        return [value for _, value in self._store.list(WORKFLOW, prefix)]

    def create(self, parent: str, workflow_id: str, body: Workflow) -> Workflow:
        """Raises ApiError 400 (what the definition does not say right, with its line), 409."""
        if not NAME.fullmatch(workflow_id):
            raise invalid(
                f"workflow_id must be 1 to 64 letters, digits, - and _, begin with a letter and end with a letter or digit, got {workflow_id!r}",
                "workflow_id",
            )
        name = f"{parent}/workflows/{workflow_id}"
        if self._store.get(WORKFLOW, name) is not None:
            raise already_exists(f"workflow {name} already exists")
        now = self._cloud.clock.timestamp()
        workflow = {key: body[key] for key in MUTABLE if key in body}
        workflow |= {"name": name, "state": "ACTIVE", "createTime": now}
        return self._put(workflow, 1)

    def update(self, name: str, workflow: Workflow) -> Workflow:
        """Raises ApiError 400, 404."""
        old = self.get(name)
        number = int(old["revisionId"].partition("-")[0])
        changed = any(old.get(key) != workflow.get(key) for key in _REVISED)
        return self._put(workflow, number + 1 if changed else 0)

    def _put(self, workflow: Workflow, number: int) -> Workflow:
        self._check(workflow)
        now, project = self._cloud.clock.timestamp(), workflow["name"].split("/")[1]
        workflow["serviceAccount"] = f"projects/{project}/serviceAccounts/{account(self._cloud, workflow)}"
        workflow["updateTime"] = now
        with self._store.transaction():
            if number:
                workflow |= {"revisionId": f"{number:06d}-{secrets.token_hex(2)[:3]}", "revisionCreateTime": now}
                self._store.put(REVISION, f"{workflow['name']}/{workflow['revisionId']}", workflow)
            self._store.put(WORKFLOW, workflow["name"], workflow)
        return workflow

    def _check(self, workflow: Workflow) -> None:
        text = workflow.get("sourceContents", "")
        if not text:
            raise invalid("The workflow must have source contents.", "workflow.source_contents")
        try:
            self._read(text)
        except SourceError as problem:
            raise invalid(
                f"main.yaml:{problem.line or 1}: parse error: {problem}", "workflow.source_contents"
            ) from None
        env = workflow.get("userEnvVars", {})
        if len(env) > MAX_ENV:
            raise invalid(
                f"user_env_vars must have at most {MAX_ENV} variables, got {len(env)}.", "workflow.user_env_vars"
            )
        for key, value in env.items():
            if not key or key.startswith(("GOOGLE", "WORKFLOWS")):
                raise invalid(
                    f"user_env_vars: {key!r} must not be empty or begin with GOOGLE or WORKFLOWS.",
                    "workflow.user_env_vars",
                )
            if len(value.encode()) > MAX_ENV_BYTES:
                raise invalid(f"user_env_vars: {key} is larger than {MAX_ENV_BYTES} bytes.", "workflow.user_env_vars")

    def _read(self, text: str) -> Program:
        served = self._cloud.settings.ports
        return source.read(text, lambda name: connectors.arguments_of(name, served))

    def revision(self, name: str, revision: str) -> Workflow:
        """Raises ApiError 404."""
        if (found := self._store.get(REVISION, f"{name}/{revision}")) is None:
            raise not_found(f"revision {revision} of workflow {name} not found")
        return found

    def revisions(self, name: str) -> list[Workflow]:
        """Newest first."""
        return [value for _, value in reversed(self._store.list(REVISION, f"{name}/"))]

    def program(self, workflow: Workflow) -> Program:
        """The checked definition of a revision."""
        key = f"{workflow['name']}/{workflow['revisionId']}"
        if key not in self._programs:
            self._programs[key] = self._read(workflow["sourceContents"])
        return self._programs[key]

    def delete(self, name: str) -> None:
        """With its revisions."""
        with self._store.transaction():
            for revision, _ in self._store.list(REVISION, f"{name}/"):
                self._store.delete(REVISION, revision)
                self._programs.pop(revision, None)
            self._store.delete(WORKFLOW, name)


def account(cloud: "Cloud", workflow: Workflow) -> str:
    """Email of the service account that a workflow runs as."""
    given = str(workflow.get("serviceAccount") or "").rpartition("/")[2]
    return given or cloud.projects.default_account(workflow["name"].split("/")[1])


def check_actas(cloud: "Cloud", principal: Any, email: str, project: str) -> None:
    """Raises ApiError 403 unless the caller may run workflows as that account."""
    resource = f"projects/{project}/serviceAccounts/{email}"
    if cloud.iam.accounts.get(email) is None:
        raise invalid(f"The service account {email} does not exist.", "workflow.service_account")
    if not cloud.iam.allowed(principal, "iam.serviceAccounts.actAs", resource):
        raise ApiError(403, "PERMISSION_DENIED", f"The principal (user or service account) lacks IAM permission \"iam.serviceAccounts.actAs\" for the resource \"{resource}\" (or the resource may not exist).")  # fmt: skip
