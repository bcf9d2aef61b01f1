"""What happens while something is under way wins over it; and variants, of which the database knows nothing."""

import asyncio
from contextlib import closing

import pytest

from store.entry import Key, Write
from tests.unit.store.fakes import Database, World
from tests.unit.store.samples import derive, entry, user, write

A, B = user("a"), user("b")
V, W = A._replace(variant="v"), A._replace(variant="w")


@pytest.mark.parametrize("written", [A, V])
async def test_what_a_flight_brings_is_kept_if_nothing_happened(world: World, written: Key) -> None:
    with closing(world.store.watch([written])) as seen:
        world.store.put(Write(entry(B), {}))
        assert world.store.put(Write(entry(written, b"new"), {}), seen=seen)
    kept = world.store.peek(written)
    assert kept is not None
    assert kept.item == b"new"


@pytest.mark.parametrize("written", [A, V])
async def test_a_newer_write_wins_over_a_flight(world: World, database: Database, written: Key) -> None:
    seen = world.store.watch([written])
    assert world.store.put(Write(entry(written, b"newer"), {}))
    assert not world.store.put(Write(entry(written, b"older"), {}), seen=seen)
    seen.close()
    kept = world.store.peek(written)
    assert kept is not None
    assert kept.item == b"newer"
    await world.store.flush()
    assert [row.item for row in database.rows.values()] == ([b"newer"] if written == A else [])


@pytest.mark.parametrize("written", [A, V])
@pytest.mark.parametrize("named", [A, V, W])
async def test_an_invalidation_wins_over_a_flight_of_any_variant(
    world: World, database: Database, written: Key, named: Key
) -> None:
    seen = world.store.watch([written])
    await world.store.invalidate([named])
    later = world.store.watch([written])
    assert not world.store.put(Write(entry(written), {}), seen=seen)
    assert world.store.peek(written) is None
    assert world.store.put(Write(entry(written), {}), seen=later)
    assert world.store.peek(written)
    seen.close()
    later.close()
    assert len(world.store._generations) == 0


async def test_what_is_read_or_confirmed_is_no_change(world: World, database: Database) -> None:
    database.rows = {B: entry(B)}
    world.store.put(write("a"))
    with closing(world.store.watch([A, B])) as seen:
        await world.store.load([B])
        await world.store.flush()
        kept = world.store.peek(A)
        assert kept is not None
        assert kept.durable
        assert seen.is_current(A)
        assert seen.is_current(B)


async def test_a_variant_lives_in_memory_alone(world: World, database: Database) -> None:
    world.store.put(Write(entry(V, b"v"), {}))
    database.rows = {A: entry(A, b"row")}
    found = await world.store.load([V, W, A])
    assert {key: kept.item for key, kept in found.items()} == {V: b"v", A: b"row"}
    await world.store.flush()
    assert database.calls == [("get", ("a",))]
    assert not found[V].durable


async def test_an_invalidation_drops_every_variant_and_the_row(world: World, database: Database) -> None:
    for key in (A, V, W, B):
        world.store.put(Write(entry(key), {}))
    await world.store.flush()
    await world.store.invalidate([V])
    assert [world.store.peek(key) is None for key in (A, V, W, B)] == [True, True, True, False]
    assert database.calls[1:] == [("invalidate", ("a",))]
    assert (await world.store.load([A]))[A].internal_id == derive(A, 0)


async def test_evictions_of_variants_can_be_asked_for(database: Database) -> None:
    world = World(database, memory=1_300)
    world.store.put(Write(entry(V), {}))
    world.store.put(Write(entry(W), {}))
    assert [world.store.evicted_recently(key) for key in (A, V, W)] == [False, True, False]


async def test_what_is_put_or_invalidated_before_the_read_begins_wins_too(
    world: World, database: Database
) -> None:
    database.rows = {A: entry(A, b"old"), B: entry(B)}
    reads = [asyncio.create_task(world.store.load([A, B])) for _ in range(2)]
    await asyncio.sleep(0)  # both have asked, and the read has not begun
    world.store.put(write("a", b"new"))
    world.store.invalidate([B])
    for found in await asyncio.gather(*reads):
        assert {key: kept.item for key, kept in found.items()} == {A: b"new"}
    await world.store.flush()
