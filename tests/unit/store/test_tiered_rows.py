"""Entities by their internal ids and by their last sync; and those that have no row."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from store.base import Page, Position, StoreError
from store.entry import Entry, Key, Write
from tests.unit.store.fakes import Database, World, turns
from tests.unit.store.samples import NOW, derive, entry, open_store, user, write

A, B, C, D = (user(name) for name in "abcd")
SHOP, STALL = Key("business", "shop"), Key("business", "stall")


def row(key: Key, synced: float = NOW, item: bytes | None = b"row") -> Entry:
    return entry(key, item, last_synced_at=synced).confirmed(internal_id=derive(key, 0), version=1)


def put(world: World, key: Key, item: bytes = b"1", *, synced: float = NOW) -> Entry:
    world.store.put(Write(entry(key, item, last_synced_at=synced), {}))
    kept = world.store.peek(key)
    assert kept is not None
    return kept


async def unsynced(
    world: World, resource: str = "user", *, after: Position | None = None, limit: int = 10
) -> Page:
    return await world.store.longest_unsynced(resource, before=NOW, after=after, limit=limit)


def keys(page: Page) -> list[Key]:
    return [shown.key for shown in page.entries]


async def test_an_internal_id_is_looked_up_in_the_database(world: World, database: Database) -> None:
    database.rows = {A: row(A), B: row(B, item=None)}
    assert await world.store.find("user", derive(A, 0)) == "a"
    assert await world.store.find("user", derive(B, 0)) == "b"
    assert await world.store.find("user", derive(C, 0)) is None
    database.broken.add("find")
    with pytest.raises(StoreError, match="find: broken"):
        await world.store.find("user", derive(A, 0))
    assert world.errors == ["find"]
    assert not world.store.degraded
    with pytest.raises(StoreError, match="no database"):
        await World(None).store.find("user", derive(A, 0))


async def test_what_has_no_row_has_a_derived_id_and_a_version_that_counts(
    world: World, database: Database
) -> None:
    first = put(world, SHOP, b"1")
    assert (first.internal_id, first.version, first.durable) == (derive(SHOP, 0), 1, False)
    assert [put(world, SHOP, item).version for item in (b"1", b"2", b"2", b"1")] == [1, 2, 2, 3]
    assert await world.store.find("business", derive(SHOP, 0)) == "shop"
    assert await world.store.find("other", derive(SHOP, 0)) is None
    # What was made out of a representation with whatever ids and versions is no exception.
    assert put(world, SHOP, b"1") == replace(first, version=3)
    await world.store.invalidate([SHOP])
    assert await world.store.find("business", derive(SHOP, 0)) is None
    assert put(world, SHOP, b"3").version == 1
    assert database.calls == []


async def test_absences_and_variants_have_no_internal_id(world: World) -> None:
    world.store.put(Write(entry(SHOP, b"404", absent=True), {}))
    absence = world.store.peek(SHOP)
    assert absence is not None
    assert absence.internal_id is None
    assert put(world, SHOP._replace(variant="v")).internal_id is None
    assert await world.store.find("business", derive(SHOP, 0)) is None
    # After an absence it is as new.
    assert put(world, SHOP).version == 1


async def test_what_has_a_row_has_no_id_before_the_database_gives_it(world: World) -> None:
    assert put(world, A).internal_id is None
    assert world.memory.find("user", derive(A, 0)) is None
    await world.store.flush()
    assert world.memory.find("user", derive(A, 0)) is None


async def test_the_longest_unsynced_come_in_pages(world: World, database: Database) -> None:
    database.rows = {key: row(key, NOW - ago) for key, ago in ((A, 1), (B, 3), (C, 2), (D, 0))}
    database.rows[user("e")] = row(user("e"), NOW - 9, item=None)
    page = await unsynced(world, limit=2)
    assert page == Page([database.rows[B], database.rows[C]], Position(NOW - 2, derive(C, 0)))
    assert await unsynced(world, after=page.next, limit=2) == Page([database.rows[A]], None)
    assert await unsynced(world, after=page.next, limit=1) == Page(
        [database.rows[A]],
        Position(NOW - 1, derive(A, 0)),
    )


async def test_those_of_which_something_newer_is_known_are_left_out(world: World, database: Database) -> None:
    database.rows = {key: row(key, NOW - 5) for key in (A, B, C, D)}
    database.may_write.clear()
    world.store.invalidate([A])
    put(world, B, synced=NOW)
    world.memory.clear()
    put(world, C, synced=NOW)
    page = await unsynced(world, limit=4)
    assert keys(page) == [D]
    # The list goes on behind the last that the database has said.
    assert page.next == max(Position(NOW - 5, derive(key, 0)) for key in (A, B, C, D))


async def test_what_is_known_and_no_newer_is_not_left_out(world: World, database: Database) -> None:
    # The database rounds to the millisecond.
    put(world, A, synced=NOW - 5 + 0.0004)
    await world.store.flush()
    database.rows[A] = replace(database.rows[A], last_synced_at=NOW - 5)
    assert keys(await unsynced(world)) == [A]
    # Put again as it was: only its freshness differs.
    database.may_write.clear()
    put(world, A, b"row", synced=NOW - 5)
    assert keys(await unsynced(world)) == [A]
    world.store.put(Write(entry(A, b"", absent=True), {}))
    assert keys(await unsynced(world)) == []


@pytest.mark.parametrize("fails", [False, True])
async def test_what_is_to_be_forgotten_when_the_list_is_asked_for_is_not_in_it(
    world: World, database: Database, fails: bool
) -> None:
    database.rows = {A: row(A, NOW - 5), B: row(B, NOW - 5)}
    if fails:
        database.broken.add("invalidate")
    database.may_write.clear()
    invalidated = world.store.invalidate([A])
    database.may_read.clear()
    listed = asyncio.create_task(unsynced(world))
    await turns(lambda: bool(database.calls))
    database.may_write.set()
    await asyncio.wait([invalidated])
    database.may_read.set()
    assert keys(await listed) == [B]
    assert keys(await unsynced(world)) == [B]
    assert (invalidated.exception() is not None) is fails


async def test_what_is_forgotten_during_a_list_is_not_in_it(world: World, database: Database) -> None:
    database.rows = {A: row(A, NOW - 5), B: row(B, NOW - 5)}
    database.may_read.clear()
    listed = asyncio.create_task(unsynced(world))
    await turns(lambda: bool(database.calls))
    database.may_write.clear()
    world.store.invalidate([A])
    database.may_read.set()
    assert keys(await listed) == [B]


async def test_a_list_that_fails_is_told_and_counted(world: World, database: Database) -> None:
    database.broken.add("unsynced")
    with pytest.raises(StoreError):
        await unsynced(world)
    assert world.errors == ["unsynced"]
    assert not world.store.degraded
    with pytest.raises(StoreError, match="no database"):
        await unsynced(World(None))


async def test_what_has_no_row_is_listed_from_memory(world: World, database: Database) -> None:
    shop, stall = put(world, SHOP, synced=NOW - 1), put(world, STALL, synced=NOW - 2)
    put(world, Key("business", "new"), synced=NOW)
    put(world, SHOP._replace(variant="v"), synced=NOW - 9)
    put(world, Key("other", "old"), synced=NOW - 9)
    world.store.put(Write(entry(Key("business", "none"), b"", absent=True), {}))
    page = await unsynced(world, "business", limit=1)
    assert page == Page([stall], Position(NOW - 2, derive(STALL, 0)))
    assert await unsynced(world, "business", after=page.next, limit=2) == Page([shop], None)
    assert await unsynced(world, "unheard of") == Page([], None)
    assert database.calls == []


async def test_over_the_real_database(tmp_path: Path) -> None:
    database = await open_store(tmp_path / "rows.db")
    world = World(database)
    await world.store.start()
    kept = [put(world, key, synced=NOW - ago) for key, ago in ((A, 1), (B, 3), (C, 2))]
    writes = [Write(each, {}) for each in kept] + [write("d")]
    unerased = world.store.watch_erasures([one.entry.key for one in writes])
    confirmed = await world.store.confirm(writes, at=NOW, unerased=unerased)
    assert {key: shown.internal_id for key, shown in confirmed.items()} == {
        key: derive(key, 0) for key in (A, B, C, D)
    }
    await world.store.flush()
    changed = await world.store.change(A, local={"department_id": "7"}, synced_at=NOW - 9.1234)
    assert changed is not None
    assert changed is world.store.peek(A)
    assert (changed.version, changed.last_synced_at) == (2, NOW - 9.123)
    again = put(world, A, b"2")
    confirmed = await world.store.confirm([Write(again, {})], at=NOW, unerased=unerased)
    assert confirmed[A].local == {"department_id": "7"}
    put(world, A, b"2", synced=NOW - 1.00049)
    await world.store.flush()
    page = await unsynced(world, limit=2)
    assert keys(page) == [B, C]
    assert keys(await unsynced(world, after=page.next)) == [A]
    assert await world.store.find("user", derive(A, 0)) == "a"
    await asyncio.gather(world.store.erase(A), world.store.invalidate([B]))
    assert await world.store.find("user", derive(A, 0)) is None
    assert {key: row.item for key, row in (await world.store.load([A, B, C])).items()} == {B: None, C: b"1"}
    assert world.errors == []
    await world.store.close()
    await database.close()
