"""A bound on how long an answer counts, whatever origin and operator say."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.core.http.directives import RequestDirectives
from proxy.core.http.freshness import Freshness, bounded
from proxy.core.policy import Asked, Limits, Miss, decide, usable_until
from store.entry import Entry, Key

NOW = 1_700_000_000.0
seconds = st.floats(0.0, 1e8)
windows = st.none() | seconds
freshness = st.builds(
    Freshness,
    lifetime=seconds,
    initial_age=seconds,
    stale_while_revalidate=windows,
    stale_if_error=windows,
    must_revalidate=st.booleans(),
)
limits = st.builds(Limits, seconds, seconds)
asked = st.builds(RequestDirectives, no_cache=st.booleans(), max_age=st.none() | st.integers(0, 10_000))


def entry(fresh: Freshness) -> Entry:
    return Entry(
        key=Key("user", "1", "v"),
        item=b"{}",
        received_at=NOW,
        lifetime=fresh.lifetime,
        initial_age=fresh.initial_age,
        stale_while_revalidate=fresh.stale_while_revalidate,
        stale_if_error=fresh.stale_if_error,
        must_revalidate=fresh.must_revalidate,
    )


def bound(fresh: Freshness, limits: Limits, most: float) -> Entry:
    return entry(
        bounded(fresh, most, while_revalidate=limits.stale_while_revalidate, if_error=limits.stale_if_error)
    )


@settings(deadline=None)
@given(freshness, limits, st.floats(0.0, 1e6), st.floats(0.001, 1e8), asked, st.booleans())
def test_nothing_is_served_after_the_bound(
    fresh: Freshness,
    limits: Limits,
    most: float,
    beyond: float,
    directives: RequestDirectives,
    backing_off: bool,
) -> None:
    decision = decide(
        bound(fresh, limits, most), Asked(directives), limits, NOW + most + beyond, backing_off=backing_off
    )
    assert isinstance(decision, Miss)


@settings(deadline=None)
@given(freshness, limits, st.floats(1.0, 1e6), st.floats(0.0, 0.999))
def test_up_to_the_bound_nothing_changes(fresh: Freshness, limits: Limits, most: float, part: float) -> None:
    at = NOW + most * part
    unbound = decide(entry(fresh), Asked(), limits, at)
    decision = decide(bound(fresh, limits, most), Asked(), limits, at)
    assert type(decision) is type(unbound)


@settings(deadline=None)
@given(freshness, limits, st.floats(0.0, 1e6), st.booleans(), st.booleans())
def test_memory_drops_it_then_even_if_a_validator_could_save_it(
    fresh: Freshness,
    limits: Limits,
    most: float,
    absent: bool,
    validated: bool,
) -> None:
    headers = ((b"ETag", b'"1"'),) if validated else ()
    there = replace(entry(fresh), absent=absent, headers=headers)
    until = usable_until(there, limits, negative_ttl=10.0)
    assert usable_until(there, limits, negative_ttl=10.0, at_most=most) == min(until, NOW + most)
