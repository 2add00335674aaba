"""The three stages on a folder: what they write, what they refuse, what they do twice."""

import hashlib
import json
import pickle
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet
import pytest
from fanout_support import PLACE, ROOT, container, dispatched, quiet, ran, records, results_uri, stage_env, storage

from workloads.batch_fanout import runner
from workloads.batch_fanout.codec import Result
from workloads.batch_fanout.contract import IndexMap, Manifest
from workloads.batch_fanout.failure import BadRequest
from workloads.batch_fanout.gather import gather


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return (Path.touch, (Path(self.path),))


def gathered(folder: Path, **changes: Any) -> Any:
    return gather(stage_env(folder, "c", **changes), storage=storage(), log=quiet())


@pytest.mark.parametrize("count", [0, 1, 1_001])
def test_the_manifest_names_every_input_with_size_digest_and_generation(tmp_path: Path, count: int) -> None:
    manifest = dispatched(tmp_path, count)
    inputs = tmp_path / PLACE.inputs
    assert Manifest.from_json((inputs / "manifest.json").read_bytes()) == manifest
    assert (manifest.count, len(manifest.pages)) == (count, -(-count // 1000))
    entries = [entry for page in manifest.pages for entry in json.loads((inputs / page.name).read_bytes())["inputs"]]
    assert [entry["name"] for entry in entries] == [f"input_{i:04d}.pkl" for i in range(count)]
    for entry in entries:
        data = (inputs / entry["name"]).read_bytes()
        assert (entry["size"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert entry["generation"] == (inputs / entry["name"]).stat().st_mtime_ns


def test_inputs_are_pickles_that_depend_on_count_and_seed_alone(tmp_path: Path) -> None:
    dispatched(tmp_path / "one", 3)
    dispatched(tmp_path / "two", 3)
    read = [(tmp_path / which / PLACE.inputs / "input_0002.pkl").read_bytes() for which in ("one", "two")]
    assert read[0] == read[1]
    assert pickle.loads(read[0]) == {"i": 2, "seed": 7}  # noqa: S301  # our own


def test_a_retry_of_stage_a_changes_nothing(tmp_path: Path) -> None:
    first = dispatched(tmp_path, 5)
    (tmp_path / PLACE.manifest).unlink()  # killed before the manifest
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / PLACE.inputs).rglob("*.pkl")}
    assert dispatched(tmp_path, 5) == first
    assert dispatched(tmp_path, 5) == first
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / PLACE.inputs).rglob("*.pkl")}


def test_another_run_does_not_write_over_a_manifest(tmp_path: Path) -> None:
    dispatched(tmp_path, 5)
    with pytest.raises(BadRequest, match="manifest of another run"):
        dispatched(tmp_path, 6)


@pytest.mark.parametrize("count", [-1, 100_001])
def test_a_count_out_of_range_is_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(BadRequest, match="--count: must be 0 to 100000"):
        dispatched(tmp_path, count)


@pytest.mark.parametrize("form", ["pickle", "json"])
def test_a_task_stores_its_result_once(tmp_path: Path, form: str) -> None:
    dispatched(tmp_path, 2, format=form)
    first = ran(tmp_path, 1)
    file = results_uri(tmp_path, "result_0001.pkl" if form == "pickle" else "result_0001.json")
    stored, at = file.read_bytes(), file.stat().st_mtime_ns
    found = Result.decode(stored, form)
    assert found.result["series"]["value"] == [17, 18, 19]
    assert (found.index, found.input) == (1, f"input_0001{file.suffix}")
    assert first["kept"] is False
    assert ran(tmp_path, 1)["kept"] is True
    assert file.stat().st_mtime_ns == at


def test_a_result_is_plain_data_that_any_program_unpickles(tmp_path: Path) -> None:
    dispatched(tmp_path, 1)
    ran(tmp_path, 0)
    code = f"import pickle; print(pickle.load(open({str(results_uri(tmp_path, 'result_0000.pkl'))!r}, 'rb'))['result']['parameters'])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'kind': 0, 'i': 0}"


@pytest.mark.parametrize("left", [b"", b"half a res", pickle.dumps({"index": 0}), pickle.dumps(Bomb)])
def test_what_is_no_valid_result_is_replaced(tmp_path: Path, left: bytes) -> None:
    dispatched(tmp_path, 1)
    file = results_uri(tmp_path, "result_0000.pkl")
    file.parent.mkdir(parents=True)
    file.write_bytes(left)
    assert ran(tmp_path, 0)["kept"] is False
    assert Result.decode(file.read_bytes(), "pickle").index == 0


def test_an_old_result_is_never_run_as_a_program(tmp_path: Path) -> None:
    dispatched(tmp_path, 1)
    file, mark = results_uri(tmp_path, "result_0000.pkl"), tmp_path / "boom"
    file.parent.mkdir(parents=True)
    file.write_bytes(pickle.dumps(Bomb(mark)))
    ran(tmp_path, 0)
    assert not mark.exists()


def test_a_tampered_input_is_refused_before_it_is_unpickled(tmp_path: Path) -> None:
    dispatched(tmp_path, 1)
    file, mark = tmp_path / PLACE.inputs / "input_0000.pkl", tmp_path / "boom"
    bomb = pickle.dumps(Bomb(mark))
    file.write_bytes(bomb)
    with pytest.raises(BadRequest, match="it was cut or replaced"):
        ran(tmp_path, 0)
    page = json.loads((tmp_path / PLACE.inputs / "manifest/00000.json").read_bytes())
    file.write_bytes(bomb[: page["inputs"][0]["size"]].ljust(page["inputs"][0]["size"], b"."))
    with pytest.raises(BadRequest, match="SHA-256 is not the one in the manifest"):
        ran(tmp_path, 0)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["manifest.json", "manifest/00000.json"])
def test_a_truncated_manifest_is_refused(tmp_path: Path, name: str) -> None:
    dispatched(tmp_path, 2)
    file = tmp_path / PLACE.inputs / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(BadRequest, match=name):
        ran(tmp_path, 0)


def test_a_manifest_that_was_written_after_the_job_began_is_refused(tmp_path: Path) -> None:
    dispatched(tmp_path, 1)
    generation = (tmp_path / PLACE.manifest).stat().st_mtime_ns
    assert ran(tmp_path, 0, manifest_generation=generation)["kept"] is False
    with pytest.raises(BadRequest, match="was written after this job began"):
        ran(tmp_path, 0, manifest_generation=generation - 1)


def test_a_task_without_an_input_is_refused(tmp_path: Path) -> None:
    dispatched(tmp_path, 2)
    with pytest.raises(BadRequest, match="BATCH_TASK_INDEX: must be 0 to 1, got 2"):
        ran(tmp_path, 2)


def test_an_index_map_sends_a_task_to_another_input(tmp_path: Path) -> None:
    dispatched(tmp_path, 5)
    (tmp_path / "map.json").write_bytes(IndexMap.of([4, 1]).to_json())
    assert ran(tmp_path, 0, index_map="map.json")["index"] == 4
    assert ran(tmp_path, 1, index_map="map.json")["index"] == 1
    with pytest.raises(BadRequest, match="has 2 entries and none for task 2"):
        ran(tmp_path, 2, index_map="map.json")


def test_a_map_of_a_map_leads_to_the_input(tmp_path: Path) -> None:
    dispatched(tmp_path, 5)
    (tmp_path / "first.json").write_bytes(IndexMap.of([4, 1, 3]).to_json())
    (tmp_path / "second.json").write_bytes(IndexMap.of([2], base="first.json").to_json())
    assert ran(tmp_path, 0, index_map="second.json")["index"] == 3
    (tmp_path / "first.json").write_bytes(IndexMap.of([4, 1, 3], base="second.json").to_json())
    with pytest.raises(BadRequest, match=r"is its own base|none for task"):
        ran(tmp_path, 0, index_map="second.json")


def test_two_attempts_at_once_leave_one_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dispatched(tmp_path, 1)
    together = threading.Barrier(2)
    simulate = runner._simulate

    def wait(*arguments: Any) -> Any:
        made = simulate(*arguments)
        together.wait(10)
        return made

    monkeypatch.setattr(runner, "_simulate", wait)
    kept: list[bool] = []
    threads = [threading.Thread(target=lambda: kept.append(ran(tmp_path, 0)["kept"])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept) == [False, True]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_task_killed_around_its_upload_is_run_again_to_one_result(tmp_path: Path, moment: str) -> None:
    dispatched(tmp_path, 1)
    code = (
        "import os, signal, fanout_support as f\n"
        "from pathlib import Path\n"
        "from workloads.common.storage import LocalStore\n"
        "write = LocalStore.write\n"
        "def dying(*arguments, **options):\n"
        f"    if {moment == 'after'}: write(*arguments, **options)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "LocalStore.write = dying\n"
        f"f.ran(Path({str(tmp_path)!r}), 0)\n"
    )
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert results_uri(tmp_path, "result_0000.pkl").exists() == (moment == "after")
    assert ran(tmp_path, 0)["kept"] is (moment == "after")
    assert gathered(tmp_path)["found"] == 1


def test_the_gather_makes_one_table_a_chart_and_a_page(tmp_path: Path) -> None:
    dispatched(tmp_path, 6)
    for index in range(6):
        ran(tmp_path, index)
    summary = gathered(tmp_path)
    outputs = tmp_path / PLACE.outputs
    table = pyarrow.parquet.read_table(outputs / "results.parquet").to_pydict()
    assert table["index"] == [index for index in range(6) for _ in range(3)]
    assert table["value"][-3:] == [57, 58, 59]
    assert (summary["found"], summary["missing"], summary["rows"]) == (6, [], 18)
    assert [row["group"] for row in summary["peaks"]] == [0, 1]
    assert (outputs / "curves.png").read_bytes().startswith(b"\x89PNG")
    page = (outputs / "index.html").read_text()
    assert "6 of 6 results" in page
    assert "data:image/png;base64," in page
    gathered(tmp_path, table="csv")
    assert pyarrow.csv.read_csv(outputs / "results.csv").num_rows == 18


def test_the_gather_names_missing_and_foreign_results(tmp_path: Path) -> None:
    dispatched(tmp_path, 3)
    ran(tmp_path, 0)
    ran(tmp_path, 2)
    results_uri(tmp_path, "result_0002.pkl").rename(results_uri(tmp_path, "result_0001.pkl"))
    with pytest.raises(BadRequest, match=r"2 of 3 results are missing, the first is result_0001\.pkl"):
        gathered(tmp_path)
    summary = json.loads((tmp_path / PLACE.outputs / "gather.json").read_bytes())
    assert summary["missing"] == ["result_0001.pkl", "result_0002.pkl"]
    assert pyarrow.parquet.read_table(tmp_path / PLACE.outputs / "results.parquet").num_rows == 3
    assert "result_0002.pkl" in (tmp_path / PLACE.outputs / "index.html").read_text()


def test_a_run_without_inputs_is_gathered_too(tmp_path: Path) -> None:
    dispatched(tmp_path, 0)
    assert gathered(tmp_path)["found"] == 0
    assert (tmp_path / PLACE.outputs / "index.html").is_file()


def test_the_container_exits_0_1_and_2(tmp_path: Path) -> None:
    env = stage_env(tmp_path, "a")
    done = container(env, "dispatch", "--count", "2", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    task = stage_env(tmp_path, "b")
    assert container(task, "run", BATCH_TASK_INDEX="1").returncode == 0
    assert container(task, "run").returncode == 2
    assert container(task, "run", BATCH_TASK_INDEX="2").returncode == 2
    # a file where a folder must be: nothing is wrong with what was asked for
    broken = stage_env(tmp_path, "b", out_prefix=f"{PLACE.inputs}input_0000.pkl/")
    assert container(broken, "run", BATCH_TASK_INDEX="0").returncode != 0
    assert container(stage_env(tmp_path, "c"), "gather").returncode == 2
    assert container(stage_env(tmp_path, "c"), "gather", "--allow-missing").returncode == 0
    last = records(container(task, "run", BATCH_TASK_INDEX="1").stdout)[-1]
    assert (last["summary"]["kept"], last["task"], last["stage"]) == (True, 1, "run")


def test_an_error_of_the_model_is_retried_and_its_refusal_is_not(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    head = "def make_inputs(count, seed):\n    return range(count)\n\ndef simulate(value):\n    "
    (models / "fails.py").write_text(head + "raise RuntimeError('no luck')\n")
    (models / "refuses.py").write_text(
        "from workloads.batch_fanout.failure import BadRequest\n" + head + "raise BadRequest('no such number')\n"
    )
    path = f"{ROOT}:{models}"
    for model, code in (("fails", 1), ("refuses", 2)):
        folder = tmp_path / model
        arguments = ("dispatch", "--count", "1", "--seed", "1")
        assert container(stage_env(folder, "a", model=model), *arguments, PYTHONPATH=path).returncode == 0
        done = container(stage_env(folder, "b", model=model), "run", BATCH_TASK_INDEX="0", PYTHONPATH=path)
        assert done.returncode == code
        assert f"models/{model}.py:" in records(done.stdout)[-1]["error"]


def test_the_wrapper_runs_stage_a_from_a_shell(tmp_path: Path) -> None:
    script = ROOT / "workloads/batch_fanout/run_dispatcher.sh"
    variables = {**stage_env(tmp_path, "a").to_env(), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    variables["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests'}"
    arguments = ["sh", str(script), "--count", "3", "--seed", "4"]
    done = subprocess.run(arguments, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / PLACE.inputs / "input_0002.pkl").is_file()


@pytest.mark.faults
def test_100_000_inputs_take_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "kilo.py").write_text(
        "def make_inputs(count, seed):\n    return (b'x' * 1000 for _ in range(count))\n\ndef simulate(value):\n    return {}\n"
    )
    env = stage_env(tmp_path / "bucket", "a", model="kilo", parallel=8)
    path = f"{ROOT}:{tmp_path}"
    done = container(env, "dispatch", "--count", "100000", "--seed", "1", PYTHONPATH=path)
    assert done.returncode == 0, done.stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024 <= 256
    manifest = Manifest.from_json((tmp_path / "bucket" / PLACE.manifest).read_bytes())
    assert (manifest.count, len(manifest.pages)) == (100_000, 100)
    assert len(manifest.to_json()) < 32 << 10
    assert (tmp_path / "bucket" / PLACE.inputs / "input_99999.pkl").is_file()
