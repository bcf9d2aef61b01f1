"""What memory gives to those who ask for what is fresh and nothing else."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from store.entry import Entry, Key
from store.memory import MemoryTier, size_of
from store.slot import ROUNDING
from tests.unit.store.samples import NOW, entry, user

A, B, C, D = user("a"), user("b"), user("c"), user("d")
LATER = NOW + 3600
ONE = size_of(entry(A))


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


Tier = Callable[[int], MemoryTier]


@pytest.fixture
def tier(clock: Clock) -> Tier:
    return lambda max_bytes: MemoryTier(max_bytes, clock=clock, on_evict=lambda *_: None)


def found(store: MemoryTier, *ids: str, now: float = NOW) -> list[Entry | None] | None:
    slots = store.fresh("user", ids, now)
    return None if slots is None else [slot.entry for slot in slots]


def test_what_is_fresh_is_found_in_the_order_asked(tier: Tier) -> None:
    store = tier(1 << 20)
    kept = {key.id: entry(key) for key in (A, B, C)}
    for one in kept.values():
        store.put(one, LATER)
    assert found(store, "c", "a", "b") == [kept["c"], kept["a"], kept["b"]]
    assert found(store, "a", "a") == [kept["a"]] * 2
    slots = store.fresh("user", ["a"], NOW)
    assert slots is not None
    assert slots[0] is store.slot(A)


@pytest.mark.parametrize(
    "other",
    [
        None,
        entry(B, None),
        entry(B, absent=True),
        entry(B, b"404", absent=True),
        entry(B, lifetime=0.0),
        entry(B, lifetime=-1.0),
        entry(B, lifetime=60.0, initial_age=60.0),
        entry(B, received_at=NOW - 60.0),
        entry(B, received_at=NOW + 0.001),
        entry(B, received_at=NOW + 1000.0),
        entry(B._replace(variant="v")),
        entry(Key("business", "b")),
    ],
)
def test_one_of_which_there_is_no_fresh_representation_leaves_all_without(
    other: Entry | None, tier: Tier
) -> None:
    store = tier(1 << 20)
    store.put(entry(A), LATER)
    if other is not None:
        assert store.put(other, LATER)
    assert found(store, "a") is not None
    assert found(store, "b") is None
    assert found(store, "a", "b") is None
    assert found(store, "b", "a") is None


def test_nothing_asked_for_is_nothing_found(tier: Tier) -> None:
    store = tier(1 << 20)
    assert found(store, "a") is None, "of a resource that has never been here"
    store.put(entry(A), LATER)
    assert found(store) is None


def test_it_is_fresh_until_a_moment_before_its_end(tier: Tier) -> None:
    store = tier(1 << 20)
    store.put(entry(A, lifetime=60.0, initial_age=10.0), LATER)
    store.put(entry(B, lifetime=100.0), LATER)
    assert found(store, "a", "b", now=NOW + 50 - 2 * ROUNDING) is not None
    assert found(store, "a", "b", now=NOW + 50 - ROUNDING / 2) is None
    assert found(store, "a", now=NOW + 50) is None
    assert found(store, "b", now=NOW + 50) is not None


def test_what_comes_from_the_future_is_found_once_it_has_come_anew(tier: Tier, clock: Clock) -> None:
    store = tier(1 << 20)
    store.put(entry(A, received_at=NOW + 30), LATER)
    assert found(store, "a", now=NOW + 31) is None, "nobody has looked closely"
    clock.now = NOW + 31
    store.put(entry(A, received_at=NOW + 31), LATER)
    assert found(store, "a", now=NOW + 31) is not None


@pytest.mark.parametrize(
    "away", ["dropped", "discarded", "cleared", "husk", "absent", "expired", "evicted", "large"]
)
def test_what_is_not_there_any_more_is_not_found(away: str, tier: Tier, clock: Clock) -> None:
    store = tier(10 * ONE)
    store.put(entry(A, lifetime=1e6), NOW + 100)
    assert found(store, "a") is not None
    slots = store.fresh("user", ["a"], NOW)
    assert slots is not None
    if away == "dropped":
        store.drop(A)
    elif away == "discarded":
        store.discard(A)
    elif away == "cleared":
        store.clear()
    elif away == "husk":
        store.put(entry(A, None), LATER)
    elif away == "absent":
        store.put(entry(A, absent=True), LATER)
    elif away == "expired":
        clock.now = NOW + 100
        assert store.count("user") == 0
    elif away == "evicted":
        for number in range(10):
            store.put(entry(user(f"{number}")), LATER)
    else:
        store.put(entry(A, b"x" * 100_000), LATER)
    assert found(store, "a", now=clock.now) is None
    if away in {"husk", "absent"}:
        assert "a" in store._plain["user"]
    else:
        assert "a" not in store._plain["user"], "its place is still known"
        assert slots[0].entry is None
    clock.now = max(clock.now, NOW)
    store.put(entry(A, received_at=clock.now, lifetime=1e6), LATER)
    assert found(store, "a", now=clock.now) is not None


def test_a_replaced_entry_is_found_in_the_same_place(tier: Tier) -> None:
    store = tier(1 << 20)
    store.put(entry(A), LATER)
    before = store.fresh("user", ["a"], NOW)
    later = entry(A, b"new")
    store.put(later, LATER)
    after = store.fresh("user", ["a"], NOW)
    assert before is not None
    assert after is not None
    assert before[0] is after[0]
    assert after[0].entry is later


def test_a_variant_is_not_found_and_leaves_what_has_none_alone(tier: Tier) -> None:
    store = tier(1 << 20)
    variant = A._replace(variant="v")
    store.put(entry(variant), LATER)
    assert found(store, "a") is None
    plain = entry(A)
    store.put(plain, LATER)
    assert found(store, "a") == [plain]
    store.drop(variant)
    assert found(store, "a") == [plain]
    store.put(entry(variant), LATER)
    store.discard(A)
    assert found(store, "a") is None
    assert store.get(variant) is None


def test_what_is_unconfirmed_is_found_as_it_is_now(tier: Tier) -> None:
    store = tier(1 << 20)
    store.put(entry(A).confirmed(internal_id="1", version=3), LATER)
    store.unconfirm(A)
    assert found(store, "a") == [replace(entry(A), version=3)]


def test_what_is_found_is_not_the_next_to_go(tier: Tier) -> None:
    store = tier(3 * ONE)
    for key in (A, B, C):
        store.put(entry(key), LATER)
    assert found(store, "a") is not None
    store.put(entry(D), LATER)
    assert (store.look_at(B), store.look_at(A)) == (None, entry(A))


def test_what_is_not_found_does_not_count_as_used(tier: Tier) -> None:
    store = tier(3 * ONE)
    for key in (A, B, C):
        store.put(entry(key), LATER)
    assert found(store, "a", "unheld") is None
    assert found(store, "a", now=NOW + 60) is None
    store.put(entry(D), LATER)
    assert store.look_at(A) is None


def test_another_use_within_a_second_is_not_counted(tier: Tier) -> None:
    """It would cost more than all the rest of a hit."""
    store = tier(3 * ONE)
    for key in (A, B, C):
        store.put(entry(key), LATER)
    for key in (A, B, C):
        assert found(store, key.id) is not None
    assert found(store, "a", now=NOW + 0.999) is not None
    store.put(entry(D), LATER)
    assert store.look_at(A) is None, "it was counted again"
    assert found(store, "b", now=NOW + 1) is not None
    store.put(entry(A), LATER)
    assert (store.look_at(C), store.look_at(B)) == (None, entry(B))


def test_places_are_counted_as_used_without_being_looked_up(tier: Tier) -> None:
    store = tier(3 * ONE)
    slots = []
    for key in (A, B, C):
        store.put(entry(key), LATER)
        slot = store.slot(key)
        assert slot is not None
        slots.append(slot)
    store.use(slots[:2], NOW + 1)
    store.put(entry(D), LATER)
    assert [store.look_at(key) is None for key in (A, B, C)] == [False, False, True]
    store.use(slots, NOW + 2)  # one of them is empty
    assert store.look_at(C) is None
    assert slots[2].entry is None


def test_a_place_that_was_filled_again_counts_for_what_is_in_it(tier: Tier) -> None:
    store = tier(3 * ONE)
    store.put(entry(A), LATER)
    gone = store.slot(A)
    assert gone is not None
    store.drop(A)
    for key in (A, B, C):
        store.put(entry(key), LATER)
    store.use([gone], NOW + 1)
    store.put(entry(D), LATER)
    assert store.look_at(A) is None, "that place is nobody's any more"


def test_what_has_ended_is_not_brought_back_by_its_use(tier: Tier, clock: Clock) -> None:
    store = tier(3 * ONE)
    store.put(entry(A, lifetime=1000.0), NOW + 10)
    slot = store.slot(A)
    assert slot is not None
    clock.now = NOW + 10
    store.use([slot], clock.now)
    assert store.get(A) is None
    assert slot.entry is None
