"""Hits that are counted in plain numbers come to what the library's own counters would have come to."""

import re
from collections.abc import Sequence
from importlib.metadata import version

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.samples import Sample

from proxy.metrics import _AGES, _SECONDS, Metrics
from proxy.tallies import Spread, Tally, add

RECHECK = (
    f"prometheus_client {version('prometheus_client')}: Histogram's {{}} has changed; "
    "re-check proxy.tallies.add against Histogram.observe"
)
BOUNDS = (0.5, 1.0, 4.0)
# Halves and quarters add up exactly, in whatever order.
EXACT = st.integers(0, 4_000).map(lambda quarters: quarters / 4)
HIT = st.tuples(
    st.integers(1, 100),
    st.integers(0, 8_000_000).map(float),
    st.integers(0, 11 << 14).map(lambda n: n / (1 << 14)),
)
"""Ids, the age of the oldest and the time that it took, in seconds; both add up exactly."""


def histogram() -> tuple[Histogram, CollectorRegistry]:
    registry = CollectorRegistry()
    return Histogram("h", "of a test", registry=registry, buckets=BOUNDS), registry


def samples(registry: CollectorRegistry) -> list[Sample]:
    """All that it shows but for when it was made."""
    found = [sample for family in registry.collect() for sample in family.samples]
    return [sample for sample in found if not sample.name.endswith("_created")]


def bucketed(tally: Tally, observed: Sequence[float]) -> Tally:
    for seconds in observed:
        tally.count(1, 0.0, 0, seconds)
    return tally


def test_a_histogram_has_the_private_names_that_are_added_to() -> None:
    found, _ = histogram()
    assert len(found._buckets) == len(BOUNDS) + 1, RECHECK.format("_buckets")
    assert [bucket.get() for bucket in found._buckets] == [0.0] * 4, RECHECK.format("_buckets")
    assert found._sum.get() == 0.0, RECHECK.format("_sum")
    found.observe(
        1.0
    )  # a bound belongs to its own bucket, and each is counted in one: the exposition adds them up
    assert [bucket.get() for bucket in found._buckets] == [0.0, 1.0, 0.0, 0.0], RECHECK.format("observe")
    assert found._sum.get() == 1.0, RECHECK.format("observe")


@given(observed=st.lists(st.one_of(EXACT, st.sampled_from(BOUNDS))))
def test_what_is_added_is_what_is_observed_one_by_one(observed: list[float]) -> None:
    one_by_one, slow = histogram()
    at_once, quick = histogram()
    for value in observed:
        one_by_one.observe(value)
    tally = bucketed(Tally(BOUNDS, BOUNDS), observed)
    add(at_once, tally.took, tally.seconds)
    assert samples(quick) == samples(slow), RECHECK.format("observe")


def test_another_number_of_buckets_is_an_error() -> None:
    found, _ = histogram()
    with pytest.raises(ValueError, match="zip"):
        add(found, [1, 2, 3], 1.0)


def test_a_tally_counts_requests_ids_times_and_ages() -> None:
    tally = Tally(BOUNDS, (1, 10))
    tally.count(3, 5.0, tally.bucket_of(5.0), 0.25)
    tally.count(1, 60.0, tally.bucket_of(60.0), 4.5)
    assert (tally.requests, tally.ids) == (2, 4)
    assert (tally.seconds, tally.took) == (4.75, [1, 0, 0, 1])
    assert (tally.age, tally.ages) == (65.0, [0, 1, 1])


def test_a_tally_begins_anew() -> None:
    tally = Tally(BOUNDS, (1, 10))
    tally.count(3, 5.0, 1, 0.25)
    tally.clear()
    assert (tally.requests, tally.ids, tally.seconds, tally.age) == (0, 0, 0.0, 0.0)
    assert (tally.took, tally.ages) == ([0] * 4, [0] * 3)


@pytest.mark.parametrize(
    ("age", "bucket"), [(0.0, 0), (1.0, 0), (1.001, 1), (10.0, 1), (10.001, 2), (1e9, 2)]
)
def test_a_bound_belongs_to_its_own_bucket(age: float, bucket: int) -> None:
    assert Tally(BOUNDS, (1, 10)).bucket_of(age) == bucket


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.5, 0), (0.501, 1), (1.0, 1), (4.0, 2), (4.001, 3)]
)
def test_a_time_on_a_bound_is_counted_within_it(seconds: float, bucket: int) -> None:
    tally = bucketed(Tally(BOUNDS, BOUNDS), [seconds])
    assert tally.took.index(1) == bucket


def slowly(metrics: Metrics, method: str, hits: Sequence[tuple[int, float, float]]) -> None:
    """What the handlers and the observer call for each hit."""
    for ids, age, seconds in hits:
        for _ in range(ids):
            metrics.looked_up("user", "memory", "hit")
        metrics.entities("user", {"hit": ids})
        metrics.served_age("user", age)
        metrics.request("user.bulk", method, 200, "hit", seconds)


def quickly(metrics: Metrics, method: str, hits: Sequence[tuple[int, float, float]]) -> None:
    tally = metrics.tally("user.bulk", method, 200, "user")
    for ids, age, seconds in hits:
        tally.count(ids, age, tally.bucket_of(age), seconds)


def shown(metrics: Metrics) -> list[str]:
    """The lines of the exposition; the library lists label sets in the order in which they first came."""
    return sorted(metrics.render("")[0].decode().splitlines())


@pytest.mark.parametrize("method", ["POST", "PURGE"])
@given(scrapes=st.lists(st.lists(HIT, max_size=20), min_size=1, max_size=4))
def test_a_scrape_shows_what_it_would_after_the_slow_ways_calls(
    method: str, scrapes: list[list[tuple[int, float, float]]]
) -> None:
    slow, quick = Metrics(), Metrics()
    for hits in scrapes:
        slowly(slow, method, hits)
        quickly(quick, method, hits)
        assert shown(quick) == shown(slow)
    assert quick.snapshot() == quick.snapshot(), "what was counted is counted again"


def test_both_ways_count_into_the_same_series() -> None:
    slow, mixed = Metrics(), Metrics()
    hits = [(2, 30.0, 0.5), (1, 0.0, 0.25)]
    slowly(slow, "POST", [*hits, *hits])
    slowly(mixed, "POST", hits)
    quickly(mixed, "POST", hits)
    assert shown(mixed) == shown(slow)


def test_a_tally_without_requests_makes_no_series() -> None:
    metrics, other = Metrics(), Metrics()
    metrics.tally("user.single", "GET", 200, "user")
    assert shown(metrics) == shown(other)
    assert not re.search("user", metrics.render("")[0].decode())


def test_a_route_has_one_tally() -> None:
    metrics = Metrics()
    tally = metrics.tally("user.single", "GET", 200, "user")
    assert metrics.tally("user.single", "GET", 200, "user") is tally
    assert metrics.tally("user.bulk", "POST", 200, "user") is not tally


def test_the_bounds_are_those_of_the_histograms() -> None:
    tally = Metrics().tally("user.single", "GET", 200, "user")
    assert len(tally.took) == len(_SECONDS) + 1
    assert len(tally.ages) == len(_AGES) + 1


def test_a_spread_is_what_the_library_would_have_observed() -> None:
    once, slow = histogram()
    at_once, quick = histogram()
    spread = Spread(BOUNDS)
    for values in ((0.25, 0.5, 2.0), (), (1.0, 7.0, 0.0)):
        for value in values:
            once.observe(value)
            spread.observe(value)
        assert spread.move_to(at_once) == len(values)
        assert samples(quick) == samples(slow)


def test_what_is_counted_plainly_is_there_at_each_look() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.request("passthrough", "GET", 200, "none", 0.3)
        metrics.request("passthrough", "BREW", 418, "none", 0.3)
        metrics.upstream_answered("main", "passthrough", 200, 0.2)
        metrics.store_operation("get", 0.1, True)
        metrics.served_age("user", 5.0)
        metrics.snapshot()
    found = {(one.name, *one.labels.values()): one.value for one in metrics.snapshot()}
    assert found["requests_total", "passthrough", "GET", "200", "none"] == 2
    assert found["requests_total", "passthrough", "other", "418", "none"] == 2
    assert found["request_duration_seconds_count", "passthrough", "none"] == 4
    assert found["upstream_requests_total", "main", "passthrough", "200"] == 2
    assert found["upstream_request_duration_seconds_sum", "main", "passthrough"] == pytest.approx(0.4)
    assert found["store_operation_seconds_count", "get"] == 2
    assert found["entity_age_seconds_sum", "user"] == pytest.approx(10)
