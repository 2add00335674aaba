"""The stack's fan-out: deployed by the real engine, started by the command, with Batch jobs in containers."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from system_support import Lab

STACK = "fanout"
SMALL = {"cpu_milli": 1_000, "memory_mib": 1_024, "max_retries": 0}
FANOUT = {"max_parallelism": 4, "poll_s": 1, "stage_a": SMALL, "stage_b": SMALL, "stage_c": SMALL}


def write_stack(lab: Lab, **changes: Any) -> None:
    """Write the stack's file: the local cloud's, with the fan-out alone."""
    document = yaml.safe_load((lab.folder / "Pulumi.local.yaml").read_text())
    document["config"].pop("longhaul:heavy_runner", None)
    document["config"]["longhaul:batch_fanout"] = FANOUT | changes
    (lab.folder / f"Pulumi.{STACK}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


@pytest.fixture(scope="module")
def lab(cloud: Lab) -> Iterator[Lab]:
    """The local cloud with a stack `fanout`."""
    write_stack(cloud)
    done = cloud.longhaul("up", "--stack", STACK, "--yes", timeout_s=800)
    assert done.returncode == 0, done.stdout + done.stderr
    yield cloud
    cloud.stack(STACK).destroy(remove=True)


def test_a_second_up_and_a_preview_after_refresh_change_nothing(lab: Lab) -> None:
    assert lab.stack(STACK).up().is_quiet
    assert lab.stack(STACK).preview(refresh=True).is_quiet
