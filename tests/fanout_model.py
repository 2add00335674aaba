"""A model for tests: as small as one can be."""

from collections.abc import Iterator, Mapping
from typing import Any

PLOT = {"x": "t", "y": "value", "group": "kind", "title": "Values"}


def make_inputs(count: int, seed: int) -> Iterator[dict[str, int]]:
    return ({"i": index, "seed": seed} for index in range(count))


def simulate(value: Any) -> Mapping[str, Any]:
    base = value["i"] * 10 + value["seed"]
    return {
        "parameters": {"kind": value["i"] % 2, "i": value["i"]},
        "series": {"t": [0, 1, 2], "value": [base, base + 1, base + 2]},
    }
