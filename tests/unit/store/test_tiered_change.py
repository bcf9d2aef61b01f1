"""Changes of a row that keep its representation: local attributes, and the time of last sync."""

import asyncio
from collections.abc import Coroutine
from contextlib import closing
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from store.base import StoreError
from store.entry import NO_LOCALS, Column, Entry, Key, Write
from tests.unit.store.fakes import Database, World, turns
from tests.unit.store.samples import NOW, derive, entry, user, write

T = TypeVar("T")

A, B = user("a"), user("b")
ROWLESS = Key("business", "a")
LOCAL: dict[str, Column] = {"department_id": "7"}


def row(key: Key = A, item: bytes | None = b"row", **local: Column) -> Entry:
    return entry(key, item).confirmed(internal_id=derive(key, 0), version=1, local=local or NO_LOCALS)


def begun(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    return asyncio.create_task(work)


async def test_a_change_is_durable_and_in_memory(world: World, database: Database) -> None:
    database.rows = {A: row(is_field_worker=1)}
    await world.store.load([A])
    slot = world.memory.slot(A)
    changed = await world.store.change(A, local=LOCAL)
    assert changed == row(is_field_worker=1, department_id="7") == database.rows[A]
    assert slot is not None
    assert slot.entry is changed is world.store.peek(A)
    changed = await world.store.change(A, synced_at=NOW + 5)
    assert changed is not None
    assert changed.last_synced_at == NOW + 5
    assert world.store.peek(A) is changed


async def test_what_memory_has_not_is_taken_from_the_row(world: World, database: Database) -> None:
    database.rows = {A: row(), B: row(B, None)}
    assert world.store.peek(A) is None
    assert await world.store.change(A, local=LOCAL) is world.store.peek(A) is not None
    # A husk has local attributes, but is nothing to show.
    husk = await world.store.change(B, local=LOCAL)
    assert husk is not None
    assert (husk.item, husk.local) == (None, LOCAL)
    assert world.store.peek(B) is None
    assert await world.store.change(user("c"), local=LOCAL) is None


async def test_what_is_not_usable_any_more_is_changed_but_not_kept(world: World, database: Database) -> None:
    database.rows = {A: replace(row(), lifetime=-1.0)}
    assert (await world.store.change(A, local=LOCAL)) == database.rows[A]
    assert world.memory.get(A) is None


async def test_a_change_touches_no_flight(world: World, database: Database) -> None:
    database.rows = {A: row()}
    with closing(world.store.watch([A])) as seen:
        await world.store.change(A, local=LOCAL)
        assert seen.is_current(A)
        assert world.store.put(write("a", b"flown in"), seen=seen)
    await world.store.flush()
    kept = world.store.peek(A)
    assert kept is not None
    assert (kept.item, kept.local) == (b"flown in", LOCAL)
    assert len(world.store._generations) == 0


async def test_a_change_waits_for_what_is_on_its_way(world: World, database: Database) -> None:
    database.may_write.clear()
    world.store.put(write("a", b"1"))
    await asyncio.sleep(0)  # under way
    world.store.put(write("a", b"2"))  # queued behind it
    change = begun(world.store.change(A, local=LOCAL))
    await asyncio.sleep(0)
    database.may_write.set()
    changed = await change
    assert changed is not None
    assert (changed.item, changed.local, changed.durable) == (b"2", LOCAL, True)
    assert [call for call, _ in database.calls] == ["put", "put", "change"]
    assert world.store.peek(A) is changed


async def test_a_change_waits_for_an_invalidation_and_says_so(world: World, database: Database) -> None:
    database.rows = {A: row()}
    database.may_write.clear()
    invalidated = world.store.invalidate([A])
    change = begun(world.store.change(A, local=LOCAL))
    await asyncio.sleep(0)
    database.may_write.set()
    husk = await change
    await invalidated
    assert husk is not None
    assert (husk.item, husk.local) == (None, LOCAL)
    assert [call for call, _ in database.calls] == ["invalidate", "change"]
    assert world.store.peek(A) is None


async def test_what_waited_for_is_waited_for_again(world: World, database: Database) -> None:
    database.may_write.clear()
    database.is_stepped = True
    world.store.put(write("a", b"1"))
    await asyncio.sleep(0)
    change = begun(world.store.change(A, local=LOCAL))
    await asyncio.sleep(0)
    world.store.put(write("a", b"2"))
    database.may_write.set()
    await turns(lambda: len(database.calls) == 1)
    assert not change.done()
    database.may_write.set()
    changed = await change
    assert changed is not None
    assert changed.item == b"2"


@pytest.mark.parametrize("is_done", [False, True])
async def test_what_is_put_during_a_change_is_newer_and_comes_after_it(
    world: World, database: Database, is_done: bool
) -> None:
    """Whether or not the row is changed already: in a database that has to make room, others may overtake."""
    database.rows = {A: row()}
    gate = database.may_answer if is_done else database.may_change
    gate.clear()
    change = begun(world.store.change(A, local=LOCAL))
    await turns(lambda: world.store._behind is not None and A in world.store._behind._quiet)
    world.store.put(write("a", b"newer"))
    world.store.put(write("b"))
    newer = world.memory.get(A)
    await turns(lambda: B in database.rows)
    assert database.rows[A].item == b"row"
    assert (await world.store.stats()).pending == 1
    database.may_write.clear()
    gate.set()
    assert await change == row(department_id="7")
    assert world.memory.get(A) is newer
    database.may_write.set()
    await world.store.flush()
    kept = world.memory.get(A)
    assert kept is not None
    assert (kept.item, kept.local, kept.durable) == (b"newer", LOCAL, True)


async def test_changes_of_a_row_at_the_same_time_all_stand(world: World, database: Database) -> None:
    database.rows = {A: row()}
    database.may_answer.clear()
    changes = [
        begun(world.store.change(A, local={"department_id": "7"})),
        begun(world.store.change(A, local={"is_field_worker": 1})),
    ]
    await turns(lambda: len(database.calls) == 2)
    world.store.put(write("a", b"newer"))
    changes.append(begun(world.store.change(A, synced_at=NOW + 5)))
    await asyncio.sleep(0)
    database.may_answer.set()
    *_, last = await asyncio.gather(*changes)
    assert last == replace(row(item=b"newer", department_id="7", is_field_worker=1), last_synced_at=NOW + 5)
    assert world.memory.get(A) is last
    assert world.store._behind is not None
    assert not world.store._behind._quiet


@pytest.mark.parametrize("what", ["invalidate", "erase", "drop", "absence"])
@pytest.mark.parametrize("is_told", [False, True])
async def test_what_is_forgotten_during_a_change_is_not_shown_and_does_not_come_back(
    world: World, database: Database, what: str, is_told: bool
) -> None:
    database.rows = {A: row()}
    await world.store.load([A])
    database.may_answer.clear()
    change = begun(world.store.change(A, local=LOCAL))
    await turns(lambda: ("change", ("a",)) in database.calls)
    if not is_told:
        database.may_write.clear()
    match what:
        case "invalidate":
            world.store.invalidate([A])
        case "erase":
            erase = begun(world.store.erase(A))
            await asyncio.sleep(0)
        case _:
            world.store.drop(A)
            if what == "absence":
                world.store.put(Write(entry(A, b"", absent=True), {}))
    if is_told:
        await world.store.flush()
    database.may_answer.set()
    husk = await change
    assert husk is not None
    assert (husk.item, husk.local) == (None, LOCAL)
    kept = world.memory.get(A)
    assert (kept is not None and kept.absent) if what == "absence" else kept is None
    database.may_write.set()
    await world.store.flush()
    if what == "erase":
        await erase
        assert A not in database.rows


async def test_what_the_database_failed_to_forget_is_changed_and_not_shown(
    world: World, database: Database
) -> None:
    database.rows = {A: row()}
    database.broken.add("invalidate")
    with pytest.raises(StoreError):
        await world.store.invalidate([A])
    husk = await world.store.change(A, local=LOCAL)
    assert husk is not None
    assert (husk.item, husk.local) == (None, LOCAL)
    assert world.store.peek(A) is None
    # Also if it is forgotten by the time of the answer.
    database.broken.clear()
    database.may_answer.clear()
    change = begun(world.store.change(A, synced_at=NOW + 1))
    await turns(lambda: len(database.calls) == 3)
    await world.store.invalidate([B])
    assert world.store._behind is not None
    assert not world.store._behind.is_forgotten(A)
    database.may_answer.set()
    husk = await change
    assert husk is not None
    assert husk.item is None


async def test_a_read_from_before_a_change_does_not_undo_it(world: World, database: Database) -> None:
    database.rows = {A: row(), B: row(B)}
    database.may_read.clear()
    read = begun(world.store.load([A, B]))
    await turns(lambda: bool(database.calls))
    changed = await world.store.change(A, local=LOCAL)
    database.may_read.set()
    assert await read == {A: changed, B: row(B)}
    assert world.store.peek(A) is changed
    assert database.calls == [("get", ("a", "b")), ("change", ("a",))]


async def test_a_read_that_was_promoted_before_a_change_is_answered_is_changed_too(
    world: World, database: Database
) -> None:
    database.rows = {A: row()}
    database.may_read.clear()
    database.may_answer.clear()
    read = begun(world.store.load([A]))
    await turns(lambda: bool(database.calls))
    change = begun(world.store.change(A, local=LOCAL))
    await turns(lambda: len(database.calls) == 2)
    database.may_read.set()
    assert await read == {A: row()}
    database.may_answer.set()
    assert await change is world.store.peek(A)


async def test_a_read_that_a_change_has_overtaken_is_read_again(world: World, database: Database) -> None:
    """Memory need not have it: here it is of no use any more."""
    database.rows = {A: replace(row(), lifetime=-1.0), B: row(B, None)}
    database.may_read.clear()
    read = begun(world.store.load([A, B]))
    await turns(lambda: bool(database.calls))
    for key in (A, B):
        await world.store.change(key, local=LOCAL)
    database.may_read.set()
    assert await read == database.rows
    assert database.rows[B].local == LOCAL
    assert [ids for call, ids in database.calls if call == "get"] == [("a", "b")] * 2
    assert [result for _, tier, result in world.lookups if tier == "database"] == ["hit", "miss"] * 2


async def test_a_read_that_is_overtaken_again_is_returned_and_not_kept(
    world: World, database: Database
) -> None:
    database.rows = {A: row(), B: row(B)}
    database.may_read.clear()
    read = begun(world.store.load([A, B]))
    for number in (1, 2):
        await turns(lambda: sum(call == "get" for call, _ in database.calls) == number)  # noqa: B023
        await world.store.change(A, local={"department_id": str(number)})
        world.memory.discard(A)
        database.may_read.set()
        await asyncio.sleep(0)
        database.may_read.clear()
    database.may_read.set()
    assert await read == {A: row(department_id="1"), B: row(B)}
    assert world.memory.get(A) is None
    assert world.memory.get(B) is not None


async def test_a_second_read_that_fails_is_no_miss(world: World, database: Database) -> None:
    database.rows = {A: replace(row(), lifetime=-1.0)}
    database.may_read.clear()
    read = begun(world.store.load([A]))
    await turns(lambda: bool(database.calls))
    await world.store.change(A, local=LOCAL)
    database.broken.add("get")
    database.may_read.set()
    assert await read == {}
    assert [result for _, _, result in world.lookups] == ["hit", "error"]


async def test_a_change_goes_on_without_its_caller(world: World, database: Database) -> None:
    database.rows = {A: row()}
    await world.store.load([A])
    database.may_change.clear()
    change = begun(world.store.change(A, local=LOCAL))
    await asyncio.sleep(0)
    change.cancel()
    await asyncio.wait([change])
    assert change.cancelled()
    closing_ = begun(world.store.close())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not closing_.done()
    database.may_change.set()
    await closing_
    kept = world.memory.get(A)
    assert kept is not None
    assert kept.local == LOCAL


async def test_a_change_that_fails_is_told_and_counted(world: World, database: Database) -> None:
    database.rows = {A: row()}
    await world.store.load([A])
    database.broken.add("change")
    with pytest.raises(StoreError, match="change: broken"):
        await world.store.change(A, local=LOCAL)
    assert world.errors == ["change"]
    assert not world.store.degraded
    assert world.store.peek(A) == row()
    with pytest.raises(StoreError, match="no database"):
        await World(None).store.change(A, local=LOCAL)


async def test_a_change_after_a_put_that_fails_is_of_what_is_there(world: World, database: Database) -> None:
    database.rows = {A: row()}
    database.broken.add("put")
    world.store.put(write("a", b"newer"))
    changed = await world.store.change(A, local=LOCAL)
    assert changed == row(department_id="7")
    # What is not durable is newer.
    kept = world.store.peek(A)
    assert kept is not None
    assert kept.item == b"newer"


async def test_a_closed_store_still_changes_what_its_database_has(database: Database) -> None:
    world = World(database)
    database.rows = {A: row()}
    world.store.put(write("a"))
    change = begun(world.store.change(A, local=LOCAL))
    await asyncio.sleep(0)
    await world.store.close()
    async with asyncio.timeout(5):
        assert await change == row(department_id="7")


async def test_of_a_rowless_entity_the_time_of_last_sync_is_changed(world: World, database: Database) -> None:
    world.store.put(Write(entry(ROWLESS), {}))
    slot = world.memory.slot(ROWLESS)
    before = world.store.peek(ROWLESS)
    assert before is not None
    assert slot is not None
    with closing(world.store.watch([ROWLESS])) as seen:
        changed = await world.store.change(ROWLESS, synced_at=NOW + 5)
        assert seen.is_current(ROWLESS)
    assert changed == replace(before, last_synced_at=NOW + 5)
    assert slot.entry is changed is world.memory.get(ROWLESS)
    assert await world.store.change(ROWLESS) is changed
    with pytest.raises(ValueError, match="local attributes"):
        await world.store.change(ROWLESS, local=LOCAL)
    assert await world.store.change(Key("business", "b"), synced_at=NOW) is None
    world.store.put(Write(entry(ROWLESS, b"404", absent=True), {}))
    assert await world.store.change(ROWLESS, synced_at=NOW) is None
    assert database.calls == []
