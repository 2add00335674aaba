"""A tiny image whose tasks do what their arguments say, for the tests of the runtime and of the run API."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
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


def build(tag: str = IMAGE) -> str:
    """Build the image from a base that the engine has, and return its tag."""
    engine = docker.from_env()
    held = {name for image in engine.images.list() for name in image.tags}
    base = next((name for name in BASES if name in held), BASES[-1])
    recipe = f'FROM {base}\nCOPY task.py /app/\nWORKDIR /app\nENTRYPOINT ["python3", "-u", "/app/task.py"]\n'
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, text in (("Dockerfile", recipe), ("task.py", TASK)):
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    context.seek(0)
    engine.images.build(fileobj=context, custom_context=True, tag=tag, network_mode="host", rm=True)
    engine.close()
    return tag


@pytest.fixture(scope="session")
def task_image() -> Iterator[str]:
    yield build()


@pytest.fixture
def no_containers_left(request: pytest.FixtureRequest) -> Iterator[str]:
    """A state id of its own; after the test nothing that carries it may be left."""
    state = f"test{abs(hash(request.node.nodeid)) % 10**9:09d}"
    yield state
    engine = docker.from_env()
    try:
        left = engine.containers.list(all=True, filters={"label": f"localcloud.state={state}"})
        for container in left:
            container.remove(force=True)
        assert not left
        assert not Path(f"/dev/shm/localcloud-{state}").exists()
    finally:
        engine.close()
