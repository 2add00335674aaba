"""A whole run on tables in memory: what it leaves, how it resumes, and how each failure is told."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from features_support import KEY, PAIR, Place, dataset, features, full, keys

from workloads.common.contract import ExitCode, RunState
from workloads.common.storage import Denied, Stop
from workloads.feature_pipeline import report
from workloads.feature_pipeline.contract import HORIZONS, Stage, Status


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The page is drawn by its own test: plots take a second each time."""
    verdict = {True: "valid", False: "NOT valid"}
    monkeypatch.setattr(report, "page", lambda found, path, facts: f"<p>{verdict[found.passed]}</p>")
    return Place(tmp_path)


SNAPSHOT = f"checkpoints/{PAIR}/snapshot.json"


def failed(place: Place, code: str, run_id: str = "r1") -> Status:
    status = place.status(run_id)
    assert (status.state, status.error_code) == ("FAILED", code), status.message
    assert status.hint
    record = place.record(run_id)
    assert (record["state"], record["details"]["error_code"]) == ("FAILED", code)
    return status


def test_a_run_ends_with_a_valid_training_file_and_its_documents(place: Place) -> None:
    assert place.run() is ExitCode.DONE
    frame = pl.read_parquet(place.training)
    assert frame.columns[0] == KEY
    assert frame.shape == (3_000, 1 + 7 + 5 * 3)
    for name, table in place.warehouse.tables.items():
        for column in table.column_names:
            assert frame[column].to_arrow().equals(pa.chunked_array(table[column]).combine_chunks()), (name, column)
    names = {"manifest.json", "run_metadata.json", "status.json", "validation.html", "validation.json"}
    assert place.buckets.names("out") == {f"training_{PAIR}.parquet", *(f"runs/{PAIR}/r1/{name}" for name in names)}
    assert place.buckets.names("stage") == {SNAPSHOT}
    assert not list((place.folder / "scratch").iterdir())


def test_the_record_tells_counts_checks_seconds_and_the_file(place: Place) -> None:
    place.run()
    status, record = place.status(), place.record()
    assert (status.state, status.tables_done, status.tables_total) == ("SUCCEEDED", 6, 6)
    assert set(status.stage_seconds) == set(Stage)
    assert all(status.checks.values())
    assert record["counts"]["tables_extracted"] == 6
    assert record["counts"]["columns"] == 23
    assert record["details"]["training_file"]["bytes"] == place.training.stat().st_size
    assert json.loads(place.document("manifest.json"))["tables"]["shared_calendar"]["rows"] == 3_000


def test_shared_tables_of_the_raw_dataset_are_taken(place: Place) -> None:
    place.warehouse.raw = {"shared_rates": features("rates", 3_000), "prices_eurusd": features("close", 3_000)}
    assert place.run() is ExitCode.DONE
    columns = pq.read_schema(place.training).names
    assert "rates_0" in columns
    assert "close_0" not in columns


def test_rows_that_do_not_fit_are_counted(place: Place) -> None:
    table = features("late", 3_000).slice(100)
    place.warehouse.tables[f"late_{PAIR}"] = pa.concat_tables([table.slice(50), table.slice(0, 60)])
    assert place.run() is ExitCode.DONE
    counts = json.loads(place.document("manifest.json"))["tables"][f"late_{PAIR}"]["counts"]
    assert counts == {"rows": 2_910, "missing": 100, "duplicate": 10, "extra": 0, "null_key": 0, "reordered": 1}


def test_keep_leaves_the_checkpoints_and_the_next_run_still_reads_anew(place: Place) -> None:
    place.run(keep=True)
    assert len(place.buckets.names("stage") - {SNAPSHOT}) == 12
    place.later(hours=1)
    place.warehouse.seen.clear()
    assert place.run(run_id="r2") is ExitCode.DONE
    assert len(place.warehouse.seen) == 6


# -- resuming ------------------------------------------------------------------------------------------------------


def test_a_resumed_run_extracts_only_what_is_missing(place: Place) -> None:
    place.buckets.failures = {"shared_calendar.parquet": Denied("gs://stage/x", "no storage.objects.create")}
    assert place.run() is ExitCode.BAD_REQUEST
    failed(place, "permission_denied")
    place.buckets.failures = {}
    before = list(place.warehouse.seen)
    place.later(minutes=5)
    assert place.run(run_id="r2") is ExitCode.DONE
    again = place.warehouse.seen[len(before) :]
    assert "shared_calendar" in again
    assert not set(again) & set(before) - {"shared_calendar"}
    assert place.record("r2")["details"]["resumed"] is True
    assert place.record("r2")["counts"]["tables_reused"] == 6 - len(again)


def test_a_damaged_checkpoint_is_extracted_again(place: Place) -> None:
    place.buckets.failures = {"shared_calendar.parquet": Denied("gs://stage/x", "no")}
    place.run(io_threads=1)
    place.buckets.failures = {}
    stored = next(path for path in (place.buckets.folder / "stage").rglob(f"sma_0_{PAIR}.parquet"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"?")
    place.warehouse.seen.clear()
    assert place.run() is ExitCode.DONE
    assert sorted(place.warehouse.seen) == ["shared_calendar", f"sma_0_{PAIR}"]


@pytest.mark.parametrize(
    ("changes", "hours", "said"),
    [({}, 167, "goes back 168 h only"), ({"policy_duplicate": "last"}, 1, "settings that shape the checkpoints")],
)
def test_a_snapshot_of_no_more_use_is_made_anew_and_said(
    place: Place, changes: dict[str, Any], hours: float, said: str
) -> None:
    place.buckets.failures = {"shared_calendar.parquet": Denied("gs://stage/x", "no")}
    place.run(io_threads=1)
    place.buckets.failures = {}
    place.later(hours=hours)
    place.warehouse.seen.clear()
    assert place.run(run_id="r2", **changes) is ExitCode.DONE
    assert len(place.warehouse.seen) == 6
    assert any("starts anew" in warning and said in warning for warning in place.status("r2").warnings)
    assert place.record("r2")["details"]["resumed"] is False


def test_a_pair_that_another_run_works_on_is_left_alone(place: Place) -> None:
    place.buckets.failures = {"shared_calendar.parquet": Denied("gs://stage/x", "no")}
    place.run(io_threads=1)
    alive = Status(state=RunState.RUNNING, pair=PAIR, run_id="r1", execution="e1", heartbeat_at=place.now.isoformat())
    place.buckets.failures = {}
    place.buckets.write(f"gs://out/runs/{PAIR}/r1/status.json", alive.to_json())
    place.later(seconds=49)
    assert place.run(run_id="r2", execution="e2") is ExitCode.BAD_REQUEST
    assert "run r1 is at work" in failed(place, "held_by_other", "r2").message
    place.later(seconds=2)
    assert place.run(run_id="r2", execution="e2") is ExitCode.DONE


def test_a_run_id_at_work_is_not_started_twice_and_nothing_is_written(place: Place) -> None:
    alive = Status(
        state=RunState.RUNNING, pair=PAIR, run_id="r1", execution="other", heartbeat_at=place.now.isoformat()
    )
    place.buckets.write(f"gs://out/runs/{PAIR}/r1/status.json", alive.to_json())
    assert place.run() is ExitCode.BAD_REQUEST
    assert place.document("status.json") == alive.to_json()
    assert place.buckets.names("stage") == set()


def test_after_the_upload_a_restart_only_cleans_up(place: Place) -> None:
    place.buckets.failures = {"delete gs://stage": RuntimeError("power cut")}
    assert place.run() is ExitCode.RETRY
    stamp = place.training.stat().st_mtime_ns
    place.buckets.failures = {}
    place.warehouse.seen.clear()
    assert place.run(run_id="r2") is ExitCode.DONE
    assert place.warehouse.seen == []
    assert place.training.stat().st_mtime_ns == stamp
    assert place.buckets.names("stage") == {SNAPSHOT}
    assert all(place.status("r2").checks.values())
    assert place.document("manifest.json", "r2") == place.document("manifest.json")


def test_a_run_started_again_after_its_end_does_nothing_more_and_another_reads_anew(place: Place) -> None:
    assert place.run() is ExitCode.DONE
    place.warehouse.seen.clear()
    assert place.run() is ExitCode.DONE
    assert place.warehouse.seen == []
    assert place.status().state == RunState.SUCCEEDED
    place.later(seconds=1)
    place.buckets.path(f"gs://out/runs/{PAIR}/r1/status.json").unlink()
    assert place.run(run_id="r2") is ExitCode.DONE
    assert len(place.warehouse.seen) == 6
    assert place.status("r2").warnings in ((), [])


def test_an_upload_whose_record_was_lost_is_recognised(place: Place) -> None:
    place.buckets.failures = {f"uploaded gs://out/training_{PAIR}": RuntimeError("power cut")}
    assert place.run() is ExitCode.RETRY
    stamp = place.training.stat().st_mtime_ns
    place.buckets.failures = {}
    assert place.run() is ExitCode.DONE
    assert place.training.stat().st_mtime_ns == stamp


def test_a_training_file_of_somebody_else_is_never_overwritten_unseen(place: Place) -> None:
    place.buckets.folder.joinpath("out").mkdir(parents=True)

    def write_first(call: str, uri: str) -> None:
        if call == "upload" and "training" in uri:
            place.buckets.path(uri).write_bytes(b"newer")

    place.buckets.before = write_first
    assert place.run() is ExitCode.BAD_REQUEST
    failed(place, "output_changed")
    assert place.training.read_bytes() == b"newer"


def test_an_older_training_file_is_replaced(place: Place) -> None:
    place.training.parent.mkdir(parents=True)
    place.training.write_bytes(b"older")
    assert place.run() is ExitCode.DONE
    assert len(place.training.read_bytes()) > 1_000


def test_a_run_that_somebody_else_ended_writes_nothing_more(place: Place) -> None:
    run = place.prepare()

    def end_it(table: str) -> None:
        assert run.ledger is not None
        run.ledger.lost = True

    place.warehouse.before_read = end_it
    assert run.execute() is ExitCode.BAD_REQUEST
    assert place.status().state == RunState.RUNNING
    assert not place.training.exists()
    assert place.buckets.names("out") == {f"runs/{PAIR}/r1/status.json"}


# -- what can be wrong ---------------------------------------------------------------------------------------------


def test_a_family_that_other_pairs_have_is_missed_by_name(place: Place) -> None:
    place.warehouse.tables["momentum_gbpusd"] = features("momentum", 3_000)
    assert place.run() is ExitCode.BAD_REQUEST
    assert f"momentum_{PAIR}" in failed(place, "tables_missing").message
    assert place.warehouse.seen == []
    assert place.run(run_id="r2", missing_allowed=(f"momentum_{PAIR}",)) is ExitCode.DONE
    assert json.loads(place.document("manifest.json", "r2"))["missing"] == [f"momentum_{PAIR}"]


def test_tables_without_rows_are_named_all_at_once_unless_allowed(place: Place) -> None:
    for name in ("a", "b"):
        place.warehouse.tables[f"{name}_{PAIR}"] = features(name, 0)
    assert place.run() is ExitCode.BAD_REQUEST
    message = failed(place, "tables_missing").message
    assert f"a_{PAIR} has no rows" in message
    assert f"b_{PAIR} has no rows" in message
    assert place.run(run_id="r2", missing_allowed=(f"a_{PAIR}", f"b_{PAIR}")) is ExitCode.DONE
    assert json.loads(place.document("manifest.json", "r2"))["empty"] == [f"a_{PAIR}", f"b_{PAIR}"]


def test_a_table_dropped_between_discovery_and_read_is_named(place: Place) -> None:
    def drop(table: str) -> None:
        place.warehouse.tables.pop("shared_calendar", None)

    place.warehouse.before_read = drop
    assert place.run(io_threads=1) is ExitCode.BAD_REQUEST
    assert "shared_calendar is gone since the run began" in failed(place, "tables_missing").message


def test_a_schema_that_changes_during_the_run_is_told_and_the_next_run_reads_anew(place: Place) -> None:
    table = place.warehouse.tables["shared_calendar"]

    def change(name: str) -> None:
        if name == "shared_calendar":
            place.warehouse.tables[name] = table.drop_columns(["calendar_0"]).append_column("new", table["calendar_1"])

    place.warehouse.before_read = change
    assert place.run() is ExitCode.RETRY
    assert "without calendar_0 and with new new" in failed(place, "schema_changed").message
    assert place.run(run_id="r2") is ExitCode.DONE
    assert "new" in pq.read_schema(place.training).names


def test_a_table_without_the_key_is_refused_before_the_first_read(place: Place) -> None:
    place.warehouse.tables[f"bare_{PAIR}"] = features("bare", 100).drop_columns([KEY])
    assert place.run() is ExitCode.BAD_REQUEST
    assert f"in bare_{PAIR}" in failed(place, "key_invalid").message
    assert place.warehouse.seen == []


def test_nested_columns_are_refused_before_the_first_read(place: Place) -> None:
    place.warehouse.tables[f"deep_{PAIR}"] = pa.table({KEY: keys(2), "values": [[1.0], [2.0]]})
    place.run()
    assert f"deep_{PAIR}.values" in failed(place, "table_unreadable").message


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (pa.concat_arrays([keys(2_999), keys(1)]), "1 rows repeat"),
        (pa.concat_arrays([keys(2_999), pa.nulls(1, keys(1).type)]), "1 rows have no"),
    ],
)
def test_a_target_table_whose_key_is_no_key_is_refused(place: Place, key: pa.Array, said: str) -> None:
    target = f"targets_{PAIR}"
    place.warehouse.tables[target] = place.warehouse.tables[target].set_column(0, KEY, key)
    assert place.run() is ExitCode.BAD_REQUEST
    assert said in failed(place, "key_invalid").message


def test_a_target_table_in_another_order_is_sorted(place: Place) -> None:
    target = f"targets_{PAIR}"
    place.warehouse.tables[target] = place.warehouse.tables[target][::-1]
    assert place.run() is ExitCode.DONE
    assert pl.read_parquet(place.training)[KEY].is_sorted()


def test_a_policy_of_error_is_misaligned(place: Place) -> None:
    place.warehouse.tables[f"late_{PAIR}"] = features("late", 3_000).slice(7)
    assert place.run(policy_missing="error") is ExitCode.BAD_REQUEST
    assert f"table late_{PAIR}: 7 missing rows" in failed(place, "misaligned").message


def test_an_empty_column_fails_the_validation_and_leaves_the_file_of_before(place: Place) -> None:
    place.training.parent.mkdir(parents=True)
    place.training.write_bytes(b"older")
    hollow = pa.table({KEY: keys(3_000), "nothing": pa.array([float("nan")] * 3_000)})
    place.warehouse.tables[f"hollow_{PAIR}"] = hollow
    assert place.run() is ExitCode.BAD_REQUEST
    status = failed(place, "validation_failed")
    assert "only null or NaN: nothing" in status.message
    assert status.checks["no empty column"] is False
    assert place.training.read_bytes() == b"older"
    assert b"NOT valid" in place.document("validation.html")
    assert json.loads(place.document("validation.json"))["passed"] is False


def test_missing_horizons_fail_the_validation(place: Place) -> None:
    place.run(horizons=(*HORIZONS, 120))
    assert "return lacks h120" in failed(place, "validation_failed").message


def test_datasets_that_may_not_be_read(place: Place) -> None:
    place.warehouse.denied = {"p.features"}
    assert place.run() is ExitCode.BAD_REQUEST
    assert "bigquery.dataViewer" in failed(place, "permission_denied").hint


def test_an_output_bucket_that_may_not_be_written_still_ends(place: Place) -> None:
    place.buckets.failures = {"gs://out": Denied("gs://out/x", "no storage.objects.create")}
    assert place.run() is ExitCode.BAD_REQUEST
    assert any("permission_denied" in record["message"] for record in place.logged())


def test_full_scratch_is_told(place: Place) -> None:
    place.buckets.failures = {"upload gs://stage": full("/tmp/features/x")}
    assert place.run() is ExitCode.RETRY
    failed(place, "disk_full")


def test_too_little_memory_is_refused_before_the_first_read_with_numbers(place: Place) -> None:
    assert place.run(memory=64 << 20) is ExitCode.BAD_REQUEST
    message = failed(place, "too_large").message
    assert "the limit is 0.06 GiB" in message
    assert "3,000 rows" in message
    assert place.warehouse.seen == []


def test_tables_that_turn_out_larger_than_the_memory_are_refused_on_the_way(place: Place) -> None:
    place.warehouse.tables = dataset(rows=20_000, tables=12)
    limit = (300 << 20) + (25 << 20) + (5 << 20)
    assert place.run(memory=limit, in_memory=True, io_threads=1) is ExitCode.BAD_REQUEST
    assert "projected from 5 checkpoints" in failed(place, "too_large").message
    assert len(place.warehouse.seen) < 12


def test_a_slow_extraction_is_warned_of_once_with_its_cause(place: Place) -> None:
    seconds = iter(range(0, 100_000, 5))
    assert place.run(clock=lambda: float(next(seconds)), expected_tables_per_minute=1_000.0) is ExitCode.DONE
    slow = [warning for warning in place.status().warnings if "less than half" in warning]
    assert len(slow) == 1
    assert "most time goes into" in slow[0]


def test_a_stop_ends_as_terminated_and_what_is_extracted_is_kept(place: Place) -> None:
    stop = Stop()
    place.warehouse.before_read = lambda table: stop.set() if table == f"sma_3_{PAIR}" else None
    assert place.run(stop=stop, io_threads=1) is ExitCode.RETRY
    failed(place, "terminated")
    place.warehouse.before_read = lambda table: None
    seen = list(place.warehouse.seen)
    assert place.run(run_id="r2") is ExitCode.DONE
    assert not set(place.warehouse.seen[len(seen) :]) & set(seen[:-1])
