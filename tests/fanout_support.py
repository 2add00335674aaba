"""The fan-out's stages on a folder in place of a bucket."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workloads.batch_fanout.contract import FanoutEnv, Manifest, RunPlace
from workloads.batch_fanout.dispatcher import dispatch
from workloads.batch_fanout.runner import run_task
from workloads.common.contract import Task
from workloads.common.logs import Log
from workloads.common.storage import Deadline, Storage, Store

ROOT = Path(__file__).resolve().parent.parent
PLACE = RunPlace(dir_prefix="fanout/", sim_id="flu", run_id="r1")


def no_bucket(deadline: Deadline) -> Store:
    raise AssertionError("a folder is the bucket here")


def quiet() -> Log:
    return Log(io.BytesIO(), source="test")


def storage() -> Storage:
    return Storage(no_bucket)


def stage_env(folder: Path, stage: str, **changes: Any) -> FanoutEnv:
    """What the workflow tells `stage`: a, b or c."""
    places = {
        "a": {"out_prefix": PLACE.inputs},
        "b": {"in_prefix": PLACE.inputs, "out_prefix": PLACE.results},
        "c": {"in_prefix": PLACE.results, "out_prefix": PLACE.outputs, "manifest": PLACE.manifest},
    }
    values: dict[str, Any] = {"bucket": str(folder), "model": "fanout_model", "job_id": "r1", "parallel": 4}
    return FanoutEnv(**{**values, **places[stage], **changes})


def dispatched(folder: Path, count: int, seed: int = 7, **changes: Any) -> Manifest:
    return dispatch(stage_env(folder, "a", **changes), count=count, seed=seed, storage=storage(), log=quiet())


def ran(folder: Path, index: int, **changes: Any) -> Mapping[str, Any]:
    return run_task(stage_env(folder, "b", **changes), Task(index=index), storage=storage(), log=quiet())


def container(env: FanoutEnv, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The stage as a process of its own, as the container starts it."""
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        **env.to_env(),
        **more,
    }
    return subprocess.run(
        [sys.executable, "-m", "workloads.batch_fanout", *arguments],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def results_uri(folder: Path, name: str) -> Path:
    return folder / PLACE.results / name
