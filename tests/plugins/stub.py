"""An HTTP server that answers as Google's APIs do for the types of the stand-in, and writes down every call."""

import base64
import copy
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Body = dict[str, Any]
STRIPPED = re.compile(
    r"^/(upload/storage/v1|bigquery/v2|monitoring/v3|(run|log)/v2|(storage|iam|crm|su|ar|wf|cs|sm|billing)/v1)/"
)
STATE = ("resources", "policies", "enabled", "calls", "bodies", "faults", "operations", "operation_error")
IMPLIED = ("alt", "prettyPrint")


@dataclass
class Stub:
    """State of the made-up cloud. `calls` are `METHOD path?query`; `faults` are answers given instead, once each."""

    resources: dict[str, Body] = field(default_factory=dict)
    policies: dict[str, Body] = field(default_factory=dict)
    enabled: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    bodies: list[tuple[str, Any]] = field(default_factory=list)
    faults: list[tuple[str, int, Body]] = field(default_factory=list)
    operation_polls: int = 1
    operations: dict[str, Body] = field(default_factory=dict)
    operation_error: Body | None = None
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def save(self) -> Body:
        """All of its state."""
        return copy.deepcopy({name: getattr(self, name) for name in STATE})

    def restore(self, state: Body) -> None:
        """Sets it to what `save` gave."""
        for name, value in copy.deepcopy(state).items():
            setattr(self, name, value)

    def fail(self, call: str, code: int, message: str, status: str, times: int = 1) -> None:
        """The next calls that start with `call` get this error."""
        error = {"error": {"code": code, "message": message, "status": status}}
        self.faults += [(call, code, error)] * times

    def since(self, mark: int) -> list[str]:
        """Calls after the first `mark`."""
        return self.calls[mark:]

    def body_of(self, call: str) -> Any:
        """The body of the last call that is, or else starts with, `call`."""
        exact = [body for name, body in self.bodies if name == call]
        return exact[-1] if exact else [body for name, body in self.bodies if name.startswith(call)][-1]

    def config(self) -> dict[str, str]:
        """Provider configuration that leads here."""
        services = {
            "cloudRunV2": "run/v2",
            "storage": "storage/v1",
            "iamBeta": "iam/v1",
            "resourceManager": "crm/v1",
            "serviceUsage": "su/v1",
            "artifactRegistry": "ar/v1",
            "workflows": "wf/v1",
            "cloudScheduler": "cs/v1",
            "secretManager": "sm/v1",
            "bigQuery": "bigquery/v2",
            "monitoring": "monitoring",
            "logging": "log/v2",
            "cloudBilling": "billing/v1",
        }
        return {f"{name}CustomEndpoint": f"{self.url}/{path}/" for name, path in services.items()}

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Body]:
        """One call."""
        shown = "&".join(f"{key}={value}" for key, value in query.items() if key not in IMPLIED)
        call = f"{method} {path}{'?' if shown else ''}{shown}"
        with self.lock:
            self.calls.append(call)
            self.bodies.append((call, copy.deepcopy(body)))
            for fault in self.faults:
                if call.startswith(fault[0]):
                    self.faults.remove(fault)
                    return fault[1], fault[2]
            return self._route(method, path, query, body)

    def _route(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Body]:
        if (":" in path.rsplit("/", 1)[-1] and method == "POST") or path.endswith((":getIamPolicy", "/iam")):
            return self._verb(method, path, body)
        if "/operations/" in path or path.startswith("operations/"):
            return self._poll(path)
        if path.endswith("/services") and method == "GET":
            return 200, {"services": [{"name": f"projects/1/services/{name}"} for name in sorted(self.enabled)]}
        if path.startswith("upload/"):
            return self._upload(path.removeprefix("upload/"), query, body)
        if method == "POST":
            return self._create(path, query, body)
        if method == "GET" and path.endswith("/o"):
            items = [item for name, item in self.resources.items() if name.startswith(f"{path}/")]
            return 200, {"items": items}
        if method == "GET" and re.fullmatch(r"projects/[^/]+", path):
            return 200, {"projectId": path.split("/")[1], "lifecycleState": "ACTIVE", "projectNumber": "1"}
        return self._existing(method, path, body)

    def _existing(self, method: str, path: str, body: Any) -> tuple[int, Body]:
        found = self.resources.get(path.removesuffix(":access"))
        if found is None:
            return 404, {"error": {"code": 404, "message": f"Resource '{path}' was not found", "status": "NOT_FOUND"}}
        if method == "GET":
            return 200, found
        if method == "DELETE":
            del self.resources[path]
            return 200, self._operation(path) if self._slow(path, found) else {}
        if "serviceAccount" in body:
            body = {key: value for key, value in body["serviceAccount"].items() if key != "etag"}
        if path.startswith("b/"):
            merged = {**found, **body}
            self.resources[path] = {key: value for key, value in merged.items() if value is not None}
            return 200, self.resources[path]
        self.resources[path] = {**found, **self._filled(path, body)}
        slow = self._slow(path, found) and "/repositories/" not in path
        return 200, self._operation(path) if slow else self.resources[path]

    def _create(self, path: str, query: dict[str, str], body: Body) -> tuple[int, Body]:
        own = next((value for key, value in query.items() if key.lower().endswith("id")), "")
        own = own or self._named(path, body)
        if path.endswith("/serviceAccounts"):
            email = f"{body['accountId']}@{path.split('/')[1]}.iam.gserviceaccount.com"
            body = {**body["serviceAccount"], "email": email, "uniqueId": "1234", "projectId": path.split("/")[1]}
            own = email
        if path == "b":
            own = body["name"]
        name = f"{path}/{own}"
        if name in self.resources:
            return 409, {
                "error": {"code": 409, "message": f"Resource '{own}' already exists.", "status": "ALREADY_EXISTS"}
            }
        self.resources[name] = self._filled(name, body)
        return 200, self._operation(name) if self._slow(name, body) else self.resources[name]

    def _slow(self, path: str, body: Body) -> bool:
        return "/repositories/" in path or "/workflows/" in path or "template" in body

    def _named(self, path: str, body: Body) -> str:
        for key in ("datasetReference", "tableReference"):
            if key in body:
                return str(body[key][f"{key.removesuffix('Reference')}Id"])
        made = "1" if path.endswith(("alertPolicies", "notificationChannels")) else ""
        return made or str(body.get("name", "")).rsplit("/", 1)[-1]

    def _filled(self, name: str, body: Body) -> Body:
        filled: Body = {**body, "name": name, "etag": "e1", "createTime": "2026-01-01T00:00:00Z"}
        if "/jobs/" in name and "template" in body:
            filled |= {
                "uid": "u",
                "generation": "1",
                "observedGeneration": "1",
                "executionCount": 0,
                "launchStage": "GA",
            }
            template = filled["template"]["template"]
            template.setdefault("timeout", "600s")
            template.setdefault("executionEnvironment", "EXECUTION_ENVIRONMENT_GEN2")
            for container in template.get("containers", []):
                container["env"] = list(reversed(container.get("env", [])))
        if "/metrics/" in name:
            filled["name"] = name.rsplit("/", 1)[-1]
        if name.startswith("b/"):
            filled |= {"name": name[2:], "location": body["location"].upper(), "projectNumber": "1"}
            filled["softDeletePolicy"] = {"retentionDurationSeconds": "604800"}
        return filled

    def _operation(self, target: str) -> Body:
        if not self.operation_polls:
            return {"name": f"{target.rsplit('/', 2)[0]}/operations/1", "done": True}
        number = len(self.operations) + 1
        name = f"{'/'.join(target.split('/')[:4])}/operations/{number}" if target else f"operations/{number}"
        self.operations[name] = {"polls": self.operation_polls}
        return {"name": name, "done": False}

    def _poll(self, path: str) -> tuple[int, Body]:
        self.operations[path]["polls"] -= 1
        if self.operations[path]["polls"] > 0:
            return 200, {"name": path, "done": False}
        error, self.operation_error = self.operation_error, None
        return 200, {"name": path, "done": True, **({"error": error} if error else {})}

    def _verb(self, method: str, path: str, body: Any) -> tuple[int, Body]:
        target, _, verb = path.partition(":") if path[-4:] != "/iam" else (path[:-4], "", "iam")
        if verb == "getIamPolicy" or (verb == "iam" and method == "GET"):
            return 200, self.policies.get(target, {"etag": "p0", "version": 1})
        if verb in ("setIamPolicy", "iam"):
            return self._set_policy(target, body if verb == "iam" else body["policy"])
        if verb == "addVersion":
            name = f"{target}/versions/1"
            self.resources[name] = {"name": name, "state": "ENABLED", **body}
            return 200, self.resources[name]
        if target in self.resources:
            states = {"enable": "ENABLED", "disable": "DISABLED", "pause": "PAUSED", "destroy": "DESTROYED"}
            self.resources[target]["state"] = states.get(verb, "ENABLED")
            return 200, self.resources[target]
        if verb in ("enable", "batchEnable"):
            self.enabled |= set((body or {}).get("serviceIds") or [target.rsplit("/", 1)[-1]])
        if verb == "disable":
            self.enabled.discard(target.rsplit("/", 1)[-1])
        return 200, self._operation("")

    def _set_policy(self, target: str, policy: Body) -> tuple[int, Body]:
        etag = self.policies.get(target, {"etag": "p0"})["etag"]
        if policy.get("etag") not in (None, etag):
            return 409, {
                "error": {"code": 409, "message": "There were concurrent policy changes.", "status": "ABORTED"}
            }
        self.policies[target] = {**policy, "etag": f"p{int(etag[1:]) + 1}"}
        return 200, self.policies[target]

    def _upload(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, Body]:
        parts = body.split(b"\r\n--")
        metadata = json.loads(parts[0].split(b"\r\n\r\n", 1)[1])
        data = body.split(b"\r\n\r\n", 2)[2].rsplit(b"\r\n--", 1)[0]
        name = f"{path}/{query['name']}"
        self.resources[name] = {
            **metadata,
            "md5Hash": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
            "contentType": metadata.get("contentType", "text/plain; charset=utf-8"),
            "generation": "1",
        }
        return 200, self.resources[name]


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            split = urlsplit(self.path)
            upload = split.path.startswith("/upload/")
            path = ("upload/" if upload else "") + unquote(STRIPPED.sub("", split.path))
            query = {key: values[0] for key, values in parse_qs(split.query, keep_blank_values=True).items()}
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = raw if upload else json.loads(raw) if raw else None
            code, answer = stub.answer(self.command, path, query, body)
            data = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _do

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet: calls are kept in the stub."""

    return Handler


@contextmanager
def running() -> Iterator[Stub]:
    """A stub that listens on a free loopback port."""
    stub = Stub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(stub))
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
