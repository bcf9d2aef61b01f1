"""What both tiers hold, as it is counted for a scrape."""

import asyncio

import pytest
from msgspec.structs import replace

from store.entry import Key
from store.memory import size_of
from tests.unit.store.fakes import Database, World
from tests.unit.store.samples import entry, write


@pytest.fixture
def database() -> Database:
    return Database()


async def test_of_a_table_the_database_counts_and_of_all_else_memory(database: Database) -> None:
    world = World(database)
    database.rows = {Key("user", "a"): entry(Key("user", "a")), Key("user", "b"): entry(Key("user", "b"))}
    lasting = replace(entry(Key("other", "b")), lifetime=600.0)
    for kept in (entry(Key("other", "a")), lasting, entry(Key("other", "c"), None, absent=True)):
        world.memory.put(kept, kept.received_at + 1_000)
    world.memory.put(entry(Key("user", "c")), world.now + 1_000)
    assert (await world.store.stats()).stale == {"user": 0}
    world.now += 61
    assert (await world.store.stats()).stale == {"other": 1, "user": 2}


async def test_a_large_memory_is_counted_in_slices_and_changes_meanwhile() -> None:
    world = World(None, memory=1 << 24)
    keys = [Key("other", str(number)) for number in range(5_000)]
    for key in keys:
        world.memory.put(entry(key), world.now + 1_000)
    world.now += 61
    counted = asyncio.create_task(world.store.stats())
    await asyncio.sleep(0)
    for key in keys[4_000:]:
        world.memory.discard(key)
    assert (await counted).stale == {"other": 4_000}


async def test_the_lag_of_invalidations_is_that_of_the_queue(database: Database) -> None:
    world = World(database)
    await world.store.start()
    world.store.put(write("a"))
    world.store.invalidate([Key("user", "a")])
    world.now += 3
    assert (await world.store.stats()).invalidation_lag == 3
    await world.store.flush()
    assert (await world.store.stats()).invalidation_lag == 0
    await world.store.close()


async def test_to_be_counted_is_not_to_be_used(database: Database) -> None:
    """Nor does it keep others waiting: what is looked at between two turns is bounded."""
    keys = [Key("other", str(number)) for number in range(3_000)]
    world = World(None, memory=sum(size_of(entry(key)) for key in keys))
    for key in keys:
        world.memory.put(entry(key), world.now + 1_000)
    turns = 0
    counted = asyncio.create_task(world.store.stats())
    while not counted.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 3
    world.memory.put(entry(Key("other", "n")), world.now + 1_000)
    assert [world.memory.get(key) is None for key in keys[:3]] == [True, False, False]
