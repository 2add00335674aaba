"""Runs of the deployed job: how each ends, on the platform and in the bucket."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from system_support import ROOT, Lab, until

from ops import heavy, lifecycle, targets
from ops.request import Request
from workloads.heavy_runner.contract import ErrorCode


def words(scripts: Path, script: str, run_id: str) -> tuple[str, ...]:
    table, file = str(scripts / "table.csv"), str(scripts / script)
    return ("run", "heavy", "--data", table, "--script", file, "--sandbox", "never", "--run-id", run_id)


def start(lab: Lab, scripts: Path, script: str, run_id: str, *more: str) -> None:
    lab.json(*words(scripts, script, run_id), "--detach", *more)


def until_says(lab: Lab, run_id: str, text: str) -> None:
    until(lambda: text in lab.longhaul("logs", run_id).stdout)


def state(lab: Lab, run_id: str) -> str:
    return str(lab.json("status", run_id)["state"])


def completed(lab: Lab, run_id: str) -> tuple[str, str]:
    conditions = {c["type"]: c for c in lab.execution(run_id)["conditions"]}
    return conditions["Completed"]["state"], conditions["Completed"].get("executionReason", "")


@pytest.fixture(scope="module", autouse=True)
def late(lab: Lab, scripts: Path) -> Lab:
    """A run that sleeps past its minute while the other tests go on."""
    start(lab, scripts, "sleep.py", "late", "--timeout", "60")
    return lab


def test_the_demos_run(lab: Lab, flights: Path, example: Path, tmp_path: Path) -> None:
    call = ("run", "heavy", "--data", flights, "--script", example, "--sandbox", "never", "--run-id", "demo")
    result = lab.json(*call, "--out", tmp_path)
    assert result["state"] == "SUCCEEDED"
    assert result["metrics"]["rows"] == 6_000
    assert 0 < result["cost_usd"] < 0.01
    assert {"data/metrics.json", "data/scored_rows.csv", "status.json", "run_metadata.json"} <= set(result["files"])
    assert completed(lab, "demo")[0] == "CONDITION_SUCCEEDED"
    record = json.loads((tmp_path / "run_metadata.json").read_text())
    assert record["image"] == lab.outputs().require_heavy().image
    assert record["started_by"] == "user:operator@longhaul.local"
    said = lab.longhaul("logs", "demo").stdout
    assert "fold 5/5" in said
    assert lab.json("cost", "demo")["usd"] == pytest.approx(result["cost_usd"], abs=1e-6)


def test_a_small_table_goes_to_the_sandbox_with_the_same_image_and_files(
    lab: Lab, scripts: Path, tmp_path: Path
) -> None:
    table, script = scripts / "table.csv", scripts / "well.py"
    result = lab.json("run", "heavy", "--data", table, "--script", script, "--run-id", "small", "--out", tmp_path)
    assert (result["place"], result["state"]) == ("sandbox", "SUCCEEDED")
    assert result["metrics"] == {"rows": 50}
    record = json.loads((tmp_path / "run_metadata.json").read_text())
    assert record["image"] == lab.outputs().require_heavy().image


def test_a_failing_script(lab: Lab, scripts: Path) -> None:
    result = lab.json(*words(scripts, "fail.py", "fails"), code=1)
    assert result["error"]["code"] == ErrorCode.SCRIPT_ERROR
    assert result["error"]["log_tail"][-1] == "going wrong"
    assert completed(lab, "fails") == ("CONDITION_FAILED", "NON_ZERO_EXIT_CODE")
    assert lab.object("fails", "status.json")["state"] == "FAILED"


def test_a_script_that_outgrows_its_memory_slowly(lab: Lab, scripts: Path) -> None:
    result = lab.json(*words(scripts, "grow.py", "grows"), code=1)
    assert result["error"]["code"] == ErrorCode.OUT_OF_MEMORY
    assert 512 < result["peak_memory_mib"] <= 1024
    assert completed(lab, "grows")[0] == "CONDITION_FAILED"


def test_a_script_that_outgrows_its_memory_in_one_burst(lab: Lab, scripts: Path) -> None:
    result = lab.json(*words(scripts, "burst.py", "bursts"), code=1)
    assert result["error"]["code"] in (ErrorCode.OUT_OF_MEMORY, ErrorCode.SCRIPT_KILLED)
    assert lab.object("bursts", "status.json")["state"] == "FAILED"


def test_a_cancelled_run(lab: Lab, scripts: Path) -> None:
    start(lab, scripts, "sleep.py", "cancelled")
    until_says(lab, "cancelled", "sleeping")
    assert lab.json("cancel", "cancelled")["state"] == "CANCELLED"
    assert completed(lab, "cancelled")[1] == "CANCELLED"
    assert state(lab, "cancelled") == "CANCELLED"
    assert lab.object("cancelled", "status.json")["state"] == "FAILED"
    assert lab.longhaul("cancel", "cancelled").returncode == 2


def test_of_two_starts_of_one_run_id_one_wins_and_the_other_says_who(lab: Lab, scripts: Path) -> None:
    done = []
    calls = [
        threading.Thread(target=lambda: done.append(lab.longhaul(*words(scripts, "well.py", "twice")))) for _ in "ab"
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert sorted(one.returncode for one in done) == [0, 2]
    loser = next(one for one in done if one.returncode == 2)
    assert "run twice exists: user:operator@longhaul.local started it at" in loser.stderr
    assert lab.longhaul(*words(scripts, "well.py", "twice"), "--force", "--json").returncode == 0
    assert lab.json("status", "twice")["output_uri"].endswith("/outputs/twice/attempt_2/")


def test_a_container_that_is_killed_is_reaped(lab: Lab, scripts: Path) -> None:
    start(lab, scripts, "sleep.py", "killed")
    until_says(lab, "killed", "sleeping")
    lab.docker("kill", "--signal", "KILL", lab.containers()[0])
    row = until(lambda: (row := lab.json("status", "killed"))["state"] == "FAILED" and row)
    assert row["recorded"] is False
    assert lab.object("killed", "status.json")["state"] == "RUNNING"
    [reaped] = lab.json("reap", "killed")
    assert (reaped["state"], reaped["wrote"]) == ("FAILED", True)
    assert lab.object("killed", "status.json")["state"] == "FAILED"
    assert lab.object("killed", "error.json")["code"] in (ErrorCode.LOST, ErrorCode.OUT_OF_MEMORY)
    assert lab.json("status", "killed")["recorded"] is True
    assert lab.json("reap", "killed")[0]["wrote"] is False


def test_a_local_cloud_that_is_killed_in_mid_run_finds_the_run_again(lab: Lab, scripts: Path) -> None:
    start(lab, scripts, "ten.py", "survives")
    until_says(lab, "survives", "second 0")
    pid = lab.cloud.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: lab.cloud.pid() is None)
    lab.cloud.up()
    until(lambda: state(lab, "survives") not in ("STARTING", "RUNNING"), within_s=90)
    assert state(lab, "survives") == "SUCCEEDED"
    assert completed(lab, "survives")[0] == "CONDITION_SUCCEEDED"
    assert "second 9" in lab.longhaul("logs", "survives").stdout


def test_following_the_log_ends_with_the_run(lab: Lab, scripts: Path) -> None:
    start(lab, scripts, "ten.py", "followed")
    said = lab.longhaul("logs", "followed", "--follow").stdout
    assert [line for line in said.splitlines() if "second" in line][-1].endswith("second 9")
    assert state(lab, "followed") == "SUCCEEDED"


def test_a_run_that_somebody_started_by_hand_is_found_like_any_other(lab: Lab, scripts: Path) -> None:
    lab.start_by_hand("by-hand", scripts / "table.csv", scripts / "well.py")
    until(lambda: "by-hand" in lab.longhaul("status").stdout)
    until(lambda: state(lab, "by-hand") == "SUCCEEDED")
    assert "Container called exit(0)" in lab.longhaul("logs", "by-hand").stdout
    assert lab.json("fetch", "by-hand")["metrics"] == {"rows": 50}


def test_an_interrupted_command_without_a_terminal_leaves_the_run_going(lab: Lab, scripts: Path) -> None:
    call = [sys.executable, "-m", "ops.cli", "--project", str(lab.folder), *words(scripts, "sleep.py", "left")]
    with subprocess.Popen(
        call, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as command:
        until_says(lab, "left", "sleeping")
        os.killpg(command.pid, signal.SIGINT)
        said, _ = command.communicate(timeout=60)
    assert command.returncode == 0, said
    assert "it goes on without you. longhaul status left" in said
    assert state(lab, "left") == "RUNNING"
    assert lab.json("cancel", "left")["state"] == "CANCELLED"


def test_a_calling_system_needs_the_exported_variables_only(lab: Lab, scripts: Path, tmp_path: Path) -> None:
    outputs = lab.outputs()
    env = dict(line.split("=", 1) for line in outputs.require_heavy().env_block.splitlines() if line)
    env |= {f"LONGHAUL_{name.upper()}_ENDPOINT": url for name, url in outputs.endpoints.items()}
    target = targets.from_env(env)
    run = heavy.submit(Request(data=scripts / "table.csv", script=scripts / "well.py"), target)
    run = lifecycle.wait(run, target)
    assert run.status is not None
    assert run.status.state == "SUCCEEDED"
    lifecycle.download(run, tmp_path)
    assert json.loads((tmp_path / "data" / "metrics.json").read_text()) == {"rows": 50}


def test_doctor_finds_everything_well(lab: Lab) -> None:
    findings = lab.json("doctor")
    assert all(finding["ok"] for finding in findings), findings


def test_a_script_past_its_time(late: Lab) -> None:
    until(lambda: state(late, "late") == "FAILED", within_s=120)
    assert late.object("late", "error.json")["code"] == ErrorCode.SCRIPT_TIMEOUT
    until(lambda: completed(late, "late")[0] == "CONDITION_FAILED")
