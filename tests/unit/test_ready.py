"""An answer that is put together ahead has, whenever it is given, the very bytes that it would have if made then."""

from math import floor, inf, nextafter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.ready import Ready, head
from proxy.tallies import Tally
from store.entry import Entry
from store.slot import ROUNDING, Slot
from tests.unit.served import Face
from tests.unit.store.samples import NOW, entry, user

AGES = (1, 10, 60, 600)
LIFETIME = 60.0


def placed(*entries: Entry, now: float) -> list[Slot]:
    slots = []
    for one in entries:
        slot = Slot()
        slot.fill(one, now)
        slots.append(slot)
    return slots


def ready(face: Face, *entries: Entry, now: float = NOW) -> Ready:
    return Ready(face, placed(*entries, now=now), entries, b"body", now)


def made(face: Face, kept: Ready, now: float) -> bytes:
    """The answer as it would be made at that time."""
    entries = [kept.entry, *(one for _, one in kept._others)]
    oldest = max(entries, key=lambda one: one.age(now))
    soonest = min(entries, key=lambda one: one.ttl(now))
    return face.head_of(oldest, soonest, kept.length, now) + b"body"


def bucket(seconds: float) -> int:
    return Tally((0.1,), AGES).bucket_of(seconds)


NEAR = st.sampled_from(
    (0.0, 1e-9, -1e-9, 2.4e-7, -2.4e-7, ROUNDING, -ROUNDING, 2 * ROUNDING, -2 * ROUNDING, 1e-4, -1e-4)
)
"""What numbers that are nearly whole lack, or have too much."""
SECONDS = st.one_of(
    st.builds(lambda whole, more: max(0.0, whole + more), st.integers(0, 100), NEAR),
    st.floats(0.0, 100.0),
)
STEP = st.one_of(
    st.builds(lambda whole, more: max(0.0, whole + more), st.integers(0, 3), NEAR), st.floats(0.0, 2.0)
)
ONE = st.tuples(SECONDS, SECONDS, st.builds(lambda least, more: least + more, st.just(1.0), SECONDS))
"""How long ago an entry was received, how old it was by then, and its lifetime beyond that; in seconds."""


@given(
    start=st.one_of(
        st.builds(lambda whole, more: NOW + whole + more, st.integers(0, 3), NEAR), st.floats(NOW, NOW + 2)
    ),
    held=st.lists(ONE, min_size=1, max_size=4),
    steps=st.lists(STEP, max_size=30),
)
@example(start=NOW, held=[(0.0, 0.0, 3.0)], steps=[1.0] * 4)
@example(start=NOW, held=[(0.5, 0.0, 3.5), (0.0, 7.0, 2.25)], steps=[0.25] * 12)
@example(start=NOW, held=[(0.5, 0.0, 30.25)], steps=[0.3] * 40)
@example(start=NOW, held=[(1.0, 2.0, 5.0)], steps=[1 - ROUNDING, ROUNDING / 2, ROUNDING / 2, ROUNDING] * 4)
def test_what_is_current_is_what_would_be_made_now(
    start: float, held: list[tuple[float, float, float]], steps: list[float]
) -> None:
    entries = [
        replace(
            entry(user(str(number))),
            received_at=start - since,
            initial_age=before,
            lifetime=since + before + left,
        )
        for number, (since, before, left) in enumerate(held)
    ]
    face = Face()
    slots = placed(*entries, now=start)
    if min(slot.fresh_until for slot in slots) <= start:
        return
    kept = Ready(face, slots, entries, b"body", start)
    now = start
    for step in [0.0, *steps]:
        now += step
        is_fresh = all(one.ttl(now) > 2 * ROUNDING for one in entries)
        is_stale = any(one.ttl(now) <= 0 for one in entries)
        is_current = kept.is_current(now)
        assert is_current or not is_fresh, "a hit is missed"
        assert not (is_current and is_stale), "what is stale is given for fresh"
        if is_current:
            assert kept.answer == made(face, kept, now)
            assert kept.bucket == bucket(max(one.age(now) for one in entries))


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.999_999])
def test_a_head_is_written_once_for_each_number_that_moves_on(fraction: float) -> None:
    """Not for each request: that is what it is put together for."""
    start = NOW + fraction
    face = Face()
    kept = ready(face, replace(entry(user("a")), received_at=start, lifetime=1000.5), now=start)
    for step in range(1000):
        assert kept.is_current(start + step / 100 + 0.005)
    assert face.made <= 1 + 3 * 10 + 1, (
        "Age, Date and the seconds that are left move on once in a second each"
    )


def test_the_edge_of_a_second_is_not_overslept() -> None:
    face = Face()
    kept = ready(face, replace(entry(user("a")), received_at=NOW, lifetime=100.0))
    for whole in range(1, 10):
        for moment in (nextafter(NOW + whole, 0), NOW + whole, nextafter(NOW + whole, inf)):
            assert kept.is_current(moment)
            assert kept.answer == made(face, kept, moment)


def test_no_number_of_a_head_is_late_where_times_are_not_whole() -> None:
    """Sums of the same times differ in their last bits: each number is looked at on both sides of where it moves on."""
    face = Face()
    for number in range(100):
        one = replace(
            entry(user("a")),
            received_at=NOW - number / 7.3,
            initial_age=number / 11.7,
            lifetime=100 + number / 3.1,
        )
        born = one.received_at - one.initial_age
        edges = [born + floor(NOW - born) + whole for whole in (1, 2, 3)]
        edges += [NOW + one.ttl(NOW) - floor(one.ttl(NOW)) + whole for whole in (0, 1, 2)]
        edges += [NOW + whole for whole in (1, 2, 3)]
        moments = {edge + step * 2.4e-7 for edge in edges for step in range(-3, 4)}
        kept = ready(face, one)
        for moment in sorted(moments):
            assert kept.is_current(moment)
            assert kept.answer == made(face, kept, moment)


def test_it_ends_with_its_second_while_others_may_have_changed_it() -> None:
    face = Face()
    kept = ready(face, entry(user("a"), received_at=NOW - 0.5), now=NOW + 0.1)
    face.is_doubtful = True
    assert kept.is_current(NOW + 0.1)
    assert not kept.is_current(kept.until)
    face.is_doubtful = False
    assert kept.is_current(kept.until)


def test_it_has_the_members_that_are_counted() -> None:
    old = replace(entry(user("a")), received_at=NOW - 30.0, initial_age=40.0, lifetime=100.0)
    new = entry(user("b"))
    kept = ready(Face(), new, old)
    assert (kept.ids, kept.length) == (2, 4)
    assert kept.born == NOW - 70.0
    assert kept.bucket == bucket(70.0)
    assert not kept.is_used


@pytest.mark.parametrize("changed", [0, 1, 2])
@pytest.mark.parametrize("how", ["replaced", "dropped", "equal", "invalidated"])
def test_it_does_not_stand_once_one_of_its_entries_is_another(changed: int, how: str) -> None:
    entries = [entry(user(name)) for name in "abc"]
    slots = placed(*entries, now=NOW)
    kept = Ready(Face(), slots, entries, b"body", NOW)
    assert kept.stands()
    assert kept.is_current(NOW)
    before = entries[changed]
    after = {
        "replaced": replace(before, received_at=NOW + 1),
        "dropped": None,
        "equal": replace(before),
        "invalidated": replace(before, item=None),
    }[how]
    slots[changed].fill(after, NOW)
    assert not kept.stands()
    assert not kept.is_current(NOW)
    slots[changed].fill(before, NOW)
    assert kept.is_current(NOW), "the very entry is back"


def test_a_body_that_is_empty_is_nothing_at_all() -> None:
    one = entry(user("a"), b"")
    face = Face()
    kept = Ready(face, placed(one, now=NOW), [one], b"", NOW)
    assert kept.is_current(NOW + 1.5)
    assert kept.answer == face.head_of(one, one, 0, NOW + 1.5)


def test_an_answer_that_is_written_anew_counts_as_used() -> None:
    face = Face()
    entries = [entry(user(name), received_at=NOW - 0.25, lifetime=LIFETIME + 0.5) for name in "ab"]
    kept = ready(face, *entries, now=NOW + 0.01)
    assert kept.is_current(NOW + 0.2)
    assert (face.used, kept.is_used) == ([], False)
    assert kept.is_current(NOW + 0.9)
    assert face.used == [([kept.slot, *(slot for slot, _ in kept._others)], NOW + 0.9)]
    assert kept.is_used


def test_what_is_too_late_is_not_written_anew() -> None:
    face = Face()
    kept = ready(face, entry(user("a"), lifetime=LIFETIME), entry(user("b"), lifetime=1000.0))
    before, times = kept.answer, face.made
    assert not kept.is_current(NOW + LIFETIME)
    assert (kept.answer, face.made, face.used, kept.is_used) == (before, times, [], False)
    assert kept.stands(), "an entry stands whether it is fresh or not"
    assert not kept.is_current(NOW + LIFETIME - ROUNDING), "a moment early, so that it is never late"
    assert kept.is_current(NOW + LIFETIME - 3 * ROUNDING)


@pytest.mark.parametrize("lifetime", [2.0**31, 1e9])
def test_a_long_life_is_counted_as_exactly(lifetime: float) -> None:
    face = Face()
    kept = ready(face, replace(entry(user("a")), lifetime=lifetime, initial_age=lifetime / 2))
    for step in (0.0, 0.5, 1.0, 1.5, 3600.0, lifetime / 2 - 1):
        assert kept.is_current(NOW + step)
        assert kept.answer == made(face, kept, NOW + step)


def test_a_slot_says_until_when_what_it_holds_is_fresh() -> None:
    slot = Slot()
    assert slot.fresh_until == -inf
    slot.fill(entry(user("a"), initial_age=10.0, lifetime=LIFETIME), NOW)
    assert slot.fresh_until == NOW + 50.0 - ROUNDING
    for other in (
        None,
        entry(user("a"), None),
        entry(user("a"), absent=True),
        entry(user("a"), received_at=NOW + 0.001),
    ):
        slot.fill(entry(user("a")), NOW)
        slot.fill(other, NOW)
        assert slot.entry is other
        assert slot.fresh_until == -inf


def test_a_head_is_rendered_with_its_length() -> None:
    assert head(200, [(b"A", b"b")], 3) == b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n\r\n"
    with pytest.raises(ValueError, match="more than one"):
        head(200, [(b"A", b"b\r\nC: d")], 3)
