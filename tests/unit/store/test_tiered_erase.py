"""Entities that are forgotten altogether."""

import asyncio
from contextlib import closing

import pytest

from store.base import StoreError
from store.entry import Key, Write
from tests.unit.store.fakes import Database, World, turns
from tests.unit.store.samples import NOW, derive, entry, user, write

A, B = user("a"), user("b")
V = A._replace(variant="v")
ROWLESS = Key("business", "a")


def begun(world: World, key: Key = A) -> "asyncio.Task[None]":
    return asyncio.create_task(world.store.erase(key))


async def test_an_erasure_takes_the_row_and_all_that_memory_has(world: World, database: Database) -> None:
    for key in (A, V, B):
        world.store.put(Write(entry(key), {}))
    await world.store.flush()
    await world.store.erase(V)
    assert set(database.rows) == {B}
    assert [world.store.peek(key) is None for key in (A, V, B)] == [True, True, False]
    assert await world.store.load([A]) == {}
    assert await world.store.find("user", derive(A, 0)) is None
    assert database.calls[1:] == [("erase", ("a",)), ("get", ("a",)), ("find", (derive(A, 0),))]


async def test_it_holds_from_the_start_of_the_call(world: World, database: Database) -> None:
    world.store.put(write("a"))
    await world.store.flush()
    database.may_write.clear()
    with closing(world.store.watch([A])) as seen:
        erase = begun(world)
        await asyncio.sleep(0)
        assert world.store.peek(A) is None
        assert (await world.store.load([A]))[A].item is None
        assert not world.store.put(write("a"), seen=seen)
    assert (await world.store.stats()).pending == 1
    assert not erase.done()
    database.may_write.set()
    await erase
    assert A not in database.rows


async def test_what_is_erased_during_a_read_does_not_come_back(world: World, database: Database) -> None:
    database.rows = {A: entry(A)}
    database.may_read.clear()
    read = asyncio.create_task(world.store.load([A]))
    await turns(lambda: bool(database.calls))
    await world.store.erase(A)
    database.may_read.set()
    assert await read == {}
    assert world.store.peek(A) is None


async def test_a_write_that_is_queued_is_dropped(database: Database) -> None:
    world = World(database)
    world.store.put(write("a"))
    kept = world.store.peek(A)
    assert kept is not None
    erase = begun(world)
    await asyncio.sleep(0)
    await world.store.start()
    await erase
    assert database.calls == [("erase", ("a",))]
    await world.store.close()


async def test_a_write_under_way_is_waited_for(world: World, database: Database) -> None:
    database.may_write.clear()
    world.store.put(write("a"))
    await asyncio.sleep(0)
    erase = begun(world)
    await asyncio.sleep(0)
    database.may_write.set()
    await erase
    assert database.calls == [("put", ("a",)), ("erase", ("a",))]
    assert A not in database.rows
    assert world.store.peek(A) is None


@pytest.mark.parametrize("is_under_way", [False, True])
async def test_what_is_put_after_it_waits_for_it(
    world: World, database: Database, is_under_way: bool
) -> None:
    database.rows = {A: entry(A, b"old")}
    database.may_write.clear()
    erase = begun(world)
    await asyncio.sleep(0)
    if is_under_way:
        await turns(lambda: world.store._behind is not None and A in world.store._behind._forgetting)
    world.store.put(write("a", b"new"))
    database.may_write.set()
    await erase
    await world.store.flush()
    assert database.calls == [("erase", ("a",)), ("put", ("a",))]
    assert database.rows[A].item == b"new"
    kept = world.store.peek(A)
    assert kept is not None
    assert kept.durable


async def test_erasures_and_invalidations_are_told_apart(database: Database) -> None:
    world = World(database)
    database.rows = {key: entry(key) for key in (A, B, user("c"))}
    invalidated = world.store.invalidate([B, user("c")])
    erasures = [begun(world), begun(world, user("c"))]
    await asyncio.sleep(0)
    await world.store.start()
    await asyncio.gather(invalidated, *erasures)
    assert database.calls == [("invalidate", ("b",)), ("erase", ("c", "a"))]
    assert set(database.rows) == {B}
    await world.store.close()


async def test_an_invalidation_does_not_make_less_of_an_erasure_that_waits(
    world: World, database: Database
) -> None:
    database.rows = {A: entry(A)}
    erase = begun(world)
    await asyncio.sleep(0)
    await asyncio.gather(world.store.invalidate([A]), erase)
    assert A not in database.rows
    assert database.calls == [("erase", ("a",))]


async def test_an_erasure_that_fails_leaves_the_row_as_it_is(world: World, database: Database) -> None:
    world.store.put(write("a"))
    await world.store.flush()
    database.broken |= {"erase"}
    with pytest.raises(StoreError, match="erase: broken"):
        await world.store.erase(A)
    assert world.errors == ["erase"]
    assert world.store.degraded
    assert world.store.peek(A) is None
    found = (await world.store.load([A]))[A]
    assert found.item is not None, "what the database has is used on"
    # Nor is it told again behind the back of whoever was told of the failure.
    await world.store.change(A, local={"department_id": "7"})
    await world.store.invalidate([B])
    assert database.calls[-1] == ("invalidate", ("b",))
    # Called again, it is an erasure again.
    database.broken.clear()
    await world.store.erase(A)
    assert A not in database.rows
    assert not world.store.degraded


async def test_an_erasure_that_fails_does_not_undo_an_invalidation(world: World, database: Database) -> None:
    database.rows = {A: entry(A).confirmed(internal_id=derive(A, 0), version=1)}
    database.broken |= {"erase", "invalidate"}
    with pytest.raises(StoreError):
        await world.store.invalidate([A])
    with pytest.raises(StoreError):
        await world.store.erase(A)
    assert (await world.store.load([A]))[A].item is None


async def test_one_kind_that_fails_does_not_fail_the_other(world: World, database: Database) -> None:
    database.rows = {A: entry(A), B: entry(B)}
    database.broken.add("invalidate")
    invalidated = world.store.invalidate([B])
    await world.store.erase(A)
    with pytest.raises(StoreError):
        await invalidated
    assert A not in database.rows
    assert world.errors == ["invalidate"]
    assert world.store._behind is not None
    assert world.store._behind.is_forgotten(B)
    assert not world.store._behind.is_forgotten(A)


async def test_whoever_goes_away_leaves_it_to_be_done(world: World, database: Database) -> None:
    database.rows = {A: entry(A)}
    database.may_write.clear()
    erase = begun(world)
    await asyncio.sleep(0)
    erase.cancel()
    await asyncio.wait([erase])
    database.may_write.set()
    await world.store.flush()
    assert A not in database.rows


async def test_a_confirmation_under_way_brings_nothing_back(world: World, database: Database) -> None:
    world.store.put(write("a"))
    kept = world.store.peek(A)
    assert kept is not None
    unerased = world.store.watch_erasures([A])
    confirm = asyncio.create_task(world.store.confirm([Write(kept, {})], at=NOW, unerased=unerased))
    erase = begun(world)
    assert await confirm == {}
    await erase
    assert A not in database.rows
    assert world.store.peek(A) is None


async def test_an_invalidation_of_the_same_batch_does_not_wait_for_an_erasure(database: Database) -> None:
    world = World(database)
    database.rows = {A: entry(A), B: entry(B)}
    database.may_erase.clear()
    invalidated = world.store.invalidate([B])
    erase = begun(world)
    await asyncio.sleep(0)
    await world.store.start()
    async with asyncio.timeout(5):
        await invalidated
        # Nor does what comes after it.
        world.store.put(write("b", b"new"))
        await turns(lambda: database.rows[B].item == b"new")
        assert await world.store.change(B, synced_at=NOW + 1) is not None
    flush = asyncio.create_task(world.store.flush())
    await asyncio.sleep(0)
    assert not erase.done()
    database.may_erase.set()
    async with asyncio.timeout(5):
        await asyncio.gather(erase, flush)
    await world.store.close()


async def test_what_is_rowless_goes_from_memory(world: World, database: Database) -> None:
    for key in (ROWLESS, ROWLESS._replace(variant="v")):
        world.store.put(Write(entry(key), {}))
    await world.store.erase(ROWLESS)
    assert world.memory.bytes == 0
    assert await world.store.find("business", derive(ROWLESS, 0)) is None
    assert database.calls == []
    await World(None).store.erase(ROWLESS)


async def test_without_the_database_memory_forgets_and_the_rest_is_not_known() -> None:
    alone = World(None)
    alone.store.put(write("a"))
    with pytest.raises(StoreError, match="no database"):
        await alone.store.erase(A)
    assert alone.store.peek(A) is None


async def test_after_the_end_it_fails_and_the_row_stands(database: Database) -> None:
    world = World(database)
    database.rows = {A: entry(A)}
    await world.store.start()
    await world.store.close()
    with pytest.raises(StoreError, match="closed"):
        await world.store.erase(A)
    async with asyncio.timeout(5):
        await world.store.flush()
        kept = await world.store.change(A, synced_at=NOW)
    assert kept is not None
    assert kept.item is not None
