"""What every start of a run has in common once its index is written: the platform's names, or the reason to give up."""

from collections.abc import Mapping
from datetime import UTC, datetime

from ops import runs
from ops.errors import OpsError
from ops.platforms import Phase, View
from ops.reap import reap
from ops.runs import Run
from ops.store import Conflict
from workloads.common.contract import RunState, index_object


def note_names(run: Run, names: Mapping[str, str]) -> Run:
    """Write into the index what the platform calls the run, and return the run with it."""
    try:
        return runs.write_index(run, RunState(run.index.state), names)
    except Conflict:
        # the container writes the index too once it runs; add our names to what it wrote
        held = runs.load(run.store, index_object(run.index.system, run.run_id), run.outputs)
        if held is None or held.index.start_token != run.index.start_token:
            raise
        return runs.write_index(held, RunState(held.index.state), names)


def give_up(run: Run, why: str) -> None:
    """Write down that a run was never started."""
    try:
        reap(run, View(phase=Phase.FAILED, message=why), datetime.now(UTC))
    except OpsError:
        # the reason to give up is reported by the caller; that the store refuses as well adds nothing to it
        return
