"""What was used last is noted, and is in memory after the next start."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from store.base import Store
from store.entry import Entry, Key, Write
from store.memory import MemoryTier, size_of
from store.shared import Kind
from store.slot import Slot
from store.warming import MOVED_BY, Warming
from tests.unit.store.fakes import Database, World, turns
from tests.unit.store.samples import NOW, derive, entry, open_store, user
from tests.unit.store.shared_fakes import Shared, SharedWorld

A, B, C, D = user("a"), user("b"), user("c"), user("d")
LONG = 1e6
ONE = size_of(entry(A).confirmed(internal_id=derive(A, 0), version=1))


def lasting(key: Key, item: bytes = b"{}") -> Write:
    return Write(entry(key, item, lifetime=LONG), {})


def row(key: Key, item: bytes | None = b"{}") -> Entry:
    return entry(key, item, lifetime=LONG).confirmed(internal_id=derive(key, 0), version=1)


def place(memory: MemoryTier, key: Key) -> Slot:
    slot = dict(memory.plain_slots(key.resource))[key.id]
    assert slot.entry is not None
    return slot


def order(memory: MemoryTier) -> list[str]:
    """The ids in memory, the next to go first. Afterwards it is empty."""
    gone = []
    with suppress(KeyError):
        while True:
            gone.append(memory._cache.popitem()[0].id)
    return gone


def warming(world: World, limit: int = 9) -> Warming:
    made = world.store.warming(limit)
    assert made is not None
    return made


@pytest.fixture
def used(database: Database) -> Database:
    """A database in which A was used last, then B, then C."""
    database.rows = {key: row(key) for key in (B, C, A)}
    database.used = {B: NOW - 20.0, C: NOW - 30.0, A: NOW - 10.0}
    return database


# When an entity counts as used.


def test_every_look_up_is_a_use_and_a_refresh_is_none(world: World) -> None:
    memory = world.memory
    memory.put(entry(A, lifetime=LONG), NOW + LONG)
    assert NOW - 1 <= place(memory, A).used_at <= NOW
    world.now = NOW + 10
    memory.put(entry(A, b"[]", lifetime=LONG), NOW + LONG)
    memory.look_at(A)
    assert place(memory, A).used_at <= NOW
    memory.get(A)
    assert place(memory, A).used_at == NOW + 10
    world.now = NOW + 20
    memory.slot(A)
    assert place(memory, A).used_at == NOW + 20
    memory.fresh("user", ["a"], NOW + 30)
    assert place(memory, A).used_at == NOW + 30


async def test_what_the_database_confirms_was_not_asked_for_by_that(world: World) -> None:
    world.store.put(lasting(A))
    before = place(world.memory, A).used_at
    world.now = NOW + 10
    world.store.put(lasting(A, b"[]"))
    await world.store.flush()
    slot = place(world.memory, A)
    assert slot.entry is not None
    assert slot.entry.durable
    assert slot.used_at == before


def test_of_a_rowless_one_neither_is_a_refresh(world: World) -> None:
    shop = Key("business", "a")
    world.store.put(lasting(shop))
    before = place(world.memory, shop).used_at
    world.now = NOW + 10
    world.store.put(lasting(shop, b"[]"))
    assert place(world.memory, shop).used_at == before


def test_places_are_listed_that_are_usable_and_have_no_variant(world: World) -> None:
    memory = world.memory
    assert memory.plain_slots("user") == []
    memory.put(entry(A, lifetime=LONG), NOW + LONG)
    memory.put(entry(B, absent=True), NOW + 1)
    memory.put(entry(C._replace(variant="v")), NOW + LONG)
    memory.put(entry(Key("business", "d")), NOW + LONG)
    assert [name for name, _ in memory.plain_slots("user")] == ["a", "b"]
    world.now = NOW + 1
    assert memory.plain_slots("user") == [("a", memory.slot(A))]


# What is noted.


async def test_the_most_recently_used_are_noted(world: World, database: Database) -> None:
    for key in (A, B, C):
        world.store.put(lasting(key))
    await world.store.flush()
    for later, key in enumerate((B, C, A), start=1):
        assert world.store.memory.fresh("user", [key.id], NOW + later)
    await warming(world, 2).note()
    assert database.used == {C: NOW + 2, A: NOW + 3}


async def test_one_is_noted_again_once_its_time_has_moved(world: World, database: Database) -> None:
    one = warming(world)
    world.store.put(lasting(A))
    world.store.put(lasting(B))
    await world.store.flush()
    world.now = NOW + 100
    world.memory.get(A)
    world.memory.get(B)
    await one.note()
    database.used.clear()
    world.now += MOVED_BY
    world.memory.get(A)
    world.now += 0.5
    world.memory.get(B)
    await one.note()
    assert database.used == {B: world.now}
    await one.note()
    assert database.used == {B: world.now}
    await one.note(moved_by=0.0)
    assert database.used == {A: world.now - 0.5, B: world.now}


async def test_what_has_no_row_yet_is_noted_once_it_has(world: World, database: Database) -> None:
    one = warming(world)
    database.may_write.clear()
    world.store.put(lasting(A))
    world.store.put(Write(entry(B, None, absent=True, lifetime=LONG), {}))
    world.store.put(lasting(C._replace(variant="v")))
    world.store.put(lasting(Key("business", "d")))
    await one.note()
    assert not [call for call, _ in database.calls if call == "note"]
    database.may_write.set()
    await world.store.flush()
    await one.note()
    assert set(database.used) == {A}


async def test_a_note_that_fails_is_told_once_and_made_up_for(world: World, database: Database) -> None:
    one = warming(world)
    world.store.put(lasting(A))
    await world.store.flush()
    database.broken.add("note")
    await one.note()
    assert world.errors == ["note"]
    database.broken.clear()
    await one.note()
    assert set(database.used) == {A}


async def test_what_goes_while_others_are_looked_at_is_left_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.warming._LOOKED_AT", 2)
    world = World(database)
    for key in (A, B, C, D):
        world.memory.put(row(key), NOW + LONG)
    note = asyncio.create_task(warming(world).note())
    await asyncio.sleep(0)
    world.memory.drop(C)
    await note
    assert set(database.used) == {A, B, D}


# What is loaded.


async def test_what_was_used_last_is_in_memory_in_that_order(world: World, used: Database) -> None:
    assert await warming(world, 2).warm() == 2
    assert order(world.memory) == ["b", "a"]
    assert world.lookups == []
    assert world.errors == []


async def test_its_time_is_kept_for_the_next_note(world: World, used: Database) -> None:
    one = warming(world, 2)
    await one.warm()
    assert place(world.memory, A).used_at == NOW - 10
    noted, used.used = used.used, {}
    await one.note(moved_by=0.0)
    assert used.used == {}
    world.now = NOW + MOVED_BY
    world.memory.get(B)
    await one.note()
    assert used.used == {B: NOW + MOVED_BY}
    assert noted[A] == NOW - 10


async def test_what_requests_have_brought_is_more_recent_and_left_alone(world: World, used: Database) -> None:
    world.store.put(lasting(B, b"newer"))
    world.store.put(lasting(D))
    assert await warming(world).warm() == 2
    held = world.memory.look_at(B)
    assert held is not None
    assert held.item == b"newer"
    assert order(world.memory) == ["c", "a", "b", "d"]


async def test_it_stops_when_memory_is_nearly_full_and_pushes_nothing_out(database: Database) -> None:
    keys = [user(f"{number}") for number in range(20)]
    database.rows = {key: row(key) for key in keys}
    database.used = {key: NOW - place for place, key in enumerate(keys)}
    world = World(database, memory=10 * (ONE + 2))
    world.memory.put(row(D), NOW + LONG)
    assert await warming(world, 20).warm() == 8
    assert order(world.memory) == ["7", "6", "5", "4", "3", "2", "1", "0", "d"]


@pytest.mark.parametrize("lost", ["invalidated", "erased", "a husk", "past its use"])
async def test_what_is_of_no_use_any_more_stays_away(lost: str, world: World, used: Database) -> None:
    if lost == "invalidated":
        await world.store.invalidate([A])
    elif lost == "erased":
        await world.store.erase(A)
    elif lost == "a husk":
        used.rows[A] = row(A, None)
    else:
        used.rows[A] = replace(row(A), received_at=NOW - 2 * LONG)
    assert await warming(world).warm() == 2
    assert order(world.memory) == ["c", "b"]


async def test_what_the_database_could_not_be_told_to_forget_stays_away(world: World, used: Database) -> None:
    used.broken.add("invalidate")
    with suppress(Exception):
        await world.store.invalidate([A])
    assert used.rows[A].item is not None
    await warming(world).warm()
    assert order(world.memory) == ["c", "b"]


@pytest.mark.parametrize("meanwhile", ["put", "invalidated", "erased", "dropped", "all is doubted"])
async def test_what_happens_during_the_read_wins(meanwhile: str, world: World, used: Database) -> None:
    used.may_read.clear()
    warm = asyncio.create_task(warming(world).warm())
    await turns(lambda: ("get", ("a", "b", "c")) in used.calls)
    if meanwhile == "put":
        world.store.put(lasting(A, b"newer"))
    elif meanwhile == "invalidated":
        world.store.invalidate([A])
    elif meanwhile == "erased":
        await world.store.erase(A)
    elif meanwhile == "dropped":
        world.store.drop(A)
    else:
        world.store.distrust()
    used.may_read.set()
    assert await warm == (0 if meanwhile == "all is doubted" else 2)
    held = world.memory.look_at(A)
    assert (held is not None and held.item) == (b"newer" if meanwhile == "put" else False)


async def test_a_local_attribute_that_is_set_during_the_read_is_not_lost(
    world: World, used: Database
) -> None:
    used.may_read.clear()
    warm = asyncio.create_task(warming(world).warm())
    await turns(lambda: ("get", ("a", "b", "c")) in used.calls)
    await world.store.change(A, local={"department_id": "d"})
    world.memory.drop(A)
    used.may_read.set()
    await warm
    held = world.memory.look_at(A)
    assert held is None or held.local == {"department_id": "d"}
    assert world.memory.look_at(B)


@pytest.mark.parametrize("call", ["recent", "get"])
async def test_a_read_that_fails_is_told_once_and_ends_it(call: str, world: World, used: Database) -> None:
    used.broken.add(call)
    assert await warming(world).warm() == 0
    assert world.errors == ["warm"]
    assert [name for name, _ in used.calls].count(call) == 1


async def test_no_more_is_asked_for_than_fits(world: World, used: Database) -> None:
    asked: list[int] = []

    async def recently_used(limit: int) -> Sequence[tuple[Key, float]]:
        asked.append(limit)
        return []

    used.recently_used = recently_used  # type: ignore[method-assign, assignment]
    await warming(world, 1_000_000).warm()
    assert asked == [world.memory.max_bytes // 880]


def test_without_a_number_or_a_database_there_is_nothing_to_do(world: World) -> None:
    assert world.store.warming(0) is None
    assert World(None).store.warming(5) is None


async def test_a_time_to_come_does_not_keep_later_uses_from_counting(world: World, used: Database) -> None:
    used.used = {A: NOW + 1_000}
    await warming(world).warm()
    assert place(world.memory, A).used_at == NOW
    world.now = NOW + 1
    world.memory.get(A)
    assert place(world.memory, A).used_at == NOW + 1


# Where others change the database, too.


@pytest.mark.parametrize("kind", ["invalidated", "erased", "changed"])
async def test_what_another_replica_does_during_the_read_wins(kind: Kind) -> None:
    database = Shared()
    database.rows = {key: row(key) for key in (A, B)}
    database.used = {A: NOW - 10.0, B: NOW - 20.0}
    world = SharedWorld(database)
    await world.store.start()
    assert await world.sharing.read_log()
    made = world.store.warming(9)
    assert made is not None
    database.may_read.clear()
    warm = asyncio.create_task(made.warm())
    await turns(lambda: ("get", ("a", "b")) in database.calls)
    database.happens(A, kind)
    assert await world.sharing.read_log()
    database.may_read.set()
    assert await warm == 1
    assert order(world.memory) == ["b"]
    await world.store.close()


# With a real database.


async def life(store: Store) -> World:
    world = World(store)
    await world.store.start()
    return world


async def test_the_order_of_hits_alone_survives_a_restart(tmp_path: Path) -> None:
    first = await open_store(tmp_path / "handshake.db")
    world = await life(first)
    for key in (C, A, B):
        world.store.put(lasting(key))
    await world.store.flush()
    for later, key in enumerate((A, B, C), start=1):
        assert world.memory.fresh("user", [key.id], NOW + later)
    await warming(world, 2).note(moved_by=0.0)
    await world.store.close()
    await first.close()

    second = await open_store(tmp_path / "handshake.db")
    world = await life(second)
    assert await warming(world, 2).warm() == 2
    assert await second.get_many([B, C]) == {key: world.memory.look_at(key) for key in (B, C)}
    assert order(world.memory) == ["b", "c"]
    await world.store.close()
    await second.close()


@pytest.mark.parametrize("count", [1, 2, 5, 6])
async def test_rows_are_noted_and_read_a_slice_at_a_time(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.sqlite_used._READ", 2)
    monkeypatch.setattr("store.sqlite_used.NOTED", 2)
    store = await open_store(tmp_path / "handshake.db")
    keys = [user(f"{number}") for number in range(count)]
    await store.put_many([lasting(key) for key in keys])
    uses = [(key, NOW + (place * 7) % 10) for place, key in enumerate(keys)]
    await store.note_used([*uses, (keys[0], NOW - 1)])
    recent = sorted(uses, key=lambda use: use[1], reverse=True)
    assert await store.recently_used(9) == recent
    assert await store.recently_used(3) == recent[:3]
    await store.close()


async def test_what_a_person_has_put_there_is_no_time(tmp_path: Path) -> None:
    path = tmp_path / "handshake.db"
    store = await open_store(path)
    await store.put_many([lasting(A), lasting(B), lasting(C)])
    await store.note_used([(A, NOW), (B, NOW + 1), (C, NOW + 2)])
    with closing(sqlite3.connect(path)) as person, person:
        person.execute("UPDATE users SET used_at = 'yesterday' WHERE user_id = 'a'")
        person.execute("UPDATE users SET used_at = x'00' WHERE user_id = 'b'")
    assert await store.recently_used(9) == [(C, NOW + 2)]
    await store.close()
