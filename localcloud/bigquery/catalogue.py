"""Runs inside the engine's container: its catalogue read in one go, so that thousands of tables are no burden.

local-bigquery asks DuckDB's duckdb_tables() what exists, several times a statement. After every change of a table that
makes DuckLake load the statistics of all of them: 2.5 ms each, a second a statement at 400 tables (measured 2026-11).
DuckLake's own metadata tables answer the same question in half a millisecond, however many there are.
"""

import json
import os
from collections.abc import Callable
from types import FunctionType
from typing import Any

import duckdb  # type: ignore[import-not-found,unused-ignore]  # only in the container
from local_bigquery.catalog import (  # type: ignore[import-not-found]  # only in the container
    datasets,
    metadata,
    tables,
)
from local_bigquery.engine import database, types  # type: ignore[import-not-found]  # only in the container
from local_bigquery.jobs import query  # type: ignore[import-not-found]  # only in the container
from local_bigquery.models import Table  # type: ignore[import-not-found]  # only in the container
from local_bigquery.sql.dialect import DuckDBDialect  # type: ignore[import-not-found]  # only in the container
from local_bigquery.sql.rules import (  # type: ignore[import-not-found]  # only in the container
    information_schema,
)
from sqlglot import exp  # type: ignore[import-not-found]  # only in the container

Found = list[tuple[str, str, int]]
"""Name, TABLE or VIEW, rows."""

OBJECTS = """
SELECT t.table_name, 'TABLE', coalesce(c.record_count, 0)
FROM {meta}.ducklake_table AS t JOIN {meta}.ducklake_schema AS s USING (schema_id)
LEFT JOIN {meta}.ducklake_table_stats AS c ON c.table_id = t.table_id
WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL AND s.schema_name = $1
AND t.table_name = coalesce($2, t.table_name)
UNION ALL
SELECT v.view_name, 'VIEW', 0
FROM {meta}.ducklake_view AS v JOIN {meta}.ducklake_schema AS s USING (schema_id)
WHERE v.end_snapshot IS NULL AND s.end_snapshot IS NULL AND s.schema_name = $1
AND v.view_name = coalesce($2, v.view_name) ORDER BY 1
"""
COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns()
WHERE database_name = ? AND schema_name = ? ORDER BY table_name, column_index
"""
TEMPORARY = "SELECT table_name FROM duckdb_tables() WHERE temporary"
NOTHING = "SELECT '' WHERE false"
UNKNOWN_ROWS = 0


def install() -> None:
    """Replaces what looks through the whole catalogue. Raises LookupError for another version of local-bigquery."""
    database.objects = _objects(database.objects)
    query.execute = _without_search(query.execute)
    database.native.register = _with_fewer_threads(database.native.register)
    tables.list_ = listed
    information_schema._tables = all_tables
    information_schema._values = values
    DuckDBDialect.Generator.TRANSFORMS[Rows] = lambda _, node: node.args["this"]


def _objects(original: Callable[..., Found]) -> Callable[..., Found]:
    def objects(project: str, dataset: str, table: str | None = None) -> Found:
        if project in database.projects():
            meta = database.quote(f"__ducklake_metadata_{project}")
            return database.fetch(OBJECTS.format(meta=meta), [dataset, table])  # type: ignore[no-any-return]  # untyped
        return original(project, dataset, table) if table is None else _result(project, dataset, table)

    return objects


def _result(database_name: str, schema: str, table: str) -> Found:
    """A table of the engine's own database, where the results of queries are."""
    try:
        rows = database.fetch(f"SELECT count(*) FROM {database.quote(database_name, schema, table)}")  # noqa: S608 - quoted
    except duckdb.CatalogException:
        return []
    return [(table, "TABLE", rows[0][0])]


def _with_fewer_threads(original: Callable[[Any], None]) -> Callable[[Any], None]:
    """Half the CPUs a statement: many small statements at once cost a quarter less CPU so."""

    def register(connection: Any) -> None:
        connection.execute(f"SET threads = {max(1, len(os.sched_getaffinity(0)) // 2)}")
        original(connection)

    return register


def _without_search(original: Any) -> Any:
    """Temporary tables can only be there at the start of a query of a session; no other query needs to look for any."""
    if TEMPORARY not in original.__code__.co_consts:
        raise LookupError("local-bigquery: jobs.query.execute is not the one this was written for")
    constants = tuple(NOTHING if value == TEMPORARY else value for value in original.__code__.co_consts)
    quick = FunctionType(
        original.__code__.replace(co_consts=constants),
        original.__globals__,
        original.__name__,
        original.__defaults__,
        original.__closure__,
    )

    def execute(*args: Any, session: Any = None, **named: Any) -> Any:
        return (original if session else quick)(*args, session=session, **named)

    return execute


def all_tables(project: str, dataset: str | None) -> list[Any]:
    """The resources of all tables, which the views of INFORMATION_SCHEMA are made from."""
    if dataset:
        chosen = [dataset] if datasets.exists(project, dataset) else []
    else:
        chosen = [found.datasetReference.datasetId for found in datasets.list_(project)]
    return [table for name in chosen for table in _tables_of(project, name)]


def listed(project: str, dataset: str) -> list[Any]:
    """The resources as tables.list gives them. Raises BigQueryError for a dataset that is not there."""
    datasets.get(project, dataset)
    found = _tables_of(project, dataset, columns=False)
    return [table.without(*tables.DERIVED).replace(type=table.type) for table in found]


def _tables_of(project: str, dataset: str, columns: bool = True) -> list[Any]:
    stored = {item.tableReference.tableId: item for item in metadata.list_(Table, project, dataset)}
    found = {name: (kind, rows) for name, kind, rows in database.objects(project, dataset)}
    fields: dict[str, list[Any]] = {}
    kinds: dict[str, Any] = {}
    for table, column, kind, nullable in database.fetch(COLUMNS, [project, dataset]) if columns else ():
        if kind not in kinds:
            kinds[kind] = duckdb.type(kind)
        if column != tables.INGESTION_TIME:
            fields.setdefault(table, []).append(types.field(column, kinds[kind], not nullable))
    template = tables.defaults(project, dataset, "_").dump()
    resources = []
    for name in sorted(found.keys() | stored.keys()):
        resource = stored.get(name) or _default(template, name)
        if not tables.expired(resource):
            kind, rows = found.get(name, ("TABLE", UNKNOWN_ROWS))
            resources.append(_filled(resource, kind, rows, fields.get(name, [])))
    return resources


def _default(template: dict[str, Any], name: str) -> Any:
    reference = {**template["tableReference"], "tableId": name}
    return Table.model_validate({**template, "id": f"{template['id'][:-1]}{name}", "tableReference": reference})


def _filled(resource: Any, kind: str, rows: int, fields: list[Any]) -> Any:
    size = str(tables.logical_bytes(rows, len(fields)))
    return resource.replace(
        type=tables._type(resource, kind),
        schema={"fields": tables._overlay(fields, tables.fields(resource))},
        numRows=str(rows),
        numBytes=size,
        numLongTermBytes="0",
        numTotalLogicalBytes=size,
        numActiveLogicalBytes=size,
        numLongTermLogicalBytes="0",
    )


# --- rows of a view -------------------------------------------------------------------------------------------------


class Rows(exp.Expression, exp.Func):  # type: ignore[misc]  # sqlglot has no annotations here
    """A table that is written as one JSON text: no rule looks into it."""

    arg_types = {"this": True}  # noqa: RUF012 - sqlglot's way to declare


def values(columns: list[str], rows: list[list[Any]]) -> Any:
    """A query that gives `rows`; a tree with a node for each cell would take minutes to rewrite."""
    names, kinds = [], []
    for column in columns:
        name, _, kind = column.partition(" ")
        names.append(name)
        kinds.append(kind or "STRING")
    text = json.dumps([[_text(value) for value in row] for row in rows])
    source = exp.Table(
        this=Rows(this=_sql(text, len(names))),
        alias=exp.TableAlias(this=exp.to_identifier("v"), columns=[exp.to_identifier(name) for name in names]),
    )
    cells = [
        exp.alias_(exp.cast(exp.column(name), kind, dialect="bigquery"), name)
        for name, kind in zip(names, kinds, strict=True)
    ]
    return exp.select(*cells).from_(source)


def _sql(text: str, width: int) -> str:
    literal = "'" + text.replace("'", "''") + "'"
    cells = ", ".join(f"cell[{place}]" for place in range(1, width + 1))
    return f"(SELECT {cells} FROM (SELECT unnest(CAST(CAST({literal} AS JSON) AS VARCHAR[][])) AS cell))"  # noqa: S608 - quoted


def _text(value: Any) -> str | None:
    if isinstance(value, exp.Cast):
        value = value.this
    if value is None or isinstance(value, exp.Null):
        return None
    return str(value.name if isinstance(value, exp.Expression) else value)
