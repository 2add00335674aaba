import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.errors import BadRequest
from ops.router import Place, Thresholds, _records, count_rows, decide, measure

LIMITS = Thresholds(max_bytes=1_000, max_rows=10)


@pytest.mark.parametrize(
    ("size", "rows", "place"),
    [
        (999, 9, Place.SANDBOX),
        (1_000, 9, Place.JOB),
        (999, 10, Place.JOB),
        (1_000, None, Place.JOB),
    ],
)
def test_a_table_goes_to_the_sandbox_only_below_both_thresholds(size: int, rows: int | None, place: Place) -> None:
    assert decide(size, rows, LIMITS).place == place


def test_rows_are_not_counted_where_the_size_decides(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(b"\xff" * 2_000)  # not even text
    assert measure(table, "utf-8", LIMITS).rows is None


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\n1,2\n", 1),
        ("a,b\n1,2", 1),
        ("a,b\r\n1,2\r\n3,4\r\n", 2),
        ('a,b\n1,"two\nlines"\n3,4\n', 2),
        ('a,b\n1,"say ""hi""\nthere"\n', 1),
        ("a,b\n", 0),
        ("a,b\n1,2\n\n\n", 1),
    ],
)
def test_rows_are_records_after_the_header(tmp_path: Path, text: str, rows: int) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(text.encode())
    assert count_rows(table, "utf-8") == rows


@given(st.lists(st.lists(st.text(st.sampled_from('ab"\n,;'), max_size=4), min_size=2, max_size=2)), st.integers(1, 5))
def test_records_are_those_of_the_csv_module_however_the_text_is_cut(table: list[list[str]], size: int) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(table)
    text = out.getvalue()
    assert _records(text[i : i + size] for i in range(0, len(text), size)) == len(table)


def test_a_wrong_encoding_is_named_before_anything_is_uploaded(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes("größe\n1\n".encode("cp1252"))
    with pytest.raises(BadRequest, match="is not utf-8 text"):
        count_rows(table, "utf-8")
    assert count_rows(table, "cp1252") == 1
    with pytest.raises(BadRequest, match="--encoding must be one Python knows, got 'latin-17'"):
        count_rows(table, "latin-17")


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").touch()
    with pytest.raises(BadRequest, match="is empty"):
        measure(tmp_path / "t.csv", "utf-8", LIMITS)
