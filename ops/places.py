"""The places that a stack's runs can be at: its job, and the sandbox of this machine."""

from collections.abc import Sequence
from functools import cached_property

from ops import outputs as stack_outputs
from ops import sandbox, stackfile, targets
from ops.environment import Project
from ops.errors import BadRequest
from ops.outputs import Outputs
from ops.router import Thresholds
from ops.runs import Run
from ops.store import FolderStore, Store
from ops.targets import Target

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

    @property
    def stores(self) -> Sequence[Store]:
        """Where run indexes lie: the sandbox's folder, and the bucket of a deployed stack."""
        folder = FolderStore(self.project.scratch / "sandbox")
        return [folder] if self.outputs is None else [folder, self.job.store]

    def target_of(self, run: Run) -> Target:
        """Return the place a run is at."""
        if isinstance(run.store, FolderStore):
            known = run.index.platform.get("runtime")
            if known and known != self.sandbox.platform.runtime:
                raise BadRequest(f"run {run.run_id} was started as a {known}, which is not to be had now")
            return self.sandbox
        return self.job
