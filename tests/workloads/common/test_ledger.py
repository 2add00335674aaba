import io
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from workloads.common.contract import RunState
from workloads.common.ledger import ClaimLost, Ledger
from workloads.common.logs import Log
from workloads.common.storage import Blob, LocalStore, NoSpace, PreconditionFailed, Storage, Unavailable
from workloads.heavy_runner.contract import ErrorReport, Status

URI = "gs://out/r1/status.json"
ERROR = "gs://out/r1/error.json"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Bucket(LocalStore):
    """Objects as files of a folder; can be told to fail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failures: list[Exception] = []
        self.lose_answer = False
        self.writes = 0

    def _path(self, uri: str) -> str:
        return str(self.folder / uri.removeprefix("gs://"))

    def stat(self, uri: str) -> Any:
        if uri.startswith("/"):
            return super().stat(uri)
        return replace(super().stat(self._path(uri)), uri=uri)

    def write(self, uri: str, data: bytes, *, if_generation: int | None = None) -> int:
        if self.failures:
            raise self.failures.pop(0)
        generation = super().write(self._path(uri), data, if_generation=if_generation)
        self.writes += 1
        if self.lose_answer:
            self.lose_answer = False
            raise Unavailable(uri, "no answer")
        return generation

    def read(self, blob: Blob, length: int) -> bytes:
        return super().read(replace(blob, uri=self._path(blob.uri)), length)

    def delete(self, uri: str) -> None:
        super().delete(self._path(uri))


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


def ledger(bucket: Bucket, execution: str = "e1", interval_s: float = 60, **options: Any) -> Ledger[Status]:
    first = Status(state=RunState.RUNNING, run_id="r1", execution=execution)
    log = Log(io.BytesIO(), source="runner", readable=False)
    return Ledger(
        Storage(lambda deadline: bucket),
        URI,
        first,
        read=Status.from_json,
        stale=(ERROR,),
        log=log,
        now=lambda: NOW,
        interval_s=interval_s,
        **options,
    )


def seen(bucket: Bucket, name: str = "status.json") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((bucket.folder / "out" / "r1" / name).read_text())
    return loaded


def leave(bucket: Bucket, state: str, execution: str, age_s: float) -> None:
    at = (NOW - timedelta(seconds=age_s)).isoformat()
    status = Status(state=state, run_id="r1", execution=execution, heartbeat_at=at)
    bucket.write("gs://out/r1/status.json", status.to_json())
    bucket.write("gs://out/r1/error.json", b"{}")


def report(code: str) -> dict[str, bytes]:
    return {ERROR: ErrorReport(code=code, message="m", hint="h").to_json()}


def test_running_from_the_first_write_then_exactly_one_end(bucket: Bucket) -> None:
    one = ledger(bucket)
    one.claim()
    assert (seen(bucket)["state"], seen(bucket)["heartbeat_at"]) == ("RUNNING", "2026-01-01T12:00:00.000000Z")
    one.finish(RunState.FAILED, beside=report("lost"))
    assert (seen(bucket)["state"], seen(bucket, "error.json")["code"]) == ("FAILED", "lost")


def test_heartbeat_carries_what_the_gauges_say(bucket: Bucket) -> None:
    one = ledger(bucket, interval_s=0.01, gauges=lambda: {"memory_mib": 7})
    one.claim()
    until = time.monotonic() + 5
    while seen(bucket)["memory_mib"] != 7:
        assert time.monotonic() < until
    one.finish(RunState.SUCCEEDED)


def test_a_new_phase_is_written_without_waiting_for_the_heartbeat_and_once_a_second_at_most(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workloads.common.ledger.MIN_WRITE_GAP_S", 0.2)
    one = ledger(bucket, interval_s=3_600)
    one.claim()
    for phase in ("staging", "script", "uploading"):
        one.set(phase=phase, message=f"{phase} began")
    until = time.monotonic() + 30
    while seen(bucket)["phase"] != "uploading":
        assert time.monotonic() < until, "the phase waits for the heartbeat"
        time.sleep(0.01)
    assert bucket.writes == 2, "the claim, and what came in quick succession together"
    one.set(message="no news")
    one.set(phase="uploading")
    one.finish(RunState.SUCCEEDED)
    assert bucket.writes == 3


@pytest.mark.parametrize(
    ("state", "execution", "age_s"),
    [("RUNNING", "e1", 1), ("RUNNING", "other", 51), ("SUCCEEDED", "other", 1), ("FAILED", "other", 1)],
)
def test_place_of_a_run_that_is_over_or_our_own_is_taken(
    bucket: Bucket, state: str, execution: str, age_s: float
) -> None:
    leave(bucket, state, execution, age_s)
    ledger(bucket).claim()
    assert (seen(bucket)["state"], seen(bucket)["execution"]) == ("RUNNING", "e1")
    assert not (bucket.folder / "out" / "r1" / "error.json").exists(), "a failure of before would be taken for ours"


def test_place_of_a_run_at_work_is_left_alone(bucket: Bucket) -> None:
    leave(bucket, "RUNNING", "other", 49)
    with pytest.raises(ClaimLost, match="at work as execution other"):
        ledger(bucket).claim()
    assert seen(bucket)["execution"] == "other"


def test_end_that_a_reader_wrote_stands(bucket: Bucket) -> None:
    lost: list[int] = []
    one = ledger(bucket, interval_s=0.01, on_lost=lambda: lost.append(1))
    one.claim()
    bucket.folder.joinpath("out/r1/status.json").unlink()
    leave(bucket, "FAILED", "e1", 0)
    until = time.monotonic() + 5
    while not lost:
        assert time.monotonic() < until
    with pytest.raises(ClaimLost):
        one.finish(RunState.SUCCEEDED)
    assert seen(bucket)["state"] == "FAILED"


def test_full_place_is_tried_again_after_making_room(bucket: Bucket) -> None:
    one = ledger(bucket)
    one.claim()
    bucket.failures = [NoSpace("x", "full"), NoSpace("x", "full")]
    made: list[int] = []

    def make_room() -> None:
        made.append(1)
        bucket.failures.clear()

    one.finish(RunState.FAILED, beside=report("disk_full"), make_room=make_room)
    assert made == [1]
    assert (seen(bucket)["state"], seen(bucket, "error.json")["code"]) == ("FAILED", "disk_full")


def test_heartbeat_whose_answer_was_lost_is_known_as_our_own(bucket: Bucket) -> None:
    one = ledger(bucket, interval_s=0.01)
    one.claim()
    bucket.lose_answer = True
    until = time.monotonic() + 5
    while bucket.lose_answer or bucket.writes < 4:
        assert time.monotonic() < until
    assert not one.lost
    one.finish(RunState.SUCCEEDED)
    assert seen(bucket)["state"] == "SUCCEEDED"


def test_two_starts_at_the_same_moment_do_not_both_take_over(bucket: Bucket) -> None:
    leave(bucket, "FAILED", "old", 1)
    bucket.failures = [PreconditionFailed("x", "exists"), PreconditionFailed("x", "another generation")]
    with pytest.raises(ClaimLost, match="taken by another start"):
        ledger(bucket).claim()
