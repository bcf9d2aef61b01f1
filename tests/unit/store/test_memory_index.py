"""Entries of memory by internal id and by last sync."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from store.base import Position
from store.entry import Entry, Key
from store.memory import MemoryTier, next_position, size_of
from tests.unit.store.samples import NOW, entry, user

A, B = user("a"), user("b")
LATER = NOW + 60


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


SHOP, STALL = Key("business", "shop"), Key("business", "stall")


def identified(key: Key, internal_id: str | None = None, synced: float = NOW, item: bytes = b"1") -> Entry:
    """As it is where no database gives ids."""
    return replace(entry(key, item, last_synced_at=synced), internal_id=internal_id or f"id of {key.id}")


def test_what_no_database_holds_is_found_by_its_internal_id(tier: Tier) -> None:
    store = tier(1 << 20)
    shop = identified(SHOP)
    store.put(shop, LATER)
    store.put(entry(A).confirmed(internal_id="id of a", version=1), LATER)
    store.put(entry(B), LATER)
    assert store.find("business", "id of shop") is shop
    assert store.find("user", "id of shop") is None
    assert store.find("user", "id of a") is None
    assert set(store._indexed) == {"business"}


def test_an_internal_id_is_found_as_long_as_its_entry_is_here(tier: Tier, clock: Clock) -> None:
    store = tier(size_of(identified(STALL)) * 2)

    def found() -> list[bool]:
        return [store.find("business", f"id of {key.id}") is not None for key in (SHOP, STALL)]

    def put(*keys: Key) -> None:
        for key in keys:
            store.put(identified(key), LATER)

    put(SHOP, STALL)
    assert found() == [True, True]
    put(Key("other", "third"))  # the least recently used goes
    assert found() == [False, True]
    store.discard(STALL)
    put(SHOP, STALL)
    store.drop(SHOP)
    assert found() == [False, True]
    store.put(identified(STALL, item=b"x" * 10_000), LATER)  # too large to be kept
    put(SHOP)
    assert found() == [True, False]
    store.put(entry(SHOP, b"", absent=True), LATER)
    assert found() == [False, False]
    put(SHOP, STALL)
    clock.now = LATER
    assert found() == [False, False]
    clock.now = NOW
    put(SHOP, STALL)
    store.clear()
    assert found() == [False, False]
    assert not any(store._indexed.values())


def test_an_entry_with_another_internal_id_is_found_by_that(tier: Tier) -> None:
    store = tier(1 << 20)
    store.put(identified(SHOP, "1"), LATER)
    store.put(after := identified(SHOP, "2"), LATER)
    assert store.find("business", "1") is None
    assert store.find("business", "2") is after
    store.put(after.confirmed(internal_id="2", version=1), LATER)
    assert store.find("business", "2") is None


def test_an_internal_id_that_two_have_is_that_of_the_later(tier: Tier) -> None:
    store = tier(1 << 20)
    store.put(identified(SHOP, "1"), LATER)
    store.put(stall := identified(STALL, "1"), LATER)
    store.drop(SHOP)
    assert store.find("business", "1") is stall
    store.drop(STALL)
    assert store.find("business", "1") is None


def test_the_longest_unsynced_are_those_from_behind_a_place(tier: Tier, clock: Clock) -> None:
    store = tier(1 << 20)
    made = [
        identified(Key("business", name), synced=NOW - ago)
        for name, ago in zip("abcd", (1, 3, 3, 2), strict=True)
    ]
    a, b, c, d = made
    for one in (*made, entry(A, last_synced_at=0.0)):
        store.put(one, LATER)
    store.put(identified(Key("business", "gone"), synced=0.0), NOW + 1)
    clock.now = NOW + 1

    def listed(before: float = NOW, after: Position | None = None, limit: int = 10) -> list[Entry]:
        return store.longest_unsynced("business", before=before, after=after, limit=limit)

    assert listed() == [b, c, d, a]
    assert listed(before=NOW - 1) == [b, c, d]
    assert listed(limit=2) == [b, c]
    after = next_position([b], 1)
    assert after == Position(NOW - 3, "id of b")
    assert listed(after=after, limit=2) == [c, d]
    assert next_position([c, d], 3) is None
    assert store.longest_unsynced("other", before=NOW, after=None, limit=1) == []


def test_looking_by_internal_id_or_last_sync_is_no_use(tier: Tier) -> None:
    store = tier(size_of(identified(STALL)) * 2)
    store.put(identified(SHOP), LATER)
    store.put(identified(STALL), LATER)
    store.find("business", "id of shop")
    store.longest_unsynced("business", before=LATER, after=None, limit=1)
    store.put(identified(Key("business", "third")), LATER)
    assert store.get(SHOP) is None
