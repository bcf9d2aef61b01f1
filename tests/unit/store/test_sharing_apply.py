"""Messages of owners where replicas share the store: the row may be newer than what memory has heard of."""

from collections.abc import AsyncIterator

import pytest

from store.base import StoreError
from store.effects import Applied, Delivery, Effect, Forget, Keep, Replace
from store.entry import Key, Write
from tests.unit.store.samples import NOW, entry, user, write
from tests.unit.store.shared_fakes import Shared, SharedWorld

A = user("a")


@pytest.fixture
async def database() -> Shared:
    return Shared()


@pytest.fixture
async def world(database: Shared) -> AsyncIterator[SharedWorld]:
    made = SharedWorld(database)
    assert await made.sharing.read_log()
    await made.store.start()
    made.store.put(await made.leased(write("a", b"old")))
    await made.store.flush()
    yield made
    await made.store.close()


async def apply(world: SharedWorld, effect: Effect, name: str = "m", key: Key = A) -> Applied:
    return await world.store.apply(key, lambda _held: effect, Delivery(name, NOW, 900.0))


async def test_of_a_message_that_another_replica_has_taken_memory_has_not_heard_yet(
    world: SharedWorld, database: Shared
) -> None:
    database.delivered.add("m")
    assert (await apply(world, Keep())).effect is None
    assert world.store.peek(A) is None


async def test_that_the_row_is_as_new_says_nothing_of_what_memory_has(world: SharedWorld) -> None:
    assert (await apply(world, Keep())).effect == Keep()
    assert world.store.peek(A) is None


async def test_what_is_fetched_under_a_lease_from_before_is_not_kept(world: SharedWorld) -> None:
    fetched = await world.leased(write("a", b"fetched before"))
    with_watch = world.store.watch([A])
    await apply(world, Replace(Write(entry(A, b"new", source_version="2"), {})))
    assert not world.store.put(fetched, seen=with_watch)
    with_watch.close()
    held = world.store.peek(A)
    assert held is not None
    assert held.item == b"new"
    assert held.durable


async def test_a_database_that_fails_is_told_later(world: SharedWorld, database: Shared) -> None:
    database.fail("apply")
    with pytest.raises(StoreError):
        await apply(world, Forget("2"))
    assert world.store.peek(A) is None
    await world.store.flush()
    assert database.rows[A].item is None


async def test_of_what_has_no_row_memory_may_not_have_heard_of_a_message_either(
    world: SharedWorld, database: Shared
) -> None:
    shop = Key("other", "a")
    world.store.put(Write(entry(shop, b"old"), {}))
    database.delivered.add("m")
    assert (await apply(world, Keep(), "m", shop)).effect is None
    assert world.store.peek(shop) is None
