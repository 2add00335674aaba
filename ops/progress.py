"""What a person sees while something takes time. All of it goes to stderr, so that results can be piped."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ops.store import Advance
from ops.targets import Bars, no_bars

SMALL = 8 << 20
"""Files below this many bytes move in less than two seconds and get no bar."""


@contextmanager
def bars(console: Console, *, quiet: bool = False) -> Iterator[Bars]:
    """Give what makes one bar for each large file; nothing is drawn where nobody looks on."""
    if quiet or not console.is_terminal:
        yield no_bars
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def add(label: str, size: int) -> Advance:
            if size < SMALL:
                return no_bars(label, size)
            task = progress.add_task(label, total=size)
            return lambda count: progress.advance(task, count)

        yield add


def duration(seconds: float) -> str:
    """Return a time span for a person: `8.4 s`, `2 min 05 s`, `1 h 02 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def usd(amount: float) -> str:
    """Return an amount for a person, with enough digits to tell small ones apart."""
    return f"${amount:.4f}" if amount < 1 else f"${amount:,.2f}"
