"""The feature pipeline from Python: one execution for each currency pair, some at a time, each resumed where it stood.

target = targets.features(outputs)
batch = Batch(target, ["eurusd", "gbpusd"], parallel=2)
while not batch.step():
    time.sleep(lifecycle.POLL_S)
"""

import re
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from ops import lifecycle, runs
from ops.errors import BadRequest, OpsError
from ops.runs import Judgement, Run
from ops.starting import give_up, note_names
from ops.store import Conflict
from ops.targets import PARALLEL, Target
from workloads.common.contract import RunIndex, RunStart, RunState, index_object, new_run_id
from workloads.feature_pipeline.contract import SYSTEM, VARIABLES, records_prefix

NAME_LENGTH = 50
"""Longest name of a batch: the runs' names add pair and attempt to it, and end at 63 characters."""

_PLATFORM_EVERY = 3


def choose(asked: str, known: Sequence[str]) -> list[str]:
    """Return the pairs of `asked`, `all` or names with commas between. Raises BadRequest: one is not of the stack."""
    if asked.strip() == "all":
        return list(known)
    names = list(dict.fromkeys(part.strip().lower() for part in asked.split(",") if part.strip()))
    if not names:
        raise BadRequest("--pairs names no pair", "give all, or some of " + ", ".join(known))
    if unknown := [name for name in names if name not in known]:
        raise BadRequest(f"not a pair of this stack: {', '.join(unknown)}", "known are " + ", ".join(known))
    return names


@dataclass
class Slot:
    """One pair of a batch, as far as it is."""

    pair: str
    run: Run | None = None
    judgement: Judgement | None = None
    refused: OpsError | None = None
    """Why its run could not be started."""

    @property
    def is_waiting(self) -> bool:
        """Whether it has not been started."""
        return self.run is None and self.refused is None

    @property
    def is_active(self) -> bool:
        """Whether a run of it is under way."""
        return self.run is not None and self.refused is None and not self.has_ended

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        if self.refused is not None:
            return True
        return self.judgement is not None and self.judgement.state.is_final and self.judgement.recorded

    @property
    def state(self) -> str:
        """The run's state, WAITING before its start."""
        if self.refused is not None:
            return RunState.FAILED
        if self.run is None:
            return "WAITING"
        return self.judgement.state if self.judgement else RunState.STARTING


class Batch:
    """Some pairs under one name, which continues them later: `Batch(target, pairs, name=NAME)`.

    A pair that has succeeded under this name is left alone, one that is under way is followed, and one that failed is
    started again; its container goes on with the checkpoints of the run before.
    """

    def __init__(
        self,
        target: Target,
        pairs: Sequence[str],
        *,
        name: str = "",
        parallel: int = PARALLEL,
        keep: bool = False,
        delayed: bool = False,
        force: bool = False,
        started_by: str = "",
    ) -> None:
        """`keep`: checkpoints stay. `delayed`: what `target` starts may begin hours later. `force`: pairs that have
        succeeded under this name are run again.

        Raises BadRequest: the name is none, or `parallel` is not 1 to 100.
        """
        if name and not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_LENGTH - 1}}}", name):
            raise BadRequest(f"--batch must be 1 to {NAME_LENGTH} letters, digits, dots, dashes, _, got {name!r}")
        if not 1 <= parallel <= 100:
            raise BadRequest(f"--parallel must be 1 to 100, got {parallel}")
        self.target, self.parallel = target, parallel
        self.name = name or new_run_id(datetime.now(UTC), secrets.token_bytes(4))
        self.is_new = not name
        self._keep, self._delayed, self._force, self._started_by = keep, delayed, force, started_by
        self.slots = [Slot(pair=pair) for pair in pairs]
        self._attempts: dict[str, int] = {}
        self._turn = 0

    def open(self) -> None:
        """Find what was started under this name before. Raises OpsError."""
        if self.is_new:
            return
        pattern = re.compile(rf"runs/{SYSTEM}/{re.escape(self.name)}-([a-z]{{6}})(?:-(\d+))?\.json")
        for info in self.target.store.list(f"runs/{SYSTEM}/{self.name}-"):
            if found := pattern.fullmatch(info.name):
                pair, number = found[1], int(found[2] or 1)
                self._attempts[pair] = max(number, self._attempts.get(pair, 0))
        for slot in self.slots:
            if attempt := self._attempts.get(slot.pair, 0):
                self._take_up(slot, attempt)

    def _take_up(self, slot: Slot, attempt: int) -> None:
        name = index_object(SYSTEM, self._run_id(slot.pair, attempt))
        run = runs.load(self.target.store, name, self.target.outputs)
        if run is None:
            return
        run, judgement = lifecycle.look(lifecycle.found(run, self.target), self.target)
        if judgement.state.is_final:
            # its end must be in the bucket before another run of the pair may begin
            run = lifecycle.settle(run, self.target)
            judgement = runs.judge(run, None, datetime.now(UTC))
        if judgement.state == RunState.SUCCEEDED and self._force:
            return
        if judgement.state in (RunState.SUCCEEDED, RunState.STARTING, RunState.RUNNING):
            slot.run, slot.judgement = run, judgement

    def step(self) -> bool:
        """Look at what is under way, start what there is room for, and return whether all have ended."""
        self._turn += 1
        active = [slot for slot in self.slots if slot.is_active]
        if active:
            with ThreadPoolExecutor(min(PARALLEL, len(active))) as pool:
                list(pool.map(self._look, active))
        room = self.parallel - sum(slot.is_active for slot in self.slots)
        for slot in [slot for slot in self.slots if slot.is_waiting][: max(room, 0)]:
            self._start(slot)
        return all(slot.has_ended for slot in self.slots)

    def _look(self, slot: Slot) -> None:
        if slot.run is None:
            raise ValueError(f"{slot.pair} has no run")
        ask = self._turn % _PLATFORM_EVERY == 0
        slot.run, slot.judgement = lifecycle.look(slot.run, self.target, platform=ask)
        lost = slot.judgement.state == RunState.LOST
        if slot.judgement.state.is_final and (not lost or not lifecycle.is_known(slot.run)):
            slot.run = lifecycle.settle(slot.run, self.target)
            slot.judgement = runs.judge(slot.run, None, datetime.now(UTC))

    def _start(self, slot: Slot) -> None:
        attempt = self._attempts.get(slot.pair, 0) + 1
        self._attempts[slot.pair] = attempt
        try:
            slot.run = self._submit(slot.pair, self._run_id(slot.pair, attempt))
        except OpsError as exc:
            slot.refused = exc

    def _submit(self, pair: str, run_id: str) -> Run:
        store, outputs = self.target.store, self.target.outputs or self.target.store
        more = {"delayed": True} if self._delayed else {}
        index = RunIndex(
            system=SYSTEM,
            run_id=run_id,
            start_token=secrets.token_hex(16),
            started_by=self._started_by,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            output_uri=f"{outputs.uri}/{records_prefix(pair, run_id)}",
            platform={"pair": pair, "batch": self.name, **more},
        )
        try:
            generation = store.write(index_object(SYSTEM, run_id), index.to_json(), generation=0)
        except Conflict:
            remedy = f"follow it: longhaul run features --pairs {pair} --batch {self.name}"
            raise BadRequest(f"run {run_id} was started by somebody else at this moment", remedy) from None
        run = Run(store=store, index=index, index_generation=generation, outputs=outputs)
        start = RunStart(token=index.start_token, started_by=self._started_by)
        variables = {VARIABLES["pair"]: pair, VARIABLES["run_id"]: run_id, **start.to_env()}
        if self._keep:
            variables[VARIABLES["keep"]] = "true"
        try:
            names = self.target.platform.start(run_id, index.start_token, variables)
        except OpsError as exc:
            give_up(run, str(exc))
            raise
        return note_names(run, {**names, "runtime": self.target.platform.runtime})

    def cancel(self) -> None:
        """Cancel what is under way and wait for its end; what failed to be cancelled says so in its slot."""
        active = [slot for slot in self.slots if slot.is_active]
        with ThreadPoolExecutor(max(1, min(PARALLEL, len(active)))) as pool:
            list(pool.map(self._cancel, active))

    def _cancel(self, slot: Slot) -> None:
        if slot.run is None:
            raise ValueError(f"{slot.pair} has no run")
        try:
            slot.run = lifecycle.cancel(slot.run, self.target)
        except BadRequest:
            # it has ended by itself meanwhile
            slot.run = lifecycle.settle(slot.run, self.target)
        except OpsError as exc:
            slot.refused = exc
            return
        slot.judgement = runs.judge(slot.run, None, datetime.now(UTC))

    def _run_id(self, pair: str, attempt: int) -> str:
        return f"{self.name}-{pair}" if attempt == 1 else f"{self.name}-{pair}-{attempt}"
