"""Fill BigQuery with exchange rates and the feature tables computed from them.

    python -m examples.fx.seed --project P [--pairs eurusd,gbpusd|all] [--bigquery http://127.0.0.1:8480] [--json]

Raw prices are loaded, everything else is computed by the SQL files in sql/. What is there already is left as it is, so a
seed that was interrupted goes on where it was; --again makes everything anew.
"""

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.oauth2.credentials import Credentials
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.fx import rates, render
from workloads.feature_pipeline.contract import PAIRS

TOKEN = "GOOGLE_OAUTH_ACCESS_TOKEN"  # noqa: S105 - the name of the variable


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done."""

    pairs: tuple[str, ...]
    raw: str
    """PROJECT.DATASET of the prices."""
    features: str
    """PROJECT.DATASET of everything computed."""
    location: str
    again: bool
    threads: int
    windows: tuple[int, ...] = render.WINDOWS


@dataclass(frozen=True, kw_only=True)
class Work:
    """One job: prices to load, or SQL to run."""

    name: str
    tables: int
    pair: str = ""
    sql: str = ""


def connect(project: str, endpoint: str | None, token: str | None) -> bigquery.Client:
    """The real service by application default credentials, or another one by a token (none: without identity)."""
    if endpoint is None:
        return bigquery.Client(project=project)
    credentials = Credentials(token=token) if token else AnonymousCredentials()
    options = ClientOptions(api_endpoint=endpoint.rstrip("/"))
    return bigquery.Client(project=project, credentials=credentials, client_options=options)


def tables_of(client: bigquery.Client, dataset: str) -> set[str]:
    return {item.table_id for item in client.list_tables(dataset, page_size=1000)}


def load_prices(client: bigquery.Client, table: str, series: Iterable[tuple[object, float]]) -> None:
    times, closes = zip(*series, strict=True)
    content = pa.table({"interval_time": pa.array(times, pa.timestamp("us", tz="UTC")), "close": pa.array(closes)})
    buffer = io.BytesIO()
    pq.write_table(content, buffer)
    buffer.seek(0)
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET, write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE
    )
    client.load_table_from_file(buffer, table, job_config=config).result()


def loads(plan: Plan, present: set[str]) -> list[Work]:
    """The prices that are not there yet."""
    wanted = render.needed(plan.pairs)
    missing = [pair for pair in wanted if plan.again or f"prices_{pair}" not in present]
    return [Work(name=f"prices_{pair}", tables=1, pair=pair) for pair in missing]


def statements(plan: Plan) -> list[render.Statement]:
    """All tables that are computed."""
    found = [*render.shared_statements(plan.raw, plan.features, plan.windows)]
    for pair in plan.pairs:
        found += render.statements(pair, plan.raw, plan.features, plan.windows)
    return found


def computations(plan: Plan, present: set[str]) -> list[Work]:
    """The tables that are not there yet; one job for the windows of one family of one pair."""
    missing = [item for item in statements(plan) if plan.again or item.table not in present]
    return [_script(list(group)) for _, group in groupby(missing, key=lambda item: (item.family, item.table[-6:]))]


def _script(group: list[render.Statement]) -> Work:
    return Work(name=group[0].table, tables=len(group), sql=";\n".join(item.sql for item in group))


def run(client: bigquery.Client, plan: Plan, console: Console) -> tuple[int, int]:
    """Make what is missing; (tables made, tables that were there).

    Raises GoogleAPICallError: a job failed; what was made before stays.
    """
    for dataset in (plan.raw, plan.features):
        made = bigquery.Dataset(dataset)
        made.location = plan.location
        client.create_dataset(made, exists_ok=True)
    raw, features = tables_of(client, plan.raw), tables_of(client, plan.features)
    first, then = loads(plan, raw), computations(plan, features)
    total = sum(work.tables for work in (*first, *then))
    kept = len(render.needed(plan.pairs)) + len(statements(plan)) - total
    history = rates.load()

    def do(work: Work) -> int:
        if work.pair:
            load_prices(client, f"{plan.raw}.{work.name}", rates.prices(history, work.pair))
        else:
            client.query(work.sql).result()
        return work.tables

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("tables", total=total)
        for stage in (first, then):
            for done in _parallel(do, stage, plan.threads):
                progress.advance(bar, done)
    return total, kept


def _parallel(do: Callable[[Work], int], stage: list[Work], threads: int) -> Iterator[int]:
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(do, work) for work in stage]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.fx.seed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--project", required=True)
    parser.add_argument(
        "--pairs", default="eurusd,gbpusd,usdjpy", help="with commas between, or all; default %(default)s"
    )
    parser.add_argument("--raw", default="fx_raw", help="dataset of the prices, default %(default)s")
    parser.add_argument("--features", default="fx_features", help="dataset of the tables, default %(default)s")
    parser.add_argument("--location", default="europe-west1", help="of datasets that are made, default %(default)s")
    parser.add_argument("--bigquery", help="base URL of another service than Google's")
    parser.add_argument("--again", action="store_true", help="make what is there anew")
    parser.add_argument("--threads", type=int, default=4, help="jobs at once, 1 to 32, default %(default)s")
    parser.add_argument("--json", action="store_true", help="one line of JSON at the end, on stdout")
    given = parser.parse_args(argv)
    given.pairs = PAIRS if given.pairs == "all" else tuple(dict.fromkeys(given.pairs.split(",")))
    for pair in given.pairs:
        if pair not in PAIRS:
            parser.error(f"--pairs: must be of {', '.join(PAIRS)}, got {pair!r}")
    if not 1 <= given.threads <= 32:
        parser.error(f"--threads: must be 1 to 32, got {given.threads}")
    return given


def main(argv: list[str] | None = None) -> int:
    """0: all there. 1: BigQuery refused or failed."""
    given = parse(argv)
    console = Console(stderr=True)
    plan = Plan(
        pairs=given.pairs,
        raw=f"{given.project}.{given.raw}",
        features=f"{given.project}.{given.features}",
        location=given.location,
        again=given.again,
        threads=given.threads,
    )
    began = time.monotonic()
    client = connect(given.project, given.bigquery, os.environ.get(TOKEN))
    try:
        made, kept = run(client, plan, console)
    except GoogleAPICallError as error:
        console.print(f"seed: {error.message}", style="red", markup=False)
        return 1
    seconds = round(time.monotonic() - began, 1)
    if given.json:
        print(json.dumps({"pairs": plan.pairs, "made": made, "kept": kept, "seconds": seconds}))
    else:
        print(f"{len(plan.pairs)} pairs in {plan.features}: {made} tables made, {kept} there already, {seconds} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
