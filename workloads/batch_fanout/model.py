"""What a model is: a module with two functions, of this image or of the cloned repository."""

import importlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from workloads.batch_fanout.failure import BadRequest


@dataclass(frozen=True, kw_only=True)
class Plot:
    """What the gather draws: quantiles of `y` over `x`, one curve for each value of `group`."""

    x: str
    """Series that all results share."""
    y: str
    group: str
    """Parameter that tells results apart."""
    title: str = ""


class Model(Protocol):
    """The functions a model's module has; PLOT, a `Plot` or a map with its fields, is optional."""

    def make_inputs(self, count: int, seed: int) -> Iterable[Any]:
        """One value a task, in an order that depends on `count` and `seed` alone.

        An iterable with a length decides on the number of tasks; one without must give `count` values.
        """

    def simulate(self, value: Any) -> Mapping[str, Any]:
        """`{"parameters": {name: number or text}, "series": {name: numbers}}`; all series have one length.

        Called once in a process. The same value gives the same result: it holds its own seed.
        """


def load_model(name: str, folder: str = "") -> Model:
    """Import the module `name`, with the cloned repository in `folder` before everything else.

    Raises BadRequest: there is none, or it lacks a function.
    """
    if folder and folder not in sys.path:
        sys.path.insert(0, str(Path(folder).resolve()))
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise BadRequest(f"FANOUT_MODEL: module {name} cannot be imported: {error}") from error
    missing = [part for part in ("make_inputs", "simulate") if not callable(getattr(module, part, None))]
    if missing:
        raise BadRequest(f"FANOUT_MODEL: module {name} has no function {' and no function '.join(missing)}")
    return cast(Model, module)


def plot_of(model: Model) -> Plot | None:
    """What the model wants drawn."""
    found = getattr(model, "PLOT", None)
    if found is None or isinstance(found, Plot):
        return found
    try:
        return Plot(**found)
    except TypeError as error:
        raise BadRequest(f"FANOUT_MODEL: PLOT must be a map with x, y, group and title: {error}") from error
