"""Ids derived from the stack."""

import re

from hypothesis import given
from hypothesis import strategies as st

from components.limits import check_account_id
from components.names import derived_id, label_value

STACK = st.from_regex(r"[A-Za-z0-9_.-]{1,100}", fullmatch=True)


def test_a_short_stack_reads_plainly() -> None:
    assert derived_id("prod", "heavy") == "lh-prod-heavy"


@given(stack=STACK, role=st.sampled_from(["heavy", "features", "loadgen", "scheduler"]))
def test_it_is_an_account_id_whatever_the_stack_is_called(stack: str, role: str) -> None:
    check_account_id("hr", derived_id(stack, role))


@given(one=STACK, other=STACK)
def test_two_stacks_do_not_meet(one: str, other: str) -> None:
    assert (derived_id(one, "heavy") == derived_id(other, "heavy")) == (one == other)


def test_stacks_that_differ_in_case_or_at_the_end_do_not_meet() -> None:
    names = ["Dev", "dev", "dev.", "feature-with-a-very-long-name-1", "feature-with-a-very-long-name-2"]
    assert len({derived_id(name, "heavy") for name in names}) == len(names)


@given(st.text(max_size=200))
def test_a_label_value_is_what_the_platform_takes(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9_-]{0,63}", label_value(text))
