"""The environment of a task: its own variables, the platform's, secrets, the metadata server."""

from typing import Any, Protocol

from localcloud.errors import ApiError, failed_precondition
from localcloud.run import names, quantities
from localcloud.runtime.base import Volume


class SecretResolver(Protocol):
    """What Secret Manager offers to Cloud Run; puts itself into `cloud.parts["secrets"]`."""

    async def access(self, project: str, secret: str, version: str, member: str) -> bytes:
        """Return the payload. Raises ApiError 403 or 404."""


def platform_env(execution: dict[str, Any], index: int, attempt: int) -> dict[str, str]:
    """Return what Cloud Run sets for every task. https://cloud.google.com/run/docs/container-contract#env-vars (2026-08)."""
    return {
        "CLOUD_RUN_JOB": execution["job"],
        "CLOUD_RUN_EXECUTION": names.short(execution["name"]),
        "CLOUD_RUN_TASK_INDEX": str(index),
        "CLOUD_RUN_TASK_ATTEMPT": str(attempt),
        "CLOUD_RUN_TASK_COUNT": str(execution["taskCount"]),
    }


def metadata_env(address: str) -> dict[str, str]:
    """Return the variables by which Google's clients find a metadata server; `address` is HOST:PORT."""
    return {"GCE_METADATA_HOST": address, "GCE_METADATA_IP": address, "GCE_METADATA_ROOT": address}


async def user_env(
    container: dict[str, Any], project: str, member: str, secrets: SecretResolver | None
) -> dict[str, str]:
    """Return the container's variables with secrets in place of references.

    Raises:
        ApiError: a secret cannot be read, or there is no Secret Manager.
    """
    env = {}
    for entry in container.get("env", []):
        reference = entry.get("valueSource", {}).get("secretKeyRef")
        if not reference:
            env[entry["name"]] = entry.get("value", "")
            continue
        if secrets is None:
            raise failed_precondition(
                f"variable {entry['name']} refers to secret {reference['secret']}, but this local cloud has no Secret Manager"
            )
        version = reference.get("version") or "latest"
        payload = await secrets.access(project, reference["secret"], version, member)
        env[entry["name"]] = payload.decode("utf-8", "replace")
    return env


def volumes(task: dict[str, Any], container: dict[str, Any]) -> list[Volume]:
    """Return the empty directories of a task.

    Raises:
        ApiError: a volume of a kind that is not there locally.
    """
    sources = {volume["name"]: volume for volume in task.get("volumes", [])}
    made = []
    for mount in container.get("volumeMounts", []):
        source = sources[mount["name"]]
        if "emptyDir" not in source:
            kind = next(key for key in source if key != "name")
            raise ApiError(
                501,
                "UNIMPLEMENTED",
                f"volume {mount['name']}: volumes of kind {kind} are not mounted by this local cloud",
            )
        empty = source["emptyDir"]
        size = int(quantities.memory_mib(empty["sizeLimit"])) if empty.get("sizeLimit") else 0
        medium = "disk" if empty.get("medium") == "DISK" else "memory"
        made.append(Volume(path=mount["mountPath"], medium=medium, size_mib=size))  # type: ignore[arg-type]  # one of two literals
    return made
