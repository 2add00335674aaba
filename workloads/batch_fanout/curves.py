"""Quantile curves of all results: collected while they stream by, drawn at the end."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workloads.batch_fanout.failure import BadRequest
from workloads.batch_fanout.model import Plot

MAX_CURVES = 2_000
"""Results of one group that its quantiles are taken of; 2,000 curves of 180 days are 1.4 MB."""
MAX_GROUPS = 12
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_COLORS = ("#4c78a8", "#f58518", "#e45756", "#72b7b2", "#54a24b", "#b279a2")


class Curves:
    """The plotted series of the first results of every group."""

    def __init__(self, plot: Plot) -> None:
        self.plot = plot
        self._x: list[float] = []
        self._groups: dict[Any, list[Any]] = {}
        self.seen: dict[Any, int] = {}
        """Group -> its number of results."""
        self.left_out: set[Any] = set()
        """Groups beyond the twelve that are drawn."""

    def add(self, index: int, result: Mapping[str, Any]) -> None:
        """Raises BadRequest: the result lacks what is drawn, or runs over another x."""
        try:
            group = result["parameters"][self.plot.group]
            x, y = result["series"][self.plot.x], result["series"][self.plot.y]
        except KeyError as error:
            raise BadRequest(f"result {index}: has no {error.args[0]}, which PLOT names") from error
        self._x = self._x or x
        if x != self._x:
            raise BadRequest(f"result {index}: its {self.plot.x} is not the one of the results before")
        if group not in self._groups and len(self._groups) == MAX_GROUPS:
            self.left_out.add(group)
            return
        self.seen[group] = self.seen.get(group, 0) + 1
        curves = self._groups.setdefault(group, [])
        if len(curves) < MAX_CURVES:
            curves.append(np.asarray(y, dtype=np.float32))

    def quantiles(self) -> dict[Any, "np.ndarray[Any, np.dtype[np.float32]]"]:
        """Group -> its quantiles, one row each, over x; groups in order."""
        found = {}
        for group in sorted(self._groups, key=lambda value: (str(type(value)), value)):
            found[group] = np.quantile(np.stack(self._groups[group]), QUANTILES, axis=0)
        return found

    def draw(self) -> bytes:
        """The chart as PNG."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(9, 5), dpi=110, layout="constrained")
        for (group, bands), color in zip(self.quantiles().items(), _COLORS * 2, strict=False):
            low, lower, median, upper, high = bands
            axes.fill_between(self._x, low, high, color=color, alpha=0.15, linewidth=0)
            axes.fill_between(self._x, lower, upper, color=color, alpha=0.3, linewidth=0)
            axes.plot(self._x, median, color=color, label=f"{self.plot.group.replace('_', ' ')} {group}")
        axes.set_xlabel(self.plot.x.replace("_", " "))
        axes.set_ylabel(self.plot.y.replace("_", " "))
        axes.set_title(f"{self.plot.title or self.plot.y}: median, half and 90 % of the runs")
        if self._groups:
            axes.legend(frameon=False)
        out = io.BytesIO()
        # No date and no version inside: the same results give the same picture.
        figure.savefig(out, format="png", metadata={"Software": None})
        pyplot.close(figure)
        return out.getvalue()

    def peaks(self) -> list[dict[str, Any]]:
        """One row a group: number of results, and quantiles of each result's highest value."""
        rows = []
        for group, curves in self._groups.items():
            highest = np.asarray([curve.max() for curve in curves if len(curve)])
            low, median, high = (float(value) for value in np.quantile(highest, (0.05, 0.5, 0.95)))
            row = {"group": group, "results": self.seen[group], "low": low, "median": median, "high": high}
            rows.append(row)
        return sorted(rows, key=lambda row: (str(type(row["group"])), row["group"]))


def summary_rows(peaks: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The peaks as text for the page."""
    return [
        [str(row["group"]), f"{row['results']:,}", *(f"{row[name]:,.0f}" for name in ("low", "median", "high"))]
        for row in peaks
    ]
