"""The resources of each stack as data: their diff is what a reviewer reads. `make snapshots` rewrites them."""

import os
from pathlib import Path

import pytest
import yaml
from conftest import declared

SNAPSHOTS = Path(__file__).parent / "snapshots"
STACKS = ["dev", "local", "prod"]


def text_of(resources: dict[str, dict[str, object]]) -> str:
    return yaml.safe_dump(resources, width=120)


@pytest.mark.parametrize("name", STACKS)
def test_stack_matches_its_snapshot(name: str) -> None:
    update = declared(name)
    file = SNAPSHOTS / f"{name}.yaml"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        file.write_text(text_of(update))
    assert text_of(update) == file.read_text(), "read the difference; if it is meant, `make snapshots` accepts it"
