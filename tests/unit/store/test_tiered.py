"""Memory over a database that the test holds by the hand."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from store.base import StoreError
from store.entry import Entry, Key, Write
from store.tiered import TieredStore
from tests.unit.store.fakes import Database, World, turns
from tests.unit.store.samples import NOW, derive, entry, open_store, user, write

A, B = user("a"), user("b")
MEMORY_ONLY = Key("other", "a")


async def test_a_put_is_in_memory_at_once_and_durable_behind(world: World, database: Database) -> None:
    world.store.put(write("a"))
    kept = world.store.peek(A)
    assert kept is not None
    assert (kept.durable, kept.internal_id) == (False, None)
    slot = world.memory.slot(A)
    await world.store.flush()
    assert slot is not None
    assert slot.entry is not None
    assert slot.entry is world.store.peek(A)
    assert (slot.entry.durable, slot.entry.internal_id) == (True, derive(A, 0))
    assert database.rows[A] == slot.entry
    assert world.lookups == [("user", "memory", "hit")] * 2


async def test_an_entry_that_was_durable_is_not_so_when_it_is_put_again(world: World) -> None:
    world.store.put(Write(replace(entry(A), durable=True), {}))
    kept = world.store.peek(A)
    assert kept is not None
    assert not kept.durable


async def test_absences_and_resources_without_a_table_stay_in_memory(
    world: World, database: Database
) -> None:
    world.store.put(Write(entry(A, b"404", absent=True), {}))
    world.store.put(Write(entry(MEMORY_ONLY), {}))
    await world.store.invalidate([Key("other", "b")])
    await world.store.flush()
    assert database.calls == []
    assert world.store.peek(A)
    assert set(await world.store.load([A, MEMORY_ONLY, Key("other", "b")])) == {A, MEMORY_ONLY}
    assert database.calls == []


async def test_load_promotes_what_is_usable(world: World, database: Database) -> None:
    database.rows = {A: entry(A), B: entry(B, lifetime=-1.0), user("c"): entry(user("c"), None)}
    found = await world.store.load([A, B, user("c"), user("d")])
    assert found == database.rows
    assert world.lookups == [("user", "database", result) for result in ("hit", "hit", "miss", "miss")]
    assert world.store.peek(A) is database.rows[A]
    assert world.store.peek(B) is None
    assert world.store.peek(user("c")) is None
    await world.store.load([A])
    assert database.calls == [("get", ("a", "b", "c", "d"))]
    assert len(world.store._generations) == 0


async def test_the_same_key_twice_in_a_load(world: World, database: Database) -> None:
    database.rows = {A: entry(A)}
    assert await world.store.load([A, A]) == database.rows
    assert len(world.store._generations) == 0


async def test_a_write_on_its_way_is_read(world: World, database: Database) -> None:
    database.may_write.clear()
    world.store.put(write("a"))
    await asyncio.sleep(0)
    assert world.store._behind is not None
    assert A in world.store._behind._writing
    world.store.put(write("b"))
    world.memory.clear()
    assert set(await world.store.load([A, B])) == {A, B}
    assert world.memory.get(A)
    assert database.calls == []


async def test_the_latest_write_of_a_key_is_the_one_that_is_sent(world: World, database: Database) -> None:
    for item in (b"1", b"2", b"3"):
        world.store.put(write("a", item))
    await world.store.flush()
    assert database.calls == [("put", ("a",))]
    assert database.rows[A].item == b"3"


async def test_a_confirmation_does_not_replace_what_is_newer(world: World, database: Database) -> None:
    database.may_write.clear()
    database.is_stepped = True
    world.store.put(write("a", b"1"))
    await asyncio.sleep(0)
    world.store.put(write("a", b"2"))
    newer = world.store.peek(A)
    database.may_write.set()
    await turns(lambda: len(database.calls) == 1)
    assert world.store.peek(A) is newer
    database.may_write.set()
    await world.store.flush()
    kept = world.store.peek(A)
    assert kept is not None
    assert (kept.item, kept.durable) == (b"2", True)


async def test_an_invalidation_holds_at_once_and_its_future_when_durable(
    world: World, database: Database
) -> None:
    world.store.put(write("a"))
    await world.store.flush()
    database.may_write.clear()
    done = world.store.invalidate([A, B])
    assert world.store.peek(A) is None
    husk = (await world.store.load([A]))[A]
    assert (husk.item, husk.internal_id) == (None, derive(A, 0))
    assert not done.done()
    database.may_write.set()
    await done
    assert database.rows[A].item is None
    await world.store.invalidate([])


@pytest.mark.parametrize("gap", [False, True])
async def test_put_and_invalidate_keep_their_order(world: World, database: Database, gap: bool) -> None:
    database.rows = {A: entry(A, b"0")}
    world.store.put(write("a", b"1"))
    if gap:
        await asyncio.sleep(0)
    done = world.store.invalidate([A])
    if gap:
        await asyncio.sleep(0)
    await done
    assert database.rows[A].item is None
    first = world.store.invalidate([A])
    if gap:
        await asyncio.sleep(0)
    world.store.put(write("a", b"2"))
    await first
    await world.store.flush()
    assert database.rows[A].item == b"2"
    kept = world.store.peek(A)
    assert kept is not None
    assert kept.durable


async def test_what_is_invalidated_during_a_read_does_not_come_back(world: World, database: Database) -> None:
    database.rows = {A: entry(A)}
    database.may_read.clear()
    read = asyncio.create_task(world.store.load([A]))
    await asyncio.sleep(0)
    await world.store.invalidate([A])
    database.may_read.set()
    assert await read == {}
    assert world.store.peek(A) is None


async def test_what_is_put_during_a_read_wins(world: World, database: Database) -> None:
    database.rows = {A: entry(A, b"old")}
    database.may_read.clear()
    read = asyncio.create_task(world.store.load([A]))
    await asyncio.sleep(0)
    world.store.put(write("a", b"new"))
    database.may_read.set()
    found = await read
    assert found[A].item == b"new"
    assert world.store.peek(A) is found[A]


async def test_a_read_that_began_before_the_invalidation_was_durable_is_not_believed(
    world: World, database: Database
) -> None:
    database.rows = {A: entry(A)}
    database.may_write.clear()
    done = world.store.invalidate([A])
    database.may_read.clear()
    read = asyncio.create_task(world.store.load([A]))
    await asyncio.sleep(0)
    database.may_write.set()
    await done
    database.may_read.set()
    assert (await read)[A].item is None
    assert world.store.peek(A) is None


async def test_two_reads_of_a_key_promote_one_entry(world: World, database: Database) -> None:
    database.rows = {A: entry(A)}
    database.may_read.clear()
    reads = [asyncio.create_task(world.store.load([A])) for _ in range(2)]
    await asyncio.sleep(0)
    database.may_read.set()
    first, second = await asyncio.gather(*reads)
    assert first[A] is second[A] is world.store.peek(A)
    assert len(world.store._generations) == 0


async def test_a_cancelled_read_leaves_nothing(world: World, database: Database) -> None:
    database.may_read.clear()
    read = asyncio.create_task(world.store.load([A]))
    await asyncio.sleep(0)
    read.cancel()
    await asyncio.wait([read])
    assert len(world.store._generations) == 0


async def test_a_database_that_fails_to_read_counts_as_empty(world: World, database: Database) -> None:
    database.broken.add("get")
    assert await world.store.load([A]) == {}
    assert world.errors == ["get"]
    assert world.lookups == [("user", "database", "error")]
    assert world.store.degraded
    database.broken.clear()
    await world.store.load([A])
    assert not world.store.degraded


async def test_a_database_that_fails_to_write_loses_durability_only(world: World, database: Database) -> None:
    database.broken.add("put")
    world.store.put(write("a"))
    await world.store.flush()
    assert world.errors == ["put"]
    assert world.store.degraded
    kept = world.store.peek(A)
    assert kept is not None
    assert not kept.durable
    assert database.calls == [("put", ("a",))]
    database.broken.clear()
    world.store.put(write("b"))
    await world.store.flush()
    assert not world.store.degraded


async def test_one_bad_write_does_not_fail_its_batch(world: World, database: Database) -> None:
    database.bad = {"b"}
    for name in "abc":
        world.store.put(write(name))
    await world.store.flush()
    assert set(database.rows) == {A, user("c")}
    assert world.errors == ["put"]
    assert world.store.degraded


async def test_a_bug_in_the_database_does_not_end_the_writing(world: World, database: Database) -> None:
    async def bug(_writes: Sequence[Write]) -> dict[Key, Entry]:
        raise KeyError("bug")

    fixed = database.put_many
    database.put_many = bug  # type: ignore[method-assign,assignment]
    world.store.put(write("a"))
    kept = world.store.peek(A)
    assert kept is not None
    unerased = world.store.watch_erasures([A])
    assert await world.store.confirm([Write(kept, {})], at=NOW, unerased=unerased) == {}
    database.put_many = fixed  # type: ignore[method-assign]
    world.store.put(write("a"))
    await world.store.flush()
    assert A in database.rows


async def test_an_invalidation_that_failed_is_not_undone_and_is_told_again(
    world: World, database: Database
) -> None:
    world.store.put(write("a"))
    await world.store.flush()
    database.broken.add("invalidate")
    with pytest.raises(StoreError):
        await world.store.invalidate([A])
    with pytest.raises(StoreError):
        await world.store.invalidate([A, B])
    assert world.errors == ["invalidate"] * 2
    assert (await world.store.load([A]))[A].item is None
    database.broken.clear()
    world.store.put(write("c"))
    await world.store.flush()
    assert database.rows[A].item is None
    assert world.store._behind is not None
    assert world.store._behind._unforgotten == {}
    assert not world.store.degraded


async def test_what_was_to_be_forgotten_and_is_written_over_may_be_read(
    world: World, database: Database
) -> None:
    database.broken.add("invalidate")
    world.store.invalidate([A])
    world.store.put(write("a", b"new"))
    await world.store.flush()
    world.memory.clear()
    assert (await world.store.load([A]))[A].item == b"new"


async def test_a_cancelled_wait_for_an_invalidation_cancels_the_wait_only(
    world: World, database: Database
) -> None:
    database.rows = {A: entry(A)}
    world.store.invalidate([A]).cancel()
    await world.store.flush()
    assert database.rows[A].item is None


async def test_flush_waits_for_what_is_being_written_and_what_waits(world: World, database: Database) -> None:
    database.may_write.clear()
    world.store.put(write("a"))
    world.store.invalidate([B])
    await asyncio.sleep(0)
    world.store.put(write("c"))
    world.store.invalidate([user("d")])
    flush = asyncio.create_task(world.store.flush())
    await asyncio.sleep(0)
    assert not flush.done()
    assert (await world.store.stats()).pending == 4
    database.may_write.set()
    await flush
    assert (await world.store.stats()).pending == 0
    await world.store.flush()


async def test_a_flush_between_the_invalidations_and_the_puts_of_a_batch_ends(
    world: World, database: Database
) -> None:
    world.store.invalidate([B])
    world.store.put(write("a"))
    invalidate = database.invalidate_many

    async def and_close(keys: Sequence[Key]) -> None:
        await invalidate(keys)
        database.may_write.clear()

    database.invalidate_many = and_close  # type: ignore[method-assign]
    await turns(lambda: bool(database.calls))
    flush = asyncio.create_task(world.store.flush())
    await asyncio.sleep(0)
    database.may_write.set()
    async with asyncio.timeout(5):
        await flush


async def test_beyond_the_bound_writes_stay_in_memory(database: Database) -> None:
    world = World(database, max_pending=2)
    for name in "aabc":
        world.store.put(write(name))
    assert world.errors == ["queue_full"]
    assert world.store.peek(user("c"))
    # What is to be forgotten is never refused.
    invalidated = world.store.invalidate([user("d")])
    await world.store.start()
    await invalidated
    await world.store.flush()
    assert set(database.rows) == {A, B}
    await world.store.close()


async def test_without_a_database_memory_goes_on(tmp_path: Path) -> None:
    world = World(None)
    await world.store.start()
    assert world.store.degraded
    world.store.put(write("a"))
    assert set(await world.store.load([A, B])) == {A}
    await world.store.invalidate([A])
    await world.store.flush()
    stats = await world.store.stats()
    assert (stats.database_bytes, stats.entities, stats.pending) == (0, {"user": 0}, 0)
    await world.store.close()


async def test_stats_are_those_of_both_tiers(world: World, database: Database) -> None:
    database.rows = {B: entry(B)}
    world.store.put(Write(entry(MEMORY_ONLY), {}))
    stats = await world.store.stats()
    assert stats.entities == {"other": 1, "user": 1}
    assert stats.database_bytes == 4096
    assert stats.memory_bytes == world.memory.bytes > 0
    assert stats.memory_max_bytes == 1 << 20
    database.broken.add("stats")
    assert (await world.store.stats()).database_bytes == 0
    assert world.errors == ["stats"]


async def test_evictions_can_be_asked_for(database: Database) -> None:
    world = World(database, memory=1_000)
    world.store.put(write("a"))
    world.store.put(write("b"))
    assert world.store.evicted_recently(A)
    assert not world.store.evicted_recently(B)


async def test_closing_writes_what_is_queued_and_ends(database: Database) -> None:
    world = World(database)
    world.store.put(write("a"))
    await world.store.start()
    await world.store.close()
    await world.store.close()
    assert A in database.rows
    world.store.put(write("b"))
    assert world.store.peek(B)
    assert world.errors == ["queue_full"]
    with pytest.raises(StoreError, match="closed"):
        await world.store.invalidate([A])


async def test_closing_ends_with_an_invalidation_that_fails(database: Database) -> None:
    world = World(database)
    database.broken.add("invalidate")
    failed = world.store.invalidate([A])
    await world.store.start()
    await world.store.close()
    with pytest.raises(StoreError):
        await failed


async def test_nobody_waits_for_a_store_that_was_never_started_or_was_stopped(database: Database) -> None:
    world = World(database)
    world.store.put(write("a"))
    flush = asyncio.create_task(world.store.flush())
    await asyncio.sleep(0)
    await world.store.close()
    await flush
    world = World(database)
    database.may_write.clear()
    await world.store.start()
    world.store.put(write("a"))
    await asyncio.sleep(0)
    invalidated = world.store.invalidate([B])
    assert world.store._behind is not None
    assert world.store._behind._task is not None
    world.store._behind._task.cancel()
    with pytest.raises(StoreError, match="closed"):
        await invalidated
    await world.store.close()


async def test_over_the_real_database(tmp_path: Path) -> None:
    database = await open_store(tmp_path / "tiered.db")
    world = World(None, max_pending=10_000)
    store = TieredStore(
        world.memory,
        database,
        clock=lambda: NOW,
        usable_until=lambda kept: kept.received_at + kept.lifetime,
        on_lookup=lambda *_: None,
        on_error=world.errors.append,
        max_pending=10_000,
        tables=frozenset({"user", "business"}),
        derive_id=derive,
    )
    await store.start()
    for number in range(2_000):
        store.put(write(str(number), b"%d" % number))
    await store.flush()
    await store.invalidate([user("7")])
    world.memory.clear()
    found = await store.load([user(str(number)) for number in range(2_000)])
    assert len(found) == 2_000
    assert [key.id for key, kept in found.items() if kept.item is None] == ["7"]
    assert all(kept.durable for kept in found.values())
    assert (await store.stats()).entities == {"user": 1_999, "business": 0}
    assert world.errors == []
    await store.close()
    await database.close()
