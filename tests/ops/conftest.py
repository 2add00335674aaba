"""What the tests of the command share."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from ops_support import FakePlatform

from ops.request import Request
from ops.router import Place
from ops.store import FolderStore
from ops.targets import Target


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
def target(tmp_path: Path, platform: FakePlatform) -> Target:
    store = FolderStore(tmp_path / "bucket")
    return Target(place=Place.JOB, store=store, platform=platform, cpu=8, memory_gib=32)


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "script.py").write_text("print('hello')\n")
    return Request(data=tmp_path / "table.csv", script=tmp_path / "script.py")


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
