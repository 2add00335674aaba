"""One whole local cloud for all tests of its APIs, as a process on free ports."""

from collections.abc import Iterator

import pytest

from localcloud.testing import LocalCloud, local_cloud

PROJECT = "demo-project"


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """Project demo-project with every API enabled; a caller without a token is its owner."""
    config = {"projects": [{"project_id": PROJECT, "number": 123456789012, "services_enabled": "all"}]}
    with local_cloud(tmp_path_factory.mktemp("cloud") / "state", config) as running:
        yield running
