from pathlib import Path

import pytest

from workloads.heavy_runner.process import End, Outcome
from workloads.heavy_runner.request import Request
from workloads.heavy_runner.script import environment, judge, timeout_of

MIB = 1 << 20


def request(**changes: object) -> Request:
    base: dict[str, object] = {"run_id": "a", "dataset_uri": "gs://b-b/d", "code_uri": "gs://b-b/c"}
    return Request.model_validate(base | changes)


def outcome(end: End = End.EXITED, exit_code: int = 0, oom_kills: int = 0) -> Outcome:
    return Outcome(end=end, exit_code=exit_code, seconds=1, peak_bytes=300 * MIB, oom_kills=oom_kills, leftovers=0)


def code(found: Outcome, log_tail: str = "") -> str | None:
    failure = judge(
        found, timeout_s=60, memory_bytes=512 * MIB, reserve_bytes=128 * MIB, log_tail=log_tail, run_dir=Path("/")
    )
    return failure.code if failure else None


@pytest.mark.parametrize(
    ("wanted", "default", "task", "elapsed", "seconds"),
    [
        (None, 1_740, 0, 0, 1_740),
        (5, 1_740, 0, 0, 60),
        (90.5, 1_740, 0, 0, 90.5),
        (99_999, 1_740, 0, 0, 7_200),
        (7_200, 1_740, 1_800, 30, 1_710),
        (None, 1_740, 1_800, 120, 1_620),
        (None, 1_740, 1_800, 1_799, 1),
        (None, 5, 0, 0, 5),
    ],
)
def test_script_timeout_is_clamped_as_documented(
    wanted: float | None, default: int, task: int, elapsed: float, seconds: float
) -> None:
    asked = request() if wanted is None else request(script_timeout_seconds=wanted)
    assert timeout_of(asked, default_s=default, task_timeout_s=task, elapsed_s=elapsed) == seconds


def test_every_end_has_its_code() -> None:
    assert code(outcome()) is None
    assert code(outcome(exit_code=3)) == "script_error"
    assert code(outcome(exit_code=-11)) == "script_killed"
    assert code(outcome(End.TIMEOUT, -9)) == "script_timeout"
    assert code(outcome(End.STOPPED, -15)) == "terminated"
    assert code(outcome(End.MEMORY, -9)) == "out_of_memory"
    assert code(outcome(exit_code=-9, oom_kills=1)) == "out_of_memory"
    assert code(outcome(exit_code=1), "OSError: [Errno 28] No space left on device") == "disk_full"


def test_environment_is_an_allow_list_with_the_runs_own_facts() -> None:
    env = environment(
        request(safe_mode=True, read={"sep": ";"}),
        Path("/tmp/run"),
        base={"PATH": "/bin", "TOKEN": "s3cret", "GCE_METADATA_HOST": "x"},
        timeout_s=60.4,
        memory_bytes=512 * MIB,
        cpus=0.5,
    )
    assert "TOKEN" not in env
    assert "GCE_METADATA_HOST" not in env
    assert (env["PATH"], env["OMP_NUM_THREADS"], env["HEAVY_RUNNER_READ_SEP"]) == ("/bin", "1", ";")
    assert (env["HEAVY_RUNNER_SAFE_MODE"], env["HEAVY_RUNNER_MEMORY_MIB"]) == ("true", "512")
