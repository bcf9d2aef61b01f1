"""What is read without waiting, where the database lets it."""

from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from store.entry import Entry, Key, Write
from tests.unit.store.fakes import Database, World
from tests.unit.store.samples import entry, user

A, B, C = user("a"), user("b"), user("c")


class Quick:
    """Rows that are there at once, unless there is to be a wait."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_slow = False
        self.reads: list[tuple[str, ...]] = []

    def __call__(self, keys: Sequence[Key]) -> Mapping[Key, Entry] | None:
        self.reads.append(tuple(key.id for key in keys))
        if self.is_slow:
            return None
        return {key: self._database.rows[key] for key in keys if key in self._database.rows}


@pytest.fixture
def quick(database: Database) -> Quick:
    return Quick(database)


@pytest.fixture
async def world(database: Database, quick: Quick) -> AsyncIterator[World]:
    made = World(database, get_now=quick)
    await made.store.start()
    yield made
    database.may_write.set()
    await made.store.close()


async def test_a_load_asks_the_thread_only_where_it_has_to(
    world: World, database: Database, quick: Quick
) -> None:
    database.rows = {A: entry(A), B: entry(B, None)}
    found = await world.store.load([A, B, C])
    assert found == database.rows
    assert database.calls == []
    assert world.lookups == [("user", "database", result) for result in ("hit", "miss", "miss")]
    assert world.store.peek(A) is database.rows[A]
    quick.is_slow = True
    assert await world.store.load([B, C]) == {B: database.rows[B]}
    assert database.calls == [("get", ("b", "c"))]


async def test_what_is_to_be_forgotten_is_so_in_what_is_read(world: World, database: Database) -> None:
    database.rows = {A: entry(A)}
    database.broken = {"invalidate"}
    done = world.store.invalidate([A])
    await world.store.flush()
    assert done.exception() is not None
    assert (await world.store.load([A]))[A].item is None
    assert not world.store.take_now([A])
    assert world.store.peek(A) is None


async def test_all_are_taken_or_nobody_has_looked(world: World, database: Database) -> None:
    database.rows = {A: entry(A), B: entry(B, None)}
    for keys in ([A, B], [A, C], [B]):
        assert not world.store.take_now(keys)
    assert world.lookups == []
    assert world.memory.look_at(A) is None
    assert world.store.take_now([A])
    assert world.memory.look_at(A) is database.rows[A]
    assert world.lookups == [("user", "database", "hit")]


async def test_nothing_is_taken_that_is_on_its_way_has_no_row_or_has_to_be_waited_for(
    world: World, database: Database, quick: Quick
) -> None:
    database.rows = {A: entry(A, b"old")}
    database.may_write.clear()
    world.store.put(Write(entry(A, b"new"), {}))
    world.memory.drop(A)
    assert not world.store.take_now([A])
    assert not world.store.take_now([Key("other", "a")])
    assert not world.store.take_now([A._replace(variant="v")])
    assert quick.reads == []
    quick.is_slow = True
    database.rows[B] = entry(B)
    assert not world.store.take_now([B])
    assert not World(None).store.take_now([A])


async def test_what_was_found_to_have_no_row_just_now_is_not_read_again(
    world: World, database: Database, quick: Quick
) -> None:
    assert not world.store.take_now([A, B])
    assert await world.store.load([A, B]) == {}
    assert quick.reads == [("a", "b")]
    assert world.lookups == [("user", "database", "miss")] * 2
    database.rows = {A: entry(A), B: entry(B)}
    assert await world.store.load([A, B]) == database.rows, "it is good for one load"


@pytest.mark.parametrize("meanwhile", ["time", "another", "some", "reserved", "put"])
async def test_it_is_read_again_when_it_may_have_one(
    meanwhile: str, world: World, database: Database, quick: Quick
) -> None:
    assert not world.store.take_now([A])
    database.rows = {A: entry(A)}
    if meanwhile == "time":
        world.now += 0.11
    elif meanwhile == "another":
        assert not world.store.take_now([C])
    elif meanwhile == "some":
        await world.store.load([B])
    elif meanwhile == "reserved":
        assert world.store._rows is not None
        await world.store._rows.reserve([A], at=0.0)
    else:
        world.store.put(Write(entry(A), {}))
    assert A in await world.store.load([A])
    assert quick.reads.count(("a",)) == (1 if meanwhile == "put" else 2)
