"""How many are taken in a second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.rate import Rate


def test_a_burst_of_a_seconds_worth_is_taken_at_any_time() -> None:
    rate = Rate(200)
    for now in (0.0, 1000.0, 1001.0):
        assert [rate.take(now) for _ in range(200)] == [0.0] * 200
        assert rate.take(now) == pytest.approx(1 / 200)


def test_the_wait_that_is_told_is_enough_and_no_longer_than_needed() -> None:
    rate = Rate(4)
    assert [rate.take(5.0) for _ in range(4)] == [0.0] * 4
    wait = rate.take(5.0)
    assert wait == 0.25
    assert rate.take(5.0 + wait / 2) == pytest.approx(wait / 2)
    assert rate.take(5.0 + wait) == 0.0


def test_what_is_refused_does_not_count() -> None:
    rate = Rate(2)
    for _ in range(50):
        rate.take(0.0)
    assert [rate.take(1.0) for _ in range(3)] == [0.0, 0.0, 0.5]


@given(st.integers(1, 50), st.lists(st.sampled_from([0.0, 0.001, 0.02, 0.3, 1.0, 7.0]), max_size=300))
def test_within_any_time_no_more_are_taken_than_a_burst_and_the_rate(
    per_second: int, steps: list[float]
) -> None:
    rate = Rate(per_second)
    now, taken = 0.0, list[float]()
    for step in steps:
        now += step
        if rate.take(now) == 0.0:
            taken.append(now)
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= per_second * (1 + taken[last] - start) + 1e-6
