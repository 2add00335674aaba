"""A fan-out from Python: start it, follow its stages, run again only what failed.

run = start(target, Request(count=200, seed=1), prefix="fanout/")
run = follow(run, target)
"""

import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ops import lifecycle, runs
from ops.errors import BadRequest, OpsError
from ops.fanout_jobs import ARGUMENT
from ops.runs import Judgement, Run
from ops.starting import give_up
from ops.store import Conflict
from ops.targets import Target
from workloads.batch_fanout.contract import (
    MAX_TASKS,
    SYSTEM,
    IndexMap,
    Manifest,
    RunPlace,
    result_name,
)
from workloads.common.contract import RunIndex, check_run_id, index_object, new_run_id

CLAIM_S = 60.0
"""How long a workflow may take to write its name into the run's index."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a run is asked to do.

    Raises BadRequest: a value is out of range.
    """

    count: int
    """Inputs to make, 0 to 100,000."""
    seed: int = 0
    """The same count and seed give the same inputs."""
    sim_id: str = "simulation"
    """Name of the experiment, 1 to 63 letters, digits, dots, dashes and underscores."""
    max_parallelism: int | None = None
    """Tasks at the same time, 1 to 5,000. Default the stack's."""
    repository: str = ""
    """Private repository to clone, OWNER/REPOSITORY. Default the stack's."""
    git_ref: str = ""
    """Branch, tag or commit of it. Default its default branch."""
    more: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the workflow."""

    def __post_init__(self) -> None:
        if not 0 <= self.count <= MAX_TASKS:
            raise BadRequest(f"--count must be 0 to {MAX_TASKS:,} inputs, got {self.count:,}")
        if self.max_parallelism is not None and not 1 <= self.max_parallelism <= 5_000:
            raise BadRequest(f"--max-parallelism must be 1 to 5,000 tasks, got {self.max_parallelism:,}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", self.sim_id):
            raise BadRequest(f"--sim-id must be 1 to 63 letters, digits, dots, dashes, _, got {self.sim_id!r}")

    def arguments(self) -> dict[str, Any]:
        """Return them as the workflow calls them; what is not said is for the workflow to choose."""
        named = {
            "count": self.count,
            "seed": self.seed,
            "sim_id": self.sim_id,
            "maxParallelism": self.max_parallelism,
            "githubForecastRepo": self.repository or None,
            "gitRef": self.git_ref or None,
            **self.more,
        }
        return {name: value for name, value in named.items() if value is not None}


def start(target: Target, request: Request, *, prefix: str, run_id: str = "", started_by: str = "") -> Run:
    """Write the index of a new run, start its workflow, and return the run once the workflow has taken it over.

    Raises BadRequest: the run id is taken. OpsError: the workflow does not start.
    """
    try:
        chosen = check_run_id(run_id) if run_id else new_run_id(datetime.now(UTC), secrets.token_bytes(4))
    except ValueError as exc:
        raise BadRequest(str(exc)) from exc
    files = target.outputs or target.store
    place = RunPlace(dir_prefix=prefix, sim_id=request.sim_id, run_id=chosen)
    index = RunIndex(
        system=SYSTEM,
        run_id=chosen,
        start_token=secrets.token_hex(16),
        started_by=started_by,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        output_uri=f"{files.uri}/{place.root}",
    )
    try:
        generation = target.store.write(index_object(SYSTEM, chosen), index.to_json(), generation=0)
    except Conflict:
        remedy = f"longhaul status {chosen}; run its failed tasks again: --rerun-failed {chosen}"
        raise BadRequest(f"there is a run {chosen} already", remedy) from None
    run = Run(store=target.store, index=index, index_generation=generation, outputs=files)
    try:
        names = _execute(target, run, {**request.arguments(), "dirPrefix": prefix}, index.start_token)
    except OpsError as exc:
        give_up(run, str(exc))
        raise
    return _claimed(run, target, names["execution"])


def missing(run: Run) -> tuple[Manifest, list[int]]:
    """Return a run's manifest and the inputs that have no result. Raises BadRequest: it has no manifest."""
    held = run.files.read(f"{run.prefix}inputs/manifest.json")
    if held is None:
        raise BadRequest(f"run {run.run_id} has no manifest: its stage A has failed", "start a new run")
    try:
        manifest = Manifest.from_json(held.data)
    except ValueError as exc:
        raise BadRequest(f"run {run.run_id}: {exc}", "start a new run") from exc
    there = {info.name.rpartition("/")[2] for info in run.files.list(f"{run.prefix}results/")}
    names = (result_name(index, manifest.count, manifest.format) for index in range(manifest.count))
    return manifest, [index for index, name in enumerate(names) if name not in there]


def rerun(
    run: Run, target: Target, *, max_parallelism: int | None = None, started_by: str = ""
) -> tuple[Run, list[int]]:
    """Run the inputs without a result again, in the same run on the same manifest; gives them too.

    Raises BadRequest: the run is under way, or nothing is missing.
    """
    run, judgement = lifecycle.look(run, target)
    if not judgement.state.is_final:
        raise BadRequest(f"run {run.run_id} is {judgement.state}", f"longhaul cancel {run.run_id}, or wait for its end")
    if not judgement.recorded:
        lifecycle.reap_now(run, target)
        run = runs.again(run)
    manifest, indices = missing(run)
    if not indices:
        raise BadRequest(f"run {run.run_id} has all {manifest.count:,} results: nothing failed")
    place = _place(run)
    token = secrets.token_hex(16)
    name = place.index_map(f"rerun-{token[:8]}")
    run.files.write(name, IndexMap.of(indices).to_json(), generation=0)
    arguments = Request(
        count=manifest.requested,
        seed=manifest.seed,
        sim_id=place.sim_id,
        max_parallelism=max_parallelism,
        more={"dirPrefix": place.dir_prefix, "indexMap": name, "taskCount": len(indices), "startedBy": started_by},
    ).arguments()
    names = _execute(target, run, arguments, token)
    return _claimed(run, target, names["execution"]), indices


def _place(run: Run) -> RunPlace:
    parts = run.prefix.rstrip("/").split("/")
    root = "/".join(parts[:-2])
    return RunPlace(dir_prefix=f"{root}/" if root else "", sim_id=parts[-2], run_id=parts[-1])


def _execute(target: Target, run: Run, arguments: dict[str, Any], token: str) -> dict[str, str]:
    whole = {"startedBy": run.index.started_by, **arguments, "run_id": run.run_id, "startToken": token}
    return target.platform.start(run.run_id, token, {ARGUMENT: json.dumps(whole)})


def _claimed(run: Run, target: Target, execution: str) -> Run:
    """Wait until the workflow has written its name into the index; it alone writes there from now on."""
    deadline = time.monotonic() + CLAIM_S
    while True:
        run = runs.refresh(run)
        if run.index.platform.get("execution") == execution:
            return run
        view = target.platform.view({"execution": execution})
        if view.phase.has_ended:
            run = runs.refresh(run)
            if run.index.platform.get("execution") == execution:
                return run
            give_up(run, view.message)
            raise BadRequest(f"run {run.run_id} was refused: {view.message}")
        if time.monotonic() > deadline:
            # known by its token all the same
            return replace(run, index=replace(run.index, platform={"execution": execution}))
        time.sleep(0.5)


def follow(
    run: Run,
    target: Target,
    *,
    on_look: Callable[[Run, Judgement], None] = lambda _run, _judgement: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Run:
    """Wait for the end of a run, looking at its jobs, and return it; what its workflow could not write is written."""
    while True:
        run, judgement = lifecycle.look(run, target)
        on_look(run, judgement)
        if judgement.state.is_final:
            return lifecycle.settle(run, target)
        sleep(lifecycle.POLL_S)
