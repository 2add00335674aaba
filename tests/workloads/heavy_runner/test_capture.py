import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from workloads.common.logs import Log
from workloads.heavy_runner.capture import Capture


def make(head: int = 100, tail: int = 100, live: int = 1 << 20) -> tuple[Capture, io.BytesIO]:
    out = io.BytesIO()
    log = Log(out, source="runner", readable=False)
    return Capture(log, head_bytes=head, tail_bytes=tail, live_bytes=live, clock=lambda: 0.0), out


def records(out: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_lines_are_passed_on_when_they_are_complete_with_their_stream() -> None:
    capture, out = make()
    capture.feed("stdout", b"one\ntw")
    capture.feed("stderr", b"bad\n")
    assert [(line["message"], line["stream"], line["severity"]) for line in records(out)] == [
        ("one", "stdout", "INFO"),
        ("bad", "stderr", "WARNING"),
    ]
    capture.feed("stdout", b"o\n\nend")
    capture.close()
    assert [line["message"] for line in records(out)][2:] == ["two", "", "end"]
    assert capture.text() == b"one\nbad\ntwo\n\nend"


@given(st.lists(st.binary(max_size=60), max_size=60), st.integers(1, 80), st.integers(1, 80))
def test_log_is_head_and_tail_of_what_was_printed(chunks: list[bytes], head: int, tail: int) -> None:
    capture, _ = make(head, tail)
    for chunk in chunks:
        capture.feed("stdout", chunk)
    capture.close()
    whole = b"".join(chunks)
    text = capture.text()
    if len(whole) <= head + tail:
        assert text == whole
    else:
        cut = len(whole) - head - tail
        mark = f"\n[longhaul: {cut:,} bytes of {len(whole):,} are not kept here]\n".encode()
        assert text == whole[:head] + mark + whole[-tail:]
    assert capture.cut_bytes == max(0, len(whole) - head - tail)


def test_endless_line_is_held_in_pieces_and_passed_on_in_few() -> None:
    capture, out = make(head=1_000, tail=1_000, live=1 << 30)
    for _ in range(200):
        capture.feed("stdout", b"x" * 65_536)
    capture.feed("stdout", b"\nnext\n")
    capture.close()
    assert [line["message"] for line in records(out)][-1] == "next"
    assert len(out.getvalue()) < 100_000
    assert len(capture.text()) < 2_200


def test_live_budget_is_kept_and_the_cut_is_said() -> None:
    capture, out = make(live=1_000)
    for number in range(1_000):
        capture.feed("stdout", b"%09d\n" % number)
    capture.close()
    lines = records(out)
    assert [line["source"] for line in lines].count("script") == 100
    assert "printed 1,000 bytes: its further lines are not passed on live" in lines[100]["message"]
    assert lines[-1]["printed_lines"] == 1_000


def test_last_lines_are_short_and_few_and_never_joined_across_the_cut() -> None:
    capture, _ = make(tail=3_000)
    capture.feed("stderr", b"".join(b"%d\n" % number for number in range(50)) + b"y" * 2_000 + b"\n")
    assert capture.last_lines(2, max_chars=10) == ["49", "y" * 10]
    capture, _ = make(head=8, tail=8)
    capture.feed("stdout", b"begin-of-head\nmiddle\nend-of-tail\n")
    assert capture.last_lines(40) == ["of-tail"]


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    capture, out = make()
    capture.feed("stdout", b"\xff\xfe\n")
    assert records(out)[0]["message"] == "\ufffd\ufffd"
