"""The splice: equal to a join by another engine, whatever the files are like, and never a wrong file."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from workloads.feature_pipeline import checkpoint
from workloads.feature_pipeline.merge import footer, plan, thrift
from workloads.feature_pipeline.merge.journal import Journal, JournalError
from workloads.feature_pipeline.merge.pool import RecodeError
from workloads.feature_pipeline.merge.splice import Options, merge

KEY = "interval_time"
ROOT = Path(__file__).parents[3]


def key(rows: int) -> pa.Array:
    return pa.array(np.arange(rows, dtype="int64") * 300_000_000, pa.timestamp("us", "UTC"))


def table(rows: int, name: str, columns: int = 3, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    data = {KEY: key(rows)}
    for index in range(columns):
        values = np.round(rng.normal(size=rows), 5)
        data[f"{name}_{index}"] = pa.array(values, mask=rng.random(rows) < 0.01)
    return pa.table(data)


def sources(folder: Path, tables: dict[str, pa.Table], **options: Any) -> list[plan.Source]:
    found = []
    for name, content in tables.items():
        path = folder / f"{name}.parquet"
        if options:
            pq.write_table(content, path, **options)
        else:
            checkpoint.write(content, KEY, path)
        found.append(plan.Source(table=name, path=path))
    return found


def joined(tables: dict[str, pa.Table]) -> pl.DataFrame:
    """What an ordered left join by Polars gives, first of duplicate keys kept."""
    frames = [pl.from_arrow(content) for content in tables.values()]
    result = frames[0]
    assert isinstance(result, pl.DataFrame)
    for frame in frames[1:]:
        assert isinstance(frame, pl.DataFrame)
        unique = frame.unique(subset=KEY, keep="first", maintain_order=True)
        result = result.join(unique, on=KEY, how="left", maintain_order="left")
    return result


def test_aligned_tables_are_spliced_and_equal_a_join(tmp_path: Path) -> None:
    tables = {name: table(40_000, name, seed=seed) for seed, name in enumerate("abcde")}
    result = merge(sources(tmp_path, tables), tmp_path / "out.parquet", Options(key=KEY))
    assert (result.rows, result.columns, result.row_groups, result.spliced) == (40_000, 16, 3, 5)
    assert pl.read_parquet(tmp_path / "out.parquet").equals(joined(tables))


def test_only_the_result_is_left_in_the_folder(tmp_path: Path) -> None:
    given_ = sources(tmp_path, {"a": table(10, "a"), "b": table(10, "b").slice(3)})
    merge(given_, tmp_path / "out.parquet", Options(key=KEY))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet", "out.parquet"]


def test_misaligned_tables_are_recoded_with_their_counts(tmp_path: Path) -> None:
    base = table(20_000, "a")
    tables = {
        "a": base,
        "missing": table(20_000, "missing").slice(2_000),
        "shuffled": table(20_000, "shuffled").take(pa.array(np.random.default_rng(3).permutation(20_000))),
        "doubled": pa.concat_tables([table(20_000, "doubled"), table(20_000, "doubled", seed=9).slice(0, 7)]),
        "extra": table(20_500, "extra"),
        "clean": table(20_000, "clean"),
    }
    result = merge(sources(tmp_path, tables), tmp_path / "out.parquet", Options(key=KEY))
    assert pl.read_parquet(tmp_path / "out.parquet").equals(joined(tables))
    assert result.spliced == 2
    assert result.recoded["missing"]["missing"] == 2_000
    assert result.recoded["shuffled"]["reordered"] == 1
    assert result.recoded["doubled"]["duplicate"] == 7
    assert result.recoded["extra"]["extra"] == 500


def test_a_policy_of_error_names_table_count_and_remedy(tmp_path: Path) -> None:
    found = sources(tmp_path, {"a": table(100, "a"), "b": table(90, "b")})
    with pytest.raises(RecodeError, match=r"table b: 10 missing rows, which policy missing = error refuses.*'null'"):
        merge(found, tmp_path / "out.parquet", Options(key=KEY, policies={"missing": "error"}))
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "snappy"},
        {"compression": "none", "use_dictionary": True},
        {"write_page_index": True},
        {"data_page_version": "2.0", "row_group_size": 700},
        {"write_statistics": False, "row_group_size": 10_000},
    ],
)
def test_files_of_other_writers_are_taken(tmp_path: Path, options: dict[str, Any]) -> None:
    tables = {name: table(3_000, name) for name in "abc"}
    found = sources(tmp_path, {"a": tables["a"]}) + sources(tmp_path, {n: tables[n] for n in "bc"}, **options)
    merge(found, tmp_path / "out.parquet", Options(key=KEY))
    assert pl.read_parquet(tmp_path / "out.parquet").equals(joined(tables))


def test_a_file_that_polars_wrote_with_page_indexes_is_spliced(tmp_path: Path) -> None:
    tables = {name: table(5_000, name) for name in "ab"}
    for name, content in tables.items():
        frame = pl.from_arrow(content)
        assert isinstance(frame, pl.DataFrame)
        frame.write_parquet(tmp_path / f"{name}.parquet")
    found = [plan.Source(table=name, path=tmp_path / f"{name}.parquet") for name in tables]
    result = merge(found, tmp_path / "out.parquet", Options(key=KEY))
    assert result.spliced == 2
    assert pl.read_parquet(tmp_path / "out.parquet").equals(joined(tables))


def test_a_name_in_two_tables_is_prefixed_in_both(tmp_path: Path) -> None:
    one = table(50, "x")
    result = merge(sources(tmp_path, {"a": one, "b": one}), tmp_path / "out.parquet", Options(key=KEY))
    names = pq.read_schema(tmp_path / "out.parquet").names
    assert names == [KEY, "a__x_0", "a__x_1", "a__x_2", "b__x_0", "b__x_1", "b__x_2"]
    assert result.renamed["b"] == ["b__x_0", "b__x_1", "b__x_2"]
    assert pq.read_table(tmp_path / "out.parquet")["b__x_2"].equals(one["x_2"])


def test_more_than_seventeen_thousand_columns(tmp_path: Path) -> None:
    wide = {f"t{index}": table(12, f"t{index}", columns=1_750, seed=index) for index in range(10)}
    result = merge(sources(tmp_path, wide), tmp_path / "out.parquet", Options(key=KEY))
    assert result.columns == 17_501
    assert pl.read_parquet(tmp_path / "out.parquet").equals(joined(wide))


# -- every type and shape ---------------------------------------------------------------------------------------

TYPES: list[pa.DataType] = [
    pa.float64(), pa.float32(), pa.int64(), pa.int32(), pa.int8(), pa.uint16(), pa.bool_(), pa.string(), pa.binary(),
    pa.date32(), pa.timestamp("us"), pa.decimal128(16, 3),
]  # fmt: skip


@st.composite
def column(draw: st.DrawFn, rows: int) -> pa.Array:
    kind = draw(st.sampled_from(TYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    whole = pa.array(rng.integers(0, 100, rows), pa.int32(), mask=rng.random(rows) < 0.2)
    if pa.types.is_boolean(kind):
        return pc.less(whole, 50)
    if kind == pa.binary():
        return whole.cast(pa.string()).cast(kind)
    return whole.cast(pa.int64()).cast(kind) if pa.types.is_timestamp(kind) else whole.cast(kind)


@st.composite
def tables_of_any_shape(draw: st.DrawFn) -> tuple[dict[str, pa.Table], dict[str, dict[str, Any]]]:
    rows = draw(st.sampled_from([0, 1, 2, 97, 1_000]))
    tables, options = {}, {}
    for index in range(draw(st.integers(1, 4))):
        name = f"t{index}"
        data = {KEY: key(rows)}
        for number in range(draw(st.integers(1, 4))):
            data[f"{name}_{number}"] = draw(column(rows))
        tables[name] = pa.table(data)
        options[name] = {
            "compression": draw(st.sampled_from(["none", "snappy", "zstd", "gzip", "lz4"])),
            "use_dictionary": draw(st.booleans()),
            "write_statistics": draw(st.booleans()),
            "row_group_size": draw(st.sampled_from([50, 300, 10_000])),
            "write_page_index": draw(st.booleans()),
            "data_page_version": draw(st.sampled_from(["1.0", "2.0"])),
        }
    return tables, options


@given(tables_of_any_shape())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_types_encodings_and_row_groups(
    tmp_path: Path, drawn: tuple[dict[str, pa.Table], dict[str, dict[str, Any]]]
) -> None:
    tables, options = drawn
    found = []
    for name, content in tables.items():
        pq.write_table(content, tmp_path / f"{name}.parquet", **options[name])
        found.append(plan.Source(table=name, path=tmp_path / f"{name}.parquet"))
    merge(found, tmp_path / "out.parquet", Options(key=KEY, workers=1))
    got = pq.read_table(tmp_path / "out.parquet")
    for content in tables.values():
        for name in content.column_names:
            assert got[name].cast(content[name].type).equals(content[name]), name


# -- damage -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sample") / "a.parquet"
    checkpoint.write(table(200, "a"), KEY, path)
    return path.read_bytes()


@pytest.mark.parametrize("size", [0, 3, 11, 12, 100, 1_000, -1, -9])
def test_a_file_cut_short_is_named(tmp_path: Path, sample: bytes, size: int) -> None:
    (tmp_path / "a.parquet").write_bytes(sample[:size])
    with pytest.raises(footer.BadParquetError, match=r"a\.parquet: "):
        footer.read(tmp_path / "a.parquet")


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_footer_is_an_error_or_describes_bytes_inside_the_file(sample: bytes, data: st.DataObject) -> None:
    length = int.from_bytes(sample[-8:-4], "little")
    raw = bytearray(sample[-8 - length : -8])
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    body = len(sample) - 8 - length
    try:
        parsed = footer.parse(bytes(raw), body)
    except footer.BadParquetError:
        return
    for group in parsed.groups:
        for chunk in group.chunks:
            assert chunk.size == 0 or (chunk.start >= 4 and chunk.start + chunk.size <= body)


@given(st.binary(max_size=200))
@example(b"\x19\xfc\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_refused_as_a_footer(raw: bytes) -> None:
    with pytest.raises(footer.BadParquetError):
        footer.parse(raw, 1_000)


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_survive_coding(value: int) -> None:
    assert thrift.integer(thrift.write_integer(value), 0) == value


def test_a_damaged_checkpoint_stops_the_merge_and_harms_nothing(tmp_path: Path) -> None:
    found = sources(tmp_path, {"a": table(100, "a"), "b": table(100, "b")})
    found[1].path.write_bytes(found[1].path.read_bytes()[:-20])
    with pytest.raises(footer.BadParquetError, match=r"b\.parquet"):
        merge(found, tmp_path / "out.parquet", Options(key=KEY))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_a_table_without_the_key_is_named(tmp_path: Path) -> None:
    found = sources(tmp_path, {"a": table(100, "a")})
    pq.write_table(table(100, "b").drop_columns([KEY]), tmp_path / "b.parquet")
    found.append(plan.Source(table="b", path=tmp_path / "b.parquet"))
    with pytest.raises(footer.BadParquetError, match=r"b\.parquet: has no column 'interval_time'"):
        merge(found, tmp_path / "out.parquet", Options(key=KEY))


def test_nested_columns_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({KEY: key(2), "n": [[1], [2]]}), tmp_path / "n.parquet")
    with pytest.raises(footer.BadParquetError, match=r"n\.parquet: has nested columns"):
        footer.read(tmp_path / "n.parquet")


# -- the plan ---------------------------------------------------------------------------------------------------


def test_a_merge_that_cannot_fit_is_refused_with_numbers_and_remedy(tmp_path: Path) -> None:
    found = sources(tmp_path, {"a": table(1_000, "a")})
    with pytest.raises(
        plan.TooLargeError, match=r"memory: the merge of 1 tables needs .* the limit is .* raise the job"
    ):
        merge(found, tmp_path / "out.parquet", Options(key=KEY, memory_limit=2**20))
    assert not (tmp_path / "out.parquet").exists()


def test_too_little_scratch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sources(tmp_path, {"a": table(1_000, "a")})
    real = os.statvfs(tmp_path)
    tiny = os.statvfs_result((real.f_bsize, 1, real.f_blocks, 1, 1, *tuple(real)[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _: tiny)
    with pytest.raises(plan.TooLargeError, match=r"scratch: .* merge with consume"):
        merge(found, tmp_path / "out.parquet", Options(key=KEY))


def test_measured_memory_stays_under_the_plan(tmp_path: Path) -> None:
    found = sources(tmp_path, {f"t{i}": table(131_072, f"t{i}", columns=40, seed=i) for i in range(6)})
    planned = _process(tmp_path, found, plan_only=True)["plan"]
    assert planned["columns"] * planned["row_groups"] == 241 * 8
    merged = _process(tmp_path, found)["result"]
    assert merged["columns"] == 241
    assert merged["peak_bytes"] <= planned["memory_bytes"]


# -- interruption -----------------------------------------------------------------------------------------------


def _request(folder: Path, found: list[plan.Source], **options: Any) -> str:
    listed = [{"table": source.table, "path": str(source.path)} for source in found]
    return json.dumps({"key": KEY, "output": str(folder / "out.parquet"), "sources": listed, **options})


def _start() -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "workloads.feature_pipeline.merge"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def _process(folder: Path, found: list[plan.Source], **options: Any) -> dict[str, Any]:
    child = _start()
    out, _ = child.communicate(_request(folder, found, **options), timeout=60)
    answer = json.loads(out.splitlines()[-1])
    assert isinstance(answer, dict)
    return answer


def test_consume_removes_each_checkpoint_and_leaves_the_same_file(tmp_path: Path) -> None:
    tables = {name: table(5_000, name) for name in "abcd"}
    tables["d"] = tables["d"].slice(100)
    kept = merge(sources(tmp_path, tables), tmp_path / "kept.parquet", Options(key=KEY, workers=1))
    found = sources(tmp_path, tables)
    merge(found, tmp_path / "out.parquet", Options(key=KEY, consume=True, workers=1))
    assert kept.recoded.keys() == {"d"}
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "kept.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.parquet", "out.parquet"]


@pytest.mark.parametrize("after", [1, 5])
def test_a_killed_consume_merge_goes_on_where_it_was(tmp_path: Path, after: int) -> None:
    tables = {f"t{index}": table(20_000, f"t{index}", seed=index) for index in range(8)}
    for name in ("t3", "t6"):
        tables[name] = tables[name].slice(10)
    (tmp_path / "kept").mkdir()
    merge(sources(tmp_path / "kept", tables), tmp_path / "kept.parquet", Options(key=KEY))
    found = sources(tmp_path, tables)
    _kill_after(tmp_path, found, after)
    left = [source.table for source in found if source.path.exists()]
    assert len(left) < len(found), "killed before the first checkpoint was consumed"
    answer = _process(tmp_path, found, consume=True)
    # The kill may come after a table was recorded and before its checkpoint was removed.
    assert answer["result"]["resumed"] - (len(found) - len(left)) in (0, 1)
    assert pl.read_parquet(tmp_path / "out.parquet").equals(pl.read_parquet(tmp_path / "kept.parquet"))
    assert not [path for path in tmp_path.iterdir() if path.name not in ("kept", "kept.parquet", "out.parquet")]


def _kill_after(folder: Path, found: list[plan.Source], tables: int) -> None:
    """Kill a consuming merge once `tables` checkpoints are gone, by a journal that grows slowly."""
    code = (
        "import json, sys, time\n"
        "from workloads.feature_pipeline.merge import __main__ as m, journal\n"
        "real = journal.Journal.add\n"
        "def slow(self, entry):\n"
        "    real(self, entry)\n"
        "    print('added', flush=True)\n"
        "    time.sleep(0.05)\n"
        "journal.Journal.add = slow\n"
        "sys.exit(m.main(json.load(sys.stdin)))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdin
    assert child.stdout
    child.stdin.write(_request(folder, found, consume=True))
    child.stdin.close()
    seen = 0
    for line in child.stdout:
        seen += line == "added\n"
        if seen == tables + 1:
            break
    child.send_signal(signal.SIGKILL)
    child.wait()


def test_a_record_cut_by_a_crash_is_not_believed(tmp_path: Path) -> None:
    tables = {name: table(1_000, name) for name in "abc"}
    found = sources(tmp_path, tables)
    _kill_after(tmp_path, found, 1)
    journal = tmp_path / "out.parquet.journal"
    journal.write_bytes(journal.read_bytes() + b"LHJ1\xff\x00\x00\x00torn")
    assert _process(tmp_path, found, consume=True)["result"]["rows"] == 1_000
    assert pl.read_parquet(tmp_path / "out.parquet").equals(joined(tables))


def test_a_merge_killed_between_its_end_and_its_journals_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sources(tmp_path, {name: table(1_000, name) for name in "abc"})
    output = tmp_path / "out.parquet"
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "remove", lambda self: (_ for _ in ()).throw(InterruptedError("killed")))
        with pytest.raises(InterruptedError):
            merge(found, output, Options(key=KEY, consume=True))
    before = output.read_bytes()
    assert merge(found, output, Options(key=KEY, consume=True)).resumed == 3
    assert output.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_the_journal_of_another_merge_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "j", "one").close()
    with pytest.raises(JournalError, match="belongs to another merge"):
        Journal(tmp_path / "j", "two")


def test_a_checkpoint_that_vanished_is_an_error_that_may_be_retried(tmp_path: Path) -> None:
    answer = _process(tmp_path, [plan.Source(table="a", path=tmp_path / "gone.parquet")])
    assert "gone.parquet" in answer["error"]
    assert answer["retry"] is True
