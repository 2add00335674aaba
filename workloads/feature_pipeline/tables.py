"""Which tables make up the training file of a pair: found in the dataset, never listed in code."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from workloads.common.contract import from_json, to_json
from workloads.feature_pipeline.contract import FeatureEnv


class TablesMissingError(ValueError):
    """Tables that should be there are not; the message names each."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What one run reads: all tables at one moment. Kept in the staging bucket, so that a resumed run reads the same."""

    snapshot_id: str
    """`20260131T235959Z`: folder of its checkpoints."""
    snapshot_time: str
    """RFC 3339, UTC."""
    target: str
    """The table whose key gives rows and order."""
    tables: Mapping[str, Mapping[str, str]]
    """{table: {column: BigQuery type}}, the target first."""
    datasets: Mapping[str, str]
    """{table: PROJECT.DATASET}."""
    missing: tuple[str, ...] = ()
    """Tables that other pairs have and this one lacks."""

    def to_json(self) -> bytes:
        return to_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        return from_json(cls, data)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The tables of one dataset, by their part in the training file of a pair."""

    target: str
    features: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def choose(names: Iterable[str], env: FeatureEnv) -> Found:
    """Sort the tables `names` of the features dataset for `env.pair`.

    A family of tables that another pair has and this one lacks counts as missing: `sma_eurusd` without `sma_gbpusd`.

    Raises:
        TablesMissingError: no target table, or no feature table at all.
    """
    present = sorted(set(names))
    target = env.target_table.format(pair=env.pair)
    targets = {env.target_table.format(pair=pair) for pair in env.pairs}
    candidates = [name for name in present if name not in targets]
    shared = [name for name in candidates if env.shared_tables and re.fullmatch(env.shared_tables, name)]
    rest = [name for name in candidates if name not in set(shared)]
    families: dict[str, set[str]] = {}
    for pair in {*env.pairs, env.pair}:
        pattern = re.compile(env.pair_tables.replace("{pair}", pair))
        families[pair] = {
            name[: -len(pair)] if name.endswith(pair) else name for name in rest if pattern.fullmatch(name)
        }
    own = families[env.pair]
    features = [name for name in rest if re.fullmatch(env.pair_tables.replace("{pair}", env.pair), name)]
    missing = [family + env.pair for family in sorted(set().union(*families.values()) - own)]
    if target not in present:
        raise TablesMissingError(f"{env.features_dataset} has no target table {target!r} (setting target_table)")
    if not features and not shared:
        raise TablesMissingError(
            f"{env.features_dataset} has no feature tables for {env.pair}: none of its {len(present)} tables matches "
            f"{env.pair_tables!r} or {env.shared_tables!r} (settings pair_tables and shared_tables)"
        )
    return Found(target=target, features=features, shared=shared, missing=missing)


def refuse_missing(missing: Iterable[str], allowed: Iterable[str], why: str) -> None:
    """Raise TablesMissingError for every table of `missing` that is not `allowed` to be."""
    found = sorted(set(missing) - set(allowed))
    if found:
        shown = ", ".join(found[:20]) + (f", … ({len(found)} in all)" if len(found) > 20 else "")
        raise TablesMissingError(f"{why}: {shown}; make them, or name them in missing_allowed")


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say how the columns of a table differ; empty if they do not. Only names count where a type is unknown."""
    gone = [name for name in before if name not in now]
    new = [name for name in now if name not in before]
    other = [name for name in before if name in now and before[name] and now[name] and before[name] != now[name]]
    parts = [
        f"{label} {', '.join(found[:5])}{'…' if len(found) > 5 else ''}"
        for label, found in (("without", gone), ("with new", new), ("with another type for", other))
        if found
    ]
    return " and ".join(parts)
