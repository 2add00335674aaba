"""Whether a run fits its memory and scratch space: asked before anything is extracted, and again as sizes show."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from workloads.feature_pipeline.checkpoint import ROW_GROUP_ROWS
from workloads.feature_pipeline.merge import plan

VALUE_BYTES = 8
SMALLEST_RATIO = 0.3
"""Size of a checkpoint over its values that no real feature table went below (0.61 is usual): what does not fit even
so is refused before it is read."""
PROJECT_AFTER = 0.1
"""Share of the tables after which their mean size is believed."""
PROCESS_BYTES = 300 << 20
"""What this process holds itself: Arrow, the BigQuery clients, tables on their way."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a run may take."""

    memory: int | None
    """Limit of the container, bytes; None if there is none."""
    scratch: int
    """Free bytes of the scratch file system before the first checkpoint."""
    in_memory: bool
    """Whether files in scratch count as memory."""

    def consume(self, checkpoint_bytes: int) -> bool:
        """Whether the merge must remove each checkpoint once it is copied."""
        return self.in_memory or 2 * checkpoint_bytes > self.scratch

    def refuse(self, *, tables: int, columns: int, rows: int, checkpoint_bytes: int, basis: str) -> None:
        """Raise plan.TooLargeError, with the numbers and what to change, if a merge of this size cannot fit."""
        groups = max(1, math.ceil(rows / ROW_GROUP_ROWS))
        merge = plan.BASE_BYTES + plan.CHUNK_BYTES * columns * groups
        footers = plan.CHUNK_BYTES * columns * groups
        files = checkpoint_bytes + 2 * footers + checkpoint_bytes // max(1, tables)
        what = f"{tables:,} tables, {columns:,} columns, {rows:,} rows, {basis}"
        if files > self.scratch:
            raise plan.TooLargeError(
                f"scratch: checkpoints of {_gib(files)} ({what}) do not fit the {_gib(self.scratch)} that are free; "
                "give the job a larger ephemeral disk, or more memory where scratch is memory"
            )
        need = PROCESS_BYTES + merge + (files if self.in_memory else 0)
        if self.memory is not None and need > self.memory:
            part = f", {_gib(files)} of it files" if self.in_memory else ""
            raise plan.TooLargeError(
                f"memory: {_gib(need)} are needed{part} ({what}), the limit is {_gib(self.memory)}; "
                "raise memory_gib, or set scratch to disk"
            )


def find(folder: Path, memory: int | None, *, in_memory: bool) -> Room:
    """The room that `folder` and the container have now."""
    found = os.statvfs(folder)
    return Room(memory=memory, scratch=found.f_bavail * found.f_frsize, in_memory=in_memory or plan.in_memory(folder))


def smallest(columns: int, rows: int) -> int:
    """Bytes that the checkpoints will take at the very least."""
    return int(columns * rows * VALUE_BYTES * SMALLEST_RATIO)


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
