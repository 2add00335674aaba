"""Logging v2: entries written and listed, logs listed and deleted.

https://cloud.google.com/logging/docs/reference/v2/rest (2026-11)
"""

import base64
import binascii
import hashlib
import json
import re
from collections import deque
from typing import Any

from localcloud.cloud import Cloud
from localcloud.discovery import Discovery
from localcloud.errors import ApiError, error_info, invalid, not_found
from localcloud.log_filter import parse
from localcloud.logs import Position
from localcloud.shell import Api, App, Call

api = Api("logging", Discovery("logging", "v2"))
LOG_NAME = re.compile(r"^(projects|folders|organizations|billingAccounts)/[^/]+/logs/[^/]{1,511}$")
PAYLOADS = ("textPayload", "jsonPayload", "protoPayload")
MAX_PAGE = 1000
WINDOW_S = 60.0


@api.method("logging.entries.write")
async def write(call: Call) -> dict[str, Any]:
    entries = [_filled(call, entry) for entry in call.body.get("entries", [])]
    for project in {entry["logName"].split("/")[1] for entry in entries}:
        _check_project(call, project)
        call.require("logging.logEntries.create", f"projects/{project}")
    if not call.body.get("dryRun"):
        try:
            call.cloud.logs.write(entries)
        except ValueError as error:
            raise invalid(str(error), "entries.timestamp") from None
    return {}


def _filled(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    """The entry with the request's defaults, as it will be listed."""
    body = call.body
    entry = dict(given)
    entry.setdefault("logName", body.get("logName", ""))
    entry.setdefault("resource", body.get("resource"))
    if body.get("labels"):
        entry["labels"] = {**body["labels"], **entry.get("labels", {})}
    if not LOG_NAME.match(entry["logName"]):
        raise invalid(f"Log name contains illegal character or is malformed: {entry['logName']}", "entries.log_name")
    entry["logName"] = _by_id(call, entry["logName"])
    if not entry["resource"] or not entry["resource"].get("type"):
        raise invalid("A monitored resource must be specified for each log entry.", "entries.resource")
    if not any(name in entry for name in PAYLOADS):
        raise invalid("Log entry must have one of text_payload, json_payload and proto_payload.", "entries")
    project = entry["logName"].split("/")[1]
    labels = {"project_id": project, **entry["resource"].get("labels", {})}
    entry["resource"] = {"type": entry["resource"]["type"], "labels": labels}
    if entry.get("severity") == "DEFAULT":
        del entry["severity"]
    return entry


def _by_id(call: Call, name: str) -> str:
    return call.cloud.projects.normalise({"name": name})["name"]


def _check_project(call: Call, project: str) -> None:
    if call.cloud.projects.get(project) is None:
        raise not_found(f"Project {project} was not found.")


def _projects(call: Call) -> list[str]:
    names = [*call.body.get("resourceNames", []), *(f"projects/{item}" for item in call.body.get("projectIds", []))]
    if not names:
        raise invalid("At least one resource name must be given.", "resource_names")
    projects = []
    for name in map(lambda text: _by_id(call, text), names):
        kind, _, rest = name.partition("/")
        if kind != "projects" or not rest:
            raise invalid(f"Resource name must be a project, got {name}.", "resource_names")
        project = rest.partition("/")[0]
        call.require("logging.logEntries.list", f"projects/{project}")
        _check_project(call, project)
        projects.append(project)
    return list(dict.fromkeys(projects))


@api.method("logging.entries.list")
async def list_(call: Call) -> dict[str, Any]:
    projects = _projects(call)
    for project in projects:
        _spend_quota(call, project)
    size = call.body.get("pageSize", 0)
    if size < 0:
        raise invalid("page_size must not be negative.", "page_size")
    size = min(size or 50, MAX_PAGE)
    newest_first = _newest_first(call.body.get("orderBy", ""))
    query = parse(call.body.get("filter", ""))
    mark = hashlib.sha256(f"{projects}{call.body.get('filter', '')}{newest_first}".encode()).hexdigest()[:12]
    after = _position(call.body.get("pageToken", ""), mark)
    found = []
    for name in projects:
        found += await call.cloud.logs.read(name, query, size + 1, newest_first=newest_first, after=after)
    found.sort(key=lambda item: item[0], reverse=newest_first)
    answer: dict[str, Any] = {}
    if found:
        answer["entries"] = [entry for _, entry in found[:size]]
    if len(found) > size:
        token = json.dumps([*found[size - 1][0], mark]).encode()
        answer["nextPageToken"] = base64.urlsafe_b64encode(token).decode()
    return answer


def _newest_first(order: str) -> bool:
    choices = {"": False, "timestamp": False, "timestamp asc": False, "timestamp desc": True}
    if order not in choices:
        raise invalid(f"order_by must be 'timestamp asc' or 'timestamp desc', got {order!r}.", "order_by")
    return choices[order]


def _position(token: str, mark: str) -> Position | None:
    if not token:
        return None
    try:
        at, row, made_for = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, binascii.Error):
        raise invalid("page_token is invalid.", "page_token") from None
    if made_for != mark:
        raise invalid("page_token doesn't match arguments from the request.", "page_token")
    return int(at), int(row)


def _spend_quota(call: Call, project: str) -> None:
    """Raises ApiError 429 beyond the settings' number of lists a minute."""
    limit = call.cloud.settings.logs.list_quota_per_minute
    if not limit:
        return
    spent: dict[str, deque[float]] = call.cloud.parts.setdefault("logging.quota", {})
    times, now = spent.setdefault(project, deque()), call.cloud.clock.now()
    while times and times[0] <= now - WINDOW_S:
        times.popleft()
    if len(times) >= limit:
        found = call.cloud.projects.get(project)
        consumer = f"project_number:{found['projectNumber'] if found else project}"
        raise ApiError(
            429,
            "RESOURCE_EXHAUSTED",
            "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute' of service "
            f"'logging.googleapis.com' for consumer '{consumer}'.",
            details=[error_info("RATE_LIMIT_EXCEEDED", {"service": "logging.googleapis.com", "consumer": consumer})],
        )
    times.append(now)


def _project(call: Call) -> str:
    return f"projects/{call.params['projectsId']}"


@api.method("logging.projects.logs.list", permission="logging.logs.list", on=_project)
async def list_logs(call: Call) -> dict[str, Any]:
    page, token = call.page(call.cloud.logs.names(call.params["projectsId"]), 50)
    return {**({"logNames": page} if page else {}), **({"nextPageToken": token} if token else {})}


@api.method("logging.projects.logs.delete", permission="logging.logs.delete", on=_project)
async def delete_log(call: Call) -> dict[str, Any]:
    if not call.cloud.logs.delete(call.params["logName"]):
        raise not_found(f"Log {call.params['logName']} does not exist")
    return {}


def app(cloud: Cloud) -> App:
    return App(cloud, [api])
