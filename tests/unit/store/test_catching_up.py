"""What a database is told that was lost, or that failed, once it works again."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from store import catching_up, write_behind
from store.base import Adopted, StoreError
from store.entry import Entry, Key, Write
from tests.unit.store.fakes import UNREADABLE, Database, World, turns
from tests.unit.store.samples import NOW, derive, entry, user, write

GIVEN = "00000000-0000-4000-8000-000000000001"
A, B = user("a"), user("b")


class Anew(Database):
    """Takes rows over, as many as fit."""

    def __init__(self, room: int = 1_000) -> None:
        super().__init__()
        self.room = room
        self.adopted: dict[Key, Entry] = {}
        self.batches: list[int] = []

    async def adopt_many(self, writes: Sequence[Write]) -> Adopted:
        items = sum(
            each.item is not None for each in (*self.adopted.values(), *(sent for sent, *_ in writes))
        )
        if items > self.room:
            raise StoreError("adopt: full")
        self.batches.append(len(writes))
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


async def test_the_newest_come_first_and_what_is_left_out_is_not_called_durable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "_SLICE", 1)
    rows = [replace(held(user(f"{age}")), last_synced_at=NOW - age) for age in (3, 1, 4, 2)]
    keep(world, *rows)
    anew = Anew(room=2)
    await world.store.bring_back(anew)
    assert [key.id for key in anew.adopted] == ["1", "2"]
    held_ = {each.key.id: world.memory.look_at(each.key) for each in rows}
    assert {name: each.durable for name, each in held_.items() if each} == {
        "3": False, "1": True, "4": False, "2": True,
    }  # fmt: skip
    assert held_["4"] is not None
    assert (held_["4"].internal_id, held_["4"].item) == (None, b"1"), "it is still served"


async def test_large_items_are_brought_back_a_few_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "_SLICE_BYTES", 100)
    keep(world, *(held(user(name), item=b"x" * 60) for name in "abcde"))
    anew = Anew()
    await world.store.bring_back(anew)
    assert anew.batches == [2, 2, 1]


async def test_large_writes_that_failed_are_read_with_turns_between(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.broken |= {"put"}
    for name in "abc":
        world.store.put(write(name, b"x" * 60))
    await world.store.flush()
    monkeypatch.setattr(catching_up, "_SLICE_BYTES", 100)
    missing = asyncio.create_task(world.store._catch_up.missing(), name="missing")
    await asyncio.sleep(0)
    assert not missing.done()
    world.store.put(write("b", b"newer"))
    await world.store.flush()
    database.broken.clear()
    queued: list[str] = []

    def queue(sent: Write) -> bool:
        queued.append(sent.entry.key.id)
        return True

    world.store._catch_up.again(await missing, queue)
    assert queued == ["a", "c"], "the newer one has failed, too, and is for the next time"
    await until_recovered(world)
    assert database.rows[B].item == b"newer"


async def test_what_can_not_be_read_comes_back_without_its_item_and_with_all_others(world: World) -> None:
    keep(world, held(A, internal_id=GIVEN, item=UNREADABLE), held(B))
    anew = Anew()
    await world.store.bring_back(anew)
    assert {key: (row.item, row.internal_id) for key, row in anew.adopted.items()} == {
        A: (None, GIVEN),
        B: (b"1", derive(B, 0)),
    }


async def test_a_write_that_failed_and_can_not_be_read_is_not_tried_again(
    world: World, database: Database
) -> None:
    database.broken |= {"put"}
    world.store.put(write("a", UNREADABLE))
    world.store.put(write("b"))
    await world.store.flush()
    database.broken.clear()
    await until_recovered(world)
    assert set(database.rows) == {B}


@pytest.mark.parametrize("is_erased", [False, True])
async def test_what_is_replaced_while_it_is_written_keeps_its_id_unless_it_is_erased(
    world: World, database: Database, is_erased: bool
) -> None:
    keep(world, held(A, local="d"))
    database.rows[A] = held(A, local="d")
    database.is_stepped = True
    database.may_write.clear()
    world.store.put(write("a", b"2"))
    behind = world.store._behind
    assert behind is not None
    first = behind.written(A)
    assert first is not None
    await turns(lambda: A in behind._writing)
    erasure = asyncio.create_task(world.store.erase(A), name="erase") if is_erased else None
    await turns(lambda: behind.is_forgotten(A) == is_erased)
    world.store.put(write("a", b"3"))
    database.may_write.set()
    await first
    await world.store.remember()
    anew = Anew()
    await world.store.bring_back(anew)
    assert {key: row.local for key, row in anew.adopted.items()} == (
        {} if is_erased else {A: {"department_id": "d"}}
    )
    database.is_stepped = False
    database.may_write.set()
    if erasure is not None:
        await erasure


async def test_a_change_that_was_answered_comes_back_as_it_was_answered(
    world: World, database: Database
) -> None:
    keep(world, held(A, local="old"))
    database.rows[A] = held(A, local="old")
    database.broken.add("put")
    world.store.put(write("a", b"2"))
    await world.store.flush()
    assert await world.store.change(A, local={"department_id": "new"})
    for _ in range(3):
        await world.store.recover()
    anew = Anew()
    await world.store.bring_back(anew)
    assert anew.adopted[A].local == {"department_id": "new"}


async def test_what_another_process_may_have_changed_is_asked_anew(world: World, database: Database) -> None:
    keep(world, held(A, internal_id=GIVEN))
    database.rows[B] = held(B)
    database.may_read.clear()
    load = asyncio.create_task(world.store.load([B]), name="load")
    await turns(lambda: ("get", ("b",)) in database.calls)
    world.store.put(write("elsewhere"))
    world.store.put(Write(entry(Key("business", "x")), {}))
    await world.store.remember()
    world.store.distrust()
    assert {key for key in world.memory.keys() if key.resource == "user"} == set()  # noqa: SIM118 - no dict
    assert world.store.peek(Key("business", "x")) is not None, "it has no row"
    database.may_read.set()
    await load
    assert world.memory.look_at(B) is None, "it was read before"
    anew = Anew()
    await world.store.bring_back(anew)
    assert not anew.adopted


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


async def test_everything_is_forgotten_once_and_is_not_called_durable_after_it(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_behind, "MAX_UNFORGOTTEN", 2)
    database.broken.add("invalidate")
    await asyncio.wait([world.store.invalidate([user(name)]) for name in "abc"])
    database.broken.clear()
    keep(world, held(A), held(B, local="d"))
    database.may_write.clear()
    await asyncio.gather(*(world.store.recover() for _ in range(3)))
    database.may_write.set()
    await until_recovered(world)
    await turns(lambda: not durable(world, A))
    assert durable(world, B), "its row can't be made again, and stands"
    assert [call for call, _ in database.calls].count("invalidate all") == 1


def durable(world: World, key: Key) -> bool:
    found = world.memory.look_at(key)
    return found is not None and found.durable
