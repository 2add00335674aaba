"""The places that a stack's runs can be at: its job, and the sandbox of this machine."""

from collections.abc import Sequence
from functools import cached_property

from ops import outputs as stack_outputs
from ops import sandbox, stackfile, targets
from ops.environment import Project
from ops.errors import BadRequest
from ops.outputs import Outputs
from ops.router import Thresholds
from ops.runs import Run, Shelf, load
from ops.store import FolderStore
from ops.systems import FANOUT, FEATURES, HEAVY
from ops.targets import Target
from workloads.common.contract import index_object

LOCAL_IMAGE = "longhaul/heavy-runner:local"
"""What the sandbox runs before any stack is deployed; `make images` builds it."""

SANDBOX_GIB = 8.0


class Places:
    """Asked lazily: a command that needs no cloud touches none."""

    def __init__(self, project: Project, stack: str, image: str = "") -> None:
        self.project, self.stack, self._image = project, stack, image

    @cached_property
    def outputs(self) -> Outputs | None:
        """What the stack exports, None before it is deployed. Raises BadRequest: no such stack."""
        try:
            return stack_outputs.read(self.project, self.stack)
        except stack_outputs.NotDeployed:
            return None

    @cached_property
    def thresholds(self) -> Thresholds:
        """What the sandbox takes: the stack's settings, or the defaults."""
        if self.outputs is None or self.outputs.systems.heavy is None:
            return Thresholds()
        limits = self.outputs.systems.heavy.sandbox
        return Thresholds(max_bytes=limits.max_bytes, max_rows=limits.max_rows)

    @cached_property
    def job(self) -> Target:
        """The stack's job. Raises BadRequest: it is not deployed."""
        if self.outputs is None:
            raise stack_outputs.NotDeployed(self.stack)
        return targets.from_outputs(self.outputs)

    @cached_property
    def sandbox(self) -> Target:
        """The sandbox. Raises OpsError: it has no image."""
        local = stackfile.load(self.project, self.stack).is_local
        heavy = self.outputs.systems.heavy if self.outputs else None
        return sandbox.make(
            folder=self.project.scratch / "sandbox",
            image=self._image or (heavy.image if heavy else LOCAL_IMAGE),
            memory_gib=heavy.sandbox.memory_gib if heavy else SANDBOX_GIB,
            environ=self.project.engine_environ(local=local),
            code=self.project.code,
        )

    @cached_property
    def features(self) -> Target:
        """The stack's feature pipeline. Raises BadRequest: it is not deployed, or there is none."""
        if self.outputs is None:
            raise stack_outputs.NotDeployed(self.stack)
        return targets.features(self.outputs)

    @cached_property
    def fanout(self) -> Target:
        """The stack's fan-out. Raises BadRequest: it is not deployed, or there is none."""
        if self.outputs is None:
            raise stack_outputs.NotDeployed(self.stack)
        return targets.fanout(self.outputs)

    @property
    def shelves(self) -> Sequence[Shelf]:
        """Where runs lie: the sandbox's folder, and for each system of a deployed stack its buckets."""
        found = [Shelf(system=HEAVY.name, store=FolderStore(self.project.scratch / "sandbox"))]
        if self.outputs is None:
            return found
        if self.outputs.systems.heavy is not None:
            found.append(Shelf(system=HEAVY.name, store=self.job.store))
        if self.outputs.systems.features is not None:
            found.append(Shelf(system=FEATURES.name, store=self.features.store, outputs=self.features.outputs))
        if self.outputs.systems.fanout is not None:
            found.append(Shelf(system=FANOUT.name, store=self.fanout.store, outputs=self.fanout.outputs))
        return found

    def find(self, run_id: str) -> Run:
        """Return a run of any system. Raises BadRequest: there is none of that name."""
        for shelf in self.shelves:
            try:
                name = index_object(shelf.system, run_id)
            except ValueError as exc:
                raise BadRequest(str(exc)) from exc
            if (run := load(shelf.store, name, shelf.outputs)) is not None:
                return run
        raise BadRequest(f"there is no run {run_id}", "longhaul status lists the runs")

    def target_of(self, run: Run) -> Target:
        """Return the place a run is at."""
        if run.index.system == FEATURES.name:
            return self.features
        if run.index.system == FANOUT.name:
            return self.fanout
        if isinstance(run.store, FolderStore):
            known = run.index.platform.get("runtime")
            if known and known != self.sandbox.platform.runtime:
                raise BadRequest(f"run {run.run_id} was started as a {known}, which is not to be had now")
            return self.sandbox
        return self.job
