"""Seeding BigQuery: real SQL on the local cloud, values computed again here, and going on after an interruption."""

import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bigquery_support import PROJECT, client
from google.api_core.exceptions import Forbidden
from google.cloud import bigquery
from rich.console import Console

from examples.fx import rates, seed
from localcloud.testing import local_cloud

pytestmark = pytest.mark.container

PLAN = seed.Plan(
    pairs=("gbpjpy",),
    raw=f"{PROJECT}.fx_raw",
    features=f"{PROJECT}.fx_features",
    location="europe-west1",
    again=False,
    threads=2,
    windows=(5,),
)
CONSOLE = Console(quiet=True)
FEATURES, SHARED, TARGETS = 13, 2, 1


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bigquery.Client, tuple[int, int]]]:
    config = {
        "projects": [{"project_id": PROJECT, "services_enabled": "all"}],
        "ports": dict.fromkeys(("control", "bigquery", "bigquerystorage"), 0),
    }
    with local_cloud(tmp_path_factory.mktemp("fx") / "state", config) as cloud:
        bq = client(cloud)
        yield bq, seed.run(bq, PLAN, CONSOLE)


@pytest.fixture(scope="module")
def prices() -> list[float]:
    return [price for _, price in rates.prices(rates.load(), "gbpjpy")]


def column(bq: bigquery.Client, table: str, name: str) -> list[Any]:
    sql = f"SELECT {name} AS v FROM `{PLAN.features}.{table}` ORDER BY interval_time"  # noqa: S608 - names of ours
    return [row.v for row in bq.query(sql).result()]


def test_all_tables_are_made_once_and_then_found(seeded: tuple[bigquery.Client, tuple[int, int]]) -> None:
    bq, (made, kept) = seeded
    assert kept == 0
    assert seed.run(bq, PLAN, CONSOLE) == (0, made)
    assert len(list(bq.list_tables(PLAN.features))) == FEATURES + SHARED + TARGETS


def test_only_what_is_missing_is_made_again(seeded: tuple[bigquery.Client, tuple[int, int]]) -> None:
    bq, (made, _) = seeded
    bq.delete_table(f"{PLAN.features}.sma_5_gbpjpy")
    bq.delete_table(f"{PLAN.features}.shared_calendar")
    assert seed.run(bq, PLAN, CONSOLE) == (2, made - 2)


def test_a_second_window_adds_its_own_tables(seeded: tuple[bigquery.Client, tuple[int, int]]) -> None:
    bq, (made, _) = seeded
    shared_by_window = 1
    assert seed.run(bq, replace(PLAN, windows=(5, 10)), CONSOLE) == (FEATURES + shared_by_window, made)


def test_prices_are_those_of_the_bank(seeded: tuple[bigquery.Client, tuple[int, int]], prices: list[float]) -> None:
    bq, _ = seeded
    rows = bq.query("SELECT close FROM fx_raw.prices_gbpjpy ORDER BY interval_time").result()
    assert [row.close for row in rows] == prices


def test_features_are_what_their_comments_say(
    seeded: tuple[bigquery.Client, tuple[int, int]], prices: list[float]
) -> None:
    bq, _ = seeded
    place = 1000
    window = prices[place - 4 : place + 1]
    returns = [math.log(prices[n] / prices[n - 1]) for n in range(place - 4, place + 1)]
    expected = {
        ("sma_5_gbpjpy", "sma_5"): statistics.fmean(window),
        ("zscore_5_gbpjpy", "zscore_5"): (prices[place] - statistics.fmean(window)) / statistics.stdev(window),
        ("returns_5_gbpjpy", "return_5"): prices[place] / prices[place - 5] - 1,
        ("volatility_5_gbpjpy", "volatility_5"): statistics.stdev(returns),
        ("channel_5_gbpjpy", "high_5"): max(window),
        ("efficiency_5_gbpjpy", "efficiency_5"): abs(sum(returns)) / sum(map(abs, returns)),
        ("trend_5_gbpjpy", "trend_5"): statistics.correlation(window, range(5)),
        ("updown_5_gbpjpy", "up_share_5"): sum(value > 0 for value in returns) / 5,
    }
    found = {key: column(bq, *key)[place] for key in expected}
    assert found == pytest.approx(expected, rel=1e-9)


def test_targets_look_ahead_and_end_with_nothing(
    seeded: tuple[bigquery.Client, tuple[int, int]], prices: list[float]
) -> None:
    bq, _ = seeded
    ahead = column(bq, "targets_gbpjpy", "return_h15")
    assert ahead[:-15] == pytest.approx([prices[n + 15] / prices[n] - 1 for n in range(len(prices) - 15)], abs=1e-12)
    assert ahead[-15:] == [None] * 15
    direction = column(bq, "targets_gbpjpy", "direction_h105")
    assert direction[0] == (prices[105] > prices[0]) - (prices[105] < prices[0])
    assert direction[-105:] == [None] * 105


def test_every_table_has_a_row_for_every_price(
    seeded: tuple[bigquery.Client, tuple[int, int]], prices: list[float]
) -> None:
    bq, _ = seeded
    rows = bq.query("SELECT table_id, row_count FROM fx_features.__TABLES__").result()
    assert {row.row_count for row in rows} == {len(prices)}


def test_a_pair_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        seed.parse(["--project", "p", "--pairs", "eurusd,xxxyyy"])
    assert ended.value.code == 2
    assert "got 'xxxyyy'" in capsys.readouterr().err


def test_without_a_service_it_says_so_and_ends_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise Forbidden("the dataset may not be made")

    monkeypatch.setattr(seed, "run", refuse)
    assert seed.main(["--project", "p", "--bigquery", "http://127.0.0.1:1"]) == 1
    assert "the dataset may not be made" in capsys.readouterr().err
