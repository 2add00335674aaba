"""The source of the fan-out's workflow: rendered from its template, and held to the platform's limits."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.checks import refusal
from components.limits import (
    BATCH_PARALLELISM,
    BATCH_PREEMPTED,
    WORKFLOW_ASSIGNMENTS,
    WORKFLOW_CONDITIONS,
    WORKFLOW_EXPRESSION,
    WORKFLOW_SOURCE,
)
from workloads.batch_fanout.contract import MAX_TASKS, SYSTEM
from workloads.common.contract import CONTRACT_VERSION, RUN_METADATA

TEMPLATE = "batch_fanout.workflow.yaml.j2"
TASK_PAGE = 25
"""Failed tasks that one call lists: with the events of ten retries they stay below the variables' 512 KB."""
MAX_LISTED = 10_000
"""Failed tasks that are looked at one by one, in about 40,000 of an execution's 100,000 steps."""
MAX_REPORTED = 20
"""Failed tasks that the error of a failed stage names."""


def render(values: Mapping[str, Any]) -> str:
    """The workflow's source. `values` are what the template names besides the constants of contract and platform."""
    # Imported only now: a stack without a fan-out does not need it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(  # noqa: S701  # the text is YAML; what is put into it goes through tojson
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True
    )
    # jinja2's own would write < as an escape, which is legible to machines only
    pages.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return pages.get_template(TEMPLATE).render(
        {
            "system": SYSTEM,
            "index_prefix": f"runs/{SYSTEM}/",
            "contract_version": CONTRACT_VERSION,
            "run_metadata": RUN_METADATA,
            "max_tasks": MAX_TASKS,
            "parallelism_limit": int(BATCH_PARALLELISM.high),
            "preempted": BATCH_PREEMPTED,
            "task_page": TASK_PAGE,
            "max_listed": MAX_LISTED,
            "max_reported": MAX_REPORTED,
            **values,
        }
    )


def check_source(name: str, source: str) -> None:
    """Hold a workflow's source to what Workflows accepts.

    Raises:
        ValueError: it is no YAML, too large, or a step has too long an expression or too many assignments or conditions.
    """
    import yaml

    WORKFLOW_SOURCE.check(name, "source", len(source.encode()))
    try:
        document = yaml.safe_load(source)
    except yaml.YAMLError as error:
        raise refusal(name, "source", "YAML", str(error)) from error
    for expression in (text for text in _texts(document) if text.startswith("${")):
        if len(expression) - len("${}") > WORKFLOW_EXPRESSION.high:
            shown = f"{len(expression) - 3} in {expression[:60]}…"
            raise refusal(name, "source", f"of expressions of up to {WORKFLOW_EXPRESSION.high:g} characters", shown)
    for key, limit in (("assign", WORKFLOW_ASSIGNMENTS), ("switch", WORKFLOW_CONDITIONS)):
        for found in _lists(document, key):
            if len(found) > limit.high:
                raise refusal(name, "source", f"of up to {limit.high:g} {limit.unit}", len(found))


def safe_text(name: str, argument: str, value: str) -> None:
    """Raises ValueError: `value` would be an expression, or break the one it is put into."""
    if re.search(r'\$\{|["\\\x00-\x1f]', value):
        raise refusal(name, argument, "text without quotes, backslashes and ${", repr(value))


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node.strip()
    elif isinstance(node, dict):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


def _lists(node: Any, key: str) -> Iterator[list[Any]]:
    if isinstance(node, dict):
        if isinstance(node.get(key), list):
            yield node[key]
        for value in node.values():
            yield from _lists(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from _lists(value, key)
