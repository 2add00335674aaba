"""Runs inside the engine's container: which permissions a statement needs, from its parsed tree.

https://cloud.google.com/bigquery/docs/access-control#required_permissions (2026-11), as far as SQL says it.
"""

from typing import Any

from local_bigquery.catalog import names, row_access, tables  # type: ignore[import-not-found]  # only in the container
from local_bigquery.jobs import store  # type: ignore[import-not-found]  # only in the container
from local_bigquery.sql.rules import (  # type: ignore[import-not-found]  # only in the container
    information_schema,
)
from local_bigquery.sql.rules import tables as table_rules
from sqlglot import exp  # type: ignore[import-not-found]  # only in the container

Need = tuple[str, str, str, str]
"""Permission, project, dataset, table; empty where it is asked on what lies above."""

DROPS = {"TABLE": "bigquery.tables.delete", "VIEW": "bigquery.tables.delete", "SCHEMA": "bigquery.datasets.delete"}


def needs_of(tree: Any, context: Any) -> set[Need]:
    """Of the tables it reads and of the one it writes."""
    found: set[Need] = set()
    ctes = {cte.alias_or_name.casefold() for cte in tree.find_all(exp.CTE)}
    target = names.target(tree)
    for table in tree.find_all(exp.Table):
        if table is target:
            continue
        if (view := information_schema._view(table)) is not None:
            project = view[1] or context.project_id
            scope = view[2] or context.dataset_id or ""
            dataset = "" if scope.lower().startswith("region-") else scope
            found |= {(f"bigquery.tables.{verb}", project, dataset, "") for verb in ("get", "list")}
        elif table.name.endswith("*"):
            project, dataset, _ = names.reference(table, context.project_id, context.dataset_id)
            found.add(("bigquery.tables.getData", project, dataset or "", ""))
        elif (reference := table_rules.resolve(table, context, ctes)) is not None:
            found.add(("bigquery.tables.getData", *reference))
    if target is not None:
        found |= _target_needs(tree, target, context)
    return found


def _target_needs(tree: Any, target: Any, context: Any) -> set[Need]:
    kind = str(tree.args.get("kind") or "TABLE").upper()
    if kind == "SCHEMA":
        project, dataset = target.catalog or context.project_id, target.db or target.name
        if isinstance(tree, exp.Create):
            return {("bigquery.datasets.create", project, "", "")}
        return {(DROPS[kind] if isinstance(tree, exp.Drop) else "bigquery.datasets.update", project, dataset, "")}
    if kind in ("FUNCTION", "PROCEDURE"):
        if tree.find(exp.TemporaryProperty):
            return set()
        project, dataset, _ = names.reference(target, context.project_id, context.dataset_id)
        verb = "create" if isinstance(tree, exp.Create) else "delete"
        return {(f"bigquery.routines.{verb}", project, dataset or "", "")}
    if tree.find(exp.TemporaryProperty):
        return set()
    reference = table_rules.resolve(target, context, set())
    return set() if reference is None else _table_needs(tree, kind, reference)


def _table_needs(tree: Any, kind: str, reference: tuple[str, str, str]) -> set[Need]:
    project, dataset, _ = reference
    if isinstance(tree, exp.Create):
        found = {("bigquery.tables.create", project, dataset, "")}
        if tree.args.get("replace") and tables.exists(*reference):
            found.add(("bigquery.tables.updateData", *reference))
        return found
    if isinstance(tree, exp.Drop):
        return {(DROPS.get(kind, "bigquery.tables.delete"), *reference)}
    if isinstance(tree, exp.Alter):
        return {("bigquery.tables.update", *reference)}
    found = {("bigquery.tables.updateData", *reference)}
    if isinstance(tree, exp.Update | exp.Delete | exp.Merge):
        found.add(("bigquery.tables.getData", *reference))
    return found


def written(reference: tuple[str, str, str]) -> set[Need]:
    """For the destination of a query, a load or a copy."""
    if reference[1] == tables.RESULTS:
        return set()
    found = {("bigquery.tables.updateData", *reference)}
    return found if tables.exists(*reference) else found | {("bigquery.tables.create", *reference[:2], "")}


def own_result(need: Need) -> bool:
    """Whether it is the result of a query of the same caller, which is theirs to read."""
    _, project, dataset, table = need
    job = store.load(project, table) if dataset == tables.RESULTS else None
    return job is not None and job.user_email == row_access.members()[0].partition(":")[2]


def objects(uris: list[str] | None, verb: str) -> set[Need]:
    """Objects of gs:// addresses, as needs whose dataset is the bucket."""
    found = set()
    for uri in uris or []:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        found.add((f"storage.objects.{verb}", "", bucket, name))
    return found
