"""The list of runs as text: whole where it is piped, cut to the window where somebody looks."""

import io

import pytest
from rich.console import Console

from ops.commands.common import App
from ops.commands.runs import _print_rows

ROW = {
    "run_id": "demo-20261124-075931",
    "state": "FAILED",
    "runtime": "cloud-run",
    "started_at": "2026-11-24T07:59:40+00:00",
    "seconds": 14.8,
    "started_by": "user:operator@longhaul.local",
    "detail": "script_error: The script ended with exit code 3.",
    "recorded": True,
}


@pytest.mark.parametrize("terminal", [False, True])
def test_a_row_is_cut_for_a_window_only(terminal: bool) -> None:
    out = io.StringIO()
    app = App(out=Console(file=out, force_terminal=terminal, width=80, color_system=None))
    _print_rows(app, [ROW], one=False)
    row = out.getvalue().splitlines()[1]
    assert row.startswith("demo-20261124-075931  FAILED")
    assert (len(row) == 80 and row.endswith("…")) if terminal else row.endswith(str(ROW["detail"]))
