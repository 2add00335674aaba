import re
from dataclasses import fields

from heavy_support import ROOT

from workloads.heavy_runner import contract, outputs
from workloads.heavy_runner.request import Ping, Request, parse

PAGE = (ROOT / "docs" / "heavy-runner.md").read_text(encoding="utf-8")


def test_every_code_is_documented_with_its_exit_code_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([12]) \|", PAGE, re.MULTILINE))
    assert rows == {code.value: str(int(code.exit_code)) for code in contract.ErrorCode}


def test_every_field_of_the_request_is_documented() -> None:
    known = {*Request.model_fields, "ping"}
    assert Ping.model_fields.keys() <= known
    assert set(re.findall(r"^\| `(\w+)` \|(?! [12] \|)", PAGE, re.MULTILINE)) >= known


def test_every_file_variable_and_folder_is_documented() -> None:
    files = (contract.STATUS, contract.ERROR, contract.EXECUTION_LOG, contract.READ_SETTINGS, contract.METRICS)
    words = (*files, contract.SCORED_ROWS, contract.ALIGNMENT_CHECK, *contract.SCRIPT_VARIABLES, *outputs.FOLDERS)
    variables = contract.HeavyRunnerEnv(bucket="b", image="i", task_timeout_s=60, cpu=8, memory_mib=64).to_env()
    assert len(variables) == len(fields(contract.HeavyRunnerEnv))
    assert [word for word in (*words, *variables) if word not in PAGE] == []


def test_request_of_the_page_is_one_the_container_takes() -> None:
    found = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert found
    request = parse(found[1].encode(), "gs://bucket/inputs/abc123.json")
    assert isinstance(request, Request)
    assert request.unknown == []
