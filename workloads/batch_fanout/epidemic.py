"""The model of this image: a stochastic SEIR epidemic, swept over reproduction numbers and seeds.

The simulation is epydemix's: https://pypi.org/project/epydemix/ (2026-11).
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

from workloads.batch_fanout.failure import BadRequest
from workloads.batch_fanout.model import Plot

REPRODUCTION_NUMBERS = (1.2, 1.5, 2.0, 2.5, 3.0)
POPULATION = 100_000
DAYS = 180
INCUBATION_DAYS = 5.0
INFECTIOUS_DAYS = 7.0
FIRST_CASES = 0.0005
"""Share of the population that is infected when it begins."""

PLOT = Plot(x="day", y="infected", group="reproduction_number", title="People infected at the same time")


class Sweep:
    """Inputs without a list of them: input `i` is made when it is asked for."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for index in range(self._count):
            # A digest, so that neighbouring seeds share nothing and an input does not depend on the number of inputs.
            digest = hashlib.sha256(f"{self._seed}/{index}".encode()).digest()
            yield {
                "reproduction_number": REPRODUCTION_NUMBERS[index % len(REPRODUCTION_NUMBERS)],
                "seed": int.from_bytes(digest[:6], "big"),
                "days": DAYS,
                "population": POPULATION,
                "incubation_days": INCUBATION_DAYS,
                "infectious_days": INFECTIOUS_DAYS,
            }


def make_inputs(count: int, seed: int) -> Sweep:
    """One epidemic a task: the reproduction numbers in turn, each time with a seed of its own."""
    return Sweep(count, seed)


def simulate(value: Any) -> Mapping[str, Any]:
    """Run one epidemic. Raises BadRequest: a number is missing or out of range."""
    r, days = _positive(value, "reproduction_number"), int(_positive(value, "days"))
    infectious, incubation = _positive(value, "infectious_days"), _positive(value, "incubation_days")
    # A second of every start, which the other stages need not pay.
    from epydemix.model.epimodel import simulate as run
    from epydemix.model.predefined_models import load_predefined_model
    from epydemix.population import Population

    population = Population(name="one group")
    population.add_population([int(_positive(value, "population"))])
    population.add_contact_matrix([[1.0]])
    model = load_predefined_model(
        "SEIR", transmission_rate=r / infectious, incubation_rate=1 / incubation, recovery_rate=1 / infectious
    )
    model.set_population(population)
    start = date(2025, 1, 1)  # the model has no season
    path = run(
        model,
        start_date=start.isoformat(),
        end_date=(start + timedelta(days=days - 1)).isoformat(),
        percentage_in_agents=FIRST_CASES,
        rng=int(_positive(value, "seed", low=0)),
    )
    infected = path.compartments["Infected_total"].astype(int).tolist()
    return {
        "parameters": {"reproduction_number": r, "seed": int(value["seed"])},
        "series": {
            "day": list(range(len(infected))),
            "infected": infected,
            "new_infections": path.transitions["Susceptible_to_Exposed_total"].astype(int).tolist(),
        },
    }


def _positive(value: Any, name: str, low: float = 1e-9) -> float:
    number = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(number, bool) or not isinstance(number, int | float) or not low <= number < 1e15:
        raise BadRequest(f"{name}: must be a number of {low:g} or more, got {number!r}")
    return number
