"""The docker stand-in under the real engine: real builds pushed to a registry in memory, and none where none is needed."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pulumi
import pulumi_docker as docker
import pytest
from plugins import oci_stub
from plugins.conftest import operations, stack_in
from plugins.oci_stub import Registry
from pulumi import automation

pytestmark = pytest.mark.system
BASE = os.environ.get("LONGHAUL_BASE_IMAGE", "longhaul/base:trixie")
DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY app/ /app/
ENTRYPOINT ["python3", "/app/main.py"]
"""


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry in memory."""
    with oci_stub.running() as registry:
        yield registry


@pytest.fixture
def engine_images(registry: Registry) -> Iterator[None]:
    """Needs a Docker engine; takes what the test built out of it."""
    found = subprocess.run(["docker", "version"], capture_output=True, text=True)
    assert found.returncode == 0, f"no Docker engine: run the set-up, or set DOCKER_HOST ({found.stderr.strip()})"
    yield
    listed = ["docker", "image", "ls", "--quiet", "--all", f"{registry.host}/p/r/app"]
    ids = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    if ids:
        subprocess.run(["docker", "image", "rm", "--force", *set(ids)], check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A build context; the ignore file leaves out notes."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("print('hello')\n")
    (tmp_path / "app" / "notes.md").write_text("one")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "Dockerfile.dockerignore").write_text("*\n!app/*.py\n")
    return tmp_path


@pytest.fixture
def stack(tmp_path: Path, registry: Registry, tree: Path) -> automation.Stack:
    """One image on an empty base, pushed."""
    return stack_in(tmp_path, lambda: image(registry, tree, "scratch"))


def image(registry: Registry, tree: Path, base: str, skip_push: bool = False) -> None:
    """Declares the image of the tree."""
    image = docker.Image(
        "image",
        image_name=f"{registry.host}/p/r/app:dev",
        skip_push=skip_push,
        build={
            "context": str(tree),
            "dockerfile": str(tree / "Dockerfile"),
            "platform": "linux/amd64",
            "args": {"BASE_IMAGE": base, "WORDS": pulumi.Output.secret("made-up-secret")},
            "network": "host",
        },
    )
    pulumi.export("digest", image.repo_digest)
    pulumi.export("server", image.registry_server)


def export(result: automation.UpResult) -> str:
    """The digest the program exports."""
    return str(result.outputs["digest"].value)


@pytest.mark.container
@pytest.mark.usefixtures("engine_images")
def test_build_push_quiet_change_and_destroy(stack: automation.Stack, registry: Registry, tree: Path) -> None:
    assert operations(stack.preview()) == {"create": 2}
    assert registry.calls == []
    first = export(stack.up())
    path, _, digest = first.partition("@")
    assert path == f"{registry.host}/p/r/app"
    assert digest in registry.manifests
    calls = len(registry.calls)
    (tree / "app" / "notes.md").write_text("two")
    assert operations(stack.up()) == {}
    assert operations(stack.preview(expect_no_changes=True)) == {}
    (tree / "app" / "main.py").write_text("print('changed')\n")
    preview = stack.preview(diff=True)
    assert operations(preview) == {"update": 1}
    assert "contextDigest" in preview.stdout
    assert len(registry.calls) == calls
    second = export(stack.up())
    assert second != first
    stack.refresh(expect_no_changes=True)
    stack.destroy()
    assert {first.partition("@")[2], second.partition("@")[2]} <= registry.manifests.keys()


@pytest.mark.container
@pytest.mark.usefixtures("engine_images")
def test_build_runs_on_a_base_with_arguments_that_are_not_in_the_state(
    tmp_path: Path, registry: Registry, tree: Path
) -> None:
    check = 'ARG WORDS\nRUN test "$WORDS" = made-up-secret\n'
    (tree / "Dockerfile").write_text(DOCKERFILE + check)
    stack = stack_in(tmp_path, lambda: image(registry, tree, BASE, skip_push=True))
    assert export(stack.up()).startswith("sha256:")
    assert registry.calls == []
    state = "".join(file.read_text() for file in (tmp_path / "state").rglob("*.json"))
    assert "made-up-secret" not in state


@pytest.mark.container
@pytest.mark.usefixtures("engine_images")
def test_failed_build_shows_the_end_of_its_output_and_is_tried_again(
    tmp_path: Path, registry: Registry, tree: Path
) -> None:
    (tree / "Dockerfile").write_text(DOCKERFILE + "RUN echo the-reason-why && exit 3\n")
    stack = stack_in(tmp_path, lambda: image(registry, tree, BASE))
    with pytest.raises(automation.CommandError, match=r"docker build failed with exit code 1[\s\S]*the-reason-why"):
        stack.up()
    assert registry.calls == []
    assert operations(stack.preview()) == {"create": 1}


def test_without_an_engine_the_files_are_packed_and_pushed(
    stack: automation.Stack, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    lines: list[str] = []
    result = stack.up(on_output=lines.append)
    text = "\n".join(lines)
    assert "no Docker engine is reachable" in text
    assert "longhaul.runtime=process" in text
    assert export(result).partition("@")[2] in registry.manifests
    assert result.outputs["server"].value == registry.host
    assert operations(stack.up()) == {}
