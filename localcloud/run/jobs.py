"""Jobs: stored as the API answers them."""

import uuid
from typing import TYPE_CHECKING, Any

from localcloud import errors
from localcloud.errors import ApiError
from localcloud.run import conditions, names
from localcloud.run.validate import check_job

if TYPE_CHECKING:
    from localcloud.cloud import Cloud
    from localcloud.identity import Principal
    from localcloud.run.registry import Registry

KIND = "run.job"
TYPE = "type.googleapis.com/google.cloud.run.v2.Job"
SETTABLE = ("labels", "annotations", "client", "clientVersion", "launchStage", "binaryAuthorization", "template")
Job = dict[str, Any]


class Jobs:
    """Create, change and delete; what runs of them is the executor's."""

    def __init__(self, cloud: "Cloud", registry: "Registry"):
        self._cloud, self._registry = cloud, registry

    def get(self, name: str) -> Job:
        """Raises ApiError 404."""
        if (job := self._cloud.store.get(KIND, name)) is None:
            raise errors.not_found(f"Resource '{names.short(name)}' of kind 'JOB' in region "
                                   f"'{names.location_of(name)}' in project '{names.project_of(name)}' does not exist.")  # fmt: skip
        return job

    def within(self, parent: str) -> list[Job]:
        """Return the jobs of one location, or of all if it is '-'."""
        project, location = names.project_of(parent), names.location_of(parent)
        prefix = f"projects/{project}/locations/" + ("" if location == "-" else f"{location}/jobs/")
        return [job for _, job in self._cloud.store.list(KIND, prefix)]

    def put(self, job: Job) -> None:
        self._cloud.store.put(KIND, job["name"], job)

    def delete(self, name: str) -> None:
        self._cloud.store.delete(KIND, name)

    async def create(self, name: str, body: Job, caller: "Principal", *, dry: bool) -> tuple[Job, ApiError | None]:
        """Store a new job.

        Returns:
            The job, and the error its operation ends with if it is stored but not ready (its image is missing).

        Raises:
            ApiError: 400, 403 (actAs), 409.
        """
        job_id = names.short(name)
        if not names.JOB_ID.fullmatch(job_id):
            raise errors.invalid(
                f"job_id: Invalid job ID {job_id!r}: must start with a letter, hold only lower-case letters, digits and "
                "hyphens, not end with a hyphen, and be at most 49 characters long.",
                "job_id",
            )
        self._check(name, body, caller)
        if self._cloud.store.get(KIND, name) is not None:
            raise errors.already_exists(f"Resource '{job_id}' already exists.")
        now = self._cloud.clock.timestamp()
        job = {"name": name, "uid": str(uuid.uuid4()), "generation": "1", "createTime": now, "creator": caller.email}
        return await self._save(job, body, caller, dry=dry)

    async def replace(
        self, name: str, body: Job, caller: "Principal", *, dry: bool, missing_ok: bool
    ) -> tuple[Job, ApiError | None]:
        """Replace the settable fields of a job by those of `body` (there is no update mask: what is absent is cleared)."""
        if missing_ok and self._cloud.store.get(KIND, name) is None:
            return await self.create(name, body, caller, dry=dry)
        job = self.get(name)
        self.check_etag(job, body.get("etag"))
        self._check(name, body, caller)
        changed = body.get("template") != job.get("template") or body.get("launchStage", "GA") != job.get("launchStage")
        if changed:
            job["generation"] = str(int(job["generation"]) + 1)
        return await self._save(job, body, caller, dry=dry)

    async def _save(self, job: Job, body: Job, caller: "Principal", *, dry: bool) -> tuple[Job, ApiError | None]:
        now = self._cloud.clock.timestamp()
        for field in SETTABLE:
            job.pop(field, None)
        job |= {field: body[field] for field in SETTABLE if body.get(field) not in (None, {}, "")}
        job["template"] = self._filled(job["template"], names.project_of(job["name"]))
        job |= {"launchStage": body.get("launchStage") or "GA", "lastModifier": caller.email, "updateTime": now}
        image = job["template"]["template"]["containers"][0]["image"]
        error = await self._registry.check(image, names.project_of(job["name"]))
        job["terminalCondition"] = _ready(now, error)
        job |= {"observedGeneration": job["generation"], "etag": self.etag(job)}
        if not dry:
            current = self._cloud.store.get(KIND, job["name"]) or {}  # while the registry was asked it may have run
            job |= {key: current[key] for key in ("executionCount", "latestCreatedExecution") if key in current}
            self.put(job)
        return job, error

    def _check(self, name: str, body: Job, caller: "Principal") -> None:
        check_job(body, names.location_of(name))
        project = names.project_of(name)
        email = body["template"]["template"].get("serviceAccount") or self._cloud.projects.default_account(project)
        record = self._cloud.iam.accounts.get(email)
        owner = record["account"]["projectId"] if record else project
        resource = f"projects/{owner}/serviceAccounts/{email}"
        if record is None or not self._cloud.iam.allowed(caller, "iam.serviceAccounts.actAs", resource):
            raise ApiError(
                403,
                "PERMISSION_DENIED",
                f"Permission 'iam.serviceaccounts.actAs' denied on service account {email} (or it may not exist).",
            )

    def _filled(self, template: Job, project: str) -> Job:
        """Fill what Cloud Run fills, only where nothing was given: clients compare the rest with what they sent."""
        task: Job = {"timeout": "600s", "serviceAccount": self._cloud.projects.default_account(project)}
        task |= {"executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2"} | template["template"]
        task.setdefault("maxRetries", 3)
        container = dict(task["containers"][0])
        if not container.get("resources", {}).get("limits"):
            container["resources"] = container.get("resources", {}) | {"limits": {"cpu": "1000m", "memory": "512Mi"}}
        return {"taskCount": 1} | template | {"template": task | {"containers": [container]}}

    def check_etag(self, resource: Job, etag: str | None) -> None:
        """Raises ApiError 409 unless no etag is given or it is the current one."""
        if etag and etag != resource.get("etag"):
            raise errors.conflict(f"Conflict for resource '{names.short(resource['name'])}': the etag is not current.")

    def etag(self, resource: Job) -> str:
        """Make an etag from what identifies this version."""
        return f'"{resource["uid"][:8]}-{resource["generation"]}-{resource["updateTime"][-12:-1]}"'

    def ran(self, execution: Job) -> None:
        """Note a new execution on its job."""
        job = self.get(names.job_of(execution["name"]))
        job["executionCount"] = job.get("executionCount", 0) + 1
        job["latestCreatedExecution"] = {
            "name": names.short(execution["name"]),
            "createTime": execution["createTime"],
            "completionStatus": "EXECUTION_PENDING",
        }
        self.put(job)

    def progressed(self, execution: Job, status: str) -> None:
        """Note the state of the latest execution on its job, if the job is still there."""
        job = self._cloud.store.get(KIND, names.job_of(execution["name"]))
        latest = (job or {}).get("latestCreatedExecution", {})
        if job is None or latest.get("name") != names.short(execution["name"]):
            return
        latest["completionStatus"] = status
        if "completionTime" in execution:
            latest["completionTime"] = execution["completionTime"]
        self.put(job)


def _ready(now: str, error: ApiError | None) -> conditions.Condition:
    if error is None:
        return conditions.condition("Ready", "CONDITION_SUCCEEDED", now)
    return conditions.condition("Ready", "CONDITION_FAILED", now, error.message, reason=image_reason(error))


def image_reason(error: ApiError) -> str:
    """Return the condition's reason for an error of an image."""
    return "CONTAINER_PERMISSION_DENIED" if error.code == 403 else "CONTAINER_MISSING"
