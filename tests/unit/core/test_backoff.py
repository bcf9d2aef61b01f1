"""When a sick upstream is asked again."""

import pytest

from proxy.core.backoff import BASE, CAP, Backoff


def test_nothing_is_left_alone_at_first() -> None:
    assert not Backoff().is_on(0.0)


@pytest.mark.parametrize(("drawn", "share"), [(0.0, 0.5), (1.0, 1.0)])
def test_each_failure_doubles_the_delay_up_to_a_bound(drawn: float, share: float) -> None:
    backoff, now = Backoff(), 1000.0
    for attempt in range(20):
        backoff.failed(now, lambda: drawn)
        delay = min(CAP, BASE * 2**attempt) * share
        assert backoff.is_on(now + delay - 0.001)
        now += delay
        assert not backoff.is_on(now)


def test_calls_that_were_under_way_together_fail_once() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.failed(0.0, lambda: 1.0)
    assert not backoff.is_on(BASE)


def test_a_success_forgets_the_failures() -> None:
    backoff = Backoff()
    backoff.failed(0.0, lambda: 1.0)
    backoff.failed(BASE, lambda: 1.0)
    backoff.succeeded()
    assert not backoff.is_on(BASE)
    backoff.failed(BASE, lambda: 1.0)
    assert not backoff.is_on(2 * BASE)


def test_the_upstreams_own_wish_is_waited_for() -> None:
    """RFC 9110 section 10.2.3."""
    backoff = Backoff()
    backoff.failed(0.0, lambda: 1.0, retry_after=120.0)
    assert backoff.is_on(119.9)
    assert not backoff.is_on(120.0)
    backoff.failed(120.0, lambda: 1.0, retry_after=0.1)
    assert backoff.is_on(121.9)
