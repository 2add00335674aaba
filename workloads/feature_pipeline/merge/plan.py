"""What a merge will need, from the footers alone, before a byte is copied. Standard library only."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from workloads.feature_pipeline.merge import footer

BASE_BYTES = 24 * 2**20
"""Python itself, the modules and the copy queue; measured with bench/merge.py."""
CHUNK_BYTES = 480
"""Memory per column and row group: its encoded description in the source footer and in the new one; measured."""
WORKER_BYTES = 150 * 2**20
"""One recoding process (Arrow and one table of 120,000 rows x 16); measured."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One table to merge."""

    table: str
    path: Path


class TooLargeError(ValueError):
    """The merge does not fit; the message has the numbers and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Shape and needs of a merge."""

    tables: int
    rows: int
    columns: int
    """Columns of the merged file, the key once."""
    row_groups: int
    input_bytes: int
    """Size of all checkpoints."""
    output_bytes: int
    """Size of the merged file, at most."""
    largest_bytes: int
    """Size of the largest checkpoint."""
    memory_bytes: int
    """Peak memory of the merge process."""
    worker_memory_bytes: int
    """Peak memory of one recoding process, should a table not be aligned."""
    scratch_bytes: int
    """Free space needed beside the checkpoints."""
    workers: int
    """Recoding processes, should a table not be aligned; each holds one aligned table in scratch."""
    consume: bool
    """Whether each checkpoint is removed once it is in the output."""

    def summary(self) -> dict[str, int | bool]:
        """Return the plan as JSON-ready values."""
        return asdict(self)


def make(outlines: Sequence[footer.Outline], key: str, *, consume: bool, workers: int) -> Plan:
    """Plan the merge of the checkpoints `outlines`, of which the first gives the rows.

    Raises:
        footer.BadParquetError: a checkpoint has no column `key`.
    """
    for found in outlines:
        if key not in found.names:
            raise footer.BadParquetError(
                f"{found.path.name}: has no column {key!r}; it has {', '.join(found.names[:5])}, …"
            )
    groups = max(found.group_count for found in outlines)
    columns = 1 + sum(len(found.names) - 1 for found in outlines)
    sizes = [found.body_size + len(found.raw) + 8 for found in outlines]
    output = sum(found.body_size for found in outlines) + sum(len(found.raw) for found in outlines)
    return Plan(
        tables=len(outlines),
        rows=outlines[0].rows,
        columns=columns,
        row_groups=groups,
        input_bytes=sum(sizes),
        output_bytes=output,
        largest_bytes=max(sizes),
        memory_bytes=BASE_BYTES + CHUNK_BYTES * columns * groups,
        worker_memory_bytes=WORKER_BYTES + 4 * max(sizes),
        # consume: the table that is being copied is there twice; journal and new footer hold every footer once more
        scratch_bytes=max(sizes) + 2 * sum(len(found.raw) for found in outlines) if consume else output,
        workers=workers,
        consume=consume,
    )


def check(plan: Plan, scratch: Path, memory_limit: int | None, files_count: bool | None = None) -> None:
    """Refuse a merge that cannot fit.

    `memory_limit` is the container's, bytes, None where there is none. `files_count` says whether files in `scratch`
    count towards it; None finds out by the kind of its file system.

    Raises:
        TooLargeError: too little free scratch or memory, with the numbers and what to change.
    """
    free = os.statvfs(scratch).f_bavail * os.statvfs(scratch).f_frsize
    if plan.scratch_bytes > free:
        remedy = (
            "mount a larger ephemeral disk"
            if plan.consume
            else "merge with consume, which removes each checkpoint once it is copied, or mount a larger ephemeral disk"
        )
        raise TooLargeError(
            f"scratch: the merge of {plan.tables} tables needs {_gib(plan.scratch_bytes)} free beside its checkpoints, "
            f"got {_gib(free)} in {scratch}; {remedy}"
        )
    if memory_limit is None:
        return
    files_count = in_memory(scratch) if files_count is None else files_count
    need = plan.memory_bytes + (plan.input_bytes + plan.scratch_bytes if files_count else 0)
    if need > memory_limit:
        files = f", of which {_gib(plan.input_bytes + plan.scratch_bytes)} are files" if files_count else ""
        raise TooLargeError(
            f"memory: the merge of {plan.tables} tables needs {_gib(need)}{files}, the limit is {_gib(memory_limit)}; "
            "raise the job's memory, merge with consume, or use a disk as scratch"
        )


def in_memory(path: Path) -> bool:
    """Say whether the file system of `path` is memory (tmpfs, ramfs, or Cloud Run's own)."""
    place = str(path.resolve())
    best, kind = "", ""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            _, mount, filesystem, *_ = line.split(" ")
            inside = place == mount or place.startswith(mount.rstrip("/") + "/")
            if inside and len(mount) >= len(best):
                best, kind = mount, filesystem
    return kind in ("tmpfs", "ramfs")


def names(outlines: Sequence[footer.Outline], tables: Sequence[str], key: str) -> list[dict[str, str]]:
    """Return for each table {column: its name in the merged file}, without the key but for the first table.

    A name that more than one table uses becomes TABLE__COLUMN in each of them, whichever comes first: the name of a
    column does not depend on the order of the tables.

    Raises:
        footer.BadParquetError: two columns still have one name.
    """
    used = Counter(name for found in outlines for name in found.names if name != key)
    result: list[dict[str, str]] = []
    taken: set[str] = {key}
    for index, (found, table) in enumerate(zip(outlines, tables, strict=True)):
        renames = {name: name if used[name] == 1 else f"{table}__{name}" for name in found.names if name != key}
        for name, new in renames.items():
            if new in taken:
                raise footer.BadParquetError(f"table {table}: column {name!r} would be a second {new!r}; rename it")
            taken.add(new)
        result.append(({key: key} if index == 0 else {}) | renames)
    return result


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
