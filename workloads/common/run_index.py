"""The run index as a container sees it: is this start the one that holds the run id?"""

from collections.abc import Callable
from datetime import datetime

from workloads.common.contract import RunIndex, RunStart, Task, index_object
from workloads.common.logs import rfc3339
from workloads.common.storage import PreconditionFailed, Storage

MAX_INDEX_BYTES = 1 << 20


class HeldByOther(Exception):
    """Another start holds this run id; this one must not do anything."""


def claim(
    storage: Storage,
    bucket: str,
    *,
    system: str,
    run_id: str,
    start: RunStart,
    task: Task,
    output_uri: str,
    now: Callable[[], datetime],
) -> RunIndex:
    """Make sure that this start holds the run id; gives the index. Raises HeldByOther, saying who does.

    A starter has written the index before and passed its token on. Where nobody did (a run started by gcloud or a
    scheduler) the container writes it itself, under the name of its execution.
    """
    uri = f"gs://{bucket}/{index_object(system, run_id)}"
    own = RunIndex(
        system=system,
        run_id=run_id,
        start_token=start.token or task.execution,
        started_by=start.started_by or "container",
        started_at=rfc3339(now()),
        output_uri=output_uri,
        platform={"execution": task.execution} if task.execution else {},
    )
    try:
        storage.at(uri).write(uri, own.to_json(), if_generation=0)
        return own
    except PreconditionFailed:
        data, _ = storage.read_small(uri, MAX_INDEX_BYTES)
    found = RunIndex.from_json(data)
    if own.start_token and found.start_token == own.start_token:
        return found
    holder = found.platform.get("execution") or "an execution not yet known"
    raise HeldByOther(
        f"run_id {run_id} was started by {found.started_by} at {found.started_at} and is held by {holder}; "
        "choose another run_id, or start it with --force"
    )
