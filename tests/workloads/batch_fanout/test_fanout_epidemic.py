"""The model of the image."""

import statistics
from typing import Any

import pytest

from workloads.batch_fanout import epidemic
from workloads.batch_fanout.failure import BadRequest


def peak(value: dict[str, Any]) -> int:
    return int(max(epidemic.simulate(value)["series"]["infected"]))


def test_the_sweep_takes_every_reproduction_number_in_turn_with_a_seed_of_its_own() -> None:
    inputs = list(epidemic.make_inputs(10, 1))
    assert [value["reproduction_number"] for value in inputs[:5]] == list(epidemic.REPRODUCTION_NUMBERS)
    assert len({value["seed"] for value in inputs}) == 10
    assert inputs == list(epidemic.make_inputs(20, 1))[:10]
    assert inputs != list(epidemic.make_inputs(10, 2))


def test_the_same_input_gives_the_same_epidemic() -> None:
    (value,) = epidemic.make_inputs(1, 5)
    assert epidemic.simulate(value) == epidemic.simulate(value)
    assert epidemic.simulate(value) != epidemic.simulate({**value, "seed": value["seed"] + 1})


def test_people_are_conserved_and_more_contagion_means_more_ill_at_once() -> None:
    inputs = list(epidemic.make_inputs(15, 3))
    low = statistics.median(peak(value) for value in inputs if value["reproduction_number"] == 1.5)
    high = statistics.median(peak(value) for value in inputs if value["reproduction_number"] == 3.0)
    assert 0 < low < high < epidemic.POPULATION
    found = epidemic.simulate(inputs[4])
    assert len(found["series"]["day"]) == epidemic.DAYS
    # final size of an epidemic with R = 3 without births: 94 %
    assert 0.9 < sum(found["series"]["new_infections"]) / epidemic.POPULATION < 0.97


@pytest.mark.parametrize(
    "changes", [{"reproduction_number": -1}, {"days": "many"}, {"seed": None}, {"population": True}]
)
def test_an_input_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    (value,) = epidemic.make_inputs(1, 5)
    with pytest.raises(BadRequest, match=f"{next(iter(changes))}: must be a number"):
        epidemic.simulate({**value, **changes})
