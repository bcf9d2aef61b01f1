"""The refresher's plan: what a call saves, how many there may be, and what they take."""

from math import exp
from random import Random

import pytest
from msgspec.structs import replace

from proxy.core.refreshing import SHARE, Candidate, Pace, Survey
from store.entry import Key
from store.slot import Slot
from tests.unit.store.samples import NOW, entry

INTERVAL = 10.0
IDLE = 9000.0
LIFETIME = 1000.0


def place(
    identity: str, *, age: float = 100.0, unused: float = 50.0, lifetime: float = LIFETIME
) -> tuple[str, Slot]:
    copy = entry(Key("user", identity), received_at=NOW - age, lifetime=lifetime)
    return identity, Slot(entry=copy, used_at=NOW - unused)


def surveyed(*places: tuple[str, Slot], most: int = 100) -> Survey:
    survey = Survey(NOW, interval=INTERVAL, idle=IDLE, most=most)
    survey.add(places)
    return survey


def names(candidates: list[Candidate]) -> list[str]:
    return [candidate.id for candidate in candidates]


def test_what_goes_stale_soonest_comes_first_and_of_equals_the_one_that_was_used_last() -> None:
    survey = surveyed(
        place("gains", age=900.0, unused=1.0),
        place("late", age=995.0, unused=1.0),
        place("rare", age=998.0, unused=30.0),
        place("often", age=998.0, unused=2.0),
        place("stale", age=2000.0, unused=900.0),
    )
    assert survey.due == 4
    assert names(survey.taken(10)) == ["stale", "often", "rare", "late", "gains"]
    assert names(survey.taken(2)) == ["stale", "often"]


def test_then_comes_what_gains_most() -> None:
    survey = surveyed(
        place("new", age=1.0, unused=0.0),
        place("popular", age=100.0, unused=0.0),
        place("older", age=200.0, unused=0.0),
        place("rare", age=200.0, unused=400.0),
        place("changes often", age=30.0, unused=0.0, lifetime=40.0),
    )
    assert names(survey.taken(10)) == ["changes often", "older", "popular", "rare", "new"]


def test_no_more_is_remembered_than_may_be_taken() -> None:
    survey = Survey(NOW, interval=INTERVAL, idle=IDLE, most=2)
    for age in (5.0, 1.0, 4.0, 2.0, 3.0):
        survey.add([place(str(age), age=age)])
    assert names(survey.taken(10)) == ["5.0", "4.0"]


@pytest.mark.parametrize(
    "slot",
    [
        Slot(),
        Slot(entry=entry(Key("user", "a"), None, received_at=NOW), used_at=NOW),
        Slot(entry=entry(Key("user", "a"), received_at=NOW, absent=True), used_at=NOW),
        Slot(entry=entry(Key("user", "a"), received_at=NOW, lifetime=0.0), used_at=NOW),
        Slot(entry=entry(Key("user", "a"), received_at=NOW, lifetime=5.0, initial_age=5.0), used_at=NOW),
        Slot(entry=entry(Key("user", "a"), received_at=NOW, lifetime=5.0), used_at=NOW - 5.0 - IDLE),
        Slot(entry=entry(Key("user", "a"), received_at=NOW, lifetime=5.0)),
    ],
    ids=["empty", "husk", "absence", "no lifetime", "too old when it came", "idle", "never used"],
)
def test_what_is_no_copy_that_somebody_uses_is_left_alone(slot: Slot) -> None:
    survey = surveyed(("a", slot))
    assert (survey.taken(1), survey.due, survey.ids_per_second) == ([], 0, 0.0)


def test_a_clock_that_was_set_back_makes_nothing_older_or_younger_than_new() -> None:
    assert names(surveyed(place("a", age=-500.0, unused=-500.0)).taken(1)) == ["a"]


def test_what_nobody_has_used_for_a_lifetime_is_not_due() -> None:
    survey = surveyed(place("a", age=2000.0, unused=1001.0))
    assert (survey.due, names(survey.taken(1))) == (0, ["a"])


def test_to_be_due_a_copy_has_had_most_of_its_lifetime() -> None:
    """Or a resource with a lifetime of hardly more than an interval would be asked for twice as often."""
    assert surveyed(place("a", age=6.0, lifetime=15.0, unused=0.0)).due == 0
    assert surveyed(place("a", age=14.5, lifetime=15.0, unused=0.0)).due == 1


@pytest.mark.parametrize("per_lifetime", [0.2, 1.0, 3.0, 30.0])
def test_the_time_since_the_last_use_says_what_requests_would_cost(per_lifetime: float) -> None:
    random = Random(1)
    rate = per_lifetime / LIFETIME
    looks = [place("a", unused=random.expovariate(rate)) for _ in range(20_000)]
    looks = [(identity, slot) for identity, slot in looks if slot.used_at > NOW - LIFETIME - IDLE]
    mean = sum(surveyed(look).ids_per_second for look in looks) / len(looks)
    kept = 1 - exp(-(LIFETIME + IDLE) / LIFETIME * per_lifetime)
    assert mean * LIFETIME == pytest.approx(per_lifetime / (1 + per_lifetime) / kept, rel=0.05)


def test_what_was_asked_for_together_counts_once() -> None:
    page = [place(str(number), age=999.0, unused=20.0) for number in range(100)]
    survey = surveyed(*page)
    assert survey.asked_per_second == pytest.approx(exp(-0.02) / LIFETIME)
    assert survey.ids_per_second == pytest.approx(100 * exp(-0.02) / LIFETIME)
    assert survey.weight == pytest.approx(exp(-0.02))
    assert survey.due == 100


def pace(*, batch: int = 100, seats: int = 100, gathers: float = 0.0) -> Pace:
    return Pace(batch=batch, seats=seats, gathers=gathers, interval=INTERVAL)


def expect(there: Pace, per_second: float, *, copies: int = 0) -> None:
    there.expect(ids_per_second=per_second, asked_per_second=per_second, copies=copies)


@pytest.mark.parametrize(
    ("ids_per_second", "calls_per_second"), [(0.0, 0.0), (2.0, 1.0), (18.0, 1.8), (1000.0, 10.0)]
)
def test_refreshes_that_requests_cause_gather_into_calls(
    ids_per_second: float, calls_per_second: float
) -> None:
    there = pace(gathers=0.5)
    expect(there, ids_per_second)
    assert there.calls_per_second == pytest.approx(calls_per_second)


def test_calls_are_a_share_of_those_that_requests_would_cause() -> None:
    there = pace()
    expect(there, 1.0)
    made = 0
    for _ in range(1000):
        there.pass_time(INTERVAL, caused=0)
        calls = there.affords(0, 0.0)
        there.spend(calls)
        made += calls
    assert made == pytest.approx(SHARE * 1000 * INTERVAL, abs=1)


def test_what_requests_do_cause_is_taken_off() -> None:
    there = pace()
    expect(there, 1.0)
    there.pass_time(INTERVAL, caused=5)
    assert there.affords(0, 0.0) == int(SHARE * INTERVAL - 5)
    there.pass_time(INTERVAL, caused=1000)
    assert there.affords(0, 0.0) == 0
    there.pass_time(INTERVAL, caused=0)
    assert there.affords(0, 0.0) == int(SHARE * INTERVAL), "and is not held against it for ever"


def test_but_for_one_pass_over_all_copies_at_the_start() -> None:
    there = pace()
    expect(there, 1.0, copies=1001)
    expect(there, 1.0, copies=9999)
    there.pass_time(INTERVAL, caused=10)
    assert there.affords(0, 0.0) == int(SHARE * INTERVAL)
    there.spend(there.affords(0, 0.0))
    there.pass_time(INTERVAL, caused=3)
    assert there.affords(0, 0.0) == int(2 * SHARE * INTERVAL - 9 - 2)


def test_where_requests_gather_nearly_as_many_it_is_left_to_them() -> None:
    for batch, calls in ((8 * 10 - 1, 0), (8 * 10, 17)):
        there = pace(batch=batch, gathers=0.5)
        expect(there, 18.0)
        there.pass_time(INTERVAL, caused=0)
        assert there.affords(0, 0.0) == calls


def test_what_could_not_be_spent_is_not_made_up_for() -> None:
    there = pace()
    expect(there, 1.0)
    for _ in range(100):
        there.pass_time(100 * INTERVAL, caused=0)
    assert there.affords(0, 0.0) == int(2 * SHARE * INTERVAL + 1)


@pytest.mark.parametrize(
    ("due", "weight", "batch", "calls"),
    [
        (0, 0.0, 100, 0),
        (1, 0.95, 100, 1),
        (1, 0.5, 100, 0),
        (3, 2.0, 100, 1),
        (250, 250.0, 100, 3),
        (5, 4.9, 1, 5),
        (250, 1.0, 100, 1),
    ],
)
def test_a_call_may_be_made_in_the_place_of_one_that_would_surely_be(
    due: int, weight: float, batch: int, calls: int
) -> None:
    there = pace(batch=batch)
    assert there.affords(due, weight) == calls
    there.spend(calls)
    assert there.credit == 0.0, "nothing is owed for it"


def test_where_requests_gather_one_copy_less_saves_no_call() -> None:
    there = pace(gathers=0.5)
    expect(there, 2.0)
    assert there.affords(100, 7.0) == 1, "of 8 calls for as many ids two are left"
    assert there.affords(100, 3.0) == 0


def test_a_copy_that_was_replaced_is_told_from_the_one_that_was_surveyed() -> None:
    identity, slot = place("a")
    (one,) = surveyed((identity, slot)).taken(1)
    assert one.slot.entry is one.entry
    slot.fill(replace(one.entry, received_at=NOW), NOW)
    assert one.slot.entry is not one.entry
