"""Entities as they are shown to somebody who keeps their internal ids."""

import asyncio
from contextlib import closing

import pytest
from msgspec.structs import replace

from store.entry import NO_LOCALS, Entry, Key, Write
from tests.unit.store.fakes import Database, World
from tests.unit.store.samples import NOW, derive, entry, user, write

A, B, C = user("a"), user("b"), user("c")
ROWLESS = Key("business", "a")
LOCAL = {"department_id": "7"}


def held(world: World, key: Key = A) -> Write:
    """What a resolver gives out."""
    found = world.store.peek(key)
    assert found is not None
    return Write(found, {})


async def confirmed(world: World, *writes: Write) -> dict[Key, Entry]:
    async with asyncio.timeout(5):
        with closing(world.store.watch_erasures([write.entry.key for write in writes])) as unerased:
            return await world.store.confirm(writes, at=NOW + 1, unerased=unerased)


async def test_what_is_new_and_on_its_way_is_waited_for(world: World, database: Database) -> None:
    database.may_write.clear()
    world.store.put(write("a"))
    kept = held(world)
    waiting = asyncio.create_task(confirmed(world, kept))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    database.may_write.set()
    found = await waiting
    assert (found[A].durable, found[A].internal_id) == (True, derive(A, 0))
    calls = list(database.calls)
    assert await confirmed(world) == {}
    # Durable by now: it is shown as it is.
    assert await confirmed(world, held(world)) == found
    assert database.calls == calls


async def test_what_is_new_and_on_its_way_is_shown_even_if_it_is_newer(database: Database) -> None:
    world = World(database)
    world.store.put(write("a", b"1"))
    kept = held(world)
    world.store.put(write("a", b"2"))
    waiting = asyncio.create_task(confirmed(world, kept))
    for _ in range(20):
        await asyncio.sleep(0)
    await world.store.start()
    assert (await waiting)[A].item == b"2"
    await world.store.close()


@pytest.mark.parametrize("item", [b"held", b"newer"])
async def test_what_has_a_row_waits_for_nothing(world: World, database: Database, item: bytes) -> None:
    database.rows[A] = entry(A, b"held").confirmed(internal_id="given", version=7, local=LOCAL)
    database.may_write.clear()
    world.store.put(write("a", item))
    shown = (await confirmed(world, held(world)))[A]
    assert (shown.item, shown.internal_id, shown.local) == (item, "given", LOCAL)
    assert shown.version == (7 if item == b"held" else 8)
    database.may_write.set()


async def test_what_has_a_row_is_shown_though_it_can_t_be_written(world: World, database: Database) -> None:
    database.rows[A] = entry(A, b"held").confirmed(internal_id="given", version=7)
    database.broken.add("put")
    world.store.put(write("a", b"newer"))
    await world.store.flush()
    assert (await confirmed(world, held(world)))[A].internal_id == "given"


async def test_what_is_durable_is_shown_however_old_it_is(world: World, database: Database) -> None:
    old = entry(A).confirmed(internal_id="1", version=3)
    assert await confirmed(world, Write(old, {})) == {A: old}
    assert database.calls == []


async def test_what_could_not_be_stored_is_tried_once_more(world: World, database: Database) -> None:
    database.broken.add("put")
    world.store.put(write("a"))
    await world.store.flush()
    # Failed again: nobody may be shown it, and nothing is reserved in a database that does not take what is put.
    assert await confirmed(world, held(world)) == {}
    puts = [("put", ("a",))]
    assert [call for call in database.calls if call[0] != "get"] == puts * 2
    database.broken.clear()
    assert (await confirmed(world, held(world)))[A].durable
    assert [call for call in database.calls if call[0] != "get"] == puts * 3


async def test_what_memory_had_to_evict_is_shown_with_a_reserved_id(world: World, database: Database) -> None:
    world.store.put(write("a", b"mine"))
    kept = held(world)
    await world.store.flush()
    database.rows[A] = replace(database.rows[A], version=4, local=LOCAL, item=b"newer")
    world.memory.clear()
    shown = (await confirmed(world, kept))[A]
    assert shown == replace(kept.entry, internal_id=derive(A, 0), version=4, local=LOCAL)
    assert not shown.durable


async def test_what_may_not_be_stored_has_its_id_reserved(world: World, database: Database) -> None:
    world.store.put(write("b"))
    found = await confirmed(world, write("a", b"private"), held(world, B), write("c", b"private"))
    assert {key: (shown.item, shown.internal_id, shown.durable) for key, shown in found.items()} == {
        A: (b"private", derive(A, 0), False),
        B: (b'{"id":"a"}', derive(B, 0), True),
        C: (b"private", derive(C, 0), False),
    }
    assert [call for call in database.calls if call[0] != "get"] == [("put", ("b",)), ("reserve", ("a", "c"))]
    assert database.rows[A].item is None
    assert database.rows[A].last_synced_at == NOW + 1
    assert world.store.peek(A) is None
    assert found[A].local is NO_LOCALS


async def test_what_the_queue_has_no_room_for_has_its_id_reserved(database: Database) -> None:
    world = World(database, max_pending=0)
    world.store.put(write("a"))
    shown = (await confirmed(world, held(world)))[A]
    assert (shown.internal_id, shown.durable) == (derive(A, 0), False)
    assert world.errors == ["queue_full"] * 2


async def test_a_write_that_is_invalidated_meanwhile_has_its_id_reserved(database: Database) -> None:
    world = World(database)
    world.store.put(write("a", b"before"))
    kept = held(world)
    waiting = asyncio.create_task(confirmed(world, kept))
    await asyncio.sleep(0)
    invalidated = world.store.invalidate([A])
    shown = (await waiting)[A]
    assert (shown.item, shown.internal_id, shown.durable) == (b"before", derive(A, 0), False)
    await world.store.start()
    await invalidated
    # It is not brought back, by this or by asking again.
    assert (await confirmed(world, kept))[A].internal_id == derive(A, 0)
    assert database.rows[A].item is None
    assert world.store.peek(A) is None
    await world.store.close()


async def test_a_write_under_way_is_shown_though_it_is_invalidated_meanwhile(
    world: World, database: Database
) -> None:
    database.may_write.clear()
    world.store.put(write("a"))
    kept = held(world)
    await asyncio.sleep(0)
    waiting = asyncio.create_task(confirmed(world, kept))
    await asyncio.sleep(0)
    invalidated = world.store.invalidate([A])
    database.may_write.set()
    assert (await waiting)[A].internal_id == derive(A, 0)
    await invalidated
    assert [call for call, _ in database.calls if call not in {"get", "reserve"}] == ["put", "invalidate"]


async def test_keys_for_which_the_database_fails_are_missing(world: World, database: Database) -> None:
    database.bad = {"a"}
    database.broken.add("reserve")
    world.store.put(write("a"))
    world.store.put(write("b"))
    found = await confirmed(world, held(world, A), held(world, B), write("c"))
    assert set(found) == {B}
    assert world.errors == ["put", "reserve"]


async def test_a_reservation_that_fails_does_not_degrade_the_store(world: World, database: Database) -> None:
    database.broken.add("reserve")
    assert await confirmed(world, write("a")) == {}
    assert world.errors == ["reserve"]
    assert not world.store.degraded


async def test_without_the_database_there_is_nothing_to_show() -> None:
    alone = World(None)
    alone.store.put(write("a"))
    assert await confirmed(alone, held(alone), write("b")) == {}
    alone.store.put(Write(entry(ROWLESS), {}))
    assert set(await confirmed(alone, held(alone, ROWLESS))) == {ROWLESS}


async def test_nobody_waits_for_a_store_that_is_closed(database: Database) -> None:
    world = World(database)
    world.store.put(write("a"))
    kept = held(world)
    waiting = asyncio.create_task(confirmed(world, kept))
    for _ in range(20):
        await asyncio.sleep(0)
    await world.store.close()
    assert await waiting == {}


async def test_whoever_goes_away_takes_nobodys_write_along(world: World, database: Database) -> None:
    database.may_write.clear()
    world.store.put(write("a"))
    waiting = [asyncio.create_task(confirmed(world, held(world))) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    database.may_write.set()
    assert (await waiting[1])[A].durable


async def test_what_is_confirmed_has_not_changed(world: World, database: Database) -> None:
    world.store.put(write("a"))
    with closing(world.store.watch([A, B])) as seen:
        await confirmed(world, held(world), write("b"))
        assert seen.is_current(A)
        assert seen.is_current(B)


async def test_what_is_rowless_is_shown_as_memory_has_it(world: World, database: Database) -> None:
    sent = entry(ROWLESS, b"1")
    world.store.put(Write(entry(ROWLESS, b"0"), {}))
    world.store.put(Write(sent, {}))
    kept = held(world, ROWLESS)
    assert (kept.entry.internal_id, kept.entry.version) == (derive(ROWLESS, 0), 2)
    assert (await confirmed(world, kept))[ROWLESS] is kept.entry
    # What a flight brought has no id of its own; its item is the one that is held.
    assert (await confirmed(world, Write(sent, {})))[ROWLESS] is kept.entry
    # What may not be stored, or was superseded, is shown as it is.
    for other in (entry(ROWLESS, b"other"), entry(Key("business", "b"))):
        shown = (await confirmed(world, Write(other, {})))[other.key]
        assert shown == replace(other, internal_id=derive(other.key, 0))
    assert database.calls == []


async def test_what_is_put_again_is_to_be_confirmed_again(world: World, database: Database) -> None:
    world.store.put(write("a"))
    await world.store.flush()
    database.rows[A] = replace(database.rows[A], local=LOCAL)
    before = held(world).entry
    world.store.put(Write(before, {}))
    kept = held(world)
    assert (kept.entry.durable, kept.entry.internal_id, kept.entry.local) == (False, None, NO_LOCALS)
    shown = (await confirmed(world, kept))[A]
    assert (shown.internal_id, shown.local) == (before.internal_id, LOCAL)
    await world.store.flush()
    assert held(world).entry == replace(shown, durable=True)
