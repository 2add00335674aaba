"""Bring a table to the rows of the target table's key, by policies that count what they did."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc

POLICIES: Mapping[str, tuple[str, ...]] = {
    "missing": ("null", "error"),
    "duplicate": ("first", "last", "error"),
    "extra": ("drop", "error"),
    "null_key": ("drop", "error"),
}
"""What may be done with rows that do not fit: the first of each is the default."""


class MisalignedError(ValueError):
    """A policy of "error" met such rows; the message names policy, count and remedy."""


@dataclass(frozen=True, kw_only=True)
class Policies:
    """What to do where a table's rows differ from the target table's."""

    missing: str = "null"
    """Keys the table lacks: "null" fills its columns with nulls, "error" refuses. Default "null"."""
    duplicate: str = "first"
    """Keys it has more than once: keep the "first" or "last" row, or "error". Default "first"."""
    extra: str = "drop"
    """Keys the target does not have: "drop" or "error". Default "drop"."""
    null_key: str = "drop"
    """Rows without a key: "drop" or "error". Default "drop"."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value not in POLICIES[name]:
                raise ValueError(f"policy {name} must be one of {', '.join(POLICIES[name])}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Rows that did not fit."""

    rows: int
    """Rows the table had."""
    missing: int
    """Keys of the target it lacks."""
    duplicate: int
    """Rows whose key came more than once, beyond the one kept."""
    extra: int
    """Distinct keys the target does not have."""
    null_key: int
    """Rows without a key."""
    reordered: bool
    """Whether the rows were in another order."""

    def to_dict(self) -> dict[str, int]:
        """Return the counts as JSON-ready values."""
        return {name: int(value) for name, value in asdict(self).items()}


def align(table: pa.Table, target: pa.Array, key: str, policies: Policies) -> tuple[pa.Table, Counts]:
    """Return (`table` with exactly the rows of `target`, in its order, and what had to be done).

    `target` holds distinct keys. A table that already has these rows is returned as it is, without a copy.

    Raises:
        MisalignedError: rows that a policy of "error" refuses.
        ValueError: `table` has no column `key`, or its type differs from the target's.
    """
    if key not in table.column_names:
        raise ValueError(f"has no key column {key!r}; it has {', '.join(table.column_names[:5])}, …")
    column = table[key].combine_chunks()
    if column.type != target.type:
        raise ValueError(f"key {key!r} is {column.type}, the target table's is {target.type}; cast it in its query")
    if column.equals(target):
        return table, Counts(rows=len(table), missing=0, duplicate=0, extra=0, null_key=0, reordered=False)
    picked, counts = _positions(column, target, policies)
    _refuse(counts, policies)
    aligned = table.drop_columns([key]).take(picked).add_column(0, key, target)
    return aligned.select(table.column_names), counts


def _positions(column: pa.Array, target: pa.Array, policies: Policies) -> tuple[pa.Array, Counts]:
    """Return for each key of `target` the row of `column` that has it (null where none has)."""
    rows = pa.array(range(len(column)), pa.int64()) if policies.duplicate == "last" else None
    if rows is None:
        first = pc.index_in(target, value_set=column)
    else:  # index_in finds the first: look from the end
        back = pc.index_in(target, value_set=column.take(rows[::-1]))
        first = pc.subtract(len(column) - 1, back)
    present = column.drop_null()
    distinct = pc.count_distinct(present).as_py()
    found = len(target) - first.null_count
    ordered = first.drop_null()
    rising = len(ordered) < 2 or pc.all(pc.greater(ordered[1:], ordered[:-1])).as_py()
    counts = Counts(
        rows=len(column),
        missing=first.null_count,
        duplicate=len(present) - distinct,
        extra=distinct - found,
        null_key=column.null_count,
        reordered=not rising,
    )
    return first, counts


def _refuse(counts: Counts, policies: Policies) -> None:
    remedies = {"missing": "null", "duplicate": "first", "extra": "drop", "null_key": "drop"}
    for name, remedy in remedies.items():
        count = getattr(counts, name)
        if count and getattr(policies, name) == "error":
            raise MisalignedError(
                f"{count} {name.replace('_', ' ')} rows, which policy {name} = error refuses; mend the table or set {remedy!r}"
            )
