from pathlib import Path
from typing import Any

import pytest

from ops.errors import BadRequest
from ops.request import Request, support_files


def make(tmp_path: Path, content: bytes = b"a\n1\n", **changes: Any) -> Request:
    (tmp_path / "t.csv").write_bytes(content)
    (tmp_path / "s.py").write_text("pass\n")
    return Request(**{"data": tmp_path / "t.csv", "script": tmp_path / "s.py", **changes})


def test_the_request_document_names_every_upload(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    request = make(tmp_path, sep=";", decimal=",", support={"data/plan.json": tmp_path / "plan.json"}, timeout_s=90)
    document = request.document("r1", "gs://b", None)
    uploaded = {f"gs://b/{name}" for name, _ in request.files("r1")}
    support = [item["uri"] for item in document["support_files"]]
    assert uploaded == {document["dataset_uri"], document["code_uri"], *support}
    assert document["read"] == {"sep": ";", "decimal": ",", "encoding": "utf-8"}
    assert document["script_timeout_seconds"] == 90


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sep": ";;"}, "sep: must be one character"),
        ({"decimal": ","}, "decimal: must be"),
        ({"timeout_s": 10}, "timeout: must be 60 to 7,200 seconds, got 10"),
        ({"required_outputs": ("../x",)}, "required-output: must be a path below"),
        ({"required_outputs": ("/etc/*",)}, "required-output: must be a path below"),
        ({"data": Path("/nowhere.csv")}, "data: there is no file /nowhere.csv"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_uploaded(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadRequest, match=says):
        make(tmp_path, **changes)


def test_a_support_file_may_not_lie_outside_or_in_the_tables_place(tmp_path: Path) -> None:
    for place in ("../x", "/x", "data/cleaned_data.csv"):
        with pytest.raises(BadRequest, match="support:"):
            make(tmp_path, support={place: tmp_path / "s.py"})


@pytest.mark.parametrize(("head", "says"), [(b"PAR1....", "is a Parquet file"), (b"\x1f\x8b\x08", "is compressed")])
def test_other_formats_than_csv_are_named(tmp_path: Path, head: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        make(tmp_path, content=head)


def test_support_files_of_the_command_line() -> None:
    assert support_files(["a/plan.json", "b.json=data/c.json"]) == {
        "data/plan.json": Path("a/plan.json"),
        "data/c.json": Path("b.json"),
    }
    with pytest.raises(BadRequest, match="given twice"):
        support_files(["a/x.json", "b/x.json"])
