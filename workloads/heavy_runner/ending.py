"""How a run ends: log, record, error, status, in this order. Once the status is final nothing changes any more."""

import os
import shutil
from typing import TYPE_CHECKING

from workloads.common.contract import RUN_METADATA, ExitCode, RunState
from workloads.common.ledger import ClaimLost
from workloads.common.logs import rfc3339
from workloads.common.storage import StorageError
from workloads.heavy_runner import record
from workloads.heavy_runner.contract import ERROR, EXECUTION_LOG, ErrorReport, Phase
from workloads.heavy_runner.failure import RunFailure, from_output

if TYPE_CHECKING:
    from workloads.heavy_runner.run import HeavyRun

LOG_TAIL_LINES = 40


def conclude(run: "HeavyRun", state: RunState, message: str, failure: RunFailure | None = None) -> ExitCode:
    """Log, record, error, status, in this order: once the status is final nothing changes any more."""
    assert run.ledger is not None  # noqa: S101  # both callers have opened it
    if run.ledger.lost:
        run.log.error("nothing more is written about this run: somebody else has ended it")
        return ExitCode.BAD_REQUEST
    try:
        _write_last_files(run, state, failure)
    except RunFailure as late:
        if failure is None:
            return conclude(run, RunState.FAILED, late.message, late)
        run.log.error(late.message)
    try:
        run.ledger.finish(
            state,
            beside={run.output_uri + ERROR: _report(run, failure).to_json()} if failure else None,
            make_room=lambda: _make_room(run),
            phase=Phase.DONE,
            message=message,
            error_code=failure.code if failure else "",
            script_exit_code=run.outcome.exit_code if run.outcome else None,
        )
    except ClaimLost as lost:
        run.log.error(f"nothing is written about this run: {lost}")
        return ExitCode.BAD_REQUEST
    except StorageError as error:
        run.log.error(f"the final state {state} cannot be written: {error}")
        return failure.code.exit_code if failure else ExitCode.RETRY
    run.log.info(f"{state} after {run.elapsed_s:,.1f} s: {run.output_uri}", state=state, peak_mib=run.peak_mib)
    return failure.code.exit_code if failure else ExitCode.DONE


def _write_last_files(run: "HeavyRun", state: RunState, failure: RunFailure | None) -> None:
    files: dict[str, bytes] = {}
    if run.capture is not None:
        files[EXECUTION_LOG] = run.capture.text()
    files[RUN_METADATA] = record.make(run, state, failure).to_json()
    for name, data in files.items():
        uri = run.output_uri + name
        try:
            run.storage.at(uri).write(uri, data)
        except StorageError as error:
            raise from_output(error, name) from error


def _report(run: "HeavyRun", failure: RunFailure) -> ErrorReport:
    return ErrorReport(
        code=failure.code,
        message=failure.message,
        hint=failure.hint,
        run_id=run.request.run_id if run.request else "",
        attempt=getattr(run.request, "attempt", None),
        at=rfc3339(run.now()),
        log_tail=run.capture.last_lines(LOG_TAIL_LINES) if run.capture else [],
        details=failure.details,
    )


def _make_room(run: "HeavyRun") -> None:
    """The outputs' place is full and may be the run folder's own file system: what is there is of no more use."""
    for entry in os.scandir(run.run_dir):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
