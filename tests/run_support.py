"""A tiny image whose tasks do what their arguments say, for the tests of the runtime and of the run API."""

import base64
import io
import json
import os
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

IMAGE = "longhaul-test/task:latest"
BASES = ("longhaul/base:trixie", "python:3.13-slim-trixie")

TASK = r"""
import json, os, pathlib, signal, sys, time, urllib.request

def metadata(path):
    url = f"http://{os.environ['GCE_METADATA_HOST']}/computeMetadata/v1/{path}"
    return urllib.request.urlopen(urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})).read().decode()

def say(**fields):
    print(json.dumps(fields), flush=True)

what, *rest = sys.argv[1:] or ["env"]
if what == "env":
    say(message="environment", severity="NOTICE", env=dict(os.environ), uid=os.getuid(), pid=os.getpid())
elif what == "exit":
    print("going", flush=True); print("trouble", file=sys.stderr, flush=True); sys.exit(int(rest[0]))
elif what == "sleep":
    print("sleeping", flush=True); time.sleep(float(rest[0])); print("slept", flush=True)
elif what == "tick":
    for number in range(int(rest[0])):
        print("tick", number, flush=True); time.sleep(float(rest[1]))
elif what == "term":
    def stop(*_):
        print("asked to stop", flush=True); sys.exit(3)
    signal.signal(signal.SIGTERM, stop)
    print("waiting", flush=True); time.sleep(600)
elif what == "farewell":
    def stop(*_):
        print("farewell", urllib.request.urlopen(rest[0]).status, flush=True); sys.exit(3)
    signal.signal(signal.SIGTERM, stop)
    print("waiting", flush=True); time.sleep(600)
elif what == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN); print("waiting", flush=True); time.sleep(600)
elif what == "memory":
    held = []
    while True: held.append(bytearray(8 << 20))
elif what == "file":
    with open(rest[0], "wb") as out:
        for _ in range(int(rest[1])): out.write(bytes(1 << 20))
    print("written", flush=True)
elif what == "flood":
    line = "x" * 99 + "\n"
    for _ in range(int(rest[0])): sys.stdout.write(line * 10000)
    sys.stdout.flush(); print("flooded", flush=True)
elif what == "lines":
    for name in rest: print(name, flush=True)
elif what == "late":
    print("waiting", flush=True); time.sleep(float(rest[0])); print("over", flush=True); sys.exit(int(rest[1]))
elif what == "long":
    print("a" * int(rest[0]), flush=True)
elif what == "until":
    sys.exit(0 if int(os.environ["CLOUD_RUN_TASK_ATTEMPT"]) >= int(rest[0]) else 1)
elif what == "metadata":
    say(message="metadata", answers={path: metadata(path) for path in rest})
elif what == "where":
    print(os.getcwd(), sorted(os.listdir(".")), pathlib.Path("task.py").exists(), flush=True)
    for name in (".", "/tmp", "/run", os.path.expanduser("~")): pathlib.Path(name, "new").write_text("x")
    print("all writable", flush=True)
"""


class Engine:
    """The Docker engine of DOCKER_HOST, as much of it as the tests need."""

    def __init__(self) -> None:
        kind, _, rest = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").partition("://")
        transport = httpx.HTTPTransport(uds=rest if kind == "unix" else None)
        base = "http://engine/v1.41" if kind == "unix" else f"http://{rest}/v1.41"
        self._http = httpx.Client(transport=transport, base_url=base, timeout=300)

    def call(self, method: str, path: str, **options: Any) -> Any:
        answer = self._http.request(method, path, **options)
        answer.raise_for_status()
        return (
            answer.text if not answer.headers.get("content-type", "").startswith("application/json") else answer.json()
        )

    def build(self, tag: str, files: dict[str, str]) -> str:
        """Build an image from files, one of which is the Dockerfile."""
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as archive:
            for name, text in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        query = {"t": tag, "networkmode": "host", "rm": "true"}
        answer = self._http.post(
            "/build", params=query, content=context.getvalue(), headers={"Content-Type": "application/x-tar"}
        )
        answer.raise_for_status()
        for line in answer.text.splitlines():
            assert "error" not in json.loads(line), line
        return tag

    def push(self, image: str, name: str, token: str) -> str:
        """Push an image to a registry under NAME:TAG, forget that name here, and return the digest."""
        repository, _, tag = name.rpartition(":")
        login = base64.urlsafe_b64encode(json.dumps({"username": "oauth2accesstoken", "password": token}).encode())
        self.call("POST", f"/images/{image}/tag", params={"repo": repository, "tag": tag})
        answer = self._http.post(
            f"/images/{repository}/push", params={"tag": tag}, headers={"X-Registry-Auth": login.decode()}
        )
        said = [json.loads(line) for line in answer.text.splitlines()]
        self.call("DELETE", f"/images/{name}")
        digests = [line["aux"]["Digest"] for line in said if "aux" in line]
        assert digests, said
        return str(digests[0])

    def images(self) -> set[str]:
        return {name for image in self.call("GET", "/images/json") for name in image.get("RepoTags") or ()}

    def containers(self, state: str) -> list[str]:
        """Return the ids of all containers of a state folder."""
        filters = json.dumps({"label": [f"localcloud.state={state}"]})
        return [item["Id"] for item in self.call("GET", "/containers/json", params={"all": "true", "filters": filters})]

    def running(self, execution: str) -> list[str]:
        """Return the ids of the running containers of an execution, by its short name."""
        filters = json.dumps({"name": [f"-{execution}-"]})
        return [item["Id"] for item in self.call("GET", "/containers/json", params={"filters": filters})]

    def remove(self, container: str) -> None:
        self.call("DELETE", f"/containers/{container}", params={"force": "true"})


def build(tag: str = IMAGE) -> str:
    """Build the image from a base that the engine has, and return its tag."""
    engine = Engine()
    held = engine.images()
    base = next((name for name in BASES if name in held), BASES[-1])
    recipe = f'FROM {base}\nCOPY task.py /app/\nWORKDIR /app\nENTRYPOINT ["python3", "-u", "/app/task.py"]\n'
    return engine.build(tag, {"Dockerfile": recipe, "task.py": TASK})


def eventually(check: Callable[[], Any], timeout_s: float = 30) -> Any:
    """Return what `check` gives, once it is true."""
    until = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def task_image() -> str:
    return build()


@pytest.fixture
def no_containers_left(request: pytest.FixtureRequest) -> Iterator[str]:
    """A state id of its own; after the test nothing that carries it may be left."""
    state = f"test{zlib.crc32(request.node.nodeid.encode()):08x}"
    yield state
    engine = Engine()
    left = engine.containers(state)
    for container in left:
        engine.remove(container)
    assert not left
    assert not Path(f"/dev/shm/localcloud-{state}").exists()
