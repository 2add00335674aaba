"""One local cloud and one deployed stack for all system tests."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from system_support import ROOT, Lab, a_cloud

MARKS = (pytest.mark.system, pytest.mark.container, pytest.mark.timeout(900))
"""The first test waits for the stack, and that perhaps for the build of an image."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for mark in MARKS:
                item.add_marker(mark)


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A local cloud without a stack."""
    with a_cloud(tmp_path_factory.mktemp("system")) as lab:
        yield lab


@pytest.fixture(scope="module")
def own_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A local cloud of one module alone, whose stack has the operator of `local`.

    The operator's grant on the project is one, however many stacks make it: the first that is destroyed takes it away.
    """
    with a_cloud(tmp_path_factory.mktemp("own")) as lab:
        yield lab


@pytest.fixture(scope="session")
def lab(cloud: Lab) -> Lab:
    """The local cloud with stack `local` deployed by the real engine, its image built from this tree."""
    done = cloud.longhaul("up", "--stack", "local", "--yes", timeout_s=800)
    assert done.returncode == 0, done.stdout + done.stderr
    return cloud


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scripts and a small table."""
    folder = tmp_path_factory.mktemp("scripts")
    texts = {
        "well.py": "import json\njson.dump({'rows': len(open('data/cleaned_data.csv').readlines()) - 1}, open('data/metrics.json', 'w'))\n",
        "fail.py": "print('going wrong')\nraise SystemExit(3)\n",
        "sleep.py": "import time\nprint('sleeping', flush=True)\ntime.sleep(600)\n",
        "ten.py": "import time\nfor i in range(10):\n    print('second', i, flush=True)\n    time.sleep(1)\n",
        "grow.py": "held = []\nwhile True:\n    held.append(bytearray(8 << 20))\n    __import__('time').sleep(0.01)\n",
        "burst.py": "b'x' * (4 << 30)\n",
        "table.csv": "a,b\n" + "1,2\n" * 50,
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="session")
def flights(scripts: Path) -> Path:
    """The first 6,000 rows of the demo's table."""
    whole = scripts / "flights-all.csv"
    subprocess.run([sys.executable, ROOT / "examples" / "flights" / "make_data.py", whole], check=True)
    with whole.open("rb") as file:
        (scripts / "flights.csv").write_bytes(b"".join(line for _, line in zip(range(6_001), file, strict=False)))
    return scripts / "flights.csv"


@pytest.fixture
def example() -> Path:
    """The demo's script."""
    return ROOT / "examples" / "flights" / "ml_script.py"
