"""Messages of owners, as memory and the database take them."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from itertools import count

import pytest
from msgspec.structs import replace

from store.applying import NAMED_FOR
from store.base import StoreError
from store.effects import Applied, Decide, Delivery, Effect, Forget, Keep, Replace
from store.entry import AT_LEAST, Entry, Key, Write
from store.tiered import TieredStore
from tests.unit.store.fakes import Database, World, turns
from tests.unit.store.samples import NOW, derive, entry, user, write

A = user("a")
ROWLESS = Key("other", "a")
_names = count()


def row(item: bytes | None = b"old", version: str | None = "1") -> Entry:
    return entry(A, item, source_version=version).confirmed(internal_id=derive(A, 0), version=1)


def to(effect: Effect, seen: list[Entry | None] | None = None) -> Callable[[Entry | None], Effect]:
    def change(held: Entry | None) -> Effect:
        if seen is not None:
            seen.append(held)
        return effect

    return change


def new(item: bytes = b"new", key: Key = A) -> Replace:
    return Replace(Write(entry(key, item, source_version="2"), {}))


def apply(store: TieredStore, decide: Decide, name: str = "", key: Key = A) -> "asyncio.Task[Applied]":
    return asyncio.create_task(store.apply(key, decide, Delivery(name or f"m{next(_names)}", NOW, 900.0)))


def item_of(held: Entry | None) -> bytes | None:
    assert held is not None
    return held.item


async def test_what_was_merged_is_in_memory_when_it_is_durable(world: World, database: Database) -> None:
    database.rows = {A: row()}
    await world.store.load([A])
    slot = world.memory.slot(A)
    database.may_answer.clear()
    applying = apply(world.store, to(new()))
    await turns(lambda: item_of(database.rows[A]) == b"new")
    # Until it is acknowledged, either may be answered.
    assert item_of(world.store.peek(A)) == b"old"
    database.may_answer.set()
    await applying
    assert item_of(world.store.peek(A)) == b"new"
    # Whoever has the old one at hand, as the fast lane does, sees that it does not stand any more.
    assert slot is not None
    assert slot.entry is None or slot.entry.item == b"new"


async def test_what_is_forgotten_is_nowhere(world: World, database: Database) -> None:
    database.rows = {A: row()}
    await world.store.load([A])
    applied = await apply(world.store, to(Forget("2")))
    assert applied.before == row()
    assert world.store.peek(A) is None
    assert item_of((await world.store.load([A]))[A]) is None


async def test_what_is_as_new_stays(world: World, database: Database) -> None:
    database.rows = {A: row()}
    await world.store.load([A])
    held = world.store.peek(A)
    with closing(world.store.watch([A])) as seen:
        assert (await apply(world.store, to(Keep()))).effect == Keep()
        # But what is being fetched may be older: of that nobody knows the version yet.
        assert not world.store.put(write("a", b"fetched before"), seen=seen)
    assert world.store.peek(A) is held
    assert world.store.named(A) == "1"


async def test_a_fetch_under_way_brings_nothing_any_more(world: World, database: Database) -> None:
    database.rows = {A: row()}
    with closing(world.store.watch([A])) as seen:
        await apply(world.store, to(new()))
        assert not world.store.put(write("a", b"fetched before"), seen=seen)
    assert item_of(world.store.peek(A)) == b"new"


async def test_what_is_on_its_way_is_there_before_it_is_decided(world: World, database: Database) -> None:
    database.may_write.clear()
    world.store.put(write("a", b"on its way"))
    seen: list[Entry | None] = []
    applying = apply(world.store, to(Keep(), seen))
    await asyncio.sleep(0)
    assert not seen
    database.may_write.set()
    await applying
    assert [item_of(held) for held in seen] == [b"on its way"]


async def test_what_was_fetched_meanwhile_and_what_was_merged_are_both_forgotten(
    world: World, database: Database
) -> None:
    database.rows = {A: row()}
    database.may_answer.clear()
    applying = apply(world.store, to(new()))
    await turns(lambda: item_of(database.rows[A]) == b"new")
    world.store.put(write("a", b"fetched meanwhile"))
    database.may_answer.set()
    applied = await applying
    assert isinstance(applied.effect, Forget)
    assert world.store.peek(A) is None
    await world.store.flush()
    assert item_of(database.rows[A]) is None
    assert item_of((await world.store.load([A]))[A]) is None


async def test_messages_of_an_entity_come_one_after_the_other(world: World, database: Database) -> None:
    database.rows = {A: row(b"0")}

    def more(held: Entry | None) -> Effect:
        return new(b"%d" % (int(item_of(held) or b"") + 1))

    await asyncio.gather(*(apply(world.store, more) for _ in range(10)))
    assert item_of(world.store.peek(A)) == b"10"
    assert not world.store._applying._locks


async def test_a_database_that_fails_takes_no_message_and_nothing_is_shown(
    world: World, database: Database
) -> None:
    database.rows = {A: row()}
    await world.store.load([A])
    database.broken |= {"apply", "invalidate"}
    with pytest.raises(StoreError):
        await apply(world.store, to(new()), "m")
    assert world.store.peek(A) is None
    assert item_of((await world.store.load([A]))[A]) is None
    database.broken.clear()
    # It comes again, and what the database was not told to forget does not count as held.
    seen: list[Entry | None] = []
    await apply(world.store, to(Forget("2"), seen), "m")
    assert [item_of(held) for held in seen] == [None]


async def test_a_change_that_does_not_fit_changes_nothing(world: World, database: Database) -> None:
    class UnfitError(Exception):
        pass

    def fail(_held: Entry | None) -> Effect:
        raise UnfitError

    database.rows = {A: row()}
    await world.store.load([A])
    with pytest.raises(UnfitError):
        await apply(world.store, fail)
    assert item_of(world.store.peek(A)) == b"old"


def newer_than(version: str) -> Callable[[Entry | None], Effect]:
    """Merges version 2 into what is older."""
    return lambda held: Keep() if held is not None and (held.source_version or "") >= version else new(b"2")


@pytest.mark.parametrize(
    ("in_row", "in_memory", "effect", "shown"),
    [
        ("3", "4", Keep(), b"4"),  # either is newer
        ("1", "4", Forget("2"), None),  # a crash would bring back what is older
        ("4", "1", Keep(), b"4"),
        ("1", "0", Forget("2"), None),
    ],
)
async def test_of_what_did_not_get_into_its_row_neither_is_older_afterwards(
    world: World, database: Database, in_row: str, in_memory: str, effect: Effect, shown: bytes | None
) -> None:
    database.rows = {A: row(in_row.encode(), in_row)}
    database.bad.add("a")
    world.store.put(Write(entry(A, in_memory.encode(), source_version=in_memory), {}))
    await world.store.flush()
    assert (await apply(world.store, newer_than("2"))).effect == effect
    found = (await world.store.load([A]))[A]
    assert found.item == shown
    assert item_of(database.rows[A]) == (in_row.encode() if effect == Keep() else None)


async def test_whoever_goes_away_breaks_nothing_off(world: World, database: Database) -> None:
    database.rows = {A: row()}
    await world.store.load([A])
    for effect, name in ((new(), "m1"), (Forget("3"), "m2")):
        database.may_answer.clear()
        applying = apply(world.store, to(effect), name)
        await turns(lambda name=name: name in database.delivered)  # type: ignore[misc]
        applying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await applying
        database.may_answer.set()
        # It is sent again, and is told that it was done.
        assert (await apply(world.store, to(effect), name)).effect is None
        held = world.store.peek(A)
        assert (held and held.item) == (b"new" if name == "m1" else None)


async def test_the_end_waits_for_what_is_under_way(database: Database) -> None:
    world = World(database)
    await world.store.start()
    database.rows = {A: row()}
    await world.store.load([A])
    database.may_answer.clear()
    applying = apply(world.store, to(new()))
    await turns(lambda: bool(database.delivered))
    closing = asyncio.create_task(world.store.close())
    await asyncio.sleep(0)
    assert not closing.done()
    database.may_answer.set()
    await closing
    assert (await applying).effect == new()
    assert item_of(world.store.peek(A)) == b"new"


async def test_a_message_that_was_delivered_changes_nothing(world: World, database: Database) -> None:
    database.rows = {A: row()}
    await apply(world.store, to(new()), "m")
    assert (await apply(world.store, to(Forget("3")), "m")).effect is None
    assert item_of(world.store.peek(A)) == b"new"


async def test_what_has_no_row_is_changed_in_memory_and_remembered_in_the_database(
    world: World, database: Database
) -> None:
    world.store.put(Write(entry(ROWLESS, b"old"), {}))
    applied = await apply(world.store, to(new(key=ROWLESS)), "m", ROWLESS)
    held = world.store.peek(ROWLESS)
    assert held is applied.entry
    assert held is not None
    assert (held.item, held.version, held.internal_id) == (b"new", 2, derive(ROWLESS, 0))
    assert database.delivered == {"m"}
    assert (await apply(world.store, to(Forget()), "m", ROWLESS)).effect is None
    await apply(world.store, to(Forget()), "m2", ROWLESS)
    assert world.store.peek(ROWLESS) is None
    # An absence is nothing that could be merged with.
    world.store.put(Write(entry(ROWLESS, absent=True), {}))
    seen: list[Entry | None] = []
    await apply(world.store, to(Keep(), seen), key=ROWLESS)
    assert {(item_of(held), held and held.source_version) for held in seen} == {(None, "2")}
    database.broken.add("apply")
    world.store.put(Write(entry(ROWLESS, b"old"), {}))
    with pytest.raises(StoreError):
        await apply(world.store, to(Keep()), key=ROWLESS)
    assert world.store.peek(ROWLESS) is None


async def test_what_does_not_fit_an_entity_without_row_is_not_remembered(
    world: World, database: Database
) -> None:
    class UnfitError(Exception):
        pass

    def fail(_held: Entry | None) -> Effect:
        raise UnfitError

    world.store.put(Write(entry(ROWLESS, b"old"), {}))
    with pytest.raises(UnfitError):
        await apply(world.store, fail, "m", ROWLESS)
    assert database.delivered == set()
    assert item_of(world.store.peek(ROWLESS)) == b"old"


async def test_an_erasure_takes_the_version_that_was_named(world: World, database: Database) -> None:
    database.rows = {A: row()}
    await apply(world.store, to(Forget("2")))
    await world.store.erase(A)
    assert world.store.named(A) is None


async def test_without_a_database_a_message_is_remembered_in_memory() -> None:
    world = World(None)
    key = ROWLESS
    world.store.put(Write(entry(key, b"old"), {}))
    assert (await apply(world.store, to(new(key=key)), "m", key)).entry is world.store.peek(key)
    assert (await apply(world.store, to(Forget()), "m", key)).effect is None
    world.now += 901
    assert (await apply(world.store, to(Forget()), "m", key)).effect == Forget()
    assert world.store.peek(key) is None


@pytest.mark.parametrize("key", [A, ROWLESS])
@pytest.mark.parametrize("effect", [Keep(), Forget("2"), None])
async def test_variants_go_whatever_is_known_of_the_entity_without_one(
    world: World, database: Database, key: Key, effect: Effect | None
) -> None:
    effect = effect or new(key=key)
    variant = key._replace(variant="tenant")
    database.rows = {A: row()}
    world.store.put(Write(entry(variant, b"old"), {}))
    await apply(world.store, to(effect), key=key)
    assert world.store.peek(variant) is None


async def test_the_version_that_was_named_is_known_for_a_while(world: World, database: Database) -> None:
    database.rows = {A: row()}
    assert world.store.named(A) is None
    await apply(world.store, to(Forget("2")))
    assert world.store.named(A) == world.store.named(A._replace(variant="v")) == "2"
    world.store.put(write("a"))
    held = world.store.peek(A)
    assert held is not None
    assert held.source_version == AT_LEAST + "2"
    world.store.put(Write(entry(A, b"x", source_version="3"), {}))
    world.store.put(write("a", b"y"))
    world.now += NAMED_FOR
    assert world.store.named(A) is None


async def test_without_a_version_the_last_one_is_what_it_is_at_least() -> None:
    world = World(None)
    world.store.put(Write(entry(ROWLESS, source_version="2"), {}))
    for _ in range(2):
        world.store.put(Write(entry(ROWLESS), {}))
        held = world.store.peek(ROWLESS)
        assert held is not None
        assert held.source_version == AT_LEAST + "2"
    absence = replace(entry(ROWLESS), absent=True)
    world.store.put(Write(absence, {}))
    assert world.store.peek(ROWLESS) == absence
