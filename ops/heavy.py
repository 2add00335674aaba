"""The heavy runner from Python: `submit` starts a run; ops.lifecycle waits for it, cancels it, fetches its outputs.

A calling system that has the HEAVY_RUNNER_* variables which the stack exports needs nothing else:

    target = targets.from_env(os.environ)
    run = heavy.submit(Request(data=Path("table.csv"), script=Path("train.py")), target)
    run = lifecycle.wait(run, target)
    files = lifecycle.download(run, Path("results"))
"""

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from ops import lifecycle, runs
from ops.errors import BadRequest, OpsError
from ops.request import Request
from ops.runs import Run
from ops.starting import give_up, note_names
from ops.store import Conflict
from ops.targets import PARALLEL, Bars, Target, no_bars
from workloads.common.contract import RunIndex, RunStart, RunState, check_run_id, index_object, new_run_id
from workloads.heavy_runner.contract import SYSTEM, RunVariables, outputs_prefix, request_object


def submit(
    request: Request,
    target: Target,
    *,
    run_id: str = "",
    force: bool = False,
    started_by: str = "",
    bars: Bars = no_bars,
) -> Run:
    """Start a run and return it as soon as the platform has it.

    `run_id`: 1 to 63 letters, digits, dots, dashes and underscores; default a new one that sorts by time.
    `force`: run a run_id again that has ended; its outputs go to a folder of their own.

    Raises BadRequest: the run_id is taken, or not one. OpsError: the store or the platform refuses; the run then
    ends as FAILED and can be forced.
    """
    run_id = run_id or new_run_id(datetime.now(UTC), secrets.token_bytes(4))
    try:
        check_run_id(run_id)
    except ValueError as exc:
        raise BadRequest(str(exc)) from exc
    run, attempt = _claim(target, run_id, force, started_by)
    try:
        _upload(request, run, attempt, bars)
        names = target.platform.start(run_id, run.index.start_token, _variables(run))
    except (OpsError, OSError) as exc:
        give_up(run, str(exc))
        raise
    return note_names(run, {**names, "runtime": target.platform.runtime})


def _claim(target: Target, run_id: str, force: bool, started_by: str) -> tuple[Run, int | None]:
    store, attempt, generation = target.store, None, 0
    if (held := runs.load(store, index_object(SYSTEM, run_id))) is not None:
        state = runs.judge(held, lifecycle.view_of(held, target), datetime.now(UTC)).state
        if not (force and state.is_final):
            raise _taken(held, state)
        attempt, generation = int(held.index.platform.get("attempt", 1)) + 1, held.index_generation
    index = RunIndex(
        system=SYSTEM,
        run_id=run_id,
        start_token=secrets.token_hex(16),
        started_by=started_by,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        output_uri=f"{store.uri}/{outputs_prefix(run_id, attempt)}",
        platform={} if attempt is None else {"attempt": attempt},
    )
    try:
        written = store.write(index_object(SYSTEM, run_id), index.to_json(), generation=generation)
    except Conflict:
        winner = runs.load(store, index_object(SYSTEM, run_id))
        if winner is None:
            raise
        raise _taken(winner, RunState.STARTING) from None
    return Run(store=store, index=index, index_generation=written), attempt


def _taken(held: Run, state: RunState) -> BadRequest:
    index = held.index
    who = f"{index.started_by or 'somebody'} started it at {index.started_at}; it is {state}"
    remedy = "--force runs it again" if state.is_final else "give another --run-id, or follow it: longhaul logs -f"
    return BadRequest(f"run {index.run_id} exists: {who}", remedy)


def _upload(request: Request, run: Run, attempt: int | None, bars: Bars) -> None:
    files = list(request.files(run.run_id))
    jobs = [(name, path, bars(path.name, path.stat().st_size)) for name, path in files]
    with ThreadPoolExecutor(PARALLEL) as pool:
        for done in [pool.submit(run.store.upload, *job) for job in jobs]:
            done.result()
    document = json.dumps(request.document(run.run_id, run.store.uri, attempt), indent=2, ensure_ascii=False)
    run.store.write(request_object(run.run_id), document.encode())


def _variables(run: Run) -> dict[str, str]:
    where = RunVariables(
        input_uri=f"{run.store.uri}/{request_object(run.run_id)}",
        output_uri=f"{run.store.uri}/{outputs_prefix(run.run_id)}",
    )
    start = RunStart(token=run.index.start_token, started_by=run.index.started_by)
    return {**where.to_env(), **start.to_env()}
