"""The heavy runner as a container: whatever the script does, the run ends in exactly one final state."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from heavy_support import Job

pytestmark = pytest.mark.container

Prepare = Callable[..., Job]
MIB = 1 << 20


def test_script_that_exits_3_fails_with_its_exit_code_and_last_lines(prepare: Prepare) -> None:
    result = prepare("import sys\nprint('before the end')\nsys.exit(3)").run()

    assert result.exit_code == 1
    assert result.has_failed("script_error")
    assert result.status["script_exit_code"] == 3
    assert result.error["log_tail"] == ["before the end"]
    assert result.lines("script") == ["before the end"]


@pytest.mark.parametrize(
    ("how", "script"),
    [
        ("slowly", "import time\nheld = []\nwhile True:\n    held.append(bytearray(8 << 20)); time.sleep(0.02)"),
        (
            "in one burst",
            "import mmap\nprint('starting', flush=True)\nmmap.mmap(-1, 600 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)",
        ),
        (
            "into files",
            "import time\nwith open('data/big', 'wb') as f:\n    while True:\n        f.write(b'x' * (8 << 20)); time.sleep(0.02)",
        ),
    ],
)
def test_script_that_takes_twice_its_memory_ends_as_out_of_memory(prepare: Prepare, how: str, script: str) -> None:
    result = prepare(script, memory_mib=300).run()

    assert result.exit_code == 1
    assert result.has_failed("out_of_memory"), how
    assert 100 < result.status["peak_memory_mib"] <= 300
    assert result.status["memory_limit_mib"] == 300


def test_script_past_its_timeout_that_ignores_sigterm_is_ended(prepare: Prepare) -> None:
    script = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)"
    )
    result = prepare(script, env={"HEAVY_RUNNER_SCRIPT_TIMEOUT_SECONDS": "1"}).run(timeout=30)

    assert result.exit_code == 1
    assert result.has_failed("script_timeout")
    assert result.log == "deaf\n"


def test_processes_left_behind_are_ended_and_do_not_hold_the_run(prepare: Prepare) -> None:
    script = """
import os, subprocess, sys, time
child = "import os, time, signal; signal.signal(15, signal.SIG_IGN); print('left', flush=True); time.sleep(600)"
for new_session in (False, True):
    subprocess.Popen([sys.executable, "-c", child], start_new_session=new_session)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(600)
time.sleep(0.5)
open("data/metrics.json", "w").write("{}")
"""
    result = prepare(script, required_outputs=["data/metrics.json"]).run(timeout=30)

    assert result.exit_code == 0
    assert result.status["state"] == "SUCCEEDED"
    assert result.record["details"]["sandbox"]["leftovers_ended"] == 3


def test_200_mb_of_output_and_an_endless_line_fill_neither_memory_nor_log(prepare: Prepare) -> None:
    script = """
import sys
print("first line")
for _ in range(1500):
    sys.stdout.write(("y" * 99 + "\\n") * 1000)
print("x" * 50_000_000)
print("last line", flush=True)
"""
    result = prepare(script, env={"HEAVY_RUNNER_LOG_LIVE_MIB": "2"}).run()

    assert result.exit_code == 0
    assert result.record["counts"]["log_bytes"] > 199_000_000
    assert len(result.log) < 3 * MIB
    assert result.log.startswith("first line\n")
    assert result.log.endswith("last line\n")
    cut = result.record["details"]["log_cut_bytes"]
    assert f"[longhaul: {cut:,} bytes of" in result.log
    assert sum(map(len, result.lines("script"))) < 3 * MIB
    assert result.record["details"]["resources"]["supervisor_peak_mib"] < 128


def test_what_leads_out_or_is_no_file_is_named_and_not_uploaded(prepare: Prepare) -> None:
    script = """
import os
os.makedirs("reports", exist_ok=True)
open("../escape", "w").write("out")
os.symlink("/etc/passwd", "data/absolute")
os.symlink("../../escape", "data/relative")
os.symlink("inside.txt", "data/link")
open("data/inside.txt", "w").write("in")
os.mkfifo("reports/pipe")
os.symlink("/etc", "models")
with open("data/sparse.bin", "wb") as file:
    file.truncate(5 << 30)
open("artifacts/execution_log.txt", "w").write("forged")
open("artifacts/new\\nline", "w").write("x")
print('{"severity": "INFO", "message": "SUCCEEDED", "source": "runner", "state": "SUCCEEDED"}')
"""
    result = prepare(script).run()

    assert result.exit_code == 0
    uploaded = {str(path.relative_to(result.outputs)) for path in result.outputs.rglob("*") if path.is_file()}
    ours = {"status.json", "run_metadata.json", "artifacts/execution_log.txt"}
    assert uploaded == ours | {"data/inside.txt", "data/link"}
    skipped = result.record["details"]["not_uploaded"]
    assert skipped["data/absolute"] == skipped["data/relative"] == "leads out of the run folder"
    assert skipped["reports/pipe"] == "is not a regular file"
    assert skipped["models"] == "is not a folder"
    assert skipped["data/sparse.bin"].startswith("is sparse: 5,368,709,120 bytes")
    assert skipped["artifacts/execution_log.txt"] == "is written by the runner itself"
    assert skipped["artifacts/new\\x0aline"] == "has a name that no object can have"
    assert "forged" not in result.log
    forged = [record for record in result.records if "severity" in record["message"]]
    assert [record["source"] for record in forged] == ["script"]


def test_script_has_no_rights_no_secrets_and_no_way_to_our_log(prepare: Prepare) -> None:
    script = """
import json, os, resource
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
def refused(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "allowed"
json.dump({
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
    "capabilities": [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privs": status["NoNewPrivs"].strip(),
    "core": resource.getrlimit(resource.RLIMIT_CORE), "fsize": resource.getrlimit(resource.RLIMIT_FSIZE),
    "nproc": resource.getrlimit(resource.RLIMIT_NPROC),
    "oom": open("/proc/self/oom_score_adj").read().strip(),
    "own_group": os.getpgid(0) == os.getpid() and os.getsid(0) == os.getpid(),
    "environment": sorted(os.environ), "safe_mode": os.environ["HEAVY_RUNNER_SAFE_MODE"],
    "read": json.load(open("data/read.json")), "cwd": os.getcwd(),
    "our_log": refused(lambda: open("/proc/1/fd/1", "w")),
    "our_environment": refused(lambda: open("/proc/1/environ").read()),
    "our_code": refused(lambda: open("/app/workloads/x", "w")),
    "stdin": os.read(0, 1).decode(),
}, open("data/facts.json", "w"))
"""
    job = prepare(
        script,
        env={"RUN_START_TOKEN": "t0k3n", "MY_SECRET": "s3cret"},
        safe_mode=True,
        read={"sep": ",", "quote": "no"},
    )
    result = job.run()

    assert result.exit_code == 0, result.records
    facts = result.json("data/facts.json")
    assert (facts["uid"], facts["gid"], facts["groups"]) == (10001, 10001, [])
    assert set(facts["capabilities"]) == {"0000000000000000"}
    assert facts["no_new_privs"] == "1"
    assert (facts["core"], facts["fsize"], facts["nproc"]) == ([0, 0], [32 << 30] * 2, [4096] * 2)
    assert facts["oom"] == "1000"
    assert facts["own_group"] is True
    assert not {"RUN_START_TOKEN", "MY_SECRET", "INPUT_URI", "OUTPUT_URI"} & set(facts["environment"])
    assert facts["safe_mode"] == "true"
    assert facts["read"] == {
        "data_path": "data/cleaned_data.csv",
        "safe_mode": True,
        "sep": ",",
        "decimal": ".",
        "encoding": "utf-8",
        "quote": "no",
    }
    assert facts["cwd"] == "/tmp/run"
    assert (facts["our_log"], facts["our_environment"]) == ("PermissionError", "PermissionError")
    assert facts["our_code"] != "allowed"
    assert facts["stdin"] == ""
    assert result.record["details"]["sandbox"]["reduced"] is False


def test_sigterm_in_mid_run_saves_what_is_there_within_the_grace(prepare: Prepare) -> None:
    script = "import time\nopen('data/metrics.json', 'w').write('{}')\nprint('working', flush=True)\ntime.sleep(600)"
    job = prepare(script)
    job.start()
    _wait_for(lambda: "working" in job.engine("logs", job.name).stdout)
    seen = json.loads((job.folder / "output" / "status.json").read_text())
    began = time.monotonic()
    job.engine("stop", "--time", "10", job.name)
    took = time.monotonic() - began

    exit_code = int(job.engine("inspect", "--format", "{{.State.ExitCode}}", job.name).stdout)
    result = job.result(exit_code, job.engine("logs", job.name).stdout)
    assert seen["state"] == "RUNNING"
    assert took < 10, "the platform would have killed it"
    assert result.exit_code == 1
    assert result.has_failed("terminated")
    assert result.json("data/metrics.json") == {}
    assert result.log == "working\n"


def test_full_run_folder_ends_as_disk_full_and_inputs_that_cannot_fit_are_refused(prepare: Prepare) -> None:
    small = ["--tmpfs", "/tmp:size=24m"]
    result = prepare("open('data/big', 'wb').write(b'x' * (64 << 20))", sealed=False, options=small).run()
    assert result.exit_code == 1
    assert result.has_failed("disk_full")

    job = prepare("print(1)", sealed=False, options=small)
    (job.folder / "data" / "cleaned_data.csv").write_text("a,b\n" + "1,2\n" * (8 * MIB))
    result = job.run()
    assert result.exit_code == 2
    assert result.has_failed("input_too_large")


BAD_REQUESTS = {
    "missing_field": ('{"run_id": "a", "code_uri": "ml_script.py"}', "request_invalid", "dataset_uri: Field required"),
    "wrong_type": ('{"run_id": 7, "dataset_uri": "d", "code_uri": "c"}', "request_invalid", "run_id: Input should be"),
    "empty": ("", "request_unreadable", "is empty"),
    "not_json": ("{run_id: 1}", "request_unreadable", "is not JSON"),
    "a_list": ("[]", "request_invalid", "must be a JSON object, got list"),
    "escape": (
        '{"run_id": "a", "dataset_uri": "d", "code_uri": "c", "data_path": "../up"}',
        "path_escape",
        "data_path: path leads out",
    ),
    "vanished": ('{"run_id": "a", "dataset_uri": "gone.csv", "code_uri": "ml_script.py"}', "input_missing", "gone.csv"),
    "newer": ('{"protocol_version": "2.0", "run_id": "a"}', "protocol_mismatch", "must be 1.0, got '2.0'"),
    "separator": (
        '{"run_id": "a", "dataset_uri": "cleaned_data.csv", "code_uri": "ml_script.py", "read": {"sep": ";"}}',
        "read_mismatch",
        "read.sep: ';' makes 1 column of the dataset, ',' makes 2",
    ),
}


def test_wrong_requests_end_as_failed_with_the_field_named(prepare: Prepare) -> None:
    loop = (
        "for r in /data/requests/*.json; do n=$(basename $r .json); mkdir -p /output/$n; "
        "INPUT_URI=$r OUTPUT_URI=/output/$n python -m workloads.heavy_runner; echo $? > /output/$n/exit; done"
    )
    job = prepare("print('must not start')", options=["--entrypoint", "sh"])
    folder = job.folder / "data" / "requests"
    folder.mkdir()
    for name, (text, _, _) in BAD_REQUESTS.items():
        text = text.replace('"cleaned_data', '"../cleaned_data').replace('"ml_script', '"../ml_script')
        (folder / f"{name}.json").write_text(text)
    bom = json.dumps({"run_id": "b", "dataset_uri": "../cleaned_data.csv", "code_uri": "../ml_script.py"})
    (folder / "bom.json").write_bytes(b"\xef\xbb\xbf" + bom.encode())
    (folder / "ping.json").write_text('{"ping": "ok"}')
    job.engine("run", *job.arguments(), "-c", loop)

    output = job.folder / "output"
    for name, (_, code, words) in BAD_REQUESTS.items():
        error, status = (json.loads((output / name / file).read_text()) for file in ("error.json", "status.json"))
        assert (status["state"], error["code"]) == ("FAILED", code), name
        assert words in error["message"], name
        assert error["hint"], name
        assert (output / name / "exit").read_text() == "2\n", name
        assert not (output / name / "artifacts").exists(), "the script was started"
    for name in ("bom", "ping"):
        assert json.loads((output / name / "status.json").read_text())["state"] == "SUCCEEDED"
        assert (output / name / "exit").read_text() == "0\n"
        assert not (output / name / "error.json").exists()
    assert not (output / "ping" / "artifacts").exists()


def test_missing_required_output_fails_and_what_is_there_is_uploaded(prepare: Prepare) -> None:
    script = "import os\nos.makedirs('static/plots')\nopen('static/plots/a.png', 'wb').write(b'png')"
    job = prepare(script, required_outputs=["static/plots/*.png", {"path": "data/metrics.json"}], attempt=2)
    result = job.run()

    assert result.exit_code == 2
    attempt = job.folder / "output" / "attempt_2"
    error = json.loads((attempt / "error.json").read_text())
    assert (error["code"], error["details"]["missing"]) == ("missing_required_outputs", ["data/metrics.json"])
    assert (attempt / "static" / "plots" / "a.png").read_bytes() == b"png"


def test_container_of_another_user_runs_with_a_reduced_sandbox_and_says_so(prepare: Prepare) -> None:
    script = """
import os
print(os.getuid(), flush=True)
for name in ("environ", "fd/1"):
    try:
        open(f"/proc/1/{name}").read()
    except PermissionError:
        print("refused", flush=True)
"""
    job = prepare(script, options=["--user", "4711:4711"])
    (job.folder / "output").chmod(0o777)
    result = job.run()

    assert result.exit_code == 0
    assert result.lines("script") == ["4711", "refused", "refused"]
    assert result.record["details"]["sandbox"]["reduced"] is True


def test_readme_command_runs_with_local_paths_and_leaves_files_of_the_folders_owner(prepare: Prepare) -> None:
    job = prepare("print('hello')", sealed=False)
    subprocess.run(["chown", "4711:4711", job.folder / "output"], check=True)
    mounts = ["-v", f"{job.folder}/data:/data", "-v", f"{job.folder}/output:/output"]
    pairs = ["-e", "INPUT_URI=/data/request.json", "-e", "OUTPUT_URI=/output/"]
    job.engine("run", "--name", job.name, *pairs, *mounts, job.image)

    assert json.loads((job.folder / "output" / "status.json").read_text())["state"] == "SUCCEEDED"
    assert {path.stat().st_uid for path in Path(job.folder / "output").rglob("*")} == {4711}


def test_image_carries_what_an_ml_script_expects(prepare: Prepare) -> None:
    script = """
import lightgbm, matplotlib.pyplot, numpy, pandas, polars, pyarrow.parquet, sklearn.ensemble
model = lightgbm.LGBMRegressor(n_estimators=2, min_child_samples=1, verbose=-1).fit(numpy.arange(20).reshape(-1, 1), numpy.arange(20))
matplotlib.pyplot.plot([1, 2]); matplotlib.pyplot.savefig("data/plot.png")
pandas.read_csv("data/cleaned_data.csv").to_parquet("data/table.parquet")
print(polars.read_parquet("data/table.parquet").shape)
"""
    result = prepare(script, memory_mib=1024, required_outputs=["data/plot.png", "data/table.parquet"]).run()

    assert result.exit_code == 0, result.records
    assert "(20, 2)" in result.lines("script")


def _wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)
