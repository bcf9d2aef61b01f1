"""What is asked in one turn of the event loop is read at once."""

import asyncio
from collections.abc import Sequence

import pytest

from store import gathered_reads
from store.entry import Entry, Key
from store.gathered_reads import GatheredReads
from tests.unit.store.fakes import Database, World, turns
from tests.unit.store.samples import entry, user

A, B, C = user("a"), user("b"), user("c")


@pytest.fixture
async def database() -> Database:
    made = Database()
    made.rows = {A: entry(A), B: entry(B)}
    return made


def ask(world: World, *keys: Key) -> "asyncio.Task[dict[Key, Entry]]":
    return asyncio.create_task(world.store.load(keys))


async def test_what_is_asked_in_one_turn_is_read_together_and_each_key_once(
    world: World, database: Database
) -> None:
    found = await asyncio.gather(ask(world, A, B), ask(world, B, C), ask(world, A))
    assert [set(each) for each in found] == [{A, B}, {B}, {A}]
    assert database.calls == [("get", ("a", "b", "c"))]
    # As if each had asked by itself.
    results = [result for _, tier, result in world.lookups if tier == "database"]
    assert results == ["hit", "hit", "hit", "miss", "hit"]


async def test_what_is_asked_later_is_another_read(world: World, database: Database) -> None:
    database.may_read.clear()
    first = ask(world, A)
    await turns(lambda: bool(database.calls))
    second = ask(world, A, C)
    await turns(lambda: len(database.calls) == 2)
    database.may_read.set()
    await asyncio.gather(first, second)
    assert database.calls == [("get", ("a",)), ("get", ("a", "c"))]


async def test_all_who_wait_for_a_read_go_on_in_one_turn(world: World, database: Database) -> None:
    loop = asyncio.get_running_loop()
    turn = 0
    went_on: list[int] = []

    def count() -> None:
        nonlocal turn
        turn += 1
        loop.call_soon(count)

    async def one(keys: Sequence[Key]) -> None:
        await world.store.load(keys)
        went_on.append(turn)

    loop.call_soon(count)
    await asyncio.gather(*(one(keys) for keys in ([A], [B, C], [A, B, C], [C])))
    assert len(went_on) == 4
    assert len(set(went_on)) == 1


async def test_a_read_has_so_many_keys_and_what_is_beyond_is_read_beside_it(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered_reads, "MAX_KEYS", 2)
    found = await asyncio.gather(ask(world, A, B, C), ask(world, C, A, user("d"), user("e")))
    assert [set(each) for each in found] == [{A, B}, {A}]
    assert database.calls == [("get", ("a", "b")), ("get", ("c", "d")), ("get", ("e",))]


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_cancelled_caller_cancels_nobody_elses_read(
    world: World, database: Database, has_begun: bool
) -> None:
    database.may_read.clear()
    first, second = ask(world, A), ask(world, A)
    await turns(lambda: bool(database.calls)) if has_begun else await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    database.may_read.set()
    assert set(await second) == {A}
    assert len(database.calls) == 1
    assert len(world.store._generations) == 0


async def test_a_read_that_fails_is_told_once_and_fails_for_each_who_waits(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered_reads, "MAX_KEYS", 2)
    answer = database.get_many

    async def half(keys: Sequence[Key]) -> dict[Key, Entry]:
        if A in keys:
            database.broken.add("get")
        try:
            return await answer(keys)
        finally:
            database.broken.clear()

    database.get_many = half  # type: ignore[method-assign]
    database.rows[C] = entry(C)
    found = await asyncio.gather(ask(world, A, C), ask(world, A, B))
    assert list(found) == [{}, {B: database.rows[B]}]
    assert world.errors == ["get"]
    assert [result for *_, result in world.lookups] == ["error", "error", "error", "hit"]


async def test_a_bug_in_the_database_is_everybodys(world: World, database: Database) -> None:
    async def bug(_keys: Sequence[Key]) -> dict[Key, Entry]:
        raise KeyError("bug")

    database.get_many = bug  # type: ignore[method-assign,assignment]
    outcomes = await asyncio.gather(ask(world, A), ask(world, A), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [KeyError, KeyError]
    assert len(world.store._generations) == 0


async def test_closing_breaks_off_what_is_read_and_nobody_waits_for_it(
    world: World, database: Database
) -> None:
    database.may_read.clear()
    waiting = ask(world, A)
    await turns(lambda: bool(database.calls))
    (read,) = (task for task in asyncio.all_tasks() if task.get_name() == "store-read")
    await world.store.close()
    await world.store.close()
    assert read.cancelled()
    assert await waiting == {}
    assert await world.store.load([A]) == {}
    assert [result for *_, result in world.lookups] == ["error", "error"]
    assert len(database.calls) == 1


async def test_closing_breaks_off_what_has_not_begun(database: Database) -> None:
    reads = GatheredReads(database, on_result=lambda *_: None)
    waiting = asyncio.create_task(reads.get([A]))
    await asyncio.sleep(0)
    await reads.close()
    assert await waiting == {}
    assert database.calls == []


async def test_an_answer_tells_what_is_not_there_from_what_could_not_be_read(database: Database) -> None:
    told: list[tuple[str, bool]] = []
    reads = GatheredReads(database, on_result=lambda *result: told.append(result))
    assert await reads.get([A, C]) == {A: database.rows[A], C: None}
    database.broken.add("get")
    assert await reads.get([A, C]) == {}
    assert told == [("get", True), ("get", False)]
    await reads.close()
