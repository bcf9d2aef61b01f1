"""Memory over a database that others change: what it learns from the log, and what it believes without it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from store import sharing
from store.base import StoreError
from store.entry import Entry, Key, Write
from store.pending import Invalidated
from tests.unit.store.fakes import turns
from tests.unit.store.samples import NOW, derive, entry, user, write
from tests.unit.store.shared_fakes import INTERVAL, Shared, SharedWorld

A, B = user("a"), user("b")
V = A._replace(variant="v")
SHOP = Key("business", "a")
"""Of a resource that lives in memory alone."""


@pytest.fixture
async def database() -> Shared:
    return Shared()


@pytest.fixture
async def world(database: Shared) -> AsyncIterator[SharedWorld]:
    made = SharedWorld(database)
    assert await made.sharing.read_log()
    await made.store.start()
    yield made
    database.may_write.set()
    await made.store.close()


async def stored(world: SharedWorld, write_: Write) -> Entry:
    """It is in the database, and in memory as a row of it."""
    world.store.put(await world.leased(write_))
    await world.store.flush()
    held = world.store.peek(write_.entry.key)
    assert held is not None
    assert held.durable
    return held


async def test_what_another_has_invalidated_is_gone_for_every_use(
    world: SharedWorld, database: Shared
) -> None:
    await stored(world, write("a"))
    world.store.put(Write(entry(V), {}))
    with closing(world.store.watch([A, V, B])) as seen:
        database.happens(A, "invalidated")
        assert await world.sharing.read_log()
        assert world.store.peek(A) is world.store.peek(V) is None
        assert [seen.is_current(key) for key in (A, V, B)] == [False, False, True]
        assert not world.store.put(Write(entry(A), {}), seen=seen)
    assert [(change.key, change.kind) for change in world.heard] == [(A, "invalidated")]


async def test_what_waits_to_be_written_is_overtaken(world: SharedWorld, database: Shared) -> None:
    database.may_write.clear()
    world.store.put(await world.leased(write("b")))  # it is being written while the next waits
    await turns(lambda: B in world.store._behind._writing)  # type: ignore[union-attr]
    world.store.put(await world.leased(write("a")))
    waiter = world.store._behind.written(A)  # type: ignore[union-attr]
    assert waiter is not None
    database.happens(A, "invalidated")
    await world.sharing.read_log()
    with pytest.raises(Invalidated):
        await waiter
    assert await world.store.load([A]) == {}


@pytest.mark.parametrize("is_stored", [False, True])
async def test_what_is_being_written_is_overtaken_too(
    world: SharedWorld, database: Shared, is_stored: bool
) -> None:
    """Be it that the database has it already, and its answer is slower than the log."""
    database.may_write.clear()
    world.store.put(await world.leased(write("a", b"old")))
    await turns(lambda: A in world.store._behind._writing)  # type: ignore[union-attr]
    tokens = database.tokens[A]
    database.happens(A, "invalidated")
    if is_stored:
        database.tokens[A] = tokens
    await world.sharing.read_log()
    assert world.store.peek(A) is None
    assert await world.store.load([A]) == {}
    database.may_write.set()
    await world.store.flush()
    assert world.store.peek(A) is None


async def test_what_is_on_its_way_when_the_log_has_lost_something_is_overtaken(
    world: SharedWorld, database: Shared
) -> None:
    database.may_write.clear()
    world.store.put(await world.leased(write("a", b"old")))
    await turns(lambda: A in world.store._behind._writing)  # type: ignore[union-attr]
    world.store.put(await world.leased(write("b", b"old")))
    database.is_broken = True
    await world.sharing.read_log()
    database.may_write.set()
    await world.store.flush()
    assert world.store.peek(A) is world.store.peek(B) is None
    assert set(database.rows) == {A}, "which is read again, and is what the database says"


async def test_a_change_that_was_not_answered_may_have_been_made(
    world: SharedWorld, database: Shared
) -> None:
    held = await stored(world, write("a"))
    database.fail("change")
    with pytest.raises(StoreError):
        await world.store.change(A, local={"department_id": "d"})
    database.rows[A] = held.confirmed(internal_id=derive(A, 0), version=2, local={"department_id": "d"})
    assert world.store.peek(A) is held, "nothing is known yet"
    await world.sharing.read_log()
    assert (await world.store.load([A]))[A].local == {"department_id": "d"}


async def test_with_too_many_unanswered_all_is_read_again(
    world: SharedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "_MAX_UNANSWERED", 1)
    await stored(world, write("a"))
    world.sharing.unanswered(B)
    world.sharing.unanswered(A)
    await world.sharing.read_log()
    assert world.store.peek(A) is None


async def test_what_another_has_erased_is_not_shown_by_what_was_under_way(
    world: SharedWorld, database: Shared
) -> None:
    await stored(world, write("a"))
    with closing(world.store.watch_erasures([A])) as unerased:
        database.happens(A, "erased")
        await world.sharing.read_log()
        assert not unerased.is_current(A)
        assert await world.store.confirm([write("a")], at=NOW, unerased=unerased) == {}
    assert await world.store.load([A]) == {}


async def test_a_row_that_another_has_changed_is_read_again(world: SharedWorld, database: Shared) -> None:
    held = await stored(world, write("a"))
    database.rows[A] = held.confirmed(internal_id=derive(A, 0), version=2, local={"department_id": "d"})
    with closing(world.store.watch([A])) as seen:
        database.happens(A, "changed")
        await world.sharing.read_log()
        assert seen.is_current(A), "what is fetched is not out of date for that"
    assert world.store.peek(A) is None
    assert await world.store.load([A]) == {A: database.rows[A]}


async def test_a_change_leaves_what_is_newer_than_the_row(world: SharedWorld, database: Shared) -> None:
    database.may_write.clear()
    world.store.put(await world.leased(write("a", b"newer")))
    newer = world.store.peek(A)
    database.happens(A, "changed")
    database.tokens[A] = [1]
    await world.sharing.read_log()
    assert world.store.peek(A) is newer


async def test_of_a_log_that_has_lost_something_nothing_is_believed(
    world: SharedWorld, database: Shared
) -> None:
    await stored(world, write("a"))
    world.store.put(Write(entry(SHOP), {}))
    with closing(world.store.watch([A])) as seen:
        database.rows[A] = entry(A, b"newer").confirmed(internal_id=derive(A, 0), version=2)
        database.is_broken = True
        assert await world.sharing.read_log()
        assert not seen.is_current(A)
    assert world.store.peek(A) is world.store.peek(SHOP) is None
    assert world.doubts == 1
    assert (await world.store.load([A]))[A].item == b"newer"


async def test_what_was_held_before_anything_was_heard_is_forgotten(database: Shared) -> None:
    world = SharedWorld(database)
    world.store.put(write("a"))
    assert not world.sharing.is_coherent
    assert await world.sharing.read_log()
    assert world.store.peek(A) is None
    assert world.sharing.lag() == 0


async def test_a_log_that_can_not_be_read_for_the_interval_makes_memory_stale(
    world: SharedWorld, database: Shared
) -> None:
    old = await stored(world, write("a"))
    database.fail("changes")
    world.now += INTERVAL - 0.1
    assert not await world.sharing.read_log()
    assert (world.store.is_doubtful, world.doubts) == (False, 0)
    assert world.store.believed(old, world.now) is old
    world.now += 0.1
    assert not await world.sharing.read_log()
    assert (world.store.is_doubtful, world.doubts) == (True, 1)
    believed = world.store.believed(old, world.now)
    assert believed.ttl(world.now) == 0
    assert believed.item == old.item
    young = entry(B, received_at=world.now - INTERVAL + 0.1)
    assert world.store.believed(young, world.now) is young, "the upstream has said so since"
    stale = entry(B, received_at=world.now - 100, lifetime=60.0)
    assert world.store.believed(stale, world.now) is stale
    assert not await world.sharing.read_log()
    assert world.doubts == 1, "told once"
    assert set(world.errors) == {"changes"}


async def test_who_stood_still_doubts_before_his_timers_are_due(world: SharedWorld) -> None:
    """After a SIGSTOP, or on a machine that slept: what waits in the kernel is read first."""
    held = await stored(world, write("a"))
    world.now += INTERVAL
    assert world.sharing.is_coherent
    assert world.store.is_doubtful
    assert world.store.believed(held, world.now).ttl(world.now) == 0


async def test_what_was_shown_with_an_id_keeps_it_while_the_database_is_gone(
    world: SharedWorld, database: Shared
) -> None:
    held = await stored(world, write("a", b"1"))
    database.rows[A] = held.confirmed(internal_id=derive(A, 0), version=1, local={"department_id": "d"})
    world.memory.drop(A)
    (held,) = (await world.store.load([A])).values()
    database.fail("get", "put", "claim", "reserve", "check")
    fetched = write("a", b"2")
    world.store.put(fetched)
    with closing(world.store.watch_erasures([A])) as unerased:
        shown = await world.store.confirm([fetched], at=NOW, unerased=unerased)
    assert (shown[A].item, shown[A].internal_id, shown[A].local) == (b"2", held.internal_id, held.local)
    assert (shown[A].version, shown[A].durable) == (2, False)
    world.store.put(write("b"))
    with closing(world.store.watch_erasures([B])) as unerased:
        assert await world.store.confirm([write("b")], at=NOW, unerased=unerased) == {}, "it never had one"
    database.broken.clear()
    assert await world.store.recover()
    await world.store.flush()
    assert database.rows[A].item == b"2"


async def test_what_is_heard_again_is_fresh_again(world: SharedWorld, database: Shared) -> None:
    held, other = await stored(world, write("a")), await stored(world, write("b"))
    database.fail("changes")
    world.now += INTERVAL
    await world.sharing.read_log()
    database.happens(A, "invalidated")
    database.broken.clear()
    assert world.sharing.lag() == INTERVAL
    assert await world.sharing.read_log()
    assert world.sharing.lag() == 0
    assert world.store.believed(other, world.now) is other
    assert world.store.peek(B) is other
    assert world.store.peek(A) is None
    assert held.item is not None


async def test_the_log_is_read_when_it_is_woken(world: SharedWorld, database: Shared) -> None:
    await stored(world, write("a"))
    task = asyncio.create_task(world.sharing.keep())
    try:
        await asyncio.sleep(0)
        database.happens(A, "invalidated")
        world.sharing.wake()
        await turns(lambda: world.store.peek(A) is None)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_log_is_read_before_the_interval_is_over(world: SharedWorld) -> None:
    assert world.sharing._pause() == pytest.approx(0.75 * INTERVAL)
    world.now += 0.5 * INTERVAL
    assert world.sharing._pause() == pytest.approx(0.25 * INTERVAL)
    world.now += INTERVAL
    assert world.sharing._pause() == 0
    world.sharing._look_at_lag()
    assert world.sharing._pause() == 1.0


async def test_what_was_fetched_without_a_lease_waits_until_it_has_one(
    world: SharedWorld, database: Shared
) -> None:
    database.fail("claim")
    assert await world.sharing.claim([A], 1, seconds=1.0, is_forced=False) is None
    world.store.put(write("a"))
    world.store.put(write("b"))
    await world.store.flush()
    assert database.rows == {}
    database.broken.clear()
    database.happens(B, "invalidated")  # after it was fetched, and before this replica hears of it
    assert await world.store.recover()
    await world.store.flush()
    assert set(database.rows) == {A}
    assert world.store.peek(B) is None
    calls = [call for call, _ in database.calls]
    assert calls.index("claim", calls.index("check")) < calls.index("changes") < calls.index("put")


async def test_what_can_not_be_leased_is_kept_for_the_next_time(world: SharedWorld, database: Shared) -> None:
    world.store.put(write("a"))
    database.fail("claim")
    await world.store.recover()
    database.broken.clear()
    database.fail("changes")
    await world.store.recover()
    assert database.rows == {}
    database.broken.clear()
    assert await world.store.recover()
    await world.store.flush()
    assert set(database.rows) == {A}


async def test_a_write_that_is_refused_is_not_held_either(world: SharedWorld, database: Shared) -> None:
    leased = await world.leased(write("a"))
    database.happens(A, "invalidated")  # which nobody has heard of yet
    world.store.put(leased)
    waiter = world.store._behind.written(A)  # type: ignore[union-attr]
    assert waiter is not None
    with pytest.raises(Invalidated):
        await waiter
    assert world.store.peek(A) is None
    assert database.rows == {}
    assert not world.store.degraded, "that is no failure"


async def test_a_lease_is_taken_when_the_database_knows_what_it_has_to_forget(
    world: SharedWorld, database: Shared
) -> None:
    database.may_write.clear()
    done = world.store.invalidate([A])
    leasing = asyncio.create_task(world.leased(write("a")))
    await asyncio.sleep(0)
    assert database.tokens == {}
    database.may_write.set()
    leased = await leasing
    await done
    world.store.put(leased)
    await world.store.flush()
    assert set(database.rows) == {A}


async def test_others_hear_of_what_has_no_row(world: SharedWorld, database: Shared) -> None:
    await world.store.invalidate([SHOP])
    assert ("invalidate", ("a",)) in database.calls
    await world.store.erase(SHOP)
    assert ("erase", ("a",)) in database.calls


async def test_a_row_that_another_has_stored_is_learned_unless_something_has_happened(
    world: SharedWorld,
) -> None:
    row = entry(A).confirmed(internal_id=derive(A, 0), version=1)
    with closing(world.store.watch([A])) as seen:
        world.sharing.learn(row, seen)
        assert world.store.peek(A) is row
        await world.store.invalidate([A])
        world.sharing.learn(row, seen)
        assert world.store.peek(A) is None


async def test_a_release_that_fails_is_counted(world: SharedWorld, database: Shared) -> None:
    database.fail("release")
    await world.sharing.release([A], 1)
    assert world.errors == ["release"]
    with pytest.raises(StoreError):
        await database.release_many([A], 1)
