"""What waits for the database is bounded in bytes, and counted exactly."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from store.pending import Invalidated
from store.write_behind import WriteBehind
from tests.unit.store.fakes import Database, World, turns
from tests.unit.store.samples import entry, user, write

BOUND = 1_000


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.write_behind.MAX_BYTES", BOUND)


@pytest.fixture
async def database() -> Database:
    database = Database()
    database.may_write.clear()
    return database


@pytest.fixture
async def behind(database: Database) -> AsyncIterator[WriteBehind]:
    made = WriteBehind(
        database, on_confirmed=lambda *_: None, on_result=lambda *_: None, max_pending=100, clock=lambda: 0.0
    )
    made.start()
    yield made
    database.may_write.set()
    async with asyncio.timeout(5):
        await made.close()


async def test_what_waits_and_what_is_under_way_has_one_bound(
    behind: WriteBehind, database: Database
) -> None:
    assert behind.put(write("a", b"x" * (BOUND - 10)))
    await turns(lambda: behind._puts == {})
    assert not behind.put(write("b", b"x" * 11)), "the database holds none of it yet"
    assert behind.put(write("b", b"x" * 10))
    database.may_write.set()
    await behind.flush()
    assert sorted(key.id for key in database.rows) == ["a", "b"]


async def test_the_columns_and_fields_of_a_write_are_counted(behind: WriteBehind) -> None:
    assert behind.put(write("a", name="x" * (BOUND - 100)))
    assert not behind.put(write("b", name="x" * 100))
    assert not behind.put(write("c")._replace(entry=entry(user("c"), headers=((b"x", b"y" * 100),))))


async def test_one_that_is_larger_than_the_bound_has_room_alone(behind: WriteBehind) -> None:
    assert behind.put(write("a", b"x" * BOUND * 2))
    assert behind.put(write("a", b"x" * BOUND * 3)), "in place of the other"
    assert not behind.put(write("b", b"x"))


async def test_what_is_out_of_date_goes_if_there_is_no_room_for_what_replaces_it(
    behind: WriteBehind, database: Database
) -> None:
    behind.put(write("a", b"old"))
    waiter = behind.written(user("a"))
    behind.put(write("b", b"x" * (BOUND - 10)))
    assert not behind.put(write("a", b"x" * 11))
    assert waiter is not None
    with pytest.raises(Invalidated):
        await waiter
    assert behind.entry(user("a")) is None
    database.may_write.set()
    await behind.flush()
    assert list(database.rows) == [user("b")]


@pytest.mark.parametrize("way", ["stored", "failed", "invalidated", "erased", "replaced"])
@pytest.mark.parametrize("is_under_way", [True, False])
async def test_every_end_of_a_write_gives_its_bytes_back_once(
    way: str, is_under_way: bool, behind: WriteBehind, database: Database
) -> None:
    behind.put(write("a", b"x" * (BOUND // 2)))
    if is_under_way:
        await turns(lambda: behind._puts == {})
    behind.put(write("b", b"x" * (BOUND // 2)))
    if way == "failed":
        database.broken.add("put")
    elif way == "invalidated":
        behind.invalidate(user("a"))
    elif way == "erased":
        behind.erase(user("a"))
    elif way == "replaced":
        behind.put(write("a", b"" if is_under_way else b"y"))
    database.may_write.set()
    await behind.flush()
    database.may_write.clear()
    assert behind.put(write("c", b"x" * (BOUND // 2)))
    assert behind.put(write("d", b"x" * (BOUND // 2))), "nothing else takes room"
    assert not behind.put(write("e", b"x")), "and nothing was given back twice"


async def test_what_found_no_room_is_shown_by_its_reserved_id_and_not_kept() -> None:
    database = Database()
    database.may_write.clear()
    world = World(database)
    await world.store.start()
    world.store.put(write("a", b"x" * BOUND))
    kept = write("b", b"y" * BOUND)
    world.store.put(kept)
    assert world.errors == ["queue_full"]
    shown = await world.store.confirm([kept], at=0.0, unerased=world.store.watch_erasures([user("b")]))
    assert shown[user("b")].internal_id == database.rows[user("b")].internal_id
    assert shown[user("b")].item == kept.entry.item
    database.may_write.set()
    await world.store.close()
    assert database.rows[user("b")].item is None
