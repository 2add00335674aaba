"""The exchange rates of the example, against the table they come from."""

import csv
import io
import zipfile
from datetime import UTC, date, datetime

import pytest

from examples.fx import rates
from workloads.feature_pipeline.contract import PAIRS


@pytest.fixture(scope="module")
def history() -> rates.Rates:
    return rates.load()


@pytest.fixture(scope="module")
def table() -> dict[str, dict[str, str]]:
    """The bank's own rows by day."""
    with zipfile.ZipFile(rates.archive()) as zipped:
        text = zipped.read("eurofxref-hist.csv").decode()
    return {row["Date"]: row for row in csv.DictReader(io.StringIO(text))}


def test_every_day_of_the_table_is_there_in_order(history: rates.Rates, table: dict[str, dict[str, str]]) -> None:
    assert [day.isoformat() for day in history] == sorted(table)
    assert min(history) == date(1999, 1, 4)


def test_a_pair_of_the_euro_is_the_rate_itself(history: rates.Rates, table: dict[str, dict[str, str]]) -> None:
    for moment, price in rates.prices(history, "eurusd"):
        assert price == float(table[moment.date().isoformat()]["USD"])


def test_other_pairs_are_quotients_of_two_rates(history: rates.Rates, table: dict[str, dict[str, str]]) -> None:
    row = table["2024-11-21"]
    series = dict(rates.prices(history, "gbpjpy"))
    assert series[datetime(2024, 11, 21, tzinfo=UTC)] == pytest.approx(float(row["JPY"]) / float(row["GBP"]), rel=1e-15)


@pytest.mark.parametrize("pair", PAIRS)
def test_all_pairs_have_a_price_on_every_working_day(history: rates.Rates, pair: str) -> None:
    series = list(rates.prices(history, pair))
    assert len(series) == len(history)
    assert all(price > 0 for _, price in series)
    assert not any(moment.weekday() >= 5 for moment, _ in series)


@pytest.mark.parametrize("pair", ["eureur", "eurxxx", "usd", ""])
def test_what_is_no_pair_is_refused(history: rates.Rates, pair: str) -> None:
    with pytest.raises(ValueError, match="pair: must be two of"):
        list(rates.prices(history, pair))
