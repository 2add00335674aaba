"""The report's three pictures as SVG text: no plotting library, the same input gives the same bytes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape

Values = np.ndarray[Any, np.dtype[np.float64]]

WIDTH = 900
ROW = 18
LABEL = 260
BINS = 40
CELL = (225, 96)
"""Width and height of one histogram."""
PER_ROW = 4


def null_map(shares: Sequence[tuple[str, Values]]) -> Markup:
    """A row for each column, from its first rows to its last: the darker, the fewer values."""
    height = ROW * len(shares) + 20
    parts = [_open(height, "Null map: columns against rows")]
    for index, (name, bands) in enumerate(shares):
        top = ROW * index
        parts.append(_text(LABEL - 6, top + 13, name, anchor="end"))
        parts.append(f'<rect x="{LABEL}" y="{top + 2}" width="{WIDTH - LABEL}" height="{ROW - 4}" fill="#fff3d6"/>')
        width = (WIDTH - LABEL) / max(1, len(bands))
        for band, share in enumerate(bands):
            if share > 0:
                x = LABEL + band * width
                parts.append(
                    f'<rect x="{x:.1f}" y="{top + 2}" width="{width:.1f}" height="{ROW - 4}" fill="#b10026" '
                    f'fill-opacity="{share:.2f}"/>'
                )
    parts.append(_text(LABEL, height - 5, "first row"))
    parts.append(_text(WIDTH, height - 5, "last row", anchor="end"))
    return Markup("".join(parts) + "</svg>")  # noqa: S704  # names are escaped above


def histograms(columns: Sequence[tuple[str, Values]]) -> Markup:
    """How the values of each column are spread between their 0.1 % and 99.9 % quantiles."""
    width, height = CELL
    rows = -(-len(columns) // PER_ROW)
    parts = [_open(max(1, rows) * height, "Histograms of the sampled columns")]
    for index, (name, values) in enumerate(columns):
        left, top = index % PER_ROW * width, index // PER_ROW * height
        parts.append(_text(left + 4, top + 14, name))
        finite = values[np.isfinite(values)]
        if not len(finite):
            parts.append(_text(left + 4, top + 54, "no values"))
            continue
        low, high = (float(edge) for edge in np.quantile(finite, [0.001, 0.999]))
        counts, _ = np.histogram(finite, BINS, (low, high) if high > low else None)
        parts.append(_steps(counts / max(1, counts.max()), left + 4, top + 76, width - 14, 56, "#4c78a8"))
        parts.append(_text(left + 4, top + 90, f"{low:.4g}"))
        parts.append(_text(left + width - 10, top + 90, f"{high:.4g}", anchor="end"))
    return Markup("".join(parts) + "</svg>")  # noqa: S704  # names are escaped above


def bars(shares: Sequence[float]) -> Markup:
    """A bar for each table, the most hollow first; the full height is a table without any value."""
    parts = [_open(150, "Share of cells without value, table by table")]
    parts.append(f'<rect x="40" y="6" width="{WIDTH - 40}" height="120" fill="#f6f8fa"/>')
    parts.append(_steps(np.asarray(shares), 40, 126, WIDTH - 40, 120, "#e45756"))
    parts += [_text(34, 16, "1", anchor="end"), _text(34, 128, "0", anchor="end")]
    parts.append(_text(40, 145, f"{len(shares):,} tables, most hollow first"))
    return Markup("".join(parts) + "</svg>")  # noqa: S704  # numbers only


def _open(height: int, label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(label)}" font-family="system-ui, sans-serif" font-size="11" fill="#1f2328">'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    shown = text if len(text) <= 40 else f"{text[:39]}…"
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(shown)}</text>'


def _steps(heights: Values, left: float, base: float, width: float, height: float, color: str) -> str:
    """Bars that touch, as one path; `heights` are 0 to 1."""
    step = width / max(1, len(heights))
    path = [f"M{left:g} {base:g}"]
    for index, share in enumerate(heights):
        path.append(f"V{base - height * float(share):.1f}H{left + (index + 1) * step:.1f}")
    return f'<path d="{"".join(path)}V{base:g}Z" fill="{color}"/>'
