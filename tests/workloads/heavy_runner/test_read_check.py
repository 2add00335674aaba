import gzip

import pytest

from workloads.heavy_runner.failure import RunFailure
from workloads.heavy_runner.read_check import check

COMMA = "city,people,share\n" + "Málaga,578460,1.25\n" * 50
SEMICOLON = "city;people;share\n" + "Málaga;578460;1,25\n" * 50


def looks_fine(
    text: str | bytes, encoding: str = "utf-8", sep: str = ",", decimal: str = ".", whole: bool = True
) -> None:
    block = text.encode(encoding) if isinstance(text, str) else text
    check(block, whole=whole, sep=sep, decimal=decimal, encoding=encoding)


def refusal(block: bytes, encoding: str = "utf-8", sep: str = ",", decimal: str = ".") -> RunFailure:
    with pytest.raises(RunFailure) as caught:
        check(block, whole=True, sep=sep, decimal=decimal, encoding=encoding)
    assert caught.value.code == "read_mismatch"
    return caught.value


def test_tables_read_as_they_are_written_pass() -> None:
    looks_fine(COMMA)
    looks_fine(SEMICOLON, sep=";", decimal=",")
    looks_fine(SEMICOLON, "cp1252", sep=";", decimal=",")
    looks_fine(COMMA.replace(",", "\t"), "utf-16", sep="\t")
    looks_fine("\ufeff" + COMMA)


def test_block_that_ends_inside_a_letter_or_a_line_passes() -> None:
    block = COMMA.encode()
    cut = block.index("á".encode(), 200) + 1
    looks_fine(block[:cut], whole=False)


@pytest.mark.parametrize("sep", [";", "\t", "|"])
def test_wrong_separator_is_named_with_the_right_one(sep: str) -> None:
    failure = refusal(COMMA.replace(",", sep).encode())
    assert failure.message == f"read.sep: ',' makes 1 column of the dataset, {sep!r} makes 3."
    assert failure.details["suggestion"] == sep


def test_wrong_encoding_is_named_with_the_likely_one() -> None:
    assert refusal(COMMA.encode("cp1252")).details["suggestion"] == "cp1252"
    assert refusal(COMMA.encode(), "latin-1").details["suggestion"] == "utf-8"
    assert refusal(COMMA.encode("utf-16")).details["suggestion"] == "utf-16"
    assert refusal(COMMA.encode("utf-16-le")).details["suggestion"] == "utf-16"
    assert "read.encoding: the dataset is not utf-8: byte 19" in refusal(COMMA.encode("cp1252")).message


def test_wrong_decimal_mark_is_named_and_thousands_are_not_taken_for_it() -> None:
    assert refusal(SEMICOLON.encode(), sep=";").details["suggestion"] == ","
    assert refusal(COMMA.replace(",", ";").encode(), sep=";", decimal=",").details["suggestion"] == "."
    looks_fine("a;b\n" + "1.234;x\n" * 50, sep=";", decimal=",")
    looks_fine("a;b;c\n" + "1,25;x;2.5\n" * 50, sep=";")


def test_what_is_no_text_is_named() -> None:
    assert "is a gzip file" in refusal(gzip.compress(COMMA.encode())).message
    assert "is a Parquet file" in refusal(b"PAR1" + bytes(100)).message
    assert "is empty" in refusal(b"").message
    assert "is empty" in refusal(b"\n\n").message


def test_one_column_and_ragged_rows_are_no_proof_of_anything() -> None:
    looks_fine("value\n" + "1\n" * 30)
    looks_fine("note\nfirst, second\nonly\nthree, more, words\n", sep=";")
