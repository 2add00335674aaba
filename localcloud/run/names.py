"""Names of jobs, executions and tasks."""

import re
import secrets

JOB_ID = re.compile(r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?")
"""At most 49 characters. https://cloud.google.com/run/docs/create-jobs (2026-08)."""

MAX_TOKEN_NAME = 62
"""Longest execution name that a token may make: fewer than 63, by the discovery document of run.v2."""

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def execution_id(job: str, token: str = "") -> str:
    """Return a name for a new execution: the job's name and five random characters, or the given token."""
    return f"{job}-{token or ''.join(secrets.choice(_ALPHABET) for _ in range(5))}"


def task_id(execution: str, index: int) -> str:
    return f"{execution}-task{index}"


def short(name: str) -> str:
    """Return the last part of a resource name."""
    return name.rpartition("/")[2]


def job_of(name: str) -> str:
    """Return the job's full name from the name of the job, of an execution or of a task."""
    return "/".join(name.split("/")[:6])


def execution_of(name: str) -> str:
    """Return the execution's full name from its own or from that of a task."""
    return "/".join(name.split("/")[:8])


def project_of(name: str) -> str:
    return name.split("/")[1]


def location_of(name: str) -> str:
    return name.split("/")[3]


def parent_of(name: str) -> str:
    """Return projects/P/locations/L."""
    return "/".join(name.split("/")[:4])
