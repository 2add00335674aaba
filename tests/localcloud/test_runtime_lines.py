"""How output is cut into lines, whatever the pieces it comes in."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from localcloud.runtime.lines import Output, Splitter, bytes_before, time_of

LINES = st.lists(st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"").replace(b"\r", b"")), max_size=8)


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", kind, len(data)) + data


@given(lines=LINES, cuts=st.lists(st.integers(1, 20), min_size=1, max_size=20))
def test_lines_come_out_as_they_went_in_whatever_the_pieces(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frame(1, line + b"\n") for line in lines)
    output, found = Output(), []
    while data:
        size = cuts[len(data) % len(cuts)]
        found += output.live(data[:size], "2026-01-01T00:00:00Z")
        data = data[size:]
    assert [line.data for line in found] == lines
    assert output.finish() == []
    assert bytes_before(output.cursor) == sum(len(line) + 1 for line in lines)


@given(lines=LINES, taken=st.integers(0, 8))
def test_reading_from_a_cursor_gives_exactly_the_rest(lines: list[bytes], taken: int) -> None:
    first = Output()
    for line in lines[:taken]:
        first.live(frame(1, line + b"\n"), "2026-01-01T00:00:00Z")
    first.live(frame(1, b"half"), "2026-01-01T00:00:01Z")  # not a line yet: comes again
    again = Output(first.cursor)
    stored = b"".join(frame(1, b"2026-01-01T00:00:00Z " + line + b"\n") for line in lines)
    assert [line.data for line in again.stored(stored)] == lines[taken:]


def test_streams_are_kept_apart_and_a_last_line_needs_no_newline() -> None:
    output = Output()
    lines = output.live(frame(1, b"out") + frame(2, b"err\r\n") + frame(1, b"put\nend"), "2026-01-01T00:00:00Z")
    assert [(line.stream, line.data) for line in lines] == [("stderr", b"err"), ("stdout", b"output")]
    assert [line.data for line in output.finish()] == [b"end"]
    assert time_of(output.cursor) == "2026-01-01T00:00:00Z"


def test_long_line_is_cut_between_characters() -> None:
    splitter = Splitter("stdout", limit=10)
    lines = splitter.add("t", "ääääääää".encode())  # 16 bytes of 2-byte characters
    lines += splitter.add("t", b"\n")
    assert [line.data.decode() for line in lines] == ["äääää", "äää"]
    assert splitter.taken == 17
