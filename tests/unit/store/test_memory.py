import gc
import tracemalloc
from collections.abc import Callable
from sys import getsizeof

import pytest
from msgspec.structs import replace

from store import memory
from store.entry import NO_LOCALS, Column, Entry, Key
from store.memory import MemoryTier, size_of
from tests.turns import in_turn
from tests.unit.store.samples import NOW, entry, user


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def evictions() -> list[tuple[str, str]]:
    return []


Tier = Callable[[int], MemoryTier]


@pytest.fixture
def tier(clock: Clock, evictions: list[tuple[str, str]]) -> Tier:
    def make(max_bytes: int = 1 << 20) -> MemoryTier:
        return MemoryTier(max_bytes, clock=clock, on_evict=lambda *what: evictions.append(what))

    return make


A, B, C = user("a"), user("b"), user("c")
LATER = NOW + 60
ONE = size_of(entry(A))


def test_gives_back_what_was_put(tier: Tier) -> None:
    store = tier(1 << 20)
    kept = entry(A)
    assert store.put(kept, LATER)
    assert store.get(A) is kept
    assert store.get(B) is None
    assert store.slot(B) is None
    assert store.bytes == ONE
    assert store.max_bytes == 1 << 20


def test_a_replaced_entry_keeps_its_slot(tier: Tier) -> None:
    store = tier(1 << 20)
    store.put(entry(A), LATER)
    slot = store.slot(A)
    after = entry(A, b"longer than before")
    store.put(after, LATER)
    assert slot is not None
    assert store.slot(A) is slot
    assert slot.entry is after
    assert store.count("user") == 1
    assert store.bytes == size_of(after)


def test_expiry_empties_the_slot_and_is_told(
    tier: Tier, clock: Clock, evictions: list[tuple[str, str]]
) -> None:
    store = tier(1 << 20)
    store.put(entry(A), LATER)
    slot = store.slot(A)
    clock.now = LATER - 0.001
    assert store.get(A) is not None
    clock.now = LATER
    assert store.get(A) is None
    assert slot is not None
    assert slot.entry is None
    assert evictions == [("user", "expired")]
    assert (store.bytes, store.count("user"), store.counts()) == (0, 0, {"user": 0})
    assert not store.evicted_recently(A)


def test_an_entry_put_after_its_predecessor_expired_stands(tier: Tier, clock: Clock) -> None:
    store = tier(1 << 20)
    store.put(entry(A), LATER)
    clock.now = LATER + 1
    store.put(after := entry(A), LATER + 60)
    assert store.get(A) is after
    assert store.count("user") == 1


def test_discard_and_clear_empty_the_slots_and_are_no_evictions(
    tier: Tier, evictions: list[tuple[str, str]]
) -> None:
    store = tier(1 << 20)
    slots = []
    for key in (A, B, C):
        store.put(entry(key), LATER)
        slots.append(store.slot(key))
    store.discard(A)
    store.discard(A)
    assert [slot.entry is None for slot in slots if slot] == [True, False, False]
    assert store.count("user") == 2
    store.clear()
    assert [slot.entry for slot in slots if slot] == [None, None, None]
    assert (store.bytes, store.count("user")) == (0, 0)
    assert evictions == []


def test_the_least_recently_used_goes_first(tier: Tier, evictions: list[tuple[str, str]]) -> None:
    store = tier(ONE * 2)
    store.put(entry(A), LATER)
    store.put(entry(B), LATER)
    slot = store.slot(B)
    store.get(A)
    store.put(entry(C), LATER)
    assert store.get(B) is None
    assert store.get(A)
    assert store.get(C)
    assert slot is not None
    assert slot.entry is None
    assert evictions == [("user", "size")]
    assert store.evicted_recently(B)
    assert not store.evicted_recently(A)
    assert store.count("user") == 2


@pytest.mark.parametrize("comes_back", [True, False])
def test_what_came_back_or_was_discarded_is_not_recently_evicted(tier: Tier, comes_back: bool) -> None:
    store = tier(ONE)
    store.put(entry(A), LATER)
    store.put(entry(B), LATER)
    assert store.evicted_recently(A)
    if comes_back:
        store.put(entry(A), LATER)
    else:
        store.discard(A)
    assert not store.evicted_recently(A)


def test_evicted_keys_are_remembered_up_to_a_bound(tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "EVICTED_REMEMBERED", 2)
    store = tier(ONE)
    for name in "abcd":
        store.put(entry(user(name)), LATER)
    assert [store.evicted_recently(user(name)) for name in "abcd"] == [False, True, True, False]


def test_an_entry_grows_at_the_expense_of_others_only(tier: Tier) -> None:
    store = tier(ONE * 2)
    store.put(entry(A), LATER)
    store.put(entry(B), LATER)
    slot = store.slot(A)
    large = entry(A, b"x" * (ONE // 2))
    assert store.put(large, LATER)
    assert slot is not None
    assert slot.entry is large
    assert store.get(B) is None


def test_an_entry_that_is_too_large_is_not_kept_and_nor_is_its_predecessor(tier: Tier) -> None:
    store = tier(ONE)
    store.put(entry(A), LATER)
    assert not store.put(entry(A, b"x" * ONE), LATER)
    assert store.get(A) is None
    assert not tier(0).put(entry(A), LATER)


@pytest.mark.parametrize("end", [NOW, NOW - 1, float("nan")])
def test_what_is_not_usable_is_not_kept(tier: Tier, end: float) -> None:
    store = tier(1 << 20)
    store.put(entry(A), LATER)
    assert not store.put(entry(A), end)
    assert store.get(A) is None


def test_absences_are_kept_but_not_counted(
    tier: Tier, clock: Clock, evictions: list[tuple[str, str]]
) -> None:
    store = tier(1 << 20)
    store.put(absence := entry(A, b"not here", absent=True), LATER)
    assert store.get(A) is absence
    assert store.count("user") == 0
    clock.now = LATER
    assert store.get(A) is None
    assert evictions == []


def test_counts_by_resource(tier: Tier) -> None:
    store = tier(1 << 20)
    store.put(entry(A), LATER)
    store.put(entry(Key("business", "a")), LATER)
    assert (store.count("user"), store.count("business"), store.count("other")) == (1, 1, 0)
    store.put(entry(A, b"", absent=True), LATER)
    assert store.counts() == {"user": 0, "business": 1}


def test_a_clock_that_steps_back_harms_nothing(tier: Tier, clock: Clock) -> None:
    store = tier(ONE * 3)
    store.put(entry(A), LATER)
    clock.now = NOW - 3600
    store.put(entry(B), NOW - 3000)
    store.put(entry(A), NOW - 3500)
    clock.now = NOW - 3200
    assert store.get(A) is None
    assert store.get(B) is not None
    clock.now = NOW - 7200
    assert store.get(A) is None
    for name in "abcdef":
        store.put(entry(user(name)), NOW)
    assert (store.count("user"), store.bytes) == (3, ONE * 3)
    clock.now = NOW
    assert (store.count("user"), store.bytes) == (0, 0)


def test_everything_that_hangs_on_an_entry_is_accounted_for() -> None:
    bare = entry(A, None, absent=True)
    assert size_of(bare) == memory.OVERHEAD + getsizeof(A.id)
    full = entry(A, b"x" * 100, headers=((b"etag", b"1"),), source_version="7")
    hangs_on = (b"x" * 100, "i" * 36, b"etag", b"1", "7")
    assert size_of(full.confirmed(internal_id="i" * 36, version=1)) == (
        size_of(bare) + sum(map(getsizeof, hangs_on)) + memory.HEADER_OVERHEAD
    )


V, W = A._replace(variant="v"), A._replace(variant="w")


def test_variants_are_entries_of_their_own(tier: Tier) -> None:
    store = tier(1 << 20)
    kept = {key: entry(key) for key in (A, V, W, B)}
    for one in kept.values():
        store.put(one, LATER)
    assert [store.get(key) for key in kept] == list(kept.values())
    assert store.get(B._replace(variant="v")) is None
    assert store.count("user") == 4
    assert store.bytes == sum(map(size_of, kept.values()))


@pytest.mark.parametrize("name", [A, V, A._replace(variant="unknown")])
def test_every_variant_is_discarded_whichever_is_named(tier: Tier, name: Key) -> None:
    store = tier(1 << 20)
    slots = []
    for key in (A, V, W, B):
        store.put(entry(key), LATER)
        slots.append(store.slot(key))
    store.discard(name)
    assert [slot.entry is None for slot in slots if slot] == [True, True, True, False]
    assert (store.count("user"), store.bytes) == (1, ONE)
    store.discard(name)


def test_the_index_has_the_variants_that_are_here_and_no_other(tier: Tier, clock: Clock) -> None:
    store = tier(size_of(entry(V)) * 2)
    indexed = store._variants

    def put(key: Key, end: float = LATER) -> None:
        store.put(entry(key), end)

    put(A)
    assert indexed == {}
    put(V)
    put(V)
    put(W)
    assert indexed == {("user", "a"): {"v", "w"}}
    put(B._replace(variant="x"))  # the least recently used goes
    assert indexed == {("user", "a"): {"w"}, ("user", "b"): {"x"}}
    assert store.evicted_recently(V)
    assert not store.evicted_recently(A._replace(variant="x"))
    store.put(entry(W, b"x" * 10_000), LATER)  # too large to be kept
    assert indexed == {("user", "b"): {"x"}}
    clock.now = LATER
    assert store.count("user") == 0
    assert indexed == {}
    put(V, LATER + 60)
    put(W, LATER + 60)
    store.clear()
    assert indexed == {}
    assert not store.evicted_recently(V)


def test_the_variants_of_an_entity_are_listed_but_for_the_one_that_is_none(tier: Tier) -> None:
    store = tier(1 << 20)
    assert store.variants(A) == []
    for key in (A, B):
        store.put(entry(key), LATER)
    assert store.variants(A) == []
    for key in (V, W, B._replace(variant="x")):
        store.put(entry(key), LATER)
    for key in (A, V, A._replace(variant="unknown")):
        assert sorted(store.variants(key)) == ["v", "w"]
    assert store.variants(B) == ["x"]
    for variant in store.variants(A):  # what is listed may be dropped meanwhile
        store.drop(A._replace(variant=variant))
    assert store.variants(A) == []
    assert store.get(A) is not None


def test_a_variant_is_accounted_for() -> None:
    assert size_of(entry(V)) == ONE + memory.VARIANT_OVERHEAD + getsizeof("v")


def test_internal_ids_and_local_attributes_are_accounted_for() -> None:
    bare = entry(A)
    assert size_of(replace(bare, internal_id="1")) == size_of(bare) + getsizeof("1") + memory.INDEX_OVERHEAD
    local: dict[str, Column] = {"department_id": "x" * 100, "is_field_worker": 1}
    confirmed = bare.confirmed(internal_id="1", version=1)
    assert size_of(confirmed) == size_of(bare) + getsizeof("1")
    assert size_of(replace(confirmed, local=local)) == (
        size_of(confirmed) + getsizeof(local) + getsizeof("x" * 100) + getsizeof(1)
    )


def sample(number: int, shift: float, kind: str) -> Entry:
    made = entry(
        Key("user", f"user-{number:08d}", f"{number:032x}" if kind == "variant" else ""),
        b"x" * 250 + str(number).encode(),
        received_at=NOW + shift + number / 7,
        lifetime=86_400 - number / 3,
        initial_age=number / 9 + 0.1,
        last_synced_at=NOW + shift + number / 7,
        headers=((b"etag-%d" % number, b"v%d" % number),) if kind == "headers" else (),
    )
    internal_id = f"{number:036d}"
    if kind == "rowless":
        return replace(made, internal_id=internal_id)
    local: dict[str, Column] = {"department_id": f"department-{number}", "is_field_worker": number % 2}
    return made.confirmed(internal_id=internal_id, version=1, local=local if kind == "local" else NO_LOCALS)


@pytest.mark.parametrize(
    ("kind", "rounds"), in_turn(("plain", "headers", "variant", "rowless", "local"), (1, 2))
)
def test_the_accounting_is_within_a_fifth_of_what_is_really_taken(kind: str, rounds: int) -> None:
    count = 2_000
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        store = MemoryTier(1 << 30, clock=lambda: NOW, on_evict=lambda *_: None)
        for shift in range(rounds):
            for number in range(count):
                store.put(sample(number, shift, kind), LATER + number)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert store.count("user") == count
    assert 0.8 < taken / store.bytes < 1.2


def test_what_no_database_holds_any_more_stays_for_as_long_and_is_found_by_no_id(
    tier: Tier, clock: Clock
) -> None:
    store = tier(1 << 20)
    given = "00000000-0000-4000-8000-000000000001"
    store.put(entry(A).confirmed(internal_id=given, version=3, local={"department_id": "d"}), LATER)
    store.put(entry(B), LATER)
    for key in (A, B, C):
        store.unconfirm(key)
    assert store.get(A) == replace(entry(A), version=3)
    assert store.get(B) == entry(B)
    assert store.get(C) is None
    assert store.bytes == size_of(replace(entry(A), version=3)) + size_of(entry(B))
    clock.now = LATER
    assert store.get(A) is None
