"""Kill -9 once at each kind of point, resume, and the same bytes come out with nothing extracted twice."""

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from features_support import PAIR, dataset, save, start

from workloads.feature_pipeline.contract import Stage

TRAINING = f"buckets/out/training_{PAIR}.parquet"
POINTS = {
    # (storage call, part of the object's name, how often before the kill)
    Stage.EXTRACT: "written .parquet.json 3",
    Stage.MERGE: "",
    Stage.VALIDATE: "write validation.json 1",
    Stage.BACKUP: f"uploaded training_{PAIR} 1",
    Stage.CLEAN_UP: "delete checkpoints 5",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What an undisturbed run makes."""
    folder = tmp_path_factory.mktemp("original")
    save(folder, dataset(tables=5))
    child = start(folder)
    child.communicate(timeout=120)
    assert child.returncode == 0
    return (folder / TRAINING).read_bytes()


def run(folder: Path, kill: str = "") -> tuple[int, list[dict[str, str]]]:
    child = start(folder, kill=kill)
    out, _ = child.communicate(timeout=120)
    return child.returncode, [json.loads(line) for line in out.splitlines() if line.endswith("}")]


def killed_in_merge(folder: Path) -> list[dict[str, str]]:
    """Kill the container while its merge process is at work, which ends with it or is done."""
    child = start(folder)
    assert child.stdout
    seen = []
    for line in child.stdout:
        seen.append(json.loads(line))
        if seen[-1].get("message") == "stage merge begins":
            break
    child.send_signal(signal.SIGKILL)
    child.communicate()
    return seen


def check(folder: Path, first: list[dict[str, str]], original: bytes, *, container_gone: bool = True) -> None:
    if container_gone:  # scratch is the container's own file system
        shutil.rmtree(folder / "scratch", ignore_errors=True)
    code, second = run(folder)
    assert code == 0, second[-1]
    assert (folder / TRAINING).read_bytes() == original
    reads = Counter(record["read"] for record in [*first, *second] if "read" in record)
    twice = [name for name, count in reads.items() if count > 1]
    assert len(twice) <= 3, "more extracted twice than the io_threads tables that were on their way"


@pytest.mark.parametrize("stage", POINTS)
def test_killed_in_each_stage_and_resumed_to_the_same_bytes(tmp_path: Path, original: bytes, stage: Stage) -> None:
    save(tmp_path, dataset(tables=5))
    if stage is Stage.MERGE:
        first = killed_in_merge(tmp_path)
    else:
        code, first = run(tmp_path, POINTS[stage])
        assert code == -signal.SIGKILL
    check(tmp_path, first, original, container_gone=stage is not Stage.MERGE)
    if stage is not Stage.EXTRACT:
        names = Counter(record["read"] for record in first if "read" in record)
        assert max(names.values()) == 1
    assert not any((tmp_path / "buckets/stage").rglob("*.parquet*"))


@pytest.mark.faults
@pytest.mark.parametrize("attempt", range(100))
def test_killed_at_any_moment_and_resumed_to_the_same_bytes(tmp_path: Path, original: bytes, attempt: int) -> None:
    """20 kills for each stage: the moments are spread over the run."""
    save(tmp_path, dataset(tables=5))
    child = start(tmp_path)
    time.sleep(random.Random(attempt).uniform(0.8, 3.5))  # noqa: S311  # a moment, not a secret
    child.send_signal(signal.SIGKILL)
    out, _ = child.communicate()
    first = [json.loads(line) for line in out.splitlines() if line.endswith("}")]
    check(tmp_path, first, original)


def test_a_killed_merge_process_is_started_again_where_it_was(tmp_path: Path, original: bytes) -> None:
    save(tmp_path, dataset(tables=5))
    code, lines = run_with_dying_merge(tmp_path)
    assert code == 0
    assert any("started again where it was" in line.get("message", "") for line in lines)
    assert (tmp_path / TRAINING).read_bytes() == original


def run_with_dying_merge(folder: Path) -> tuple[int, list[dict[str, str]]]:
    """A merge process that dies once, after its second table, by a sitecustomize of its own."""
    (folder / "site").mkdir()
    code = (
        "import os, signal, sys\n"
        "if 'workloads.feature_pipeline.merge' in ' '.join(sys.orig_argv):\n"
        "    from workloads.feature_pipeline.merge import journal\n"
        "    real = journal.Journal.add\n"
        "    def add(self, entry):\n"
        "        real(self, entry)\n"
        "        mark = os.environ['DIE_ONCE']\n"
        "        if len(self.entries) == 2 and not os.path.exists(mark):\n"
        "            open(mark, 'w').close()\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "    journal.Journal.add = add\n"
    )
    (folder / "site" / "sitecustomize.py").write_text(code)
    root = Path(__file__).parents[3]
    paths = os.pathsep.join([str(folder / "site"), str(root), str(root / "tests")])
    environment = {"PYTHONPATH": paths, "DIE_ONCE": str(folder / "died"), "IN_MEMORY": "1"}
    child = start(folder, environment=environment)
    out, _ = child.communicate(timeout=120)
    assert (folder / "died").exists()
    return child.returncode, [json.loads(line) for line in out.splitlines() if line.endswith("}")]


def test_sigterm_ends_within_ten_seconds_with_a_final_state(tmp_path: Path) -> None:
    save(tmp_path, dataset(tables=5))
    child = start(tmp_path, environment={"SLOW_READ_S": "60"})
    assert child.stdout
    for line in child.stdout:
        if "read" in json.loads(line):
            break
    child.send_signal(signal.SIGTERM)
    began = time.monotonic()
    child.communicate(timeout=60)
    assert time.monotonic() - began < 10
    status = json.loads((tmp_path / f"buckets/out/runs/{PAIR}/r1/status.json").read_text())
    assert (child.returncode, status["state"], status["error_code"]) == (1, "FAILED", "terminated")
