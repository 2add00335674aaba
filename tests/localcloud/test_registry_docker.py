"""The registry by a real Docker client and engine."""

import shutil
import subprocess
import uuid
from pathlib import Path

import httpx
import pytest

from localcloud.testing import LocalCloud

pytestmark = pytest.mark.container


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    program = shutil.which("docker")
    if program is None:
        pytest.fail("docker must be on PATH for tests marked container")
    return subprocess.run([program, *arguments], check=check, capture_output=True, text=True, timeout=120)


@pytest.fixture
def image(tmp_path: Path) -> str:
    """A small image of this test's own, imported from a tar file."""
    (tmp_path / "file").write_text(uuid.uuid4().hex)
    subprocess.run(["tar", "-cf", "root.tar", "file"], cwd=tmp_path, check=True)
    name = f"localcloud-test-{uuid.uuid4().hex[:8]}"
    docker("import", str(tmp_path / "root.tar"), name)
    return name


def make_repository(cloud: LocalCloud, name: str) -> None:
    url = f"{cloud.url('artifactregistry')}/v1/projects/demo-project/locations/europe-west1/repositories"
    assert httpx.post(url, params={"repositoryId": name}, json={"format": "DOCKER"}).status_code in (200, 409)


def test_docker_pushes_and_pulls_by_digest(cloud: LocalCloud, image: str) -> None:
    make_repository(cloud, "by-docker")
    host = cloud.url("registry").removeprefix("http://")
    remote = f"{host}/demo-project/by-docker/app"
    docker("tag", image, f"{remote}:v1")
    try:
        docker("push", f"{remote}:v1")
        digest = httpx.head(f"http://{host}/v2/demo-project/by-docker/app/manifests/v1").headers[
            "docker-content-digest"
        ]
        docker("rmi", f"{remote}:v1", image)
        docker("pull", f"{remote}@{digest}")
        assert digest in docker("image", "inspect", f"{remote}@{digest}").stdout
    finally:
        docker("rmi", "--force", image, f"{remote}:v1", f"{remote}@{digest}", check=False)


def test_docker_is_told_that_the_repository_is_missing(cloud: LocalCloud, image: str) -> None:
    remote = f"{cloud.url('registry').removeprefix('http://')}/demo-project/not-created/app:v1"
    docker("tag", image, remote)
    try:
        refused = docker("push", remote, check=False)
        assert refused.returncode != 0
        assert 'Repository "not-created" not found' in refused.stderr
    finally:
        docker("rmi", "--force", image, remote, check=False)
