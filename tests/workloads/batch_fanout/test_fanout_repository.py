"""A private repository behind a password: cloned with a token that nobody else sees, handed to the tasks."""

import base64
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fanout_support import PLACE, ROOT, container, records, stage_env
from gcs_support import Script, problem, scripted_server

from workloads.batch_fanout.contract import Manifest
from workloads.batch_fanout.failure import BadRequest
from workloads.batch_fanout.repository import clone
from workloads.batch_fanout.secret import read_secret
from workloads.common.storage import StorageError
from workloads.common.tokens import Anonymous

TOKEN = "github_pat_9f2c71d0e5"
MODEL = """
def make_inputs(count, seed):
    return [{"n": index} for index in range(count)]

def simulate(value):
    return {"parameters": {"n": value["n"], "version": VERSION}}

VERSION = %d
"""


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


class GitServer(ThreadingHTTPServer):
    """`git http-backend` behind basic authentication."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), GitHandler)
        self.root = root
        self.paths: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class GitHandler(BaseHTTPRequestHandler):
    server: GitServer

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.server.paths.append(self.path)
        expected = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        env = {
            **os.environ, "GIT_PROJECT_ROOT": str(self.server.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
            "QUERY_STRING": query, "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "REMOTE_USER": "x", "CONTENT_LENGTH": str(len(body)),
        }  # fmt: skip
        made = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True, check=True).stdout
        head, _, data = made.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        return None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    work = tmp_path / "work"
    (work / "forecast").mkdir(parents=True)
    git(work, "init", "--quiet")
    for version in (1, 2):
        (work / "forecast" / "model.py").write_text(MODEL % version)
        git(work, "add", "-A")
        git(work, "commit", "--quiet", "-m", f"version {version}")
        git(work, "tag", f"v{version}")
    root = tmp_path / "server"
    (root / "acme").mkdir(parents=True)
    git(tmp_path, "clone", "--quiet", "--bare", str(work), str(root / "acme" / "forecast.git"))
    served = GitServer(root)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()


def env_of(server: GitServer, folder: Path, **changes: Any) -> Any:
    values = {"github_repo": "acme/forecast", "project": "p", "repo_dir": str(folder / "clone"), "git_url": server.url}
    return stage_env(folder / "bucket", "a", **{**values, "model": "forecast.model", **changes})


def everything_under(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


def test_a_clone_with_the_token_leaves_no_trace_of_it(server: GitServer, tmp_path: Path) -> None:
    env = env_of(server, tmp_path)
    commit = clone(env, lambda: TOKEN.encode(), os.environ["PATH"])
    assert re.fullmatch(r"[0-9a-f]{40}", commit)
    assert "VERSION = 2" in (tmp_path / "clone/forecast/model.py").read_text()
    assert [path for path, data in everything_under(tmp_path / "clone") if TOKEN.encode() in data] == []
    assert [path for path in server.paths if TOKEN in path] == []


@pytest.mark.parametrize("ref", ["v1", "commit"])
def test_a_tag_or_commit_is_checked_out(server: GitServer, tmp_path: Path, ref: str) -> None:
    if ref == "commit":
        git(server.root / "acme/forecast.git", "config", "uploadpack.allowReachableSHA1InWant", "true")
        ref = git(server.root / "acme/forecast.git", "rev-parse", "v1").strip()
    clone(env_of(server, tmp_path, git_ref=ref), lambda: TOKEN.encode(), os.environ["PATH"])
    assert "VERSION = 1" in (tmp_path / "clone/forecast/model.py").read_text()


@pytest.mark.parametrize(
    ("changes", "token"),
    [({}, b"wrong-token-1"), ({"git_ref": "nowhere"}, TOKEN.encode()), ({"github_secret": "none"}, b"")],
)
def test_what_no_retry_can_cure_is_a_bad_request(
    server: GitServer, tmp_path: Path, changes: dict[str, Any], token: bytes
) -> None:
    with pytest.raises(BadRequest, match="git fetch: ") as refused:
        clone(env_of(server, tmp_path, **changes), lambda: token, os.environ["PATH"])
    assert "wrong-token-1" not in str(refused.value)


def test_while_git_runs_no_process_shows_the_token(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    run = subprocess.run

    def watched(arguments: Any, **options: Any) -> Any:
        shown.append(json.dumps([arguments, options.get("env", {})]))
        return run(arguments, **options)

    monkeypatch.setattr(subprocess, "run", watched)
    clone(env_of(server, tmp_path), lambda: TOKEN.encode(), os.environ["PATH"])
    assert len(shown) >= 4
    assert [text for text in shown if TOKEN in text] == []


def secret_answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
    assert path == "/v1/projects/p/secrets/github-pat/versions/latest:access"
    payload = {"name": "x", "payload": {"data": base64.b64encode(f"{TOKEN}\n".encode()).decode()}}
    return 200, {}, json.dumps(payload).encode()


def test_a_secret_is_read_without_the_line_feed_that_was_pasted_with_it() -> None:
    with scripted_server(Script(secret_answer)) as url:
        assert read_secret(lambda http: Anonymous(), "p", "github-pat", endpoint=url) == TOKEN.encode()


@pytest.mark.parametrize("answer", [(200, {}, b'{"payload": {"data": "c2VjcmV0!"}}'), problem(403, "denied")])
def test_a_secret_that_cannot_be_read_says_which_one_and_nothing_of_it(answer: Any) -> None:
    with scripted_server(Script(lambda *asked: answer)) as url, pytest.raises(StorageError) as refused:
        read_secret(lambda http: Anonymous(), "p", "github-pat", endpoint=url)
    assert "projects/p/secrets/github-pat" in str(refused.value)
    assert "c2Vj" not in str(refused.value)


def metadata_answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
    if path.endswith("/token"):
        return 200, {}, json.dumps({"access_token": "metadata-token", "expires_in": 3600}).encode()
    return secret_answer(method, path, headers, body)


def test_stage_a_hands_the_cloned_model_to_the_tasks(server: GitServer, tmp_path: Path) -> None:
    env = env_of(server, tmp_path, git_ref="v1")
    with scripted_server(Script(metadata_answer)) as url:
        more = {"LONGHAUL_SECRET_MANAGER_ENDPOINT": url, "GCE_METADATA_HOST": url.partition("://")[2]}
        done = container(env, "dispatch", "--count", "2", "--seed", "1", PYTHONPATH=str(ROOT), **more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert [path for path, data in everything_under(tmp_path) if TOKEN.encode() in data] == []
    manifest = Manifest.from_json((tmp_path / "bucket" / PLACE.manifest).read_bytes())
    assert manifest.repository is not None
    assert manifest.repository.commit in done.stdout
    # no server any more: the task takes what stage A stored
    server.paths.clear()
    task = stage_env(tmp_path / "bucket", "b", model="forecast.model", repo_dir=str(tmp_path / "task"))
    done = container(task, "run", BATCH_TASK_INDEX="1", PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.paths == []
    gather = stage_env(tmp_path / "bucket", "c", repo_dir=str(tmp_path / "gather"))
    assert container(gather, "gather", "--allow-missing", PYTHONPATH=str(ROOT)).returncode == 0
    archive = tmp_path / "bucket" / PLACE.inputs / "repository.tar"
    archive.write_bytes(archive.read_bytes().replace(b"VERSION = 1", b"VERSION = 9"))
    (tmp_path / "bucket" / PLACE.results / "result_0001.pkl").unlink()
    done = container(task, "run", BATCH_TASK_INDEX="1", PYTHONPATH=str(ROOT))
    assert done.returncode == 2
    assert "SHA-256" in records(done.stdout)[-1]["message"]
