"""The image of the heavy runner, built once a session."""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from heavy_support import Engine, Job

ROOT = Path(__file__).resolve().parents[3]
TAG = "longhaul-test/heavy-runner"
BASE_IMAGE = "longhaul/base:trixie"
BUILD_S = 900


@pytest.fixture(scope="session")
def engine() -> Engine:
    candidates = [shutil.which("docker"), str(ROOT / ".local/bin/docker"), "/usr/bin/docker"]
    said = "there is no docker command"
    for program in dict.fromkeys(filter(None, candidates)):
        if not Path(program).exists():
            continue
        found = Engine(program)
        asked = found("version", "--format", "{{.Server.Version}}", check=False)
        if asked.returncode == 0:
            return found
        said = asked.stderr.strip().splitlines()[-1] if asked.stderr.strip() else said
    pytest.fail(f"these tests need a Docker engine (`make setup`, then `. .local/env.sh`): {said}", pytrace=False)


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    known = engine("image", "inspect", BASE_IMAGE, check=False).returncode == 0
    base = ["--build-arg", f"BASE_IMAGE={BASE_IMAGE}"] if known else []
    context = ROOT / "workloads"
    dockerfile = str(context / "heavy_runner" / "Dockerfile")
    for program in dict.fromkeys([engine.program, "/usr/bin/docker"]):
        client = Engine(program)
        build = ["build", "--network", "host", *base, "-f", dockerfile, "-t", TAG, str(context)]
        done = client(*build, timeout=BUILD_S, check=False)
        if done.returncode == 0:
            return TAG
    pytest.fail(f"the image of the heavy runner cannot be built: {done.stderr[-2_000:]}", pytrace=False)


@pytest.fixture
def prepare(engine: Engine, image: str, tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Make a job of a script: `prepare("print(1)", memory_mib=256, required_outputs=["data/x"])`."""
    names: list[str] = []

    def make(
        script: str,
        *,
        memory_mib: int = 512,
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        sealed: bool = True,
        **request: Any,
    ) -> Job:
        name = f"lh-heavy-{uuid.uuid4().hex[:8]}"
        names.append(name)
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        (folder / "output").mkdir()
        (folder / "data" / "cleaned_data.csv").write_text("a,b\n" + "1.5,x\n" * 20)
        (folder / "data" / "ml_script.py").write_text(script)
        document = {"run_id": "abc123", "dataset_uri": "cleaned_data.csv", "code_uri": "ml_script.py", **request}
        (folder / "data" / "request.json").write_text(json.dumps(document))
        values = {"INPUT_URI": "/data/request.json", "OUTPUT_URI": "/output/", **(env or {})}
        # as the local cloud starts it: nothing writable but memory, which counts
        seal = ["--read-only", "--tmpfs", "/tmp", "--tmpfs", "/run"] if sealed else []
        limit = ["-m", f"{memory_mib}m", "--memory-swap", f"{memory_mib}m"]
        pairs = [word for key, value in values.items() for word in ("-e", f"{key}={value}")]
        return Job(engine, image, folder, name, [*limit, *seal, *pairs, *options])

    yield make
    for name in names:
        engine("rm", "--force", name, check=False)
