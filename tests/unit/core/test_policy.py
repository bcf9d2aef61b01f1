"""What is decided about one entity: every row of docs/policy.md, and the edges of each."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from proxy.core import policy
from proxy.core.http.directives import RequestDirectives
from proxy.core.policy import (
    Absent,
    Asked,
    Bypass,
    BypassReason,
    Decision,
    Hit,
    Limits,
    Miss,
    MissReason,
    Revalidate,
    Stale,
    StaleReason,
    Unsatisfied,
    decide,
    usable_until,
)
from store.entry import Entry, Key

NOW = 1_700_000_000.0
LIFETIME = 60.0
WHILE, IF_ERROR = 100.0, 600.0
LIMITS = Limits(stale_while_revalidate=WHILE, stale_if_error=IF_ERROR)
KEY = Key("user", "a")
PLAIN = Asked()
TABLE = Path(__file__).parents[3] / "docs" / "policy.md"
PAST = -WHILE - 1.0
"""The ttl of what is past stale_while_revalidate and within stale_if_error."""


def held(*, ttl: float, initial_age: float = 0.0, **members: Any) -> Entry:
    """A representation with this much freshness left."""
    received = NOW - (LIFETIME - ttl) + initial_age
    return Entry(
        key=KEY, item=b"{}", received_at=received, lifetime=LIFETIME, initial_age=initial_age, **members
    )


def absence(*, ttl: float) -> Entry:
    return Entry(key=KEY, item=None, absent=True, received_at=NOW - (10.0 - ttl), lifetime=10.0)


def husk() -> Entry:
    return Entry(key=KEY, item=None, received_at=NOW, lifetime=LIFETIME)


def saying(**directives: Any) -> Asked:
    return Asked(directives=RequestDirectives(**directives))


NO_CACHE = [saying(no_cache=True), saying(max_age=1.0)]
HELD: dict[str, list[Entry | None]] = {
    "anything": [
        None,
        husk(),
        absence(ttl=1.0),
        held(ttl=1.0),
        held(ttl=1.0, shareable=True),
        held(ttl=-1.0),
    ],
    "nothing that may be shared": [None, husk(), absence(ttl=1.0), held(ttl=1.0), held(ttl=-1.0)],
    "a stale representation that may be shared, no longer usable": [held(ttl=-IF_ERROR, shareable=True)],
    "nothing": [None],
    "nothing, and memory lost it for want of space": [None],
    "a husk": [husk(), replace(husk(), received_at=0.0)],
    "a stale absence": [absence(ttl=0.0), absence(ttl=-0.001), absence(ttl=-1e9)],
    "a fresh absence": [absence(ttl=0.001), absence(ttl=5.0)],
    "a fresh absence, and who asks doubts it": [absence(ttl=0.001), absence(ttl=5.0)],
    "a fresh representation": [held(ttl=0.001), held(ttl=1.0), held(ttl=5.0, must_revalidate=True)],
    "a fresh representation that may be shared": [held(ttl=1.0, shareable=True)],
    "a stale one, within stale_if_error": [
        held(ttl=PAST),
        held(ttl=-WHILE),
        held(ttl=0.001 - IF_ERROR),
        held(ttl=-1.0, stale_while_revalidate=0.0),
        held(ttl=-IF_ERROR, stale_if_error=IF_ERROR + 1),
    ],
    "a stale one, within stale_if_error, while the upstream is left alone": [held(ttl=PAST)],
    "a stale one, within the `max-stale` of the request": [held(ttl=0.0), held(ttl=-5.0), held(ttl=-2.0)],
    "a stale one, within stale_while_revalidate": [
        held(ttl=-0.001),
        held(ttl=-1.0),
        held(ttl=0.001 - WHILE),
        held(ttl=-5.0, stale_while_revalidate=6.0),
    ],
    "a stale one, within stale_while_revalidate, while the upstream is left alone": [held(ttl=-1.0)],
    "a stale one that the origin wants validated": [
        held(ttl=0.0, must_revalidate=True),
        held(ttl=-1.0, must_revalidate=True, stale_while_revalidate=9.0, stale_if_error=9.0),
    ],
    "a stale one, no longer usable": [
        held(ttl=-IF_ERROR),
        held(ttl=-1e9),
        held(ttl=-5.0, stale_while_revalidate=5.0, stale_if_error=5.0),
    ],
}
ASKED = {
    "says `only-if-cached`, and is one that goes past the cache": [
        saying(no_store=True, only_if_cached=True)
    ],
    "has a query string": [Asked(query=True), Asked(query=True, other_shape=True, credential=True)],
    "is of another shape": [Asked(other_shape=True), Asked(other_shape=True, credential=True)],
    "says `no-store`": [saying(no_store=True), replace(saying(no_store=True), credential=True)],
    "bears a credential": [Asked(credential=True)],
    "says `only-if-cached`": [saying(only_if_cached=True)],
    "is plain": [PLAIN],
    "says `no-cache`, or a `max-age` that it exceeds": NO_CACHE,
    "says `no-cache`, or a `max-age` that it exceeds, and `only-if-cached`": [
        replace(asked, directives=replace(asked.directives, only_if_cached=True)) for asked in NO_CACHE
    ],
    "says a `min-fresh` that it does not have": [saying(min_fresh=30.0)],
    "says `max-stale`": [saying(max_stale=5.0), saying(max_stale=float("inf"))],
    "says a `max-stale` that it exceeds": [saying(max_stale=0.0)],
}


def rows() -> list[tuple[str, str, str]]:
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [(row[0], row[1], row[2]) for row in cells if row[0] != "we hold"]


def spelled(decision: Decision) -> str:
    """A decision in the table's words."""
    reason = getattr(decision, "reason", None)
    words = type(decision).__name__ + (f"({reason})" if reason else "")
    return f"{words}, and refresh" if isinstance(decision, Stale) and decision.refresh else words


@pytest.mark.parametrize(("words", "request_words", "expected"), rows())
def test_each_row_of_the_table_is_what_is_decided(words: str, request_words: str, expected: str) -> None:
    for entry in HELD[words]:
        for asked in ASKED[request_words]:
            decision = decide(
                entry,
                asked,
                LIMITS,
                NOW,
                evicted="want of space" in words,
                backing_off="left alone" in words,
                doubted="doubts" in words,
            )
            if expected == "Stale(max_stale)":  # whether it is refreshed is another row's matter
                decision = replace(decision, refresh=False) if isinstance(decision, Stale) else decision
            assert spelled(decision) == expected, (entry, asked)


def test_the_table_names_every_decision_and_every_reason() -> None:
    named = {re.sub(r"\W.*", "", expected) for _, _, expected in rows()}
    assert named == {kind.__name__ for kind in get_args(Decision)}
    reasons = {match for _, _, expected in rows() for match in re.findall(r"\((\w+)\)", expected)}
    assert reasons == {*get_args(MissReason), *get_args(StaleReason), *get_args(BypassReason)}
    assert {row[0] for row in rows()} == HELD.keys()
    assert {row[1] for row in rows()} == ASKED.keys()


def test_no_credential_is_answered_with_what_may_not_be_shared() -> None:
    """RFC 9111 section 3.5."""
    asked = Asked(credential=True)
    for entry in (held(ttl=1.0), held(ttl=-1.0), absence(ttl=1.0), None):
        assert decide(entry, asked, LIMITS, NOW) == Bypass("bypass_credential")
    shared = held(ttl=-1.0, shareable=True)
    assert decide(shared, asked, LIMITS, NOW) == Stale(shared, "stale_while_revalidate", refresh=True)
    # What a fill without the credential would bring is not this caller's.
    assert decide(held(ttl=PAST, shareable=True), asked, LIMITS, NOW) == Bypass("bypass_credential")


def test_max_stale_is_served_by_whoever_is_within_it() -> None:
    """RFC 9111 section 5.2.1.2."""
    entry = held(ttl=-200.0)
    assert decide(entry, saying(max_stale=200.0), LIMITS, NOW) == Stale(entry, "max_stale")
    assert decide(entry, saying(max_stale=199.0), LIMITS, NOW) == Revalidate(entry, "expired")
    late = held(ttl=-5.0)
    assert decide(late, saying(max_stale=4.9), LIMITS, NOW) == Revalidate(late, "expired")
    over = held(ttl=0.0)
    assert decide(over, saying(max_stale=0.0), LIMITS, NOW) == Stale(over, "max_stale", refresh=True)
    assert decide(over, PLAIN, LIMITS, NOW) == Stale(over, "stale_while_revalidate", refresh=True)
    young = held(ttl=-5.0)
    assert decide(young, saying(max_stale=9.0), LIMITS, NOW) == Stale(young, "max_stale", refresh=True)
    assert decide(young, saying(max_stale=9.0), LIMITS, NOW, backing_off=True) == Stale(young, "max_stale")


def test_a_max_age_that_is_kept_wants_no_stale_answer() -> None:
    """RFC 9111 section 5.2.1.1."""
    entry = held(ttl=-1.0)
    assert decide(entry, saying(max_age=1000.0), LIMITS, NOW) == Revalidate(entry, "expired")
    fresh = held(ttl=1.0)
    assert decide(fresh, saying(max_age=LIFETIME - 1.0), LIMITS, NOW) == Hit(fresh)
    assert decide(fresh, saying(max_age=LIFETIME - 1.1), LIMITS, NOW) == Revalidate(fresh, "no_cache")


def test_min_fresh_counts_what_is_left() -> None:
    """RFC 9111 section 5.2.1.3."""
    entry = held(ttl=30.0)
    assert decide(entry, saying(min_fresh=30.0), LIMITS, NOW) == Hit(entry)
    assert decide(entry, saying(min_fresh=30.1), LIMITS, NOW) == Revalidate(entry, "no_cache")


def test_only_if_cached_takes_whatever_would_be_served_anyway() -> None:
    """RFC 9111 section 5.2.1.7."""
    only = saying(only_if_cached=True)
    fresh, stale, none = held(ttl=1.0), held(ttl=-1.0), absence(ttl=1.0)
    assert decide(fresh, only, LIMITS, NOW) == Hit(fresh)
    assert decide(stale, only, LIMITS, NOW) == Stale(stale, "stale_while_revalidate", refresh=True)
    assert decide(none, only, LIMITS, NOW) == Absent(none)
    assert decide(held(ttl=PAST), only, LIMITS, NOW) == Unsatisfied("expired")


ONLY = RequestDirectives(only_if_cached=True)


@pytest.mark.parametrize(
    "asked", [Asked(ONLY, query=True), Asked(ONLY, other_shape=True), Asked(ONLY, credential=True)]
)
def test_only_if_cached_goes_past_nothing(asked: Asked) -> None:
    """RFC 9111 section 5.2.1.7."""
    for entry in (None, held(ttl=1.0), held(ttl=PAST, shareable=True)):
        assert isinstance(decide(entry, asked, LIMITS, NOW), Unsatisfied)


def test_a_client_that_insists_reaches_an_upstream_that_is_left_alone() -> None:
    entry = held(ttl=-1.0)
    asked = saying(no_cache=True)
    assert decide(entry, asked, LIMITS, NOW, backing_off=True) == Revalidate(entry, "no_cache")
    assert decide(None, PLAIN, LIMITS, NOW, backing_off=True) == Miss("never_seen")


def test_without_windows_the_end_of_freshness_is_the_end() -> None:
    assert decide(held(ttl=0.0), PLAIN, Limits(0.0, 0.0), NOW) == Miss("expired")
    assert decide(held(ttl=0.001), PLAIN, Limits(0.0, 0.0), NOW) == Hit(held(ttl=0.001))


def test_the_word_of_the_origin_comes_before_the_operators() -> None:
    """RFC 5861 sections 3 and 4."""
    entry = held(ttl=-50.0, stale_while_revalidate=10.0, stale_if_error=60.0)
    assert decide(entry, PLAIN, LIMITS, NOW) == Revalidate(entry, "expired")
    assert decide(entry, PLAIN, Limits(0.0, 0.0), NOW) == Revalidate(entry, "expired")
    assert decide(entry, PLAIN, LIMITS, NOW + 10.0) == Miss("expired")


def test_the_initial_age_counts() -> None:
    """RFC 9111 section 4.2.3."""
    entry = Entry(key=KEY, item=b"{}", received_at=NOW, lifetime=LIFETIME, initial_age=LIFETIME)
    assert isinstance(decide(entry, PLAIN, LIMITS, NOW), Stale)
    assert held(ttl=5.0, initial_age=30.0).ttl(NOW) == 5.0


@pytest.mark.parametrize(
    ("initial_age", "elapsed", "age"),
    [
        (0.0, 0.0, 0.0),
        (0.0, 5.5, 5.5),
        (7.0, 0.0, 7.0),
        (7.0, 5.0, 12.0),
        (0.0, -1.0, 0.0),
        (7.0, -2.0, 5.0),
        (7.0, -60.0, 0.0),
        (7.0, -61.0, LIFETIME),  # received before the clock was set back, nobody knows how long ago
        (7.0, -1e9, LIFETIME),
    ],
)
def test_an_age_is_never_negative_even_when_the_clock_steps_back(
    initial_age: float, elapsed: float, age: float
) -> None:
    """RFC 9111 section 4.2.3."""
    entry = Entry(key=KEY, item=b"{}", received_at=NOW, lifetime=LIFETIME, initial_age=initial_age)
    assert entry.age(NOW + elapsed) == age
    assert entry.ttl(NOW + elapsed) == LIFETIME - age
    assert entry.ttl(NOW + elapsed) <= LIFETIME


def test_a_confirmed_entry_is_durable_and_else_the_same() -> None:
    entry = held(ttl=5.0, must_revalidate=True)
    confirmed = entry.confirmed(internal_id="u", version=3)
    assert (confirmed.internal_id, confirmed.version, confirmed.durable) == ("u", 3, True)
    assert replace(confirmed, internal_id=None, version=1, durable=False) == entry


@pytest.mark.parametrize("limits", [LIMITS, Limits(IF_ERROR, WHILE)])
def test_an_entry_is_of_use_until_both_windows_are_over(limits: Limits) -> None:
    entry = held(ttl=20.0, initial_age=30.0)
    end = usable_until(entry, limits, negative_ttl=10.0)
    assert end == NOW + 20.0 + IF_ERROR
    assert not isinstance(decide(entry, PLAIN, limits, end - 0.001), Miss)
    assert decide(entry, PLAIN, limits, end) == Miss("expired")


def test_what_must_be_validated_is_of_use_as_long_as_its_validator_may_save_a_body() -> None:
    end = NOW + 20.0
    assert usable_until(held(ttl=20.0, must_revalidate=True), LIMITS, negative_ttl=10.0) == end
    validated = held(ttl=20.0, must_revalidate=True, headers=((b"ETag", b'"a"'),))
    assert usable_until(validated, LIMITS, negative_ttl=10.0) == end + IF_ERROR


def test_an_absence_is_held_twice_as_long_as_it_counts() -> None:
    assert usable_until(absence(ttl=10.0), LIMITS, negative_ttl=10.0) == NOW + 20.0


def test_the_decision_is_that_of_the_bypass_alone_where_there_is_one() -> None:
    makers: list[Callable[[], Entry | None]] = [lambda: None, husk, lambda: held(ttl=1.0)]
    for make in makers:
        for asked in (Asked(query=True), Asked(other_shape=True), saying(no_store=True)):
            assert decide(make(), asked, LIMITS, NOW) == policy.bypass(asked)
    assert policy.bypass(Asked(credential=True)) is None
