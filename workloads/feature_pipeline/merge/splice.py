"""The merge: one wide Parquet file from many checkpoints with the same rows, by copying bytes.

Where every checkpoint has the key of the first one, in the same row groups, the merge is neither a join nor a
decode: the column chunks are copied as they are and one new footer describes them. A checkpoint that is not aligned
is written anew by a recoding process first (`pool.py`); the physical order of the tables in the file is free, only
the footer's order counts. Standard library only.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from workloads.feature_pipeline.merge import footer, plan
from workloads.feature_pipeline.merge.assembly import Assembly, Table
from workloads.feature_pipeline.merge.copy import Copier
from workloads.feature_pipeline.merge.journal import Entry, Journal
from workloads.feature_pipeline.merge.master import Master
from workloads.feature_pipeline.merge.pool import Recoded, RecodePool, aligned, partial_of

Progress = Callable[[int, int, int], None]
"""Called with (tables done, tables, bytes written), from the thread that copies."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to merge."""

    key: str
    """Column that all tables share; the first table's values and order are the merged file's."""
    consume: bool = False
    """Remove each checkpoint once it is in the output (for scratch that is memory). Default False."""
    workers: int = 2
    """Recoding processes, 1 to 64. Default 2."""
    policies: Mapping[str, str] = field(default_factory=dict)
    """What to do with rows of a table that is not aligned (see `align.Policies`). Default: that class's defaults."""
    memory_limit: int | None = None
    """Memory of the container, bytes; a merge that cannot fit is refused. Default: not checked."""
    in_memory: bool | None = None
    """Whether files beside the output count as memory. Default: found out by the kind of their file system."""

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= 64:
            raise ValueError(f"workers must be 1..64 processes, got {self.workers}")


@dataclass(kw_only=True)
class Result:
    """What a merge did."""

    rows: int
    columns: int
    row_groups: int
    bytes: int
    spliced: int
    """Tables whose bytes were copied as they were."""
    recoded: dict[str, dict[str, int]] = field(default_factory=dict)
    """Tables that were not aligned: {table: counts of missing, duplicate, extra, … rows}."""
    renamed: dict[str, list[str]] = field(default_factory=dict)
    """Tables of which columns were renamed because another table uses the name: {table: new names}."""
    resumed: int = 0
    """Tables that an earlier, interrupted attempt had copied already."""


def merge(
    sources: Sequence[plan.Source],
    output: Path,
    options: Options,
    progress: Progress | None = None,
    planned: Callable[[plan.Plan], None] | None = None,
) -> Result:
    """Merge `sources` into `output`, which appears under its name only when it is complete.

    `planned` is told what the merge will need before a byte is copied. With `options.consume` an interrupted merge is
    continued by calling this again with the same tables.

    Raises:
        footer.BadParquetError: a checkpoint cannot be read; the others are untouched.
        plan.TooLargeError: it cannot fit; nothing was written.
        journal.JournalError: the partial output is of another merge.
        pool.RecodeError: a table could not be aligned.
        OSError: reading or writing failed. Without consume the partial output is removed, with it kept.
    """
    if not sources:
        raise ValueError("sources must name at least one table, got none")
    partial = output.with_name(output.name + ".partial")
    journal = None
    if options.consume:
        journal = Journal(output.with_name(output.name + ".journal"), _identity(sources, options.key))
    try:
        result = _Merge(sources, output, partial, options, journal, progress).run(planned)
    except BaseException:
        if journal:
            journal.close()
        else:
            partial.unlink(missing_ok=True)
        raise
    if journal:
        journal.remove()
    return result


def _identity(sources: Sequence[plan.Source], key: str) -> str:
    text = "\n".join([key, *(source.table for source in sources)])
    return hashlib.sha256(text.encode()).hexdigest()


class _Merge:
    """One merge under way."""

    def __init__(
        self,
        sources: Sequence[plan.Source],
        output: Path,
        partial: Path,
        options: Options,
        journal: Journal | None,
        progress: Progress | None,
    ):
        self.sources, self.output, self.partial, self.options = sources, output, partial, options
        self.journal, self.progress = journal, progress
        self.entries = {entry.table: entry for entry in journal.entries} if journal else {}
        self.key_file = output.with_name(output.name + ".key.parquet")
        self.position = len(footer.MAGIC)
        self.done = 0
        self.result = Result(rows=0, columns=0, row_groups=0, bytes=0, spliced=0)

    def run(self, told: Callable[[plan.Plan], None] | None) -> Result:
        for source in self.sources:  # of an attempt that was killed
            partial_of(aligned(source.path)).unlink(missing_ok=True)
        if self.entries and not self.partial.exists():  # killed after the rename, before the journal went
            os.replace(self.output, self.partial)
        tables, planned = self._plan()
        if told:
            told(planned)
        assembly = Assembly(len(tables))
        with self.partial.open("r+b" if self.entries else "wb", buffering=0) as out, ExitStack() as stack:
            out.write(footer.MAGIC)
            master = self._replay(tables, assembly)
            if self.entries:
                out.truncate(self.position)
            options = self.options
            pool = stack.enter_context(RecodePool(self.key_file, options.key, options.policies, options.workers))
            copier = stack.enter_context(Copier(out.fileno()))
            self._copy([table for table in tables if table.name not in self.entries], master, assembly, copier, pool)
            copier.finish()
            out.seek(self.position)
            with os.fdopen(os.dup(out.fileno()), "wb", buffering=1 << 20) as end:
                metadata = {"longhaul.key": options.key, "longhaul.tables": str(len(tables))}
                self.result.row_groups = assembly.finish(end, metadata)
        self.key_file.unlink(missing_ok=True)
        self.result.rows, self.result.columns = planned.rows, planned.columns
        self.result.bytes = self.partial.stat().st_size
        os.replace(self.partial, self.output)
        return self.result

    def _plan(self) -> tuple[list[Table], plan.Plan]:
        """Read every footer's outline, check that the merge fits, and name the columns."""
        outlines = []
        for source in self.sources:
            entry = self.entries.get(source.table)
            outlines.append(
                footer.parse_outline(source.path, entry.footer, entry.body_size)
                if entry
                else footer.outline(source.path)
            )
        planned = plan.make(outlines, self.options.key, consume=self.options.consume, workers=self.options.workers)
        if not self.entries:  # an interrupted merge fitted when it began, and its files are counted already
            plan.check(planned, self.output.parent, self.options.memory_limit, self.options.in_memory)
        columns = plan.names(outlines, [source.table for source in self.sources], self.options.key)
        tables = []
        for index, (source, renames) in enumerate(zip(self.sources, columns, strict=True)):
            tables.append(Table(index, source.table, source.path, renames))
            changed = [new for old, new in renames.items() if old != new]
            if changed:
                self.result.renamed[source.table] = changed
        return tables, planned

    def _replay(self, tables: list[Table], assembly: Assembly) -> Master | None:
        """Describe the tables that an earlier attempt copied; return the master if it is among them."""
        master = None
        by_name = {table.name: table for table in tables}
        for entry in self.entries.values():
            table = by_name[entry.table]
            parsed = footer.parse(entry.footer, entry.body_size)
            assembly.place(table, parsed, entry.position)
            self.position = entry.end
            if table.index == 0:
                master = Master.copied(self.partial, parsed, self.options.key, entry.position)
                master.write(self.key_file)
            for path in (table.path, aligned(table.path)):
                path.unlink(missing_ok=True)
            self.result.resumed += 1
            self._advance()
        return master

    def _copy(
        self, tables: list[Table], master: Master | None, assembly: Assembly, copier: Copier, pool: RecodePool
    ) -> None:
        """Queue every table's copy: aligned ones in order, recoded ones as they get ready."""
        by_name = {table.name: table for table in tables}
        for table in tables:
            parsed = footer.read(table.path)
            if master is None:
                master = Master.read(table.path, parsed, self.options.key)
                master.write(self.key_file)
            elif not master.matches(table.path, parsed):
                pool.submit(table.name, table.path)
                continue
            self.result.spliced += 1
            self._begin(table, table.path, parsed, assembly, copier)
            for recoded in pool.ready():
                self._begin_recoded(by_name[recoded.table], recoded, assembly, copier)
        for recoded in pool.rest():
            self._begin_recoded(by_name[recoded.table], recoded, assembly, copier)

    def _begin_recoded(self, table: Table, recoded: Recoded, assembly: Assembly, copier: Copier) -> None:
        self.result.recoded[table.name] = recoded.counts
        self._begin(table, recoded.path, footer.read(recoded.path), assembly, copier)

    def _begin(self, table: Table, path: Path, parsed: footer.Footer, assembly: Assembly, copier: Copier) -> None:
        """Give `table` its place in the output, describe it there, and queue the copy of `path`."""
        start = self.position
        ranges = assembly.place(table, parsed, start)
        self.position += sum(size for _, size in ranges)
        end = self.position

        def settle() -> None:
            """Run once the bytes are in the output: only now may the checkpoint go."""
            if self.journal:
                self.journal.add(Entry(table.name, start, end, parsed.body_size, parsed.raw))
                table.path.unlink(missing_ok=True)
            if path != table.path:
                path.unlink(missing_ok=True)
            self._advance(end)

        copier.submit(path, ranges, start, settle)

    def _advance(self, written: int = 0) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done, len(self.sources), written or self.position)
