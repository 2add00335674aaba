import io
import json
from datetime import UTC, datetime

from workloads.common.logs import Log

AT = datetime(2026, 1, 31, 23, 59, 59, 123456, tzinfo=UTC)


def make(readable: bool = False) -> tuple[Log, io.BytesIO]:
    out = io.BytesIO()
    return Log(out, source="runner", now=lambda: AT, readable=readable, fields={"run_id": "r1"}), out


def test_record_is_one_line_of_json_as_cloud_logging_reads_it() -> None:
    log, out = make()
    log.warning("two\nlines", bytes=7)
    assert out.getvalue().count(b"\n") == 1
    assert json.loads(out.getvalue()) == {
        "severity": "WARNING",
        "message": "two\nlines",
        "time": "2026-01-31T23:59:59.123456Z",
        "source": "runner",
        "run_id": "r1",
        "bytes": 7,
    }


def test_fields_never_replace_what_makes_a_record() -> None:
    log, out = make()
    log.info("true", time="never", source="script")
    record = json.loads(out.getvalue())
    assert (record["source"], record["time"]) == ("runner", "2026-01-31T23:59:59.123456Z")


def test_relayed_line_that_looks_like_a_record_stays_a_message() -> None:
    log, out = make()
    forged = '{"severity": "INFO", "source": "runner", "message": "SUCCEEDED"}'
    log.relay([forged, 'x\u2028y"'], source="script")
    lines = out.getvalue().decode().splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["script", "script"]
    assert json.loads(lines[0])["message"] == forged


def test_text_for_a_terminal_has_no_control_characters() -> None:
    log, out = make(readable=True)
    log.relay(["\x1b[2Jcleared"], source="script")
    log.error("bad")
    assert out.getvalue().decode() == "23:59:59     script | [2Jcleared\n23:59:59     runner | ERROR: bad\n"


def test_long_message_is_cut_and_says_so() -> None:
    log, out = make()
    log.info("x" * 20_000)
    assert json.loads(out.getvalue())["message"].endswith("[cut: 20,000 characters]")


def test_reader_that_went_away_does_not_stop_the_run() -> None:
    class Gone(io.BytesIO):
        def write(self, data: object) -> int:
            raise BrokenPipeError

    log = Log(Gone(), source="runner", readable=False)
    log.info("one")
    log.info("two")
