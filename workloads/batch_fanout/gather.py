"""Stage C: all results as one table and one page."""

import base64
import json
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from workloads.batch_fanout.codec import Result
from workloads.batch_fanout.contract import (
    CURVES,
    GATHERED,
    PAGE_HTML,
    TABLE,
    FanoutEnv,
    Manifest,
    result_name,
)
from workloads.batch_fanout.curves import MAX_CURVES, Curves, summary_rows
from workloads.batch_fanout.failure import BadRequest
from workloads.batch_fanout.model import load_model, plot_of
from workloads.batch_fanout.places import read_entries, read_manifest
from workloads.batch_fanout.repository import unpack
from workloads.batch_fanout.table import Table, open_table
from workloads.common.logs import Log
from workloads.common.storage import NotFound, Storage, Transfer


def gather(
    env: FanoutEnv, *, storage: Storage, log: Log, allow_missing: bool = False, scratch: Path | None = None
) -> Mapping[str, Any]:
    """Read results from `in_prefix`, write table, chart, page and a summary under `out_prefix`; gives the summary.

    As many results as `parallel` are in memory at once, besides the rows of one row group. What is there is gathered
    even if some results are missing. Raises BadRequest: results are missing, unless that is allowed, or do not fit
    each other.
    """
    manifest = read_manifest(storage, env)
    if manifest.repository is not None:
        unpack(storage, env, manifest.repository)
    plot = plot_of(load_model(manifest.model, env.repo_dir if manifest.repository else ""))
    curves = Curves(plot) if plot else None
    missing: list[str] = []
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder, f"{TABLE}.{env.table}")
        with open_table(path, env.table) as table:
            _collect(env, storage, manifest, table, curves, missing, log)
        summary = _publish(env, storage, manifest, path, table.rows, curves, missing)
    log.info(
        f"gathered {summary['found']:,} of {summary['count']:,} results", summary={**summary, "missing": len(missing)}
    )
    if missing and not allow_missing:
        raise BadRequest(
            f"{len(missing):,} of {manifest.count:,} results are missing, the first is {missing[0]}; "
            f"all are named in {env.out_prefix}{GATHERED}: run their tasks again, then gather"
        )
    return summary


def _collect(
    env: FanoutEnv,
    storage: Storage,
    manifest: Manifest,
    table: Table,
    curves: Curves | None,
    missing: list[str],
    log: Log,
) -> None:
    for done, (index, result) in enumerate(_results(env, storage, manifest), 1):
        if result is None:
            missing.append(result_name(index, manifest.count, manifest.format))
        else:
            table.add(index, result)
            if curves:
                curves.add(index, result)
        if done % 10_000 == 0:
            log.info(f"{done:,} of {manifest.count:,} results read", done=done, total=manifest.count)


def _results(env: FanoutEnv, storage: Storage, manifest: Manifest) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    """Every result in the order of its index, None for one that is missing or belongs to another input."""

    def fetch(index: int, sha256: str) -> Mapping[str, Any] | None:
        uri = env.uri(f"{env.in_prefix}{result_name(index, manifest.count, manifest.format)}")
        store = storage.at(uri)
        try:
            blob = store.stat(uri)
            found = Result.decode(store.read(blob, blob.size), manifest.format)
        except (NotFound, ValueError):
            return None
        return found.result if (found.index, found.input_sha256) == (index, sha256) else None

    waiting: deque[tuple[int, Future[Mapping[str, Any] | None]]] = deque()
    with ThreadPoolExecutor(max_workers=env.parallel, thread_name_prefix="download") as pool:
        for page in manifest.pages:
            for index, entry in enumerate(read_entries(storage, env, page), page.first):
                if len(waiting) >= env.parallel:
                    first, future = waiting.popleft()
                    yield first, future.result()
                waiting.append((index, pool.submit(fetch, index, entry.sha256)))
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


def _publish(
    env: FanoutEnv,
    storage: Storage,
    manifest: Manifest,
    path: Path,
    rows: int,
    curves: Curves | None,
    missing: list[str],
) -> dict[str, Any]:
    picture = curves.draw() if curves and curves.seen else b""
    summary = {
        "count": manifest.count,
        "found": manifest.count - len(missing),
        "missing": missing,
        "rows": rows,
        "table": path.name,
        "peaks": curves.peaks() if curves else [],
        "model": manifest.model,
        "seed": manifest.seed,
        "job_id": manifest.job_id,
        "image": env.image,
    }
    with path.open("rb") as file:
        uri = env.uri(f"{env.out_prefix}{path.name}")
        storage.at(uri).upload(file.fileno(), uri, Transfer(total=path.stat().st_size))
    if picture:
        _write(storage, env, CURVES, picture)
    _write(storage, env, PAGE_HTML, _page(summary, curves, picture))
    # Last: whoever finds it finds the others.
    _write(storage, env, GATHERED, (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _write(storage: Storage, env: FanoutEnv, name: str, data: bytes) -> None:
    uri = env.uri(f"{env.out_prefix}{name}")
    storage.at(uri).write(uri, data)


def _page(summary: Mapping[str, Any], curves: Curves | None, picture: bytes) -> bytes:
    from jinja2 import Environment, PackageLoader

    pages = Environment(loader=PackageLoader("workloads.batch_fanout", "."), autoescape=True, trim_blocks=True)
    plot = curves.plot if curves else None
    sampled = curves is not None and max(curves.seen.values(), default=0) > MAX_CURVES
    return (
        pages.get_template("page.html.j2")
        .render(
            **{**summary, "peaks": summary_rows(summary["peaks"])},
            title=(plot.title or plot.y) if plot else f"Results of {summary['model']}",
            group=plot.group.replace("_", " ") if plot else "",
            picture=base64.b64encode(picture).decode(),
            sampled=MAX_CURVES if sampled else 0,
            left_out=len(curves.left_out) if curves else 0,
        )
        .encode()
    )
