"""The platform's limits, each refused by name with the way out."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import limits
from components.limits import (
    ACCELERATORS,
    CPU_MEMORY_GIB,
    REGIONS,
    RESERVED_ENV,
    Accelerator,
    JobShape,
    Limit,
    Words,
    check_account_id,
    check_name,
)

GOOD = {"name": "hr", "location": "us-central1", "cpu": 8, "memory_gib": 32, "timeout_s": 1_800}


def shape(**changes: object) -> JobShape:
    return JobShape(**{**GOOD, **changes})  # type: ignore[arg-type]  # the cases below are wrong on purpose


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cpu": 4}, "hr: memory_gib must be 2..16 GiB with 4 vCPU, got 32; 32 GiB goes with cpu 8"),
        (
            {"cpu": 2, "memory_gib": 12},
            "hr: memory_gib must be 0.5..8 GiB with 2 vCPU, got 12; 12 GiB goes with cpu 4 or 6 or 8",
        ),
        ({"cpu": 8, "memory_gib": 64}, "got 64; no number of vCPU takes it"),
        (
            {"cpu": 8, "memory_gib": 2},
            "hr: memory_gib must be 4..32 GiB with 8 vCPU, got 2; 2 GiB goes with cpu 1 or 2 or 4",
        ),
        ({"cpu": 3}, "hr: cpu must be one of 1, 2, 4, 6, 8 vCPU, got 3"),
        ({"memory_gib": 4.0001}, "hr: memory_gib must be a whole number of MiB, got 4.0001"),
        ({"timeout_s": 169 * 3600}, "hr: timeout_s must be 1..604800 s, got 608400; split the work into more tasks"),
        ({"timeout_s": 0}, "hr: timeout_s must be 1..604800 s, got 0"),
        ({"max_retries": 11}, "hr: max_retries must be 0..10 retries, got 11"),
        ({"max_retries": -1}, "hr: max_retries must be 0..10 retries, got -1"),
        ({"task_count": 10_001}, "hr: task_count must be 1..10000 tasks, got 10001; give each task more work"),
        ({"task_count": 4, "parallelism": 5}, "hr: parallelism must be 1..4 tasks, got 5"),
        ({"location": "mars-north1"}, "hr: location must be one of africa-south1, asia-east1, "),
        (
            {"env_names": ["CLOUD_RUN_TASK_INDEX"]},
            "hr: env must be free of names that the platform sets, got CLOUD_RUN_TASK_INDEX",
        ),
        (
            {"env_names": ["2FAST"]},
            "hr: env must be named by letters, digits and _, not starting with a digit, got '2FAST'",
        ),
        ({"env_names": [f"V{i}" for i in range(1_001)]}, "hr: env must be 0..1000 variables, got 1001"),
        (
            {"accelerator": "nvidia-t4"},
            "hr: accelerator must be one of nvidia-l4, nvidia-rtx-pro-6000, got 'nvidia-t4'",
        ),
        ({"accelerator": "nvidia-l4", "cpu": 2}, "hr: cpu must be 4 or more vCPU with nvidia-l4, got 2"),
        (
            {"accelerator": "nvidia-rtx-pro-6000", "cpu": 20, "memory_gib": 32},
            "hr: memory_gib must be 80 GiB or more with nvidia-rtx-pro-6000, got 32",
        ),
        ({"accelerator": "nvidia-l4", "location": "europe-west9"}, "got 'europe-west9'; nvidia-l4 is nowhere else"),
        (
            {"accelerator": "nvidia-l4", "timeout_s": 7_200},
            "hr: timeout_s must be 1..3600 s, got 7200; split the work into more tasks, or set long_gpu_timeout",
        ),
    ],
)
def test_a_broken_limit_is_refused_with_the_way_out(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        shape(**changes)


def test_a_gpu_task_may_take_12_hours_in_the_preview() -> None:
    assert shape(accelerator="nvidia-l4", timeout_s=43_200, long_gpu_timeout=True).timeout_s == 43_200


def refused(cpu: int, mib: int) -> str:
    """Why so much memory is refused; empty if it is taken."""
    try:
        shape(cpu=cpu, memory_gib=mib / 1024)
    except ValueError as error:
        return str(error)
    return ""


@given(cpu=st.integers(0, 12), mib=st.integers(1, 40 * 1024))
def test_memory_is_taken_exactly_where_the_matrix_has_it(cpu: int, mib: int) -> None:
    limit = CPU_MEMORY_GIB.get(cpu)
    fits = limit is not None and limit.low * 1024 <= mib <= limit.high * 1024
    assert (refused(cpu, mib) == "") == fits


@given(mib=st.integers(4 * 1024, 32 * 1024))
def test_memory_is_written_in_the_largest_unit_that_is_whole(mib: int) -> None:
    assert shape(memory_gib=mib / 1024).memory == (f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi")


@given(cpu=st.sampled_from(sorted(CPU_MEMORY_GIB)), mib=st.integers(512, 32 * 1024))
def test_the_remedy_names_a_shape_that_is_taken(cpu: int, mib: int) -> None:
    for remedy in re.findall(r"\d+", refused(cpu, mib).partition("goes with cpu ")[2]):
        assert refused(int(remedy), mib) == ""


@pytest.mark.parametrize("name", ["Heavy", "heavy_runner", "1heavy", "h" * 52, ""])
def test_a_name_that_a_job_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"name must be 1\.\.51 lower-case letters, digits and dashes, starting"):
        check_name(name)


def test_the_longest_name_leaves_room_for_what_pulumi_adds() -> None:
    check_name("h" * 51)
    assert len("h" * 51 + "-job" + "-0123abc") == 63


@pytest.mark.parametrize("account_id", ["short", "Upper-case", "ends-with-a-dash-", "a" * 31])
def test_an_account_id_that_iam_refuses_is_refused(account_id: str) -> None:
    with pytest.raises(ValueError, match=r"hr: account_id must be 6\.\.30 lower-case letters"):
        check_account_id("hr", account_id)


def test_every_number_says_where_it_comes_from_and_when_it_was_read() -> None:
    found = [item for item in vars(limits).values() if isinstance(item, Limit | Words | Accelerator)]
    found += [*CPU_MEMORY_GIB.values(), *ACCELERATORS.values()]
    assert len(found) > 15
    for item in found:
        assert re.fullmatch(r"https://\S+", item.source)
        assert re.fullmatch(r"20\d\d-\d\d", item.as_of)


def test_tables_name_regions_that_cloud_run_has() -> None:
    assert len(REGIONS) == 42
    assert set(REGIONS.values()) == {1, 2}
    for gpu in ACCELERATORS.values():
        assert set(gpu.invited_regions) <= set(gpu.regions) <= set(REGIONS)
    assert "CLOUD_RUN_EXECUTION" in RESERVED_ENV.words
