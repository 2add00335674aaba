"""The SQL files beside this one, for a pair and a window: what table each makes, and its text."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workloads.feature_pipeline.contract import HORIZONS, PAIRS

SQL = Path(__file__).parent / "sql"
WINDOWS = (5, 10, 20, 60, 120)
"""Intervals that a feature looks back."""
DOLLAR_PAIRS = ("eurusd", "gbpusd", "audusd", "nzdusd", "usdcad", "usdchf", "usdjpy")
SHARED = "shared_"
TARGETS = "targets"


@dataclass(frozen=True, kw_only=True)
class Statement:
    family: str
    table: str
    sql: str


def families() -> list[str]:
    """Names of the SQL files that make a table for each pair and window."""
    names = sorted(path.stem for path in SQL.glob("*.sql"))
    return [name for name in names if name != TARGETS and not name.startswith(SHARED)]


def others(pair: str) -> tuple[str, str, str]:
    """Three pairs to compare `pair` with: those that share a currency with it come first."""
    near = [item for item in PAIRS if item != pair and {item[:3], item[3:]} & {pair[:3], pair[3:]}]
    far = [item for item in PAIRS if item != pair and item not in near]
    first, second, third = (near + far)[:3]
    return first, second, third


def needed(pairs: tuple[str, ...]) -> list[str]:
    """All pairs whose prices the tables of `pairs` are computed from."""
    found = {*pairs, *DOLLAR_PAIRS, *(other for pair in pairs for other in others(pair))}
    return [pair for pair in PAIRS if pair in found] + sorted(found - set(PAIRS))


def horizons() -> str:
    """Columns of the targets: return and direction so many intervals ahead."""
    columns = []
    for ahead in HORIZONS:
        later = f"LEAD(close, {ahead}) OVER w"
        columns.append(f"{later} / close - 1 AS return_h{ahead}")
        columns.append(f"CAST(SIGN({later} - close) AS INT64) AS direction_h{ahead}")
    return ",\n  ".join(columns)


def statements(pair: str, raw: str, features: str, windows: tuple[int, ...] = WINDOWS) -> Iterator[Statement]:
    """The target table of `pair`, then its feature tables. `raw`, `features`: PROJECT.DATASET."""
    yield Statement(family=TARGETS, table=f"{TARGETS}_{pair}", sql=_text(TARGETS, pair, 1, raw, features))
    for family in families():
        for window in windows:
            sql = _text(family, pair, window, raw, features)
            yield Statement(family=family, table=f"{family}_{window}_{pair}", sql=sql)


def shared_statements(raw: str, features: str, windows: tuple[int, ...] = WINDOWS) -> Iterator[Statement]:
    """The tables that every pair uses."""
    for path in sorted(SQL.glob(f"{SHARED}*.sql")):
        by_window = "{window}" in path.read_text(encoding="utf-8")
        for window in windows if by_window else windows[:1]:
            table = f"{path.stem}_{window}" if by_window else path.stem
            sql = _text(path.stem, DOLLAR_PAIRS[0], window, raw, features)
            yield Statement(family=path.stem, table=table, sql=sql)


def _text(name: str, pair: str, window: int, raw: str, features: str) -> str:
    first, second, third = others(pair)
    return (SQL / f"{name}.sql").read_text(encoding="utf-8").format(
        pair=pair, window=window, preceding=window - 1, double=2 * window, raw=raw, features=features,
        other1=first, other2=second, other3=third, horizons=horizons(),
    )  # fmt: skip
