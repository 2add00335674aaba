"""Does the dataset look as the request says? Answered from its first block, before anything else is done.

Wrong separators and encodings do not stop a script, they spoil its result: one column instead of twelve, numbers read
as text. So what is certain is refused here with its name, and what is only possible is let through.
"""

import codecs
import csv
import re
from collections.abc import Sequence

from workloads.heavy_runner.contract import ErrorCode
from workloads.heavy_runner.failure import RunFailure

FIRST_BLOCK = 256 << 10
"""Bytes looked at."""

CHECKED_SUFFIXES = (".csv", ".tsv", ".txt")
"""Other files, such as Parquet, carry their own format and are not looked at."""

_SEPARATORS = (",", ";", "\t", "|")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"PAR1": "Parquet", b"\x28\xb5\x2f\xfd": "zstd"}
_POINT = re.compile(r"[+-]?\d+\.\d+")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_MIN_VALUES = 5
_MAX_LINES = 200


def check(block: bytes, *, whole: bool, sep: str, decimal: str, encoding: str) -> None:
    """Raise RunFailure (`read_mismatch`) if the first `block` of the file contradicts how it shall be read.

    `whole` says that the block is all there is.
    """
    if not block.strip():
        raise _mismatch("The dataset is empty.", "Upload the table again.")
    text = _decode(block, whole, encoding)
    rows = _rows(text, whole, sep)
    _check_separator(text, whole, rows, sep)
    _check_decimal(rows[1:], decimal)


def _decode(block: bytes, whole: bool, encoding: str) -> str:
    for magic, name in _COMPRESSED.items():
        if block.startswith(magic):
            raise _mismatch(
                f"The dataset is a {name} file, not text.",
                "Unpack it first, or give it its own suffix in data_path if the script reads it as it is.",
            )
    name = codecs.lookup(encoding).name
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not name.startswith("utf-16"):
        raise _wrong_encoding(encoding, "utf-16", "it begins with the mark of UTF-16")
    try:
        text = codecs.getincrementaldecoder(encoding)("strict").decode(block, final=whole)
    except UnicodeDecodeError as error:
        raise _wrong_encoding(encoding, _guess(block, whole), f"byte {error.start:,} cannot be read in it") from error
    if "\x00" in text:
        raise _wrong_encoding(encoding, "utf-16", "every other byte is 0")
    one_byte = not name.startswith("utf") and not block.isascii()
    if one_byte and _is_utf8(block, whole):
        raise _wrong_encoding(encoding, "utf-8", "its letters beyond ASCII are written as UTF-8")
    return text.removeprefix("\ufeff")


def _is_utf8(block: bytes, whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(block, final=whole)
    except UnicodeDecodeError:
        return False
    return True


def _guess(block: bytes, whole: bool) -> str:
    if block.count(0) > len(block) // 4:
        return "utf-16"
    if _is_utf8(block, whole):
        return "utf-8"
    return "latin-1" if any(byte in block for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D)) else "cp1252"


def _rows(text: str, whole: bool, sep: str) -> list[list[str]]:
    lines = text.splitlines(keepends=True)
    if not whole and len(lines) > 1:
        lines.pop()  # cut in the middle
    try:
        return [row for row in csv.reader(lines[:_MAX_LINES], delimiter=sep) if row]
    except csv.Error:
        return []  # a field over the csv module's limit: nothing certain can be said


def _check_separator(text: str, whole: bool, rows: list[list[str]], sep: str) -> None:
    if not rows or len(rows[0]) > 1:
        return
    for other in _SEPARATORS:
        if other == sep:
            continue
        widths = {len(row) for row in _rows(text, whole, other)}
        if len(widths) == 1 and (width := widths.pop()) > 1:
            raise _mismatch(
                f"read.sep: {sep!r} makes 1 column of the dataset, {other!r} makes {width}.",
                f"Set read.sep to {other!r} in the request.",
                field="read.sep",
                suggestion=other,
            )


def _check_decimal(rows: Sequence[Sequence[str]], decimal: str) -> None:
    right, wrong = (_POINT, _COMMA) if decimal == "." else (_COMMA, _POINT)
    width = len(rows[0]) if rows else 0
    columns = [[row[index].strip() for row in rows if len(row) == width] for index in range(width)]
    filled = [values for column in columns if len(values := [value for value in column if value]) >= _MIN_VALUES]
    if any(any(right.fullmatch(value) for value in values) for values in filled):
        return
    for values in filled:
        looks_wrong = all(wrong.fullmatch(value) or re.fullmatch(r"[+-]?\d+", value) for value in values)
        fractions = [value for value in values if wrong.fullmatch(value)]
        # three digits after the mark may be thousands: 1.234
        certain = [value for value in fractions if len(re.split("[.,]", value)[1]) != 3]
        if looks_wrong and len(certain) >= _MIN_VALUES:
            other = "," if decimal == "." else "."
            raise _mismatch(
                f"read.decimal: numbers of the dataset are written with {other!r}, the request says {decimal!r}.",
                f"Set read.decimal to {other!r} in the request.",
                field="read.decimal",
                suggestion=other,
            )


def _wrong_encoding(encoding: str, other: str, why: str) -> RunFailure:
    return _mismatch(
        f"read.encoding: the dataset is not {encoding}: {why}; it looks like {other}.",
        f"Set read.encoding to {other!r} in the request.",
        field="read.encoding",
        suggestion=other,
    )


def _mismatch(message: str, hint: str, **details: object) -> RunFailure:
    return RunFailure(ErrorCode.READ_MISMATCH, message, hint, **details)
