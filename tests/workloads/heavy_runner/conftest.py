"""The image of the heavy runner, built once a session."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from heavy_support import Engine, Job, build_image, find_engine


@pytest.fixture(scope="session")
def engine() -> Engine:
    try:
        return find_engine()
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    try:
        return build_image(engine)
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)


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
        places = ("/tmp", "/var/tmp", "/run", "/root", "/srv")
        seal = ["--read-only", *(word for place in places for word in ("--tmpfs", place))] if sealed else []
        limit = ["-m", f"{memory_mib}m", "--memory-swap", f"{memory_mib}m"]
        pairs = [word for key, value in values.items() for word in ("-e", f"{key}={value}")]
        return Job(engine, image, folder, name, [*limit, *seal, *pairs, *options])

    yield make
    for name in names:
        engine("rm", "--force", name, check=False)
