from pathlib import Path

import pytest

from ops import prices
from ops.errors import BadRequest

TABLE = prices.Prices()


@pytest.mark.parametrize(
    ("cpu", "memory_gib", "seconds", "tasks", "delayed", "usd"),
    [
        (8, 32, 3_600, 1, False, 0.749),
        (8, 32, 1_800, 1, False, 0.374),
        (8, 32, 7_200, 1, False, 1.50),
        (4, 12, 85 * 60, 1, False, 0.490),
        (4, 12, 85 * 60, 26, False, 12.73),
        (4, 12, 85 * 60, 1, True, 0.343),
        (4, 12, 85 * 60, 26, True, 8.91),
        (8, 32, 85 * 60, 26, False, 27.6),
        (1, 0.5, 9 * 60, 1, False, 0.0103),
    ],
)
def test_worked_examples(cpu: float, memory_gib: float, seconds: float, tasks: int, delayed: bool, usd: float) -> None:
    found = TABLE.job_usd(cpu=cpu, memory_gib=memory_gib, seconds=seconds, tasks=tasks, delayed=delayed)
    assert found == pytest.approx(usd, rel=0.005)


def test_a_short_task_is_billed_for_a_minute_and_one_that_never_started_for_nothing() -> None:
    minute = TABLE.job_usd(cpu=8, memory_gib=32, seconds=60)
    assert TABLE.job_usd(cpu=8, memory_gib=32, seconds=3) == minute
    assert TABLE.job_usd(cpu=8, memory_gib=32, seconds=0) == 0


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="must be >= 0, got 8, 32, -1, 1"):
        TABLE.job_usd(cpu=8, memory_gib=32, seconds=-1)


def test_every_price_names_source_and_date() -> None:
    assert all(price.source.startswith("https://") and price.read_on <= prices.AS_OF for price in prices.LIST.values())


def test_own_prices_replace_ours_entry_by_entry(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("run_job_cpu: {usd: 1.0, unit: vCPU-s, source: 'https://example.com', read_on: 2026-01-01}\n")
    assert prices.load(file).job_usd(cpu=2, memory_gib=0, seconds=100) == 200
    assert prices.load(file).table["run_job_memory"] == prices.LIST["run_job_memory"]


@pytest.mark.parametrize("text", ["run_job_gold: {usd: 1, unit: g, source: s, read_on: d}", "run_job_cpu: 3", "- a"])
def test_a_price_file_that_does_not_fit_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(BadRequest, match="price file"):
        prices.load(file)
