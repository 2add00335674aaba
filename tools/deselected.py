"""A pytest plugin: says at the end how many tests were left out, and why."""

from collections import Counter
from collections.abc import Sequence

import pytest


class Deselected:
    """Counts the deselected tests by the marker that keeps them out of an ordinary run."""

    def __init__(self, config: pytest.Config) -> None:
        self.reasons = {
            name.split("(")[0].strip(): text.strip()
            for name, _, text in (line.partition(":") for line in config.getini("markers"))
        }
        self.left_out: Counter[str] = Counter()

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        for item in items:
            own = [name for name in ("live", "gpu", "faults") if item.get_closest_marker(name)]
            self.left_out[own[0] if own else ""] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for marker, count in sorted(self.left_out.items()):
            why = f"{marker}: {self.reasons.get(marker, '')}" if marker else "not chosen by -k or -m"
            terminalreporter.write_line(f"left out: {count} ({why})")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Deselected(config), "longhaul-deselected")
