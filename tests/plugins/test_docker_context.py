"""Ignore files, digests, and images packed without a Docker engine."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from plugins import oci_stub

from localcloud.plugins.contract import PluginError
from localcloud.plugins.docker import context, process_image
from localcloud.plugins.docker.builder import Build
from localcloud.plugins.docker.dockerfile import parse

DOCKERFILE = """\
# a comment
ARG BASE_IMAGE=python:3.13
FROM ${BASE_IMAGE} AS environment
RUN python3 -m venv /opt/venv \\
    && true
FROM ${BASE_IMAGE}
COPY --from=environment /opt/venv /opt/venv
ARG MODE=slow
ENV PATH=/opt/venv/bin:/usr/bin LEVEL="a b" MODE=${MODE}
WORKDIR /app
COPY __init__.py workloads/
COPY common/ workloads/common/
COPY heavy/ workloads/heavy/
USER 10001
ENTRYPOINT ["python", "-m", "workloads.heavy"]
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A context with an allow-list of its Dockerfile, and files the list leaves out."""
    for name in ("__init__.py", "common/a.py", "common/deep/b.py", "heavy/run.py", "heavy/notes.md", "other/c.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (tmp_path / "heavy" / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "heavy" / "Dockerfile.dockerignore").write_text("*\n!__init__.py\n!common/*.py\n!heavy/*.py\n")
    (tmp_path / ".dockerignore").write_text("heavy\n")
    return tmp_path


def names(tree: Path) -> list[str]:
    """The files of the context."""
    return [path.as_posix() for path in context.files(tree, tree / "heavy" / "Dockerfile")]


def build_of(tree: Path, **values: object) -> Build:
    """The build of the tree."""
    fixed = {"image": "127.0.0.1:1/p/r/i:t", "context": tree, "dockerfile": tree / "heavy" / "Dockerfile"}
    return Build(**{**fixed, **values})  # type: ignore[arg-type]  # a test's shorthand


def test_the_ignore_file_of_the_dockerfile_comes_first(tree: Path) -> None:
    assert names(tree) == ["__init__.py", "common/a.py", "heavy/run.py"]
    (tree / "heavy" / "Dockerfile.dockerignore").unlink()
    assert names(tree) == [".dockerignore", "__init__.py", "common/a.py", "common/deep/b.py", "other/c.py"]


@pytest.mark.parametrize(
    ("lines", "path", "ignored"),
    [
        ("*.md", "a.md", True),
        ("*.md", "x/a.md", False),
        ("**/*.md", "x/y/a.md", True),
        ("**/*.md", "a.md", True),
        ("x", "x/y/z", True),
        ("/x/", "x/y", True),
        ("x\n!x/y", "x/y", False),
        ("x\n!x/y\nx/y", "x/y", True),
        ("# x", "# x", False),
        ("a?c", "abc", True),
        ("a[bx]c", "abc", True),
        ("**", "a/b", True),
        ("x/**/z", "x/a/b/z", True),
        ("a.b", "aXb", False),
    ],
)
def test_patterns_mean_what_docker_means(lines: str, path: str, ignored: bool, tmp_path: Path) -> None:
    file = tmp_path / "c" / path
    file.parent.mkdir(parents=True)
    file.touch()
    (tmp_path / "Dockerfile").touch()
    (tmp_path / "Dockerfile.dockerignore").write_text(lines)
    assert context.files(tmp_path / "c", tmp_path / "Dockerfile") == ([] if ignored else [Path(path)])


def test_digest_changes_with_what_is_in_the_context_only(tree: Path) -> None:
    dockerfile = tree / "heavy" / "Dockerfile"
    before = context.digest(tree, dockerfile)
    (tree / "other" / "c.py").write_text("changed")
    os.utime(tree / "common" / "a.py", (1, 1))
    assert context.digest(tree, dockerfile) == before
    (tree / "common" / "a.py").chmod(0o755)
    executable = context.digest(tree, dockerfile)
    assert executable != before
    dockerfile.write_text(DOCKERFILE + "CMD []\n")
    assert context.digest(tree, dockerfile) != executable


def test_dockerfile_gives_the_last_stage() -> None:
    stage = parse(DOCKERFILE, {"MODE": "fast"})
    assert stage.env == {"PATH": "/opt/venv/bin:/usr/bin", "LEVEL": "a b", "MODE": "fast"}
    assert (str(stage.directory), stage.user) == ("/app", "10001")
    assert stage.entrypoint == ["python", "-m", "workloads.heavy"]
    assert [str(copy.destination) for copy in stage.copies] == [
        "/app/workloads",
        "/app/workloads/common",
        "/app/workloads/heavy",
    ]
    assert stage.left_out == ["line 7: COPY --from"]


@pytest.mark.parametrize("line", ["ADD http://x/y z", "ONBUILD RUN x", "COPY <<EOF /x"])
def test_dockerfile_that_cannot_be_followed_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(PluginError, match="Dockerfile line 2"):
        parse(f"FROM x\n{line}\n", {})


def test_packed_image_holds_the_copied_files_and_is_the_same_every_time(tree: Path) -> None:
    image = process_image.pack(build_of(tree))
    os.utime(tree / "common" / "a.py", (1, 1))
    assert process_image.pack(build_of(tree)).digest == image.digest
    manifest = json.loads(image.manifest)
    layer = image.blobs[manifest["layers"][0]["digest"]]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as tar:
        members = {member.name: member for member in tar.getmembers()}
    assert sorted(name for name, member in members.items() if member.isfile()) == [
        "app/workloads/__init__.py",
        "app/workloads/common/a.py",
        "app/workloads/heavy/run.py",
    ]
    assert {(member.uid, member.mtime) for member in members.values()} == {(0, 0)}
    config = json.loads(image.blobs[manifest["config"]["digest"]])["config"]
    assert config["Labels"] == {"longhaul.runtime": "process"}
    assert config["Entrypoint"] == ["python", "-m", "workloads.heavy"]
    assert config["WorkingDir"] == "/app"
    assert config["User"] == "10001"


def test_packed_image_is_pushed_once_and_found_by_its_digest(tree: Path) -> None:
    with oci_stub.running() as registry:
        build = build_of(tree, image=f"{registry.host}/p/r/i:t")
        image = process_image.pack(build)
        for _ in range(2):
            assert process_image.push(image, build.image, None, lambda: None) == image.digest
        assert registry.manifests[image.digest] == registry.manifests["p/r/i:t"] == image.manifest
        assert registry.blobs == dict(image.blobs)
        assert registry.calls.count("POST /v2/p/r/i/blobs/uploads/") == 2


def test_packed_image_never_leaves_this_machine(tree: Path) -> None:
    with pytest.raises(PluginError, match="must name a registry on this machine"):
        process_image.push(process_image.pack(build_of(tree)), "europe-docker.pkg.dev/p/r/i:t", None, lambda: None)
