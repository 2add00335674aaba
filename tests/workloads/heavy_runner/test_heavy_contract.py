import json
from datetime import UTC, datetime

import pytest

from workloads.common.contract import ExitCode
from workloads.heavy_runner.contract import (
    ErrorCode,
    ErrorReport,
    HeavyRunnerEnv,
    RunVariables,
    Status,
    attempt_folder,
    dataset_object,
    end_by_platform,
    outputs_prefix,
    request_document,
    request_object,
    script_object,
    support_object,
)
from workloads.heavy_runner.request import Request, parse


def test_environment_survives_the_job() -> None:
    env = HeavyRunnerEnv(bucket="b", script_timeout_s=600, task_timeout_s=1_800, memory_mib=32_768)
    assert env.to_env()["HEAVY_RUNNER_SCRIPT_TIMEOUT_SECONDS"] == "600"
    assert HeavyRunnerEnv.from_env(env.to_env()) == env
    assert HeavyRunnerEnv.from_env({}) == HeavyRunnerEnv()


def test_setting_out_of_range_or_no_number_is_named() -> None:
    with pytest.raises(ValueError, match=r"script_timeout_s: must be 1 to 7,200 seconds, got 7,201"):
        HeavyRunnerEnv(script_timeout_s=7_201)
    with pytest.raises(ValueError, match=r"HEAVY_RUNNER_LOG_HEAD_KIB: must be a whole number, got '1 MiB'"):
        HeavyRunnerEnv.from_env({"HEAVY_RUNNER_LOG_HEAD_KIB": "1 MiB"})


def test_run_variables_survive_the_overrides() -> None:
    variables = RunVariables(input_uri="gs://b/inputs/a.json")
    assert variables.to_env() == {"INPUT_URI": "gs://b/inputs/a.json"}
    assert RunVariables.from_env(variables.to_env()) == variables


def test_layout_is_the_documented_one() -> None:
    assert dataset_object("r1") == "datasets/r1/cleaned_data.csv"
    assert request_object("r1") == "inputs/r1.json"
    assert script_object("r1") == "inputs/r1/ml_script.py"
    assert support_object("r1", "data/plan.json") == "inputs/r1/support/data/plan.json"
    assert (outputs_prefix("r1"), outputs_prefix("r1", 2)) == ("outputs/r1/", "outputs/r1/attempt_2/")
    with pytest.raises(ValueError, match="attempt: must be 1 or more"):
        attempt_folder(0)


def test_document_made_for_a_run_is_one_the_container_takes() -> None:
    document = request_document(
        "r1", "gs://bucket", support_files=["data/plan.json"], attempt=2, script_timeout_s=90, safe_mode=True
    )
    assert document["dataset_uri"] == "gs://bucket/datasets/r1/cleaned_data.csv"
    request = parse(json.dumps(document).encode(), "gs://bucket/inputs/r1.json")
    assert isinstance(request, Request)
    assert (request.attempt, request.script_timeout_seconds, request.unknown) == (2, 90, [])


def test_every_code_says_whether_a_retry_helps() -> None:
    wrong = {code for code in ErrorCode if code.exit_code is ExitCode.BAD_REQUEST}
    assert {"request_invalid", "path_escape", "read_mismatch", "missing_required_outputs"} <= wrong
    assert not {"terminated", "out_of_memory", "script_error", "storage_unavailable", "lost"} & wrong


def test_reader_ends_a_run_whose_container_was_killed_once() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    running = Status(state="RUNNING", run_id="r1", attempt=2, peak_memory_mib=32_000)
    status, error = end_by_platform(running, ErrorCode.OUT_OF_MEMORY, "The container was killed.", "More memory.", at)
    assert (status.state, status.error_code, status.peak_memory_mib) == ("FAILED", "out_of_memory", 32_000)
    assert (error.code, error.run_id, error.attempt) == ("out_of_memory", "r1", 2)
    assert Status.from_json(status.to_json()) == status
    assert ErrorReport.from_json(error.to_json()).message == error.message
    with pytest.raises(ValueError, match="run r1 has ended as FAILED already"):
        end_by_platform(status, ErrorCode.LOST, "", "", at)
