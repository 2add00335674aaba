"""The local cloud as a process of this checkout: start it, ask it, stop it. The only module that imports localcloud."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from ops import stackfile
from ops.environment import Project
from ops.errors import BadRequest, OpsError

READY_S = 20.0
STOP_S = 40.0

_ADMIN_HEADER = "X-Localcloud-Admin-Key"

_PROVIDER_APIS = {
    "cloudRunV2": "run",
    "storage": "storage",
    "iamBeta": "iam",
    "resourceManager": "resourcemanager",
    "serviceUsage": "serviceusage",
    "artifactRegistry": "artifactregistry",
    "logging": "logging",
    "cloudBilling": "cloudbilling",
    "bigQuery": "bigquery",
    "secretManager": "secretmanager",
    "workflows": "workflows",
    "cloudScheduler": "cloudscheduler",
    "monitoring": "monitoring",
}
"""Name in the provider's custom endpoints -> API of the local cloud."""

_OWN_APIS = {"billing": "cloudbilling"}
"""Name in longhaul:endpoints -> API of the local cloud, where it is not the same without underscores."""

_GCLOUD = {
    "run": "RUN",
    "storage": "STORAGE",
    "iam": "IAM",
    "resourcemanager": "CLOUDRESOURCEMANAGER",
    "serviceusage": "SERVICEUSAGE",
    "artifactregistry": "ARTIFACTREGISTRY",
    "logging": "LOGGING",
}


@dataclass(frozen=True, kw_only=True)
class Started:
    """What `up` found or did."""

    was_up: bool
    seconds: float
    ports: Mapping[str, int]


class LocalCloud:
    """The local cloud that the stack `stack` of a project is pointed at."""

    def __init__(self, project: Project, stack: str = "local") -> None:
        file = stackfile.load(project, stack)
        if not file.is_local:
            raise BadRequest(
                f"stack {stack} is not pointed at a local cloud",
                "its gcp:…CustomEndpoint must be http://127.0.0.1:PORT/",
            )
        self._project, self._file = project, file
        self.state = project.scratch / "cloud"

    def ports(self) -> dict[str, int]:
        """Return API -> port: as it runs, else as the stack file wants it; 0 is any free one."""
        held = self.state / "ports.json"
        if self.is_up() and held.is_file():
            return dict(json.loads(held.read_text(encoding="utf-8")))
        return self._wanted()

    def _wanted(self) -> dict[str, int]:
        from localcloud.settings import default_ports

        named = {
            _PROVIDER_APIS[name]: url for name, url in self._file.provider_endpoints.items() if name in _PROVIDER_APIS
        }
        named |= {_OWN_APIS.get(name, name.replace("_", "")): url for name, url in self._file.own_endpoints.items()}
        if registry := self._file.config.get("longhaul:registry"):
            named["registry"] = f"http://{registry}"
        ports = {api: port for api, url in named.items() if (port := urlsplit(url).port)}
        default = default_ports()
        # beside ports of one's own, what the stack file does not name must not collide with another local cloud
        others = default if ports.get("run") == default["run"] else dict.fromkeys(default, 0)
        return {api: ports.get(api, others[api]) for api in default}

    def pid(self) -> int | None:
        """Return the id of the process that holds the state, None if none does."""
        try:
            pid = int((self.state / "daemon.pid").read_text(encoding="utf-8"))
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if b"localcloud" in command else None

    def is_up(self) -> bool:
        """Whether the process runs."""
        return self.pid() is not None

    def up(self, overrides: Mapping[str, Any] | None = None) -> Started:
        """Start it, if it does not run, and wait until it answers; `overrides` are settings of localcloud.

        Raises OpsError: it did not come up; the message has its last lines.
        """
        began = time.monotonic()
        if self.is_up():
            self._await_ready(None, began)
            return Started(was_up=True, seconds=time.monotonic() - began, ports=self.ports())
        self.state.mkdir(parents=True, exist_ok=True)
        (self.state / "ports.json").unlink(missing_ok=True)
        config = self._project.scratch / "cloud.json"
        config.write_text(json.dumps(self._settings() | dict(overrides or {}), indent=2), encoding="utf-8")
        process = self._launch(config)
        self._await_ready(process, began)
        return Started(was_up=False, seconds=time.monotonic() - began, ports=self.ports())

    def _settings(self) -> dict[str, Any]:
        environ = self._project.engine_environ(local=True)
        region = str(self._file.config.get("gcp:region") or "europe-west1")
        runtime = {
            "docker_host": environ.get("DOCKER_HOST", ""),
            # in place of what the image says of itself, so that a run's record tells which of the two it was
            "process_env": {
                "PYTHONPATH": str(self._project.code),
                "PATH": environ.get("PATH", ""),
                "LONGHAUL_RUNTIME": "process",
                # the image's unprivileged user may not reach this machine's interpreter and folders
                "HEAVY_RUNNER_SCRIPT_UID": "",
            },
        }
        return {
            "ports": self._wanted(),
            "region": region,
            "projects": [{"project_id": self._file.project or "longhaul-local", "number": 100_000_000_001}],
            "runtime": runtime,
        }

    def _launch(self, config: Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "localcloud", "serve", "--state", str(self.state), "--config", str(config)]
        environ = {**self._project.engine_environ(local=True), "PYTHONPATH": str(self._project.code)}
        with self._console().open("wb") as console:
            return subprocess.Popen(  # noqa: S603 - this interpreter, a module of ours and a folder of the checkout
                command,
                cwd=self._project.code,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _console(self) -> Path:
        return self._project.scratch / "cloud.out"

    def _await_ready(self, process: "subprocess.Popen[bytes] | None", began: float) -> None:
        while not self._answers():
            if process is not None and process.poll() is not None:
                raise OpsError(
                    f"the local cloud ended at once: {self._last_words()}", f"see {self.state}/localcloud.log"
                )
            if time.monotonic() - began > READY_S:
                raise OpsError(
                    f"the local cloud does not answer after {READY_S:.0f} s", f"see {self.state}/localcloud.log"
                )
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            ports = json.loads((self.state / "ports.json").read_text(encoding="utf-8"))
            url = f"http://127.0.0.1:{ports['control']}/healthz"
            return httpx.get(url, timeout=2, trust_env=False).status_code == 200
        except (OSError, ValueError, KeyError, httpx.HTTPError):
            return False

    def _last_words(self) -> str:
        lines = self._console().read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "without a word"

    def down(self) -> bool:
        """Stop it and wait until it has; its state stays. Returns whether it ran. Raises OpsError: it does not stop."""
        if (pid := self.pid()) is None:
            return False
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while self.pid() == pid:
            if time.monotonic() > deadline:
                raise OpsError(f"the local cloud (process {pid}) does not stop", f"see {self.state}/localcloud.log")
            time.sleep(0.05)
        return True

    def reset(self) -> None:
        """Stop it and forget everything it held, with the stack's Pulumi state, which describes nothing any more."""
        self.down()
        shutil.rmtree(self.state, ignore_errors=True)
        backend = self._project.engine_environ(local=True).get("PULUMI_BACKEND_URL", "")
        ours = self._project.scratch / "pulumi"
        if backend == f"file://{ours}":
            for part in ("stacks", "history", "backups", "locks"):
                shutil.rmtree(ours / ".pulumi" / part / self._project.name, ignore_errors=True)
        (self._project.scratch / "cache" / f"outputs-{self._file.stack}.json").unlink(missing_ok=True)

    def control(self, verb: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the control API. Raises OpsError: it does not run, or refuses."""
        if not self.is_up():
            raise OpsError("the local cloud is not up", "longhaul local up")
        url = f"http://127.0.0.1:{self.ports()['control']}{path}"
        try:
            key = {} if verb == "GET" else {_ADMIN_HEADER: (self.state / "admin.key").read_text().strip()}
            answer = httpx.request(verb, url, json=body, headers=key, timeout=30, trust_env=False)
        except httpx.HTTPError as exc:
            raise OpsError(f"the local cloud does not answer: {exc}", f"see {self.state}/localcloud.log") from exc
        if answer.is_error:
            raise OpsError(f"the local cloud refuses: {answer.text[:300]}")
        return answer.json() if answer.content else {}

    def token(self) -> str:
        """Return an access token of the operator. Raises OpsError: it does not run."""
        path = "/computeMetadata/v1/instance/service-accounts/default/token"
        if not self.is_up():
            raise OpsError("the local cloud is not up", "longhaul local up")
        url = f"http://127.0.0.1:{self.ports()['metadata']}{path}"
        answer = httpx.get(url, headers={"Metadata-Flavor": "Google"}, timeout=10, trust_env=False)
        return str(answer.raise_for_status().json()["access_token"])

    def gcloud_environ(self) -> dict[str, str]:
        """Return the variables that point gcloud at it."""
        ports = self.ports()
        found = {
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CORE_PROJECT": self._file.project,
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            # gcloud puts the region before the host of Cloud Run, which only a proxy can resolve for a local address
            "CLOUDSDK_PROXY_TYPE": "http",
            "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
            "CLOUDSDK_PROXY_PORT": str(ports["run"]),
            "NO_PROXY": "127.0.0.1",
        }
        for api, name in _GCLOUD.items():
            path = "storage/v1/" if api == "storage" else ""
            host = "run.localcloud" if api == "run" else f"127.0.0.1:{ports[api]}"
            found[f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}"] = f"http://{host}/{path}"
        return found
