"""What the refresher is for: what is served is out of date a tenth of the time, for no more calls."""

from tests.unit.zipf import Case, compared

STEADY = Case(ttl=600, per_second=50, changes_every=600, settled=120, end=360, interval="10s")


def test_users_that_are_refreshed_are_out_of_date_a_tenth_of_the_time_for_no_more_calls() -> None:
    without, refreshed = compared(STEADY, seed=9)
    assert 0.3 < without.share < 0.6
    assert refreshed.share < without.share / 10
    assert refreshed.calls <= without.calls
