"""Finding runs by the run index, and what state each is in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from ops.errors import BadRequest
from ops.platforms import Phase, View
from ops.store import Store
from ops.systems import STATUS, RunStatus, system_of
from workloads.common.contract import (
    HEARTBEAT_INTERVAL_S,
    LOST_AFTER_INTERVALS,
    RunIndex,
    RunState,
    check_run_id,
    index_object,
)
from workloads.heavy_runner.contract import ErrorCode

LOST_AFTER = timedelta(seconds=HEARTBEAT_INTERVAL_S * LOST_AFTER_INTERVALS)
START_GRACE = timedelta(minutes=30)
"""A run that is STARTING for longer counts as lost: its starter died between index and start, or nothing pulled up."""
DELAYED_GRACE = timedelta(hours=12)
"""How much later a delayed execution may begin: https://cloud.google.com/run/docs/delayed-jobs (2026-09)."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as its index and status objects describe it."""

    store: Store
    index: RunIndex
    index_generation: int
    status: RunStatus | None = None
    status_generation: int = 0
    outputs: Store | None = None
    """Where the outputs lie, if that is not where the index lies."""

    @property
    def run_id(self) -> str:
        return self.index.run_id

    @property
    def files(self) -> Store:
        """Where status, record and outputs lie."""
        return self.outputs or self.store

    @property
    def prefix(self) -> str:
        """Object prefix of the outputs, with `/` at its end. Raises BadRequest: they lie in another bucket."""
        home = f"{self.files.uri}/"
        if not self.index.output_uri.startswith(home):
            raise BadRequest(f"run {self.run_id} writes to {self.index.output_uri}, outside {self.files.uri}")
        return self.index.output_uri.removeprefix(home).rstrip("/") + "/"

    @property
    def asks_platform(self) -> bool:
        """Whether the objects alone do not tell how the run ended."""
        if self.status is None:
            return not RunState(self.index.state).is_final
        # a container that is cancelled knows only that it was told to stop
        told_to_stop = self.status.error_code == ErrorCode.TERMINATED and self.index.state != RunState.CANCELLED
        return not RunState(self.status.state).is_final or told_to_stop


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What state a run is in, and why the reader says so."""

    state: RunState
    detail: str = ""
    recorded: bool = True
    """False: the platform says so, but the bucket does not yet; `longhaul reap` writes it there."""


def judge(run: Run, view: View | None, now: datetime) -> Judgement:
    """Return the state of `run` at `now`, from its objects and, where those leave it open, the platform's `view`."""
    status = run.status
    if status is not None and RunState(status.state).is_final:
        cancelled = run.index.state == RunState.CANCELLED
        if not cancelled and status.error_code == ErrorCode.TERMINATED and view is not None:
            cancelled = view.phase == Phase.CANCELLED
        state = RunState.CANCELLED if cancelled else RunState(status.state)
        return Judgement(state=state, detail=status.message)
    if status is None and RunState(run.index.state).is_final:
        return Judgement(state=RunState(run.index.state))
    if view is not None and view.phase.has_ended:
        state = RunState.CANCELLED if view.phase == Phase.CANCELLED else RunState.FAILED
        return Judgement(state=state, detail=view.message, recorded=False)
    if status is None and not system_of(run.index).has_status:
        state = RunState(run.index.state)
        if state == RunState.RUNNING or view is not None:
            return Judgement(state=RunState.RUNNING, detail=view.message if view else "")
    if status is None:
        return _starting(run, now)
    if (age := now - moment(status.heartbeat_at)) > LOST_AFTER:
        return Judgement(state=RunState.LOST, detail=f"no heartbeat for {age.total_seconds():.0f} s", recorded=False)
    return Judgement(state=RunState.RUNNING, detail=system_of(run.index).doing(status))


def _starting(run: Run, now: datetime) -> Judgement:
    delayed = bool(run.index.platform.get("delayed"))
    grace = START_GRACE + DELAYED_GRACE if delayed else START_GRACE
    if (age := now - moment(run.index.started_at)) > grace:
        detail = f"no container after {age.total_seconds() / 60:.0f} min"
        return Judgement(state=RunState.LOST, detail=detail, recorded=False)
    waiting = "delayed, begins within 12 hours" if delayed else "waiting for the container"
    return Judgement(state=RunState.STARTING, detail=waiting)


def find(stores: Sequence[Store], system: str, run_id: str, outputs: Store | None = None) -> Run:
    """Return a run from the first store that knows it; `outputs`: see Run. Raises BadRequest: none does."""
    try:
        name = index_object(system, check_run_id(run_id))
    except ValueError as exc:
        raise BadRequest(str(exc)) from exc
    for store in stores:
        if (run := load(store, name, outputs)) is not None:
            return run
    raise BadRequest(f"there is no run {run_id}", "longhaul status lists the runs")


def load(store: Store, name: str, outputs: Store | None = None) -> Run | None:
    """Return the run of one index object with its status; None if there is no such object."""
    if (held := store.read(name)) is None:
        return None
    try:
        index = RunIndex.from_json(held.data)
    except ValueError as exc:
        raise BadRequest(f"{store.uri}/{name} is not a run index: {exc}") from exc
    return refresh(Run(store=store, index=index, index_generation=held.generation, outputs=outputs))


def again(run: Run) -> Run:
    """Return the run with index and status as they are now; as it was if its index is gone."""
    return load(run.store, index_object(run.index.system, run.run_id), run.outputs) or run


def refresh(run: Run) -> Run:
    """Return the run with the status object as it is now, or with its index where it has no status object."""
    if not system_of(run.index).has_status:
        held = run.store.read(index_object(run.index.system, run.run_id))
        if held is None:
            return run
        return replace(run, index=RunIndex.from_json(held.data), index_generation=held.generation)
    if not run.index.output_uri.startswith(f"{run.files.uri}/"):
        return run
    if (held := run.files.read(run.prefix + STATUS)) is None:
        return replace(run, status=None, status_generation=0)
    try:
        status = system_of(run.index).read(held.data)
    except ValueError as exc:
        raise BadRequest(f"{run.files.uri}/{run.prefix}{STATUS} is not a status: {exc}") from exc
    return replace(run, status=status, status_generation=held.generation)


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Where the runs of one system lie."""

    system: str
    store: Store
    """Their indexes."""
    outputs: Store | None = None
    """See Run."""


def recent(shelves: Sequence[Shelf], limit: int) -> Iterator[Run]:
    """Yield the `limit` runs whose index was written last, newest first."""
    listed = [
        (info.updated, info.name, shelf) for shelf in shelves for info in shelf.store.list(f"runs/{shelf.system}/")
    ]
    for _, name, shelf in sorted(listed, key=lambda item: item[:2], reverse=True)[:limit]:
        if (run := load(shelf.store, name, shelf.outputs)) is not None:
            yield run


def moment(text: str) -> datetime:
    """Return an RFC 3339 time of a document; one that is missing counts as long ago."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def write_index(run: Run, state: RunState, platform: Mapping[str, object] | None = None) -> Run:
    """Write the index with a new state (and names of the platform) and return the run with it.

    Raises Conflict: somebody else wrote it meanwhile.
    """
    names = {**run.index.platform, **(platform or {})}
    index = replace(run.index, state=state, platform=names)
    name = index_object(index.system, index.run_id)
    generation = run.store.write(name, index.to_json(), generation=run.index_generation)
    return replace(run, index=index, index_generation=generation)
