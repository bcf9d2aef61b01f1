"""What a database is told that was lost, or that failed, once it works again."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from store import write_behind
from store.base import Adopted, StoreError
from store.entry import Entry, Key, Write
from tests.unit.store.fakes import Database, World
from tests.unit.store.samples import NOW, derive, entry, user, write

GIVEN = "00000000-0000-4000-8000-000000000001"
A, B = user("a"), user("b")


class Anew(Database):
    """Takes rows over, as many as fit."""

    def __init__(self, room: int = 1_000) -> None:
        super().__init__()
        self.room = room
        self.adopted: dict[Key, Entry] = {}

    async def adopt_many(self, writes: Sequence[Write]) -> Adopted:
        if sum(each.entry.item is not None for each in writes) > self.room:
            raise StoreError("adopt: full")
        self.adopted |= {each.entry.key: each.entry for each in writes}
        return Adopted(added=len(writes))


def held(key: Key, *, internal_id: str | None = None, local: str | None = None, item: bytes = b"1") -> Entry:
    """As a database has confirmed it."""
    made = entry(key, item).confirmed(internal_id=internal_id or derive(key, 0), version=3)
    return replace(made, local={"department_id": local}) if local else made


def keep(world: World, *entries: Entry) -> None:
    for each in entries:
        world.memory.put(each, NOW + 1_000)


async def until_recovered(world: World) -> None:
    for _ in range(10):
        if await world.store.recover():
            return
        await asyncio.sleep(0)
    pytest.fail("it did not recover")


async def test_rows_come_back_with_their_ids_and_attributes(world: World) -> None:
    rows = [held(A, internal_id=GIVEN), held(B, local="d"), held(user("c"))]
    keep(world, *rows, replace(held(user("unstored")), durable=False), held(Key("business", "x")))
    anew = Anew()
    await world.store.remember()
    await world.store.bring_back(anew)
    assert anew.adopted == {each.key: each for each in rows}


async def test_what_memory_has_lost_meanwhile_comes_back_without_its_item(world: World) -> None:
    keep(world, held(A, internal_id=GIVEN), held(B, local="d"), held(user("c")))
    await world.store.remember()
    for key in (A, B, user("c")):
        world.memory.discard(key)
    anew = Anew()
    await world.store.bring_back(anew)
    assert {key: (row.item, row.internal_id, row.local) for key, row in anew.adopted.items()} == {
        A: (None, GIVEN, {}),
        B: (None, derive(B, 0), {"department_id": "d"}),
    }


async def test_what_is_replaced_before_the_loss_is_noticed_keeps_its_id(
    world: World, database: Database
) -> None:
    database.broken.add("put")
    keep(world, held(A, internal_id=GIVEN))
    world.store.put(write("a", b"2"))
    await world.store.flush()
    await world.store.remember()
    anew = Anew()
    await world.store.bring_back(anew)
    assert (anew.adopted[A].item, anew.adopted[A].internal_id) == (None, GIVEN)


@pytest.mark.parametrize("forget", ["invalidate", "drop"])
async def test_what_is_forgotten_while_it_fails_keeps_its_id_alone(
    world: World, database: Database, forget: str
) -> None:
    database.broken |= {"invalidate", "put"}
    world.store.put(write("other"))
    await world.store.flush()
    keep(world, held(A, internal_id=GIVEN))
    if forget == "drop":
        world.store.drop(A)
    else:
        with pytest.raises(StoreError):
            await world.store.invalidate([A])
    anew = Anew()
    await world.store.bring_back(anew)
    assert (anew.adopted[A].item, anew.adopted[A].internal_id) == (None, GIVEN)


async def test_what_is_erased_does_not_come_back(world: World, database: Database) -> None:
    keep(world, held(A, internal_id=GIVEN))
    await world.store.remember()
    await world.store.erase(A)
    anew = Anew()
    await world.store.bring_back(anew)
    assert not anew.adopted


async def test_what_does_not_fit_is_left_out_but_for_what_could_not_be_made_again(world: World) -> None:
    keep(world, held(A, internal_id=GIVEN), held(B))
    anew = Anew(room=1)
    await world.store.bring_back(anew)
    assert {key: row.item for key, row in anew.adopted.items()} == {A: None}


async def test_a_write_that_failed_is_written_when_the_database_works_again(
    world: World, database: Database
) -> None:
    database.broken |= {"put", "check"}
    world.store.put(write("a"))
    world.store.put(write("b"))
    await world.store.flush()
    assert not await world.store.recover()
    world.memory.discard(B)
    database.broken.clear()
    assert await world.store.recover()
    assert not world.store.degraded
    assert set(database.rows) == {A}
    entry_ = world.store.peek(A)
    assert entry_ is not None
    assert entry_.durable
    calls = len(database.calls)
    assert await world.store.recover()
    assert len(database.calls) == calls, "there is nothing to find out"


async def test_a_failed_erasure_does_not_keep_the_store_degraded(world: World, database: Database) -> None:
    database.rows[A] = held(A)
    database.broken.add("erase")
    with pytest.raises(StoreError):
        await world.store.erase(A)
    assert not await world.store.recover()
    database.broken.clear()
    assert await world.store.recover()
    assert not world.store.degraded
    assert A in database.rows, "it has failed, and is for who was told so"


async def test_without_a_database_there_is_nothing_to_recover() -> None:
    assert not await World(None).store.recover()


async def test_more_invalidations_than_can_be_remembered_forget_everything(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_behind, "MAX_UNFORGOTTEN", 2)
    everybody = [user(name) for name in "abcd"]
    database.rows = {key: held(key) for key in everybody}
    database.broken |= {"invalidate", "invalidate all"}
    waiters = [world.store.invalidate([key]) for key in everybody[:3]]
    await asyncio.wait(waiters)
    assert all(isinstance(waiter.exception(), StoreError) for waiter in waiters)
    assert world.store._behind is not None
    assert not world.store._behind._unforgotten
    loaded = await world.store.load(everybody)
    assert {row.item for row in loaded.values()} == {None}, "also of what nobody has invalidated"
    page = await world.store.longest_unsynced("user", before=NOW + 1, after=None, limit=10)
    assert not page.entries
    world.now += 5
    assert (await world.store.stats()).invalidation_lag == 5
    assert not await world.store.recover()
    database.broken.clear()
    await until_recovered(world)
    assert (await world.store.stats()).invalidation_lag == 0
    assert {row.item for row in database.rows.values()} == {None}
    world.store.put(write("a", b"new"))
    await world.store.flush()
    world.memory.discard(A)
    assert (await world.store.load([A]))[A].item == b"new"
