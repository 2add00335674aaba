"""The real engine with the stand-ins, in a folder of its own."""

import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from plugins.gcp_program import Program as GcpProgram
from plugins.stub import Stub, running
from pulumi import automation
from pulumi.automation import OpType

ROOT = Path(__file__).parents[2]
Program = Callable[[], None]


@pytest.fixture(scope="module")
def server() -> Iterator[Stub]:
    """A made-up Google Cloud that records calls."""
    with running() as stub:
        yield stub


@pytest.fixture
def stub(server: Stub) -> Iterator[Stub]:
    """The made-up cloud, empty."""
    before = server.save()
    yield server
    server.restore(before)


def engine() -> Path:
    """The engine's binary: on PATH, or the one the set-up built."""
    cache = Path(os.environ.get("LONGHAUL_CACHE", Path.home() / ".cache" / "longhaul"))
    on_path = shutil.which("pulumi")
    found = [Path(on_path)] if on_path else sorted(cache.glob("engine/*/bin/pulumi"))
    assert found, f"no Pulumi engine on PATH or under {cache}: run the set-up (make setup)"
    return found[-1]


def wrapper(folder: Path, name: str) -> None:
    """What the set-up puts on PATH: a script that starts a stand-in."""
    script = folder / f"pulumi-resource-{name}"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m localcloud.plugins.{name} "$@"\n')
    script.chmod(0o755)


@pytest.fixture(scope="module", autouse=True)
def plugins_on_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The engine and the stand-ins are found as on a set-up machine; nothing else of the environment counts."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("gcp", "docker"):
        wrapper(folder, name)
    with pytest.MonkeyPatch.context() as patch:
        for name in [key for key in os.environ if key.startswith(("GOOGLE_", "PULUMI_"))]:
            patch.delenv(name)
        patch.setenv("PATH", f"{folder}:{engine().parent}:{os.environ['PATH']}")
        yield


def stack_in(folder: Path, program: Program) -> automation.Stack:
    """A stack of an inline program whose state lies in `folder`."""
    (folder / "state").mkdir(exist_ok=True)
    options = automation.LocalWorkspaceOptions(
        work_dir=str(folder),
        pulumi_home=str(folder / "home"),
        env_vars={"PULUMI_CONFIG_PASSPHRASE": "made-up", "PULUMI_SKIP_UPDATE_CHECK": "1"},
        project_settings=automation.ProjectSettings(
            name="demo", runtime="python", backend=automation.ProjectBackend(url=f"file://{folder}/state")
        ),
    )
    return automation.create_or_select_stack("test", project_name="demo", program=program, opts=options)


def configure(stack: automation.Stack, stub: Stub) -> automation.Stack:
    """Points a stack's provider to the stub."""
    values = {**stub.config(), "project": "demo", "region": "europe-west1"}
    config = {f"gcp:{key}": automation.ConfigValue(value=value) for key, value in values.items()}
    stack.set_all_config({**config, "gcp:accessToken": automation.ConfigValue(value="dummy", secret=True)})
    return stack


@pytest.fixture
def new_stack(tmp_path: Path, stub: Stub) -> Callable[[Program], automation.Stack]:
    """Makes the stack of a test."""
    return lambda program: configure(stack_in(tmp_path, program), stub)


def operations(result: Any) -> dict[str, int]:
    """What an `up` or a preview did, without what stayed as it was."""
    summary = result.change_summary if hasattr(result, "change_summary") else result.summary.resource_changes
    return {
        str(getattr(key, "value", key)): count for key, count in summary.items() if key not in ("same", OpType.SAME)
    }


@pytest.fixture(autouse=True)
def garbage_collected() -> Iterator[None]:
    """An `up` that fails leaves a coroutine behind; collected in the middle of a later import it breaks Python 3.11's parser."""
    yield
    gc.collect()


@pytest.fixture
def program() -> GcpProgram:
    """A program with the usual settings."""
    return GcpProgram()


@pytest.fixture(scope="module")
def baseline(server: Stub, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The program's first `up`, made once: its state, and the cloud it left."""
    folder = tmp_path_factory.mktemp("baseline")
    configure(stack_in(folder, GcpProgram().declare), server).up()
    state = server.save()
    server.restore({**state, "resources": {}, "policies": {}, "enabled": set(), "calls": [], "bodies": []})
    return folder, state


@pytest.fixture
def deployed(
    baseline: tuple[Path, dict[str, Any]], tmp_path: Path, stub: Stub, program: GcpProgram
) -> automation.Stack:
    """The program, up, for one test."""
    folder, state = baseline
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    stub.restore(state)
    return stack_in(tmp_path, program.declare)
