"""Connectors: googleapis.* calls, made from the discovery documents of the APIs that this cloud serves.

https://cloud.google.com/workflows/docs/connectors and https://cloud.google.com/workflows/docs/reference/googleapis
(2026-11). Names, paths and arguments are those of the documents; what Workflows adds of its own is in `HELPERS`.
"""

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from localcloud.discovery import Discovery, Method
from localcloud.workflows.errors import WorkflowError, error
from localcloud.workflows.functions import retryable
from localcloud.workflows.web import Web, encoded, query_of

APIS = {
    "batch.v1": "batch",
    "cloudscheduler.v1": "cloudscheduler",
    "logging.v2": "logging",
    "run.v2": "run",
    "secretmanager.v1": "secretmanager",
    "storage.v1": "storage",
    "workflowexecutions.v1": "workflowexecutions",
    "workflows.v1": "workflows",
}
"""Document -> port."""

_SECRET = "googleapis.secretmanager.v1.projects.secrets"  # noqa: S105 - a name of a connector
_EXECUTIONS = "googleapis.workflowexecutions.v1.projects.locations.workflows.executions"
HELPERS: dict[str, frozenset[str]] = {
    f"{_SECRET}.versions.accessString": frozenset({"project_id", "secret_id", "version"}),
    f"{_SECRET}.addVersionString": frozenset({"project_id", "secret_id", "data"}),
    f"{_EXECUTIONS}.run": frozenset({"project_id", "location", "workflow_id", "argument", "call_log_level"}),
}
"""Connectors that no document has -> their arguments."""

PARAMS = frozenset({"timeout", "polling_policy", "skip_polling", "scopes"})
DEFAULT_TIMEOUT_S = 1800.0
MAX_TIMEOUT_S = 31_536_000.0
RETRIES = 5
BATCH_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")

Sleep = Callable[[float], Awaitable[None]]


@lru_cache
def _document(api: str) -> Discovery:
    name, _, version = api.partition(".")
    return Discovery(name, version)


@lru_cache
def _answers(api: str) -> dict[str, str]:
    """Method id -> name of the schema of its answer."""
    found: dict[str, str] = {}

    def walk(node: dict[str, Any]) -> None:
        for method in node.get("methods", {}).values():
            found[method["id"]] = method.get("response", {}).get("$ref", "")
        for child in node.get("resources", {}).values():
            walk(child)

    walk(_document(api).document)
    return found


def arguments_of(name: str, served: Mapping[str, int]) -> frozenset[str] | None:
    """What a connector takes; None if there is none of that name. `served`: the ports of this cloud."""
    if name in HELPERS:
        return HELPERS[name] | {"connector_params"}
    found = find(name)
    if found is None or APIS[found[0]] not in served:
        return None
    _, method = found
    more = {"body"} if method.request or method.media_upload else set()
    more |= {"uploadType"} if method.media_upload else set()
    return frozenset(method.parameters) | more | {"connector_params", "alt", "fields"}


def find(name: str) -> tuple[str, Method] | None:
    """The document and method behind googleapis.API.VERSION.RESOURCE.METHOD."""
    parts = name.split(".")
    if len(parts) < 4 or parts[0] != "googleapis" or (api := f"{parts[1]}.{parts[2]}") not in APIS:
        return None
    method = _document(api).methods.get(f"{parts[1]}.{'.'.join(parts[3:])}")
    return None if method is None else (api, method)


@dataclass(frozen=True)
class Params:
    """connector_params of one call."""

    timeout_s: float
    initial_s: float
    multiplier: float
    max_s: float
    skip: bool

    @classmethod
    def of(cls, given: Any, ceiling_s: float) -> "Params":
        """Raises WorkflowError for what is unknown or out of range."""
        params = given if isinstance(given, dict) else {}
        if unknown := sorted(set(params) - PARAMS):
            raise error("ValueError", f"connector_params: unknown field {unknown[0]}")
        policy = params.get("polling_policy") or {}
        if unknown := sorted(set(policy) - {"initial_delay", "multiplier", "max_delay"}):
            raise error("ValueError", f"connector_params.polling_policy: unknown field {unknown[0]}")
        timeout = params.get("timeout", DEFAULT_TIMEOUT_S)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= MAX_TIMEOUT_S:
            raise error("ValueError", f"connector_params.timeout must be more than 0 and at most {MAX_TIMEOUT_S:g}")
        first, factor, most = (
            policy.get("initial_delay", 1.0),
            policy.get("multiplier", 1.25),
            policy.get("max_delay", 60.0),
        )
        return cls(
            float(timeout),
            min(float(first), ceiling_s),
            float(factor),
            min(float(most), ceiling_s),
            params.get("skip_polling") is True,
        )


class Sent:
    """One connector call: made once, then looked at until it is over."""

    def __init__(self, web: Web, name: str, arguments: Mapping[str, Any], params: Params, sleep: Sleep) -> None:
        self._web, self._name, self._arguments, self._params, self._sleep = web, name, arguments, params, sleep

    async def first(self) -> Any:
        """The API's answer to the call itself. Raises WorkflowError."""
        if self._name in HELPERS:
            return await self._helper()
        found = find(self._name)
        if found is None:
            raise error("SystemError", f"{self._name} is no connector")
        return await self._method(*found, self._arguments)

    async def look(self, answer: Any) -> tuple[bool, Any]:
        """Whether what the call started is over, and its result. Raises WorkflowError with OperationError if it failed."""
        kind = self._awaited()
        if self._params.skip or not kind or not isinstance(answer, dict):
            return True, answer
        if kind == "job":
            return await self._look_at_job(str(answer["name"]))
        if kind == "execution":
            return await self._look_at_execution(str(answer["name"]))
        return await self._look_at_operation(answer)

    def _awaited(self) -> str:
        if self._name == f"{_EXECUTIONS}.run":
            return "execution"
        found = find(self._name)
        if found is None:
            return ""
        api, method = found
        if method.id == "batch.projects.locations.jobs.create":
            return "job"
        operation = _answers(api)[method.id].endswith("Operation") and ".operations." not in method.id
        return "operation" if operation else ""

    async def _look_at_operation(self, operation: dict[str, Any]) -> tuple[bool, Any]:
        api, method = find(self._name) or ("", None)
        if not operation.get("done"):
            version = method.path.partition("/")[0] if method else "v1"
            operation = await self._get(f"https://{api.partition('.')[0]}.googleapis.com/{version}/{operation['name']}")
        if not operation.get("done"):
            return False, None
        if failed := operation.get("error"):
            raise _failed(str(failed.get("message", "operation failed")), operation, failed)
        return True, operation.get("response", operation)

    async def _look_at_job(self, name: str) -> tuple[bool, Any]:
        job = await self._get(f"https://batch.googleapis.com/v1/{name}")
        status = job.get("status", {})
        return status.get("state") in BATCH_ENDED, job

    async def _look_at_execution(self, name: str) -> tuple[bool, Any]:
        execution = await self._get(f"https://workflowexecutions.googleapis.com/v1/{name}")
        if execution["state"] in ("ACTIVE", "QUEUED"):
            return False, None
        if execution["state"] != "SUCCEEDED":
            context = execution.get("error", {}).get("context", execution["state"])
            raise _failed(f"Execution failed or cancelled: {context}", execution, execution.get("error", {}))
        return True, json.loads(execution.get("result") or "null")

    async def _get(self, url: str) -> Any:
        return (await self._try("GET", url, [], {}, None))["body"]

    async def _method(self, api: str, method: Method, arguments: Mapping[str, Any]) -> Any:
        rest = {
            key: value
            for key, value in arguments.items()
            if key not in ("body", "connector_params") and value is not None
        }
        path = method.path
        if method.media_upload and arguments.get("body") is not None and "uploadType" in arguments:
            path = f"upload/{path}"
        for name, spec in method.parameters.items():
            if spec.get("location") != "path":
                continue
            if name not in rest:
                raise error("KeyError", f"{self._name}: argument {name} is missing")
            # as it is, like the cloud: an object's name with a slash must be given encoded
            path = path.replace(f"{{+{name}}}", str(rest[name])).replace(f"{{{name}}}", str(rest[name]))
            del rest[name]
        content, headers = encoded(arguments.get("body"), {})
        if content is None and method.request:
            content, headers = b"{}", {"Content-Type": "application/json"}
        url = f"https://{api.partition('.')[0]}.googleapis.com/{path}"
        return (await self._try(method.verb, url, query_of(rest), headers, content))["body"]

    async def _try(
        self, verb: str, url: str, query: list[tuple[str, str]], headers: dict[str, str], content: bytes | None
    ) -> dict[str, Any]:
        """Send, and again by the policy for connectors: GET as idempotent, everything else as not."""
        delay = 1.0
        for left in range(RETRIES, -1, -1):
            try:
                timeout = min(self._params.timeout_s, DEFAULT_TIMEOUT_S)
                return await self._web.send(verb, url, query, headers | self._web.bearer(), content, timeout)
            except WorkflowError as problem:
                if not left or not retryable(problem.value, idempotent=verb == "GET"):
                    raise
            await self._sleep(min(delay, self._params.max_s))
            delay *= 1.25
        raise AssertionError("unreachable")

    async def _helper(self) -> Any:
        given = self._arguments
        if self._name == f"{_EXECUTIONS}.run":
            parent = f"projects/{_need(given, 'project_id')}/locations/{_need(given, 'location')}/workflows/{_need(given, 'workflow_id')}"
            body: dict[str, Any] = {"argument": json.dumps(given.get("argument"))} if "argument" in given else {}
            body |= {"callLogLevel": given["call_log_level"]} if "call_log_level" in given else {}
            api, method = find(f"{_EXECUTIONS}.create") or ("", None)
            if method is None:
                raise error("SystemError", f"{self._name} is no connector")
            return await self._method(api, method, {"parent": parent, "body": body})
        secret = f"projects/{_need(given, 'project_id')}/secrets/{_need(given, 'secret_id')}"
        if self._name.endswith("accessString"):
            url = f"https://secretmanager.googleapis.com/v1/{secret}/versions/{given.get('version', 'latest')}:access"
            answer = await self._get(url)
            return base64.b64decode(answer["payload"]["data"]).decode()
        payload = {"payload": {"data": base64.b64encode(str(_need(given, "data")).encode()).decode()}}
        content, headers = encoded(payload, {})
        url = f"https://secretmanager.googleapis.com/v1/{secret}:addVersion"
        return (await self._try("POST", url, [], headers, content))["body"]


def _need(given: Mapping[str, Any], name: str) -> Any:
    if given.get(name) is None:
        raise error("KeyError", f"argument {name} is missing")
    return given[name]


def _failed(message: str, operation: dict[str, Any], failed: Any) -> WorkflowError:
    return error("OperationError", message, operation=operation, error=failed)


def job_failed(job: dict[str, Any]) -> WorkflowError:
    """What the call that waits for a Batch job raises when the job fails."""
    events = job.get("status", {}).get("statusEvents") or [{}]
    state = job.get("status", {}).get("state")
    return _failed(
        f"Batch job {job['name']} ended in state {state}: {events[-1].get('description', '')}", job, job.get("status")
    )
