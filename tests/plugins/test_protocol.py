"""Values on the wire, the start of a plugin, its configuration, batches, and how builds are stopped."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf import empty_pb2
from hypothesis import given
from hypothesis import strategies as st
from plugins.gcp_driver import plugin
from pulumi.runtime.proto import provider_pb2_grpc

from localcloud.plugins.contract import PluginError
from localcloud.plugins.docker.builder import Build, Builder
from localcloud.plugins.gcp import config
from localcloud.plugins.gcp.batches import Batches
from localcloud.plugins.gcp.provider import GcpPlugin
from localcloud.plugins.gcp.rest import Rest, pauses
from localcloud.plugins.values import UNKNOWN, Asset, Properties, decode, encode, path_text

ROOT = Path(__file__).parents[2]
PLAIN = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.just(UNKNOWN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), PLAIN, max_size=4))
def test_values_survive_the_wire(values: dict[str, Any]) -> None:
    assert decode(encode(values)).values == values


def test_secrets_survive_the_wire_at_their_paths() -> None:
    values = {"a": {"b": [1, {"c": "made-up"}]}, "d": "made-up"}
    paths = frozenset({("a", "b", 1, "c"), ("d",)})
    wire = encode(values, paths)
    assert wire.fields["d"].WhichOneof("kind") == "struct_value"
    assert decode(wire) == Properties(values=values, secrets=paths)


def test_assets_survive_the_wire(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    asset = Asset(hash="h", path=str(tmp_path / "f"))
    assert decode(encode({"a": asset})).values == {"a": asset}
    assert asset.read() == b"x"
    assert Asset(hash="h", text="y").read() == b"y"


def test_paths_are_written_as_the_engine_reads_them() -> None:
    assert path_text(("a", "b", 0, "c", "x.y/z", 'q"r')) == r'a.b[0].c["x.y/z"]["q\"r"]'


@pytest.fixture(params=["gcp", "docker"])
def process(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A plugin as a process, and its port."""
    command = [sys.executable, "-m", f"localcloud.plugins.{request.param}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        yield running, int(running.stdout.readline())
        running.kill()


def test_plugin_prints_its_port_and_listens_on_loopback_only(process: tuple[subprocess.Popen[str], int]) -> None:
    running, port = process
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        info = provider_pb2_grpc.ResourceProviderStub(channel).GetPluginInfo(empty_pb2.Empty(), timeout=20)
    assert re.fullmatch(r"\d+\.\d+\.\d+", info.version)
    listening = {address for address in _listening_addresses(running.pid) if address.endswith(f":{port:04X}")}
    assert listening
    assert all(address.endswith(f"0100007F:{port:04X}") for address in listening), listening


def _listening_addresses(pid: int) -> list[str]:
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]]
    return [line.split()[1] for line in lines if line.split()[3] == "0A"]


def test_plugin_ends_when_its_engine_is_gone() -> None:
    script = (
        "import subprocess, sys;"
        "p = subprocess.Popen([sys.executable, '-m', 'localcloud.plugins.gcp'], stdout=subprocess.PIPE);"
        "p.stdout.readline(); print(p.pid)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30)
    pid = int(done.stdout.split()[0])
    plugin_process = psutil.Process(pid) if psutil.pid_exists(pid) else None
    if plugin_process is not None:
        plugin_process.wait(timeout=30)


def test_start_does_not_import_the_whole_sdk() -> None:
    script = (
        "from localcloud.plugins import light; light.prepare();"
        "import sys; from localcloud.plugins.gcp.provider import GcpPlugin; import localcloud.plugins.server;"
        "print([m for m in ('pulumi.output', 'httpx', 'pulumi_gcp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_check_config_marks_the_token_and_refuses_wrong_endpoints() -> None:
    wrong = {"accessToken": "made-up", "cloudRunV2CustomEndpoint": "http://127.0.0.1:1/v2", "nonsense": "x"}
    checked = plugin().check_config(Properties(values=wrong))
    assert ("accessToken",) in checked.inputs.secrets
    assert [failure.reason for failure in checked.failures] == [
        'could not validate provider configuration: "cloud_run_v2_custom_endpoint" ("http://127.0.0.1:1/v2") doesn\'t match '
        'regexp ".*/[^/]+/$"',
        "could not validate provider configuration: Invalid or unknown key. Check `pulumi config get gcp:nonsense`.",
    ]


def test_configuration_can_be_environment_variables_only() -> None:
    environment = {
        "GOOGLE_PROJECT": "p",
        "GOOGLE_REGION": "r",
        "GOOGLE_OAUTH_ACCESS_TOKEN": "made-up",
        "GOOGLE_CLOUD_RUN_V2_CUSTOM_ENDPOINT": "http://127.0.0.1:1/run/v2/",
        "GOOGLE_IAM_BETA_CUSTOM_ENDPOINT": "http://127.0.0.1:1/iam/v1/",
    }
    settings = config.read({"region": "mine"}, environment)
    assert (settings.project, settings.region) == ("p", "mine")
    assert settings.base("cloudRunV2") == "http://127.0.0.1:1/run/v2/"
    assert settings.loopback("iamBeta")
    assert "made-up" not in repr(settings)


@pytest.mark.parametrize(
    ("service", "value", "base"),
    [
        ("iamBeta", "http://h/iam/v1/", "http://h/iam/v1/"),
        ("resourceManager", "http://h/crm/", "http://h/v1/"),
        ("serviceUsage", "http://h/su/v1beta1/", "http://h/su/v1/"),
        ("cloudBilling", "http://h:1/", "http://h:1/v1/"),
        ("cloudRunV2", "http://h/", "http://h/"),
        ("monitoring", "http://h/monitoring/", "http://h/monitoring/v3/"),
    ],
)
def test_some_clients_cut_the_last_segment_of_their_endpoint(service: str, value: str, base: str) -> None:
    settings = config.read({"accessToken": "t", f"{service}CustomEndpoint": value}, {})
    assert settings.base(service) == base


def test_no_endpoint_is_no_call_to_the_real_cloud() -> None:
    with pytest.raises(PluginError, match="no endpoint for cloudRunV2: set gcp:cloudRunV2CustomEndpoint"):
        config.read({"accessToken": "t"}, {}).base("cloudRunV2")


def test_no_token_is_an_error_of_the_configuration() -> None:
    with pytest.raises(PluginError, match="failed to load application credentials"):
        GcpPlugin(environment={}).configure(Properties(values={"project": "p"}), lambda *_: None)


def test_pauses_grow_as_the_real_providers() -> None:
    steps = pauses()
    assert [next(steps) for _ in range(7)] == [0.5, 1.0, 1.5, 2.5, 4.0, 6.5, 10.0]


def test_nothing_listening_is_said_plainly() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rest = Rest(config.read({"accessToken": "t", "storageCustomEndpoint": f"http://127.0.0.1:{port}/storage/v1/"}, {}))
    with pytest.raises(
        PluginError, match=rf"GET http://127.0.0.1:{port}/storage/v1/b/x: .*; is the local cloud running\?"
    ):
        rest.call("GET", "storage", "b/x")


def test_cancelled_plugin_makes_no_more_calls() -> None:
    rest = Rest(config.read({"accessToken": "t", "storageCustomEndpoint": "http://127.0.0.1:9/storage/v1/"}, {}))
    rest.cancel()
    with pytest.raises(PluginError, match="cancelled"):
        rest.call("GET", "storage", "b/x")


def wait_for(event: threading.Event) -> None:
    """Waits as a batch does for the end of its window."""
    assert event.wait(30)


def test_requests_of_one_window_are_one_call() -> None:
    batches, ran, opened = Batches(), [], threading.Event()

    def run(items: list[int]) -> int:
        ran.append(sorted(items))
        return len(items)

    results: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(batches.submit("k", n, run, 0, lambda _: wait_for(opened))))
        for n in range(5)
    ]
    for thread in threads:
        thread.start()
    while len(batches._open.get("k", [])) < 5:
        time.sleep(0.001)
    opened.set()
    for thread in threads:
        thread.join()
    assert ran == [[0, 1, 2, 3, 4]]
    assert results == [5] * 5


def test_one_bad_request_does_not_fail_its_window() -> None:
    batches, opened, outcome = Batches(), threading.Event(), {}

    def run(items: list[int]) -> None:
        if 3 in items:
            raise PluginError("three is bad")

    def submit(n: int) -> None:
        try:
            batches.submit("k", n, run, 0, lambda _: wait_for(opened))
            outcome[n] = "done"
        except PluginError as error:
            outcome[n] = str(error)

    threads = [threading.Thread(target=submit, args=(n,)) for n in (1, 3)]
    for thread in threads:
        thread.start()
    while len(batches._open.get("k", [])) < 2:
        time.sleep(0.001)
    opened.set()
    for thread in threads:
        thread.join()
    assert outcome == {1: "done", 3: "three is bad"}


def test_cancel_kills_a_running_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = tmp_path / "docker"
    client.write_text('#!/bin/sh\ncase "$1" in version) echo 20.10.0;; *) echo started; exec sleep 600;; esac\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    started = threading.Event()
    builder = Builder("", lambda line: started.set())
    failures: list[str] = []

    def build() -> None:
        try:
            builder.build(Build(image="i", context=tmp_path, dockerfile=tmp_path / "Dockerfile"))
        except PluginError as error:
            failures.append(str(error))

    thread = threading.Thread(target=build)
    thread.start()
    assert started.wait(30)
    builder.cancel()
    thread.join(30)
    assert failures == ["cancelled"]
    with pytest.raises(PluginError, match="cancelled"):
        builder.push("i", None)


DEFECT = """
from google.protobuf import struct_pb2
from plugins.gcp_driver import plugin
from pulumi.runtime.proto import provider_pb2

from localcloud.plugins.server import EngineLog, Servicer

class Context:
    def abort(self, code, text):
        raise SystemExit(f"{code.name}: {text}")

broken = struct_pb2.Struct()
broken.update({"template": {"template": 7}})
urn = "urn:pulumi:s::p::gcp:cloudrunv2/job:Job::j"
Servicer(plugin(), EngineLog()).Diff(provider_pb2.DiffRequest(id="i", urn=urn, olds=broken, news=broken), Context())
"""


def test_servicer_turns_a_defect_into_one_line() -> None:
    # In a process of its own: Pulumi's protocol and Google's clients both register google.rpc.Status.
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-c", DEFECT]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert re.search(r"^INTERNAL: the gcp stand-in failed: \w+Error", done.stderr, re.MULTILINE), done.stderr
