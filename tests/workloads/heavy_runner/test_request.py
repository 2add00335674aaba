import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.heavy_runner.failure import RunFailure
from workloads.heavy_runner.request import Ping, Request, default_output, inside, parse

SOURCE = "gs://bucket/inputs/abc123.json"
FULL: dict[str, Any] = {
    "run_id": "abc123",
    "dataset_uri": "gs://bucket/datasets/abc123/cleaned_data.csv",
    "output_uri": "gs://bucket/outputs/abc123/",
    "code_uri": "gs://bucket/inputs/abc123/ml_script.py",
    "data_path": "data/cleaned_data.csv",
    "read": {"sep": ",", "decimal": ".", "encoding": "utf-8"},
    "support_files": [
        {"uri": "gs://bucket/inputs/abc123/support/data/ml_plan.json", "path": "data/ml_plan.json"},
        {"uri": "gs://bucket/inputs/abc123/support/data/column_sets.json", "path": "data/column_sets.json"},
    ],
}


def take(source: str = SOURCE, **changes: Any) -> Request:
    request = parse(json.dumps(FULL | changes).encode(), source)
    assert isinstance(request, Request)
    return request


def refusal(data: bytes | None = None, source: str = SOURCE, **changes: Any) -> tuple[str, str]:
    with pytest.raises(RunFailure) as caught:
        parse(json.dumps(FULL | changes).encode() if data is None else data, source)
    assert caught.value.hint
    return caught.value.code, caught.value.message


def test_documented_request_is_taken_as_it_is() -> None:
    request = take()
    assert request.model_dump(exclude_defaults=True)["support_files"] == FULL["support_files"]
    assert (request.safe_mode, request.attempt, request.required_outputs, request.unknown) == (False, None, [], [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_no_obstacle(encoding: str) -> None:
    assert isinstance(parse(json.dumps(FULL).encode(encoding), SOURCE), Request)


def test_defaults_of_the_contract() -> None:
    request = parse(b'{"run_id": "a", "dataset_uri": "gs://b-b/d", "code_uri": "gs://b-b/c"}', SOURCE)
    assert isinstance(request, Request)
    assert (request.data_path, request.read.sep, request.read.decimal, request.read.encoding) == (
        "data/cleaned_data.csv",
        ",",
        ".",
        "utf-8",
    )


def test_fields_of_other_versions_are_named_and_ignored() -> None:
    assert take(required_dependencies=["x"], mode="heavy").unknown == ["mode", "required_dependencies"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run_id": "a/b"}, "run_id: run_id: must be 1 to 63"),
        ({"dataset_uri": 5}, "dataset_uri: Input should be a valid string"),
        ({"read": {"sep": ";;"}}, "read.sep: must be one character"),
        ({"read": {"decimal": "x"}}, "read.decimal: String should match"),
        ({"read": {"encoding": "utf-9"}}, "read.encoding: is no encoding"),
        ({"read": {"sep": ",", "decimal": ","}}, "read.sep: must differ from read.decimal"),
        ({"attempt": 0}, "attempt: Input should be greater than or equal to 1"),
        ({"attempt": True}, "attempt: Input should be a valid integer"),
        ({"script_timeout_seconds": "60"}, "script_timeout_seconds: Input should be a valid number"),
        ({"safe_mode": "yes"}, "safe_mode: Input should be a valid boolean"),
        ({"dataset_uri": "s3://b/o"}, "dataset_uri: must be a gs:// URI or a path"),
        ({"code_uri": "gs://bucket"}, "code_uri: must be gs://BUCKET/OBJECT"),
        ({"code_uri": "/etc/passwd"}, "code_uri: must be a gs:// URI, as the request itself lies in a bucket"),
        ({"support_files": [{"uri": "gs://b-b/o", "path": "ml_script.py"}]}, "ml_script.py is written by the runner"),
        ({"support_files": [{"uri": "gs://b-b/o", "path": "data"}]}, "two inputs would lie at data"),
        ({"support_files": [{"uri": "gs://b-b/o", "path": "data/cleaned_data.csv"}]}, "two inputs would lie at"),
        ({"required_outputs": ["status.json"]}, "status.json is written by the runner itself"),
        ({"required_outputs": [{"name": "x"}]}, "required_outputs.0: Input should be a valid string"),
    ],
)
def test_wrong_field_is_refused_with_its_name(changes: dict[str, Any], words: str) -> None:
    code, message = refusal(**changes)
    assert code == "request_invalid"
    assert words in message


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a\\..\\x", "a\x00b", "", ".", "a\nb"])
def test_path_that_leads_out_is_refused_on_the_way_in_and_out(path: str) -> None:
    for changes in (
        {"data_path": path},
        {"support_files": [{"uri": "gs://b-b/o", "path": path}]},
        {"required_outputs": [path]},
    ):
        assert refusal(**changes)[0] == "path_escape"


@given(st.text(max_size=40))
def test_path_that_is_taken_stays_inside(path: str) -> None:
    try:
        short = inside(path)
    except ValueError:
        return
    assert not short.startswith("/")
    assert ".." not in short.split("/")
    assert inside(short) == short


def test_required_outputs_are_globs_or_objects_with_a_path() -> None:
    assert take(required_outputs=["static/plots/*.png", {"path": "./data/x.json"}]).required_outputs == [
        "static/plots/*.png",
        "data/x.json",
    ]


@pytest.mark.parametrize("data", [b"", b"  \n", b"\xff\xfe\x00", b"{", b"[" * 100_000, b'{"a": 1} x'])
def test_what_is_no_json_is_unreadable(data: bytes) -> None:
    assert refusal(data)[0] == "request_unreadable"


def test_other_major_version_is_a_mismatch_and_a_minor_one_is_not() -> None:
    assert refusal(protocol_version="2.0")[0] == "protocol_mismatch"
    assert take(protocol_version="1.7").protocol_version == "1.7"


def test_local_request_has_paths_relative_to_its_own_folder() -> None:
    request = take("/data/request.json", dataset_uri="sub/../d.csv", code_uri="/code/x.py", output_uri="out")
    assert (request.dataset_uri, request.code_uri, request.output_uri) == ("/data/d.csv", "/code/x.py", "/data/out/")


def test_ping_needs_nothing_else() -> None:
    assert isinstance(parse(b'{"ping": "ok"}', SOURCE), Ping)
    assert isinstance(parse(json.dumps(FULL | {"ping": False}).encode(), SOURCE), Request)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("gs://b/inputs/abc.json", "gs://b/outputs/abc/"),
        ("gs://b/team/inputs/abc.json", "gs://b/team/outputs/abc/"),
        ("/data/inputs/abc.json", "/data/outputs/abc/"),
        ("/data/request.json", ""),
        ("gs://b/inputs/abc/x.json", ""),
    ],
)
def test_outputs_go_beside_the_request_if_nobody_says_where(source: str, output: str) -> None:
    assert default_output(source) == output


@given(
    st.dictionaries(
        st.sampled_from(sorted(FULL)), st.none() | st.integers() | st.text(max_size=5) | st.lists(st.none())
    )
)
def test_no_request_crashes_the_parser(changes: dict[str, Any]) -> None:
    with suppress(RunFailure):
        parse(json.dumps(FULL | changes).encode(), SOURCE)
