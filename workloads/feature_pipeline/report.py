"""The validation as one HTML page that works offline: what failed, where nulls are, how values are spread."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workloads.feature_pipeline import charts
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
    with pq.ParquetFile(training_file) as found:
        sample = [(name, _values(found, name)) for name in _sample(found)]
    ratios = sorted((_ratio(values) for values in report.tables.values()), reverse=True)
    return template.render(
        report=report,
        facts=facts,
        null_map=charts.null_map([(name, _bands(values)) for name, values in sample]),
        histograms=charts.histograms(sample),
        ratios=charts.bars(ratios),
        tables=sorted(report.tables.items(), key=lambda item: -_ratio(item[1])),
        percent=lambda ratio: "-" if ratio is None else f"{ratio:.2%}",
    )


def _ratio(values: Mapping[str, Any]) -> float:
    return float(values["null_ratio"] or 0)


def _sample(found: pq.ParquetFile) -> list[str]:
    names = found.metadata.schema.names[1:]
    step = max(1, math.ceil(len(names) / SAMPLED_COLUMNS))
    return list(names[::step])


def _values(found: pq.ParquetFile, name: str) -> charts.Values:
    """Return one column as floats, NaN where it has no value; empty if it holds no numbers."""
    column = found.read(columns=[name])[name]
    try:
        return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.empty(0)


def _bands(values: charts.Values) -> charts.Values:
    """Share without value in each band of rows, from the first to the last."""
    parts = np.array_split(np.isnan(values), min(MAP_ROWS, max(1, len(values))))
    return np.asarray([part.mean() if len(part) else 1.0 for part in parts])
