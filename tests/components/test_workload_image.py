"""An image by digest: built from this tree, or as pinned."""

import shutil
from pathlib import Path
from typing import Any

import pulumi
import pytest
from conftest import ROOT, Recorder, run
from docker.utils.build import exclude_paths

from components.workload_image import WorkloadImage, content_tag, context_files, with_digest

PIN = "us-central1-docker.pkg.dev/acme/images/heavy-runner@sha256:" + "1b" * 32
WORKLOADS = sorted(file.stem for file in ROOT.glob("workloads/*.Dockerfile"))


def build(**changes: Any) -> list[str]:
    refs: list[str] = []
    args: Any = {"workload": "heavy_runner", "repository": pulumi.Output.from_input("host:1/acme/images"), **changes}
    run(lambda: WorkloadImage("img", args).ref.apply(refs.append))
    return refs


def test_it_is_built_from_the_tree_for_cloud_runs_platform(cloud: Recorder) -> None:
    (ref,) = build(base_image="longhaul/base:trixie", network="host")
    image = cloud.resources["img-build"]
    assert image["build"] == {
        "context": "workloads",
        "dockerfile": "workloads/heavy_runner.Dockerfile",
        "platform": "linux/amd64",
        "builderVersion": "BuilderBuildKit",
        "args": {"BASE_IMAGE": "longhaul/base:trixie"},
        "network": "host",
    }
    assert image["skipPush"] is False
    assert image["buildOnPreview"] is False
    assert ref == "host:1/acme/images/heavy-runner@sha256:" + "0" * 64


def test_no_credential_is_an_input(cloud: Recorder) -> None:
    build()
    assert "registry" not in cloud.resources["img-build"]


def test_a_pin_is_used_as_it_is_and_nothing_is_built(cloud: Recorder) -> None:
    assert build(pin=PIN) == [PIN]
    assert set(cloud.resources) == {"img"}
    assert cloud.resources["img"]["pin"] == PIN


def test_a_pin_without_digest_is_refused(cloud: Recorder) -> None:
    with pytest.raises(ValueError, match="img: pin must be HOST/PATH@sha256:DIGEST, got 'r/hr:latest'; a tag can name"):
        build(pin="r/hr:latest")


def test_a_workload_that_is_not_there_is_refused(cloud: Recorder) -> None:
    with pytest.raises(
        ValueError, match=r"img: workload must be a folder with lifter\.Dockerfile and its \.dockerignore"
    ):
        build(workload="lifter")


def test_the_state_says_which_files_it_was_built_from(cloud: Recorder) -> None:
    build()
    files = cloud.resources["img"]["files"]
    assert {"__init__.py", "common/contract.py", "heavy_runner/contract.py", "heavy_runner.Dockerfile"} <= set(files)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_files_are_those_that_docker_lets_into_the_build(workload: str) -> None:
    ignore = (ROOT / f"workloads/{workload}.Dockerfile.dockerignore").read_text().splitlines()
    patterns = [line for line in ignore if line and not line.startswith("#")]
    admitted = exclude_paths(str(ROOT / "workloads"), patterns, dockerfile=f"{workload}.Dockerfile")
    files = {path for path in admitted if (ROOT / "workloads" / path).is_file()}
    assert set(context_files("img", workload)) == files - {".dockerignore"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "workloads", tmp_path / "workloads", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def tag(tree: Path, base_image: str = "", network: str = "") -> str:
    return content_tag(context_files("img", "heavy_runner", tree), base_image, network)


def test_an_edit_of_the_workload_gives_another_tag(tree: Path) -> None:
    before = tag(tree)
    (tree / "workloads/heavy_runner/contract.py").write_text("pass\n")
    assert tag(tree) != before


@pytest.mark.parametrize("elsewhere", ["feature_pipeline/run.py", "heavy_runner/__pycache__/run.pyc", "README.md"])
def test_an_edit_elsewhere_changes_nothing(tree: Path, elsewhere: str) -> None:
    before = tag(tree)
    (tree / "workloads" / elsewhere).parent.mkdir(exist_ok=True)
    (tree / "workloads" / elsewhere).write_text("new\n")
    assert tag(tree) == before


def test_every_input_that_makes_a_new_build_gives_another_tag(tree: Path) -> None:
    assert len({tag(tree), tag(tree, "longhaul/base:trixie"), tag(tree, "", "host")}) == 3


def test_an_ignore_file_that_lets_everything_in_is_refused(tree: Path) -> None:
    (tree / "workloads/heavy_runner.Dockerfile.dockerignore").write_text("**/*.md\n")
    with pytest.raises(ValueError, match=r"heavy_runner\.Dockerfile\.dockerignore must be an allow-list"):
        tag(tree)


def test_a_digest_known_under_another_name_is_taken_for_this_one() -> None:
    assert with_digest("img", "h/p/i", "other/name@sha256:" + "2c" * 32) == "h/p/i@sha256:" + "2c" * 32


def test_a_push_that_gave_no_digest_is_refused() -> None:
    with pytest.raises(ValueError, match="img: repo_digest must be NAME@sha256"):
        with_digest("img", "h/p/i", "")
