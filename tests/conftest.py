"""A recorder in place of the engine: what a program declares, without a cloud."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs

import settings
import stack

ROOT = Path(__file__).parent.parent
SECRET = "4dabf18193072939515e22adb298388d"
"""Key that marks a secret on the wire."""


@pytest.hookimpl(trylast=True)  # after tests/system has marked its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests of real processes a second try: they wait for containers on machines that others share.

    The summary lists every second try; one that is needed often is a defect of its own.
    """
    for item in items:
        if item.get_closest_marker("container") or item.get_closest_marker("system"):
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=2))


def redact(value: Any) -> Any:
    """`value` without what is secret, and with whole numbers as such."""
    if isinstance(value, dict):
        return "[secret]" if SECRET in value else {key: redact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redact(item) for item in value]
    # the wire knows floats only
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Recorder(pulumi.runtime.Mocks):
    """Remembers every resource declared. In preview it computes nothing, like the engine."""

    def __init__(self, preview: bool = False) -> None:
        self.preview = preview
        self.resources: dict[str, dict[str, Any]] = {}
        """Name -> type and inputs, in the order of registration."""
        self.requests: dict[str, Any] = {}
        """Name -> what the engine is told: parent, dependencies, protect, ignoreChanges."""
        self.exports: dict[str, Any] = {}
        """What the stack exports; in preview without what is not known yet."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        assert args.name not in self.resources, f"two resources named {args.name!r}"
        self.resources[args.name] = {"type": args.typ, **redact(args.inputs)}
        if self.preview:
            return "", args.inputs
        return f"{args.name}-id", {**self._computed(args), **args.inputs}

    def _computed(self, args: MockResourceArgs) -> dict[str, Any]:
        account = f"{args.inputs.get('accountId')}@test-project.iam.gserviceaccount.com"
        image = str(args.inputs.get("imageName", "")).rpartition(":")[0]
        return {"name": args.name, "email": account, "repoDigest": f"{image}@sha256:{'0' * 64}"}

    def call(self, args: MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"unexpected data source {args.token}")


class Monitor(MockMonitor):
    """The mock monitor, which also remembers the options of a resource."""

    mocks: Recorder

    def RegisterResource(self, request: Any) -> Any:
        answer = super().RegisterResource(request)  # type: ignore[no-untyped-call]  # the SDK's own has no annotations
        self.mocks.requests[request.name] = request
        return answer


def start(preview: bool = False, stack_name: str = "test") -> Recorder:
    recorder = Recorder(preview)
    pulumi.runtime.set_mocks(recorder, project="longhaul", stack=stack_name, preview=preview, monitor=Monitor(recorder))
    return recorder


def configure(values: Mapping[str, Any]) -> None:
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    pulumi.runtime.set_all_config(texts, secret_keys=[])


def run(declare: Callable[[], object]) -> None:
    """Call `declare` and wait until everything it declared is registered."""
    pulumi.runtime.test(declare)()


def configuration(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f"Pulumi.{name}.yaml").read_text())["config"]
    return found


def deployed(name: str, preview: bool = False) -> Recorder:
    """What Pulumi.<name>.yaml declares and exports."""
    recorder = start(preview, name)
    configure(configuration(name))

    def declare() -> None:
        stack.deploy(settings.load())
        root = pulumi.runtime.get_root_resource()
        assert root is not None
        pulumi.Output.from_input(getattr(root, "outputs")).apply(recorder.exports.update)  # noqa: B009  # the class is not public

    run(declare)
    return recorder


def declared(name: str, preview: bool = False) -> dict[str, dict[str, Any]]:
    """Resources that Pulumi.<name>.yaml declares, by "parent type$type::name"."""
    recorder = deployed(name, preview)
    monitor = pulumi.runtime.settings.get_monitor()
    assert isinstance(monitor, Monitor)
    urns = monitor.get_registered_resources()
    return {urn.split("::", 2)[2]: steady(recorder.resources[urn.rsplit("::", 1)[1]]) for urn in urns}


def steady(resource: dict[str, Any]) -> dict[str, Any]:
    """Without what an edit elsewhere changes: digests of a workload's files, the tag made of them, a workflow's text."""
    found = dict(resource)
    if "files" in found:
        found["files"] = "[digests of the build's files]"
    if "imageName" in found:
        found["imageName"] = re.sub(r":src-[0-9a-f]+$", ":src-[digest]", str(found["imageName"]))
    if "sourceContents" in found:
        found["sourceContents"] = "[source of the workflow]"
    return found


@pytest.fixture
def cloud() -> Recorder:
    return start()
