"""Runs inside the engine's container: local-bigquery with the local cloud's identity, permissions and snapshot times.

`python inside.py` takes its place from the environment (see `main`). Every statement that the engine is about to run,
of a query, a script, dynamic SQL or a read session, passes one list of rules; the first of them is ours and asks the
local cloud whether the caller may touch the tables that the statement names. So what is checked is what is run.
"""

import base64
import contextvars
import datetime
import hmac
import json
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from local_bigquery.catalog import names, row_access, tables  # type: ignore[import-not-found]  # only in the container
from local_bigquery.errors import BigQueryError  # type: ignore[import-not-found]  # only in the container
from local_bigquery.jobs import query, runner  # type: ignore[import-not-found]  # only in the container
from local_bigquery.sql import translate  # type: ignore[import-not-found]  # only in the container
from sqlglot import exp  # type: ignore[import-not-found]  # only in the container

# found beside this file, where no package is
import catalogue  # type: ignore[import-not-found]  # isort: skip  # only in the container
from needs import (  # type: ignore[import-not-found]  # isort: skip  # only in the container
    Need, needs_of, objects, own_result, written,
)  # fmt: skip

TIME_TRAVEL_S = 168 * 3600
"""https://cloud.google.com/bigquery/docs/time-travel (2026-08)."""
WATCH_EVERY_S = 5.0
WATCH_MISSES = 24
"""Two minutes without the local cloud end the engine."""

authority: contextvars.ContextVar[str] = contextvars.ContextVar("authority", default="")
snapshot: contextvars.ContextVar[datetime.datetime | None] = contextvars.ContextVar("snapshot", default=None)

# --- who is calling -------------------------------------------------------------------------------------------------


def identify(secret: str) -> Callable[[str | None], tuple[str, ...]]:
    """In place of the engine's own: believes the front of the local cloud, and nobody else."""

    def caller(authorization: str | None) -> tuple[str, ...]:
        scheme, _, value = (authorization or "").partition(" ")
        claims = json.loads(base64.b64decode(value)) if scheme == "Localcloud" else {}
        if not hmac.compare_digest(str(claims.get("secret", "")), secret):
            raise BigQueryError("accessDenied", "Only the local cloud may call its engine.")
        authority.set(claims["authority"])
        return (str(claims["member"]),)

    return caller


def ask(needs: set[Need], secret: str) -> None:
    """Raises BigQueryError accessDenied in the words of the local cloud, which knows the policies."""
    if not needs:
        return
    body = {"member": row_access.members()[0], "needs": sorted(needs)}
    request = urllib.request.Request(  # noqa: S310 - http on loopback
        authority.get(),
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "X-Localcloud-Secret": secret},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - http on loopback
        denied = json.load(answer)["denied"]
    if denied:
        raise BigQueryError("accessDenied", denied)


# --- hooks ----------------------------------------------------------------------------------------------------------


def guard(secret: str) -> None:
    """Puts the permission checks into the engine."""

    def require(needs: set[Need], context: Any = None) -> None:
        known: set[Need] = context.__dict__.setdefault("granted", set()) if context is not None else set()
        needs = {need for need in needs - known if not own_result(need)}
        ask(needs, secret)
        known |= needs

    def rule(tree: Any, context: Any) -> Any:
        require(needs_of(tree, context), context)
        return tree

    def write(cur: Any, sql: str, bound: Any, destination: Any, config: Any, isolated: bool) -> None:
        require(written(tables.reference(destination)))
        _write(cur, sql, bound, destination, config, isolated)

    def run(cur: Any, tree: Any, context: Any, *rest: Any) -> Any:
        if isinstance(tree, exp.Command):
            # row access policies and indexes, whose table the engine finds in the text only
            require({("bigquery.tables.update", context.project_id, context.dataset_id or "", "")}, context)
        elif isinstance(tree, query.DDL):
            # IF EXISTS may end it before any rule sees it
            require(needs_of(tree, context), context)
        return _run(cur, tree, context, *rest)

    def job(project: str, job_id: str | None, configuration: Any) -> Any:
        return _job(project, job_id, configuration).replace(user_email=row_access.members()[0].partition(":")[2])

    def load(cur: Any, config: Any, upload: str | None) -> Any:
        require(written(tables.reference(config.destinationTable)) | objects(config.sourceUris, "get"))
        return handlers["load"](cur, config, upload)

    def copy(cur: Any, config: Any, upload: str | None) -> Any:
        sources = config.sourceTables or [config.sourceTable]
        require(
            written(tables.reference(config.destinationTable))
            | {("bigquery.tables.getData", *tables.reference(source)) for source in sources}
        )
        return handlers["copy"](cur, config, upload)

    def extract(cur: Any, config: Any, upload: str | None) -> Any:
        uris = config.destinationUris or ([config.destinationUri] if config.destinationUri else [])
        require({("bigquery.tables.export", *tables.reference(config.sourceTable))} | objects(uris, "create"))
        return handlers["extract"](cur, config, upload)

    _write, _run, _job, handlers = query._write, query._run, runner._job, dict(runner.HANDLERS)
    translate.STATEMENT_RULES.insert(0, rule)
    query._write, query._run, runner._job = write, run, job
    runner.HANDLERS.update(load=load, copy=copy, extract=extract)
    row_access.identify = identify(secret)
    _guard_reads(require)


def _guard_reads(require: Callable[[set[Need]], None]) -> None:
    from local_bigquery.grpc import read  # type: ignore[import-not-found]  # only in the container

    create_session, read_rows, split_stream = read.create_session, read.read_rows, read.split_stream

    def create(request: Any) -> Any:
        require({("bigquery.readsessions.create", request.parent.removeprefix("projects/"), "", "")})
        at = request.read_session.table_modifiers.snapshot_time
        if not at:
            return create_session(request)
        label = names.label(*read.table(request.read_session.table))
        _check_snapshot(at, label)
        token = snapshot.set(at)
        try:
            return create_session(request)
        except BigQueryError:
            raise
        except Exception as error:
            raise BigQueryError(
                "invalid", f"Invalid snapshot time for Table {label}: it was not there then."
            ) from error
        finally:
            snapshot.reset(token)

    def rows(request: Any) -> Iterator[Any]:
        require({("bigquery.readsessions.getData", request.read_stream.split("/")[1], "", "")})
        yield from read_rows(request)

    def split(request: Any) -> Any:
        require({("bigquery.readsessions.update", request.name.split("/")[1], "", "")})
        return split_stream(request)

    read.create_session, read.read_rows, read.split_stream = create, rows, split


def _check_snapshot(at: datetime.datetime, label: str) -> None:
    now, wanted = time.time(), at.timestamp()
    if wanted > now + 1:
        raise BigQueryError("invalid", f"Invalid snapshot time {int(wanted * 1000)} for Table {label}: it lies ahead.")
    if wanted < now - TIME_TRAVEL_S:
        first = int((now - TIME_TRAVEL_S) * 1000)
        raise BigQueryError(
            "invalid", f"Invalid snapshot time {int(wanted * 1000)} for Table {label}. Cannot read before {first}."
        )


def as_of(tree: Any, context: Any) -> Any:
    """Rule: the tables of a read session that names a snapshot time are read as of then."""
    at = snapshot.get()
    if at is not None:
        moment = exp.cast(exp.Literal.string(at.isoformat()), "TIMESTAMPTZ")
        for table in tree.find_all(exp.Table):
            table.set("when", exp.HistoricalData(this="AT", kind="TIMESTAMP", expression=moment.copy()))
    return tree


# --- process --------------------------------------------------------------------------------------------------------


def watch(url: str) -> None:
    """Ends the process once the local cloud has been gone for a while: a crash must leave nothing behind."""
    missed = 0
    while missed < WATCH_MISSES:
        time.sleep(WATCH_EVERY_S)
        try:
            urllib.request.urlopen(url, timeout=WATCH_EVERY_S).close()  # noqa: S310 - http on loopback
            missed = 0
        except OSError:
            missed += 1
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """LOCALCLOUD_PORT, _GRPC_PORT, _DATA (folder), _SECRET, _PROJECT, and _WATCH (URL that answers while needed)."""
    env = {name.removeprefix("LOCALCLOUD_"): value for name, value in os.environ.items()}
    data = Path(env["DATA"])
    log = os.open(data / "engine.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    catalogue.install()
    guard(env["SECRET"])
    translate.STATEMENT_RULES.append(as_of)
    threading.Thread(target=watch, args=(env["WATCH"],), daemon=True).start()
    from local_bigquery.cli import main as serve  # type: ignore[import-not-found]  # only in the container

    place = ["--host", "127.0.0.1", "--port", env["PORT"], "--grpc-port", env["GRPC_PORT"], "--data-dir", str(data)]
    serve(["serve", *place, "--project", env["PROJECT"], "--dataset", "_local"])


if __name__ == "__main__":
    main()
