"""Where no container engine answers the stack deploys all the same, and the job runs as a process that says so."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from system_support import Lab, make_lab


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A local cloud whose engine is not there."""
    absent = f"unix://{tmp_path}/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", absent)
    made = make_lab(tmp_path / "project")
    env = made.folder / ".local" / "env.sh"
    env.write_text(re.sub(r"(?m)^export DOCKER_HOST=.*$", "", env.read_text()) + f"\nexport DOCKER_HOST={absent}\n")
    made.cloud.up()
    yield made
    made.cloud.down()


def test_the_whole_stack_deploys_and_the_job_runs_as_a_process(bare: Lab, scripts: Path, tmp_path: Path) -> None:
    done = bare.longhaul("up", "--stack", "local", "--yes", timeout_s=400)
    assert done.returncode == 0, done.stdout + done.stderr
    call = ("run", "heavy", "--data", scripts / "table.csv", "--script", scripts / "well.py", "--sandbox", "never")
    result = bare.json(*call, "--run-id", "bare", "--out", tmp_path / "out")
    assert (result["state"], result["metrics"]) == ("SUCCEEDED", {"rows": 50})
    assert json.loads((tmp_path / "out" / "run_metadata.json").read_text())["runtime"] == "process"
