"""The validation as one HTML page that works offline: what failed, where nulls are, how values are spread."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from workloads.feature_pipeline.validate import Report

SAMPLED_COLUMNS = 24
"""Columns of which the page shows the distribution, spread evenly over the file."""
MAP_ROWS = 60
"""Bands of rows of the null map."""
_TEMPLATE = Path(__file__).with_name("report.html.j2")


def page(report: Report, training_file: Path, facts: Mapping[str, str]) -> str:
    """Return the page for `report`. `facts` are shown at the top: run, image, snapshot, times.

    A sample of SAMPLED_COLUMNS columns is decoded, one at a time.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    names = _sample(training_file)
    return template.render(
        report=report,
        facts=facts,
        null_map=_picture(_null_map(training_file, names)),
        histograms=_picture(_histograms(training_file, names)),
        ratios=_picture(_ratios(report)),
        tables=sorted(report.tables.items(), key=lambda item: -_number(item[1]["null_ratio"])),
        percent=lambda value: "-" if math.isnan(_number(value)) else f"{_number(value):.2%}",
    )


def _number(value: Any) -> float:
    return float(value)


def _sample(path: Path) -> list[str]:
    names = [name for name in pq.ParquetFile(path).metadata.schema.names[1:]]
    step = max(1, len(names) // SAMPLED_COLUMNS)
    return names[::step][:SAMPLED_COLUMNS]


def _values(path: Path, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return one column as floats, NaN where it has no value; empty if it holds no numbers."""
    column = pq.ParquetFile(path).read(columns=[name])[name]
    try:
        return np.asarray(column.cast("float64").to_numpy(), dtype=np.float64)
    except ValueError:
        return np.empty(0)


def _null_map(path: Path, names: Sequence[str]) -> Figure:
    bands = np.full((len(names), MAP_ROWS), np.nan)
    for index, name in enumerate(names):
        hollow = np.isnan(_values(path, name))
        for band, part in enumerate(np.array_split(hollow, MAP_ROWS)):
            bands[index, band] = part.mean() if len(part) else np.nan
    figure = Figure(figsize=(9, 0.24 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(bands, aspect="auto", vmin=0, vmax=1, cmap="YlOrRd", interpolation="nearest")
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xticks([0, MAP_ROWS - 1], ["first row", "last row"])
    figure.colorbar(image, ax=axes, label="share without value", pad=0.01)
    return figure


def _histograms(path: Path, names: Sequence[str]) -> Figure:
    columns = 4
    rows = max(1, math.ceil(len(names) / columns))
    figure = Figure(figsize=(9, 1.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        values = _values(path, name)
        values = values[np.isfinite(values)]
        axes.set_axis_on()
        axes.set_title(name, fontsize=7)
        axes.tick_params(labelsize=6)
        axes.set_yticks([])
        if len(values):
            low, high = np.quantile(values, [0.001, 0.999])
            axes.hist(values, bins=40, range=(low, high) if high > low else None, color="#4c78a8")
        else:
            axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes, fontsize=7)
    return figure


def _ratios(report: Report) -> Figure:
    ratios = sorted((_number(values["null_ratio"]) for values in report.tables.values()), reverse=True)
    figure = Figure(figsize=(9, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(ratios)), [0 if math.isnan(ratio) else ratio for ratio in ratios], width=1.0, color="#e45756")
    axes.set_xlabel("tables, most hollow first")
    axes.set_ylabel("share without value")
    axes.set_ylim(0, 1)
    return figure


def _picture(figure: Figure) -> str:
    """Return the figure as SVG in a data URI."""
    # Fixed ids: the same report gives the same page.
    with mpl.rc_context({"svg.hashsalt": "longhaul", "svg.fonttype": "path"}):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
