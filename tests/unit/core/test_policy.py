"""What is decided about one entity, row by row of the table in proxy/core/policy.py."""

import re
from collections.abc import Callable
from typing import get_args

import pytest

from proxy.core import policy
from proxy.core.http.directives import PLAIN, RequestDirectives
from proxy.core.policy import (
    Absent,
    Decision,
    Hit,
    Limits,
    Miss,
    MissReason,
    Revalidate,
    decide,
    usable_until,
)
from store.entry import Entry, Key

NOW = 1_700_000_000.0
LIFETIME = 60.0
STALE = 600.0
LIMITS = Limits(stale_if_error=STALE)
REFETCH = RequestDirectives(refetch=True)
NO_STORE = RequestDirectives(no_store=True)
KEY = Key("user", "a")
NAMED = re.compile(r"\b(Miss|Revalidate|Hit|Absent)\b(?:\(([^)]*)\))?")


def held(*, ttl: float, initial_age: float = 0.0) -> Entry:
    """A representation with this much freshness left."""
    received = NOW - (LIFETIME - ttl) + initial_age
    return Entry(key=KEY, item=b"{}", received_at=received, lifetime=LIFETIME, initial_age=initial_age)


def absence(*, ttl: float) -> Entry:
    return Entry(key=KEY, item=None, absent=True, received_at=NOW - (10.0 - ttl), lifetime=10.0)


def husk() -> Entry:
    return Entry(key=KEY, item=None, received_at=NOW, lifetime=LIFETIME)


@pytest.mark.parametrize("directives", [PLAIN, REFETCH, NO_STORE])
def test_what_was_never_held_is_a_miss(directives: RequestDirectives) -> None:
    assert decide(None, directives, LIMITS, NOW) == Miss("never_seen")
    assert decide(None, directives, LIMITS, NOW, evicted=True) == Miss("evicted")


@pytest.mark.parametrize("directives", [PLAIN, REFETCH, NO_STORE])
@pytest.mark.parametrize("elapsed", [0.0, 1e9])
def test_the_husk_of_an_invalidated_row_is_a_miss(directives: RequestDirectives, elapsed: float) -> None:
    assert decide(husk(), directives, LIMITS, NOW + elapsed) == Miss("invalidated")


@pytest.mark.parametrize("directives", [PLAIN, NO_STORE])
@pytest.mark.parametrize("ttl", [0.001, 1.0, 10.0])
def test_a_fresh_absence_is_answered(directives: RequestDirectives, ttl: float) -> None:
    entry = absence(ttl=ttl)
    assert decide(entry, directives, LIMITS, NOW) == Absent(entry)


@pytest.mark.parametrize("directives", [PLAIN, REFETCH, NO_STORE])
@pytest.mark.parametrize("ttl", [0.0, -0.001, -1e9])
def test_a_stale_absence_is_a_miss(directives: RequestDirectives, ttl: float) -> None:
    assert decide(absence(ttl=ttl), directives, LIMITS, NOW) == Miss("absence_expired")


def test_no_cache_asks_again_about_an_absence() -> None:
    """RFC 9111 section 5.2.1.4. There is no copy to fall back on."""
    assert decide(absence(ttl=1.0), REFETCH, LIMITS, NOW) == Miss("no_cache")


@pytest.mark.parametrize("ttl", [LIFETIME, 1.0, 0.0, -1.0, 0.001 - STALE])
def test_no_cache_asks_again_and_what_is_held_stays_usable(ttl: float) -> None:
    """RFC 9111 section 5.2.1.4."""
    entry = held(ttl=ttl)
    assert decide(entry, REFETCH, LIMITS, NOW) == Revalidate(entry, "no_cache")


@pytest.mark.parametrize("directives", [PLAIN, NO_STORE])
@pytest.mark.parametrize("ttl", [0.001, 1.0, LIFETIME])
def test_a_fresh_representation_is_a_hit(directives: RequestDirectives, ttl: float) -> None:
    """RFC 9111 section 4."""
    entry = held(ttl=ttl)
    assert decide(entry, directives, LIMITS, NOW) == Hit(entry)
    assert decide(entry, directives, Limits(stale_if_error=0.0), NOW) == Hit(entry)


@pytest.mark.parametrize("directives", [PLAIN, NO_STORE])
@pytest.mark.parametrize("ttl", [0.0, -0.001, -1.0, 0.001 - STALE])
def test_a_stale_representation_is_revalidated(directives: RequestDirectives, ttl: float) -> None:
    """RFC 9111 section 4.2.4; RFC 5861 section 4."""
    entry = held(ttl=ttl)
    assert decide(entry, directives, LIMITS, NOW) == Revalidate(entry, "expired")


@pytest.mark.parametrize("directives", [PLAIN, REFETCH, NO_STORE])
@pytest.mark.parametrize("ttl", [-STALE, -STALE - 0.001, -1e9])
def test_a_representation_beyond_stale_if_error_is_a_miss(directives: RequestDirectives, ttl: float) -> None:
    """RFC 5861 section 4."""
    assert decide(held(ttl=ttl), directives, LIMITS, NOW) == Miss("expired")


def test_without_stale_if_error_the_end_of_freshness_is_the_end() -> None:
    assert decide(held(ttl=0.0), PLAIN, Limits(stale_if_error=0.0), NOW) == Miss("expired")


def test_the_initial_age_counts() -> None:
    """RFC 9111 section 4.2.3."""
    entry = Entry(key=KEY, item=b"{}", received_at=NOW, lifetime=LIFETIME, initial_age=LIFETIME)
    assert decide(entry, PLAIN, LIMITS, NOW) == Revalidate(entry, "expired")
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
        (7.0, -1e9, 0.0),
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


def test_a_clock_that_steps_back_gives_no_freshness_beyond_the_lifetime() -> None:
    entry = held(ttl=LIFETIME)
    assert decide(entry, PLAIN, LIMITS, NOW - 1e9) == Hit(entry)
    assert entry.ttl(NOW - 1e9) == LIFETIME


def test_a_confirmed_entry_is_durable_and_else_the_same() -> None:
    entry = held(ttl=5.0)
    confirmed = entry.confirmed(internal_id="u", version=3)
    assert (confirmed.internal_id, confirmed.version, confirmed.durable) == ("u", 3, True)
    assert (confirmed.key, confirmed.item, confirmed.ttl(NOW)) == (entry.key, entry.item, 5.0)


def test_an_entry_is_of_use_until_stale_if_error_is_over() -> None:
    entry = held(ttl=20.0, initial_age=30.0)
    end = usable_until(entry, LIMITS, negative_ttl=10.0)
    assert end == NOW + 20.0 + STALE
    assert decide(entry, PLAIN, LIMITS, end - 0.001) == Revalidate(entry, "expired")
    assert decide(entry, PLAIN, LIMITS, end) == Miss("expired")


def test_an_absence_is_held_twice_as_long_as_it_counts() -> None:
    assert usable_until(absence(ttl=10.0), LIMITS, negative_ttl=10.0) == NOW + 20.0


def rows() -> list[list[str]]:
    """The table of the module's docstring, without its head."""
    lines = [line.strip() for line in (policy.__doc__ or "").splitlines() if line.strip().startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def named() -> list[tuple[str, list[str]]]:
    """The decisions that the table names, each with its reasons."""
    found = []
    for row in rows():
        match = NAMED.search(row[2])
        assert match, f"no decision in {row}"
        reasons = re.findall(r"[a-z]+(?:_[a-z]+)*", (match[2] or "").replace(" or ", " "))
        found.append((match[1], reasons))
    return found


def test_the_table_of_the_docstring_has_three_columns() -> None:
    assert len(rows()) >= 8
    assert all(len(row) == 3 and all(row) for row in rows())


def test_each_decision_that_the_docstring_names_exists() -> None:
    decisions = {kind.__name__ for kind in get_args(Decision)}
    assert {decision for decision, _ in named()} == decisions
    assert all(hasattr(policy, decision) for decision in decisions)


def test_each_reason_that_the_docstring_names_exists_and_none_is_left_out() -> None:
    assert {reason for _, reasons in named() for reason in reasons} == set(get_args(MissReason))


def reasoned(decision: Decision) -> tuple[str, str | None]:
    return type(decision).__name__, getattr(decision, "reason", None)


@pytest.mark.parametrize(
    ("words", "make", "directives"),
    [
        ("nothing", lambda: None, PLAIN),
        ("the husk of an invalidated row", husk, PLAIN),
        ("an absence, fresh", lambda: absence(ttl=1.0), PLAIN),
        ("an absence, stale", lambda: absence(ttl=-1.0), PLAIN),
        ("an absence", lambda: absence(ttl=1.0), RequestDirectives(refetch=True)),
        (
            "a representation, fresh or within stale_if_error",
            lambda: held(ttl=-1.0),
            RequestDirectives(refetch=True),
        ),
        ("a fresh representation", lambda: held(ttl=1.0), PLAIN),
        ("a stale one, within stale_if_error", lambda: held(ttl=-1.0), PLAIN),
        ("a stale one, older than that", lambda: held(ttl=-STALE), PLAIN),
    ],
)
def test_each_row_of_the_docstring_is_what_is_decided(
    words: str, make: Callable[[], Entry | None], directives: RequestDirectives
) -> None:
    index = [row[0] for row in rows()].index(words)
    decision, reasons = named()[index]
    kind, reason = reasoned(decide(make(), directives, LIMITS, NOW))
    assert kind == decision
    assert (reason in reasons) if reasons else (reason is None)
