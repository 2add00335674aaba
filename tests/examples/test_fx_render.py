"""The SQL of the example: which tables it makes, and that nothing in it is left to fill in."""

import re

import pytest

from examples.fx import render
from workloads.feature_pipeline.contract import HORIZONS, PAIRS, FeatureEnv
from workloads.feature_pipeline.tables import choose

ENV = {
    "project": "p",
    "features_dataset": "p.features",
    "raw_dataset": "p.raw",
    "output_bucket": "out",
    "staging_bucket": "staging",
}


def all_statements() -> list[render.Statement]:
    found = [*render.shared_statements("p.raw", "p.features")]
    for pair in PAIRS:
        found += render.statements(pair, "p.raw", "p.features")
    return found


def test_every_statement_makes_the_table_it_is_named_after() -> None:
    for item in all_statements():
        assert re.findall(r"CREATE OR REPLACE TABLE `p\.features\.(\w+)`", item.sql) == [item.table]
        assert "{" not in item.sql


def test_no_table_is_made_twice() -> None:
    names = [item.table for item in all_statements()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("pair", PAIRS)
def test_the_pipeline_finds_sixty_tables_and_the_targets_of_every_pair(pair: str) -> None:
    env = FeatureEnv(**ENV, pair=pair)  # type: ignore[arg-type]  # all of ENV are strings
    found = choose((item.table for item in all_statements()), env)
    assert found.target == f"targets_{pair}"
    assert len(found.features) >= 60
    assert len(found.shared) == 1 + len(render.WINDOWS)
    assert found.missing == []


def test_targets_have_return_and_direction_for_each_horizon() -> None:
    (target, *_) = render.statements("eurusd", "p.raw", "p.features")
    columns = re.findall(r" AS (\w+)", target.sql)
    expected = [f"{kind}_h{ahead}" for ahead in HORIZONS for kind in ("return", "direction")]
    assert [name for name in columns if "_h" in name] == expected


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_is_compared_with_three_others_that_have_prices(pair: str) -> None:
    others = render.others(pair)
    assert len({*others, pair}) == 4
    assert set(others) <= set(PAIRS)
    assert {pair, *others, *render.DOLLAR_PAIRS} == set(render.needed((pair,)))


def test_prices_named_in_the_sql_are_loaded_first() -> None:
    pairs = ("chfjpy",)
    items = [*render.statements("chfjpy", "p.raw", "p.features"), *render.shared_statements("p.raw", "p.features")]
    named = {name for item in items for name in re.findall(r"p\.raw\.prices_(\w+)", item.sql)}
    assert named <= set(render.needed(pairs))
