"""The runner started as a plain process: where there is no container, and for what needs no container to be seen."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from heavy_support import ROOT

FAST = {"HEAVY_RUNNER_SCRIPT_TIMEOUT_SECONDS": "30"}


class Place:
    """Request, inputs, run folder and outputs of one run."""

    def __init__(self, folder: Path, script: str, **request: Any) -> None:
        self.folder = folder
        self.outputs = folder / "out"
        (folder / "cleaned_data.csv").write_text("a,b\n1,2\n")
        (folder / "ml_script.py").write_text(script)
        document = {"run_id": "r1", "dataset_uri": "cleaned_data.csv", "code_uri": "ml_script.py", **request}
        (folder / "request.json").write_text(json.dumps(document))

    def start(self, **env: str) -> "subprocess.Popen[str]":
        own = {"INPUT_URI": str(self.folder / "request.json"), "OUTPUT_URI": str(self.outputs)}
        base = {"PATH": os.environ["PATH"], "HEAVY_RUNNER_RUN_DIR": str(self.folder / "run"), **FAST, **own, **env}
        command = [sys.executable, "-m", "workloads.heavy_runner"]
        return subprocess.Popen(command, cwd=ROOT, env=base, stdout=subprocess.PIPE, text=True)

    def run(self, **env: str) -> tuple[int, list[dict[str, Any]]]:
        child = self.start(**env)
        out, _ = child.communicate(timeout=60)
        return child.returncode, [json.loads(line) for line in out.splitlines()]

    def json(self, name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.outputs / name).read_text())
        return loaded


def test_run_without_a_container_is_done_and_marked_as_such(tmp_path: Path) -> None:
    place = Place(tmp_path, "print('hello')\nopen('data/metrics.json', 'w').write('{}')", safe_mode=True)
    code, records = place.run()
    assert code == 0, records
    record = place.json("run_metadata.json")
    assert (record["runtime"], record["details"]["sandbox"]["reduced"]) == ("process", True)
    assert record["arguments"]["safe_mode"] is True
    assert place.json("data/metrics.json") == {}


def test_second_run_empties_the_first_ones_folder_and_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    place = Place(tmp_path, "import os\nprint(sorted(os.listdir('.')))\nopen('left', 'w')")
    for _ in range(2):
        code, records = place.run()
        assert code == 0
        assert "'left'" not in next(line["message"] for line in records if line["source"] == "script")
    foreign = tmp_path / "home"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    code, _ = place.run(HEAVY_RUNNER_RUN_DIR=str(foreign))
    assert code == 1
    assert "is not emptied" in place.json("error.json")["message"]
    assert (foreign / "thesis.tex").exists()


def test_failure_of_an_earlier_run_does_not_stay_beside_a_success(tmp_path: Path) -> None:
    Place(tmp_path, "raise SystemExit(3)").run()
    place = Place(tmp_path, "print(1)")
    assert (place.outputs / "error.json").exists()
    assert place.run()[0] == 0
    assert place.json("status.json")["state"] == "SUCCEEDED"
    assert not (place.outputs / "error.json").exists()


def test_sigterm_ends_process_and_children_with_a_final_state(tmp_path: Path) -> None:
    script = "import subprocess, sys, time\nsubprocess.Popen(['sleep', '61'], start_new_session=True)\nprint('on', flush=True)\ntime.sleep(60)"
    place = Place(tmp_path, script)
    child = place.start()
    assert child.stdout is not None
    while json.loads(child.stdout.readline())["message"] != "on":
        pass
    assert place.json("status.json")["state"] == "RUNNING"
    began = time.monotonic()
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert (child.returncode, place.json("error.json")["code"]) == (1, "terminated")
    assert place.json("run_metadata.json")["details"]["sandbox"]["leftovers_ended"] >= 1


def test_limit_without_a_control_group_is_held_by_the_process_tree(tmp_path: Path) -> None:
    script = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'x = []\\nwhile True: x.append(bytearray(1 << 22))'])"
    place = Place(tmp_path, script)
    code, _ = place.run(HEAVY_RUNNER_MEMORY_MIB="300")
    assert (code, place.json("error.json")["code"]) == (1, "out_of_memory")
    assert place.json("status.json")["peak_memory_mib"] >= 225


def test_settings_or_request_that_are_not_there_are_named(tmp_path: Path) -> None:
    place = Place(tmp_path, "print(1)")
    code, records = place.run(HEAVY_RUNNER_SCRIPT_TIMEOUT_SECONDS="soon")
    assert (code, place.json("status.json")["state"]) == (2, "FAILED"), records
    assert "HEAVY_RUNNER_SCRIPT_TIMEOUT_SECONDS: must be a whole number" in place.json("error.json")["message"]
    code, _ = place.run(INPUT_URI="")
    assert (code, place.json("error.json")["message"]) == (2, "INPUT_URI is not set.")


def test_output_place_that_cannot_be_written_ends_with_a_record_in_the_log(tmp_path: Path) -> None:
    place = Place(tmp_path, "print(1)")
    place.outputs.write_text("a file")
    code, records = place.run()
    assert code == 1
    assert any("permission_lost" in record["message"] for record in records)


def test_outputs_that_can_no_longer_be_written_end_as_permission_lost(tmp_path: Path) -> None:
    place = Place(tmp_path, "open('data/metrics.json', 'w').write('{}')")
    place.outputs.mkdir()
    (place.outputs / "data").write_text("a file")
    code, _ = place.run()
    assert (code, place.json("status.json")["state"]) == (1, "FAILED")
    assert place.json("error.json")["code"] == "permission_lost"
