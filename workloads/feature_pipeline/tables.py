"""Which tables make up the training file of a pair: found in the dataset, never listed in code."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from workloads.common.contract import Document, from_json
from workloads.feature_pipeline.contract import FeatureEnv


class TablesMissingError(ValueError):
    """Tables that should be there are not; the message names each."""


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """The training file once it is in place: what is left to do is to clean up."""

    generation: int
    size: int
    """Bytes."""
    crc32c: int
    records: str
    """gs:// prefix under which manifest and report of this file lie, with `/` at its end."""


@dataclass(frozen=True, kw_only=True)
class Snapshot(Document):
    """What one run reads: all tables at one moment. Kept in the staging bucket, so that a resumed run reads the same."""

    snapshot_id: str
    """`20260131T235959Z`: folder of its checkpoints."""
    snapshot_time: str
    """RFC 3339, UTC."""
    fingerprint: str
    """Digest of the settings that shape a checkpoint; checkpoints of other settings are of no use."""
    run_id: str
    """The run that holds the snapshot."""
    target: str
    """The table whose key gives rows and order."""
    tables: Mapping[str, Mapping[str, str]]
    """{table: {column: BigQuery type}}, the target first."""
    datasets: Mapping[str, str]
    """{table: PROJECT.DATASET}."""
    missing: tuple[str, ...] = ()
    """Tables that other pairs have and this one lacks."""
    output_generation: int = 0
    """Generation of the training file when the run began, 0 if there was none: only this one may be replaced."""
    uploaded: Uploaded | None = None

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Raises ValueError if `data` is no snapshot."""
        found = from_json(cls, data)
        uploaded = found.uploaded
        if isinstance(uploaded, dict):
            uploaded = from_json(Uploaded, json.dumps(uploaded).encode())
        return replace(found, missing=tuple(found.missing), uploaded=uploaded)


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
    targets = {env.target_table.format(pair=pair) for pair in {*env.pairs, env.pair}}
    candidates = [name for name in present if name not in targets]
    shared = [name for name in candidates if is_shared(name, env)]
    rest = [name for name in candidates if name not in set(shared)]
    own = _members(rest, env.pair_tables, env.pair)
    elsewhere: set[tuple[str, str]] = set()
    for pair in set(env.pairs) - {env.pair}:
        elsewhere |= _members(rest, env.pair_tables, pair).keys()
    # A family that names the pair itself (a correlation with it) has no member for that very pair.
    lacking = [(head, tail) for head, tail in elsewhere - own.keys() if env.pair not in head + tail]
    features = sorted(own.values())
    missing = sorted(f"{head}{env.pair}{tail}" for head, tail in lacking)
    if target not in present:
        raise TablesMissingError(f"{env.features_dataset} has no target table {target!r} (setting target_table)")
    if not features and not shared:
        raise TablesMissingError(
            f"{env.features_dataset} has no feature tables for {env.pair}: none of its {len(present)} tables matches "
            f"{env.pair_tables!r} or {env.shared_tables!r} (settings pair_tables and shared_tables)"
        )
    return Found(target=target, features=features, shared=shared, missing=missing)


def is_shared(table: str, env: FeatureEnv) -> bool:
    """Whether every pair uses `table`."""
    return bool(env.shared_tables and re.fullmatch(env.shared_tables, table))


def _members(names: Iterable[str], pattern: str, pair: str) -> dict[tuple[str, str], str]:
    """Return {(text before the pair, text after it): table} of the tables of `pair`: the text is their family."""
    first, *others = pattern.split("{pair}")
    whole = re.compile(f"{first}(?P<pair_>{pair})" + pair.join(others))
    found = {}
    for name in names:
        if match := whole.fullmatch(name):
            found[(name[: match.start("pair_")], name[match.end("pair_") :])] = name
    return found


def refuse_missing(missing: Iterable[str], allowed: Iterable[str], why: str) -> None:
    """Raise TablesMissingError for every table of `missing` that is not `allowed` to be."""
    found = sorted(set(missing) - set(allowed))
    if found:
        shown = ", ".join(found[:20]) + (f", … ({len(found)} in all)" if len(found) > 20 else "")
        raise TablesMissingError(f"{why}: {shown}; make them, or name them in missing_allowed")


def nested(columns: Mapping[str, str]) -> list[str]:
    """Columns that hold arrays or records, which no flat training file can take."""
    return [name for name, kind in columns.items() if kind.startswith(("ARRAY", "STRUCT", "RECORD", "RANGE"))]


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
