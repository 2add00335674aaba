"""Pairs x stages on the terminal: a table that is renewed, or a line for each change where nobody looks on."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops.commands.common import App
from ops.progress import duration, usd
from ops.runs import moment
from workloads.common.contract import RunState
from workloads.feature_pipeline.contract import Stage, Status

if TYPE_CHECKING:
    from rich.table import Table

    from ops.feature_results import PairResult
    from ops.features import Batch, Slot

HEADERS = {stage: stage.value.replace("_", " ") for stage in Stage}


class Board:
    """Shows a batch while it runs."""

    def __init__(self, app: App, *, quiet: bool) -> None:
        from rich.live import Live

        self._app, self._quiet = app, quiet
        self._last: dict[str, str] = {}
        is_drawn = app.err.is_terminal and not quiet
        self._live = Live(console=app.err, refresh_per_second=2, transient=True) if is_drawn else None

    def __enter__(self) -> "Board":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, batch: "Batch") -> None:
        """Show the batch as it is now."""
        if self._live is not None:
            self._live.update(board(batch, datetime.now(UTC)))
        elif not self._quiet:
            for slot in batch.slots:
                if not slot.is_waiting and (text := line(slot)) != self._last.get(slot.pair):
                    self._last[slot.pair] = text
                    self._app.say(text)


def board(batch: "Batch", now: datetime) -> "Table":
    """Return pairs x stages: seconds of each stage, what is under way at `now`, tables, rate and time left."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for header in ("pair", "state", *HEADERS.values(), "tables", "a min", "left", "MiB"):
        table.add_column(header, no_wrap=True)
    for slot in batch.slots:
        table.add_row(*row(slot, now))
    return table


def row(slot: "Slot", now: datetime) -> list[str]:
    """Return the cells of one pair."""
    status = _status(slot)
    if status is None:
        return [slot.pair, str(slot.state), *([""] * (len(Stage) + 4))]
    running = slot.is_active and status.state == RunState.RUNNING
    stages = []
    for stage in Stage:
        spent = status.stage_seconds.get(stage)
        if running and stage == status.stage:
            # the container tells every ten seconds only
            since = max((now - moment(status.heartbeat_at)).total_seconds(), 0)
            stages.append(f"{duration((spent or 0) + since)} …")
        else:
            stages.append("" if spent is None else duration(spent))
    tables = f"{status.tables_done}/{status.tables_total}" if status.tables_total else ""
    rate = f"{status.tables_per_minute:,.0f}" if status.tables_per_minute else ""
    left = duration(status.eta_s) if running and status.eta_s and status.stage == Stage.EXTRACT else ""
    return [slot.pair, str(slot.state), *stages, tables, rate, left, f"{status.peak_memory_mib:,}"]


def line(slot: "Slot") -> str:
    """Return one pair as a line that changes with its stage, not with each table."""
    status, detail = _status(slot), ""
    if slot.refused is not None:
        detail = f"not started: {slot.refused}"
    elif status is not None and slot.is_active:
        detail = HEADERS.get(Stage(status.stage), "") + (
            f", {status.tables_total} tables" if status.tables_total else ""
        )
    elif status is not None:
        detail = f"{status.error_code}: {status.message}" if status.error_code else ""
    return f"{slot.pair} {slot.state} {detail}".rstrip()


def _status(slot: "Slot") -> Status | None:
    return slot.run.status if slot.run is not None and isinstance(slot.run.status, Status) else None


def summary(results: "Sequence[PairResult]") -> list[str]:
    """Return pairs with validation, size, time and price, as lines of equal columns."""
    lines = [("pair", "state", "validation", "rows", "columns", "size", "tables", "took", "cost")]
    for result in results:
        reused = f" ({result.tables_reused} reused)" if result.tables_reused else ""
        lines.append(
            (
                result.pair,
                result.state,
                result.validation,
                f"{result.rows:,}" if result.rows else "",
                f"{result.columns:,}" if result.columns else "",
                f"{result.bytes / 1e6:,.1f} MB" if result.bytes else "",
                f"{result.tables}{reused}" if result.tables else "",
                duration(result.seconds) if result.seconds else "",
                usd(result.usd) + (" delayed" if result.delayed else "") if result.usd else "",
            )
        )
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in lines
    ]
