"""How long a retry waits, and how many there may be."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.retry import BASE, CAP, SHARE, WINDOW, RetryBudget, delay

STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.125, 1.0, 9.875, WINDOW, 25.0]), st.integers(0, 60), st.integers(0, 9))
)


@pytest.mark.parametrize(
    ("attempt", "most"), [(0, BASE), (1, 2 * BASE), (2, 4 * BASE), (50, CAP), (10**9, CAP)]
)
def test_a_delay_is_anything_up_to_a_bound_that_doubles(attempt: int, most: float) -> None:
    assert delay(attempt, lambda: 0.0) == 0.0
    assert delay(attempt, lambda: 0.5) == most / 2


def test_delays_are_spread_over_all_of_it() -> None:
    drawn = random.Random(7).random
    spread = sorted(delay(0, drawn) for _ in range(1000))
    assert max(later - earlier for earlier, later in pairwise([0.0, *spread, BASE])) < 0.02 * BASE


def test_the_first_failures_after_a_quiet_time_may_be_retried() -> None:
    budget = RetryBudget(2)
    budget.called(1000.0)
    assert [budget.take(1000.0) for _ in range(3)] == [True, True, False]


def test_of_many_calls_one_in_ten_may_be_retried() -> None:
    budget = RetryBudget(2)
    taken = 0
    for _ in range(1000):
        budget.called(0.0)
        taken += budget.take(0.0)
    assert taken == 100


def test_a_budget_without_a_floor_needs_calls() -> None:
    budget = RetryBudget(0)
    for _ in range(9):
        budget.called(0.0)
    assert not budget.take(0.0)
    budget.called(0.0)
    assert [budget.take(0.0), budget.take(0.0)] == [True, False]


def test_what_was_taken_comes_back_with_time() -> None:
    budget = RetryBudget(1)
    assert [budget.take(now) for now in (0.0, WINDOW - 0.1, WINDOW, 2 * WINDOW - 0.1)] == [True] + [False] * 3
    assert budget.take(2 * WINDOW)


def test_calls_of_long_ago_allow_nothing_now() -> None:
    budget = RetryBudget(0)
    for _ in range(1000):
        budget.called(0.0)
    assert budget.take(2 * WINDOW - 0.1)
    assert not budget.take(2 * WINDOW)


@given(st.integers(0, 3), STEPS)
def test_retries_are_at_most_their_share_and_not_less_than_it(
    floor: int, steps: list[tuple[float, int, int]]
) -> None:
    """Against all calls and retries that there were, by windows that slide without steps."""
    budget, now = RetryBudget(floor), 0.0
    calls: list[float] = []
    retries: list[float] = []

    def since(times: list[float], seconds: float) -> int:
        return sum(now - at < seconds for at in times)

    for passed, made, wished in steps:
        now += passed
        for _ in range(made):
            budget.called(now)
            calls.append(now)
        for _ in range(wished):
            if budget.take(now):
                retries.append(now)
                assert since(retries, WINDOW) <= max(floor, SHARE * since(calls, 2 * WINDOW))
            else:
                assert since(retries, 2 * WINDOW) + 1 > max(floor, SHARE * since(calls, WINDOW))
