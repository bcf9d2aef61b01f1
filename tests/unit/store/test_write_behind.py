"""In which order the database is told, while one of its puts takes as long as making room does."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from store.base import StoreError
from store.entry import Entry, Key, Write
from store.write_behind import BATCH, WriteBehind
from tests.unit.store.fakes import Database, turns
from tests.unit.store.samples import NOW, entry, user, write

A, B, C = user("a"), user("b"), user("c")


class SlowDatabase(Database):
    """Its puts are applied only while `may_put` is set; its invalidations are applied at once."""

    def __init__(self) -> None:
        super().__init__()
        self.may_put = asyncio.Event()
        self.putting = 0
        self.now = NOW

    async def put_many(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        self.putting += 1
        try:
            await self.may_put.wait()
            return await super().put_many(writes)
        finally:
            self.putting -= 1


@pytest.fixture
async def database() -> SlowDatabase:
    return SlowDatabase()


@pytest.fixture
async def behind(database: SlowDatabase) -> AsyncIterator[WriteBehind]:
    made = WriteBehind(
        database,
        on_confirmed=lambda _sent, _confirmed: None,
        on_result=lambda _operation, _ok: None,
        max_pending=10_000,
        clock=lambda: database.now,
    )
    made.start()
    yield made
    database.may_put.set()
    async with asyncio.timeout(5):
        await made.close()


async def putting(behind: WriteBehind, database: SlowDatabase, *writes: Write) -> None:
    """These are in the database's hands, and hang there."""
    for sent in writes:
        behind.put(sent)
    await turns(lambda: database.putting == 1)


async def test_an_invalidation_does_not_wait_for_puts_of_other_keys(
    behind: WriteBehind, database: SlowDatabase
) -> None:
    database.rows = {B: entry(B)}
    await putting(behind, database, write("a"))
    behind.put(write("c"))
    async with asyncio.timeout(5):
        await behind.invalidate(B)
    assert database.rows[B].item is None
    assert database.putting == 1
    assert len(behind) == 2


async def test_a_put_after_an_invalidation_that_overtook_stands(
    behind: WriteBehind, database: SlowDatabase
) -> None:
    database.rows = {B: entry(B)}
    await putting(behind, database, write("a"))
    told = behind.invalidate(B)
    behind.put(write("b", b"new"))
    await told
    assert database.rows[B].item is None
    database.may_put.set()
    await behind.flush()
    assert database.rows[B].item == b"new"


async def test_an_invalidation_of_a_key_whose_put_is_under_way_wins(
    behind: WriteBehind, database: SlowDatabase
) -> None:
    await putting(behind, database, write("a", b"1"))
    told = behind.invalidate(A)
    assert behind.entry(A) is None
    assert behind.written(A) is None
    await behind.invalidate(B)
    # Not durable while the put can still be applied.
    assert not told.done()
    assert behind.is_forgotten(A)
    database.may_put.set()
    await told
    assert not behind.is_forgotten(A)
    assert database.rows[A].item is None


@pytest.mark.parametrize("last_is_put", [False, True])
async def test_the_last_of_many_changes_during_a_put_stands(
    behind: WriteBehind, database: SlowDatabase, last_is_put: bool
) -> None:
    await putting(behind, database, write("a", b"1"))
    behind.invalidate(A)
    behind.put(write("a", b"2"))
    dropped = behind.written(A)
    behind.invalidate(A)
    if last_is_put:
        behind.put(write("a", b"3"))
    database.may_put.set()
    await behind.flush()
    assert dropped is not None
    with pytest.raises(StoreError, match="invalidated meanwhile"):
        await dropped
    assert database.rows[A].item == (b"3" if last_is_put else None)
    calls = [("put", ("a",)), ("invalidate", ("a",)), ("put", ("a",))]
    assert database.calls == calls[: 3 if last_is_put else 2]


async def test_a_put_waits_for_the_invalidation_of_its_key_that_is_being_told(
    behind: WriteBehind, database: SlowDatabase
) -> None:
    database.may_put.set()
    database.may_write.clear()
    told = behind.invalidate(A)
    await turns(lambda: A in behind._forgetting)
    behind.put(write("a", b"new"))
    again = behind.invalidate(A)
    behind.put(write("a", b"newer"))
    await asyncio.sleep(0)
    assert database.calls == []
    assert database.putting == 0
    database.may_write.set()
    await behind.flush()
    assert told.done()
    assert again.done()
    assert database.calls == [("invalidate", ("a",)), ("invalidate", ("a",)), ("put", ("a",))]
    assert database.rows[A].item == b"newer"


async def test_what_failed_to_be_forgotten_waits_for_a_put_of_its_key_that_is_under_way(
    behind: WriteBehind, database: SlowDatabase
) -> None:
    database.broken.add("invalidate")
    for key in (A, B):
        with pytest.raises(StoreError):
            await behind.invalidate(key)
    await putting(behind, database, write("a", b"new"))
    database.broken.clear()
    await behind.invalidate(C)
    assert database.calls[-1] == ("invalidate", ("c", "b"))
    assert behind.is_forgotten(A)
    database.may_put.set()
    await behind.flush()
    assert not behind.is_forgotten(A)
    assert database.rows[A].item == b"new"


async def test_what_fails_to_be_forgotten_is_not_told_without_end(
    behind: WriteBehind, database: SlowDatabase
) -> None:
    database.broken.add("invalidate")
    behind.invalidate(A)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(database.calls) == 1


async def test_more_than_a_batch_of_each_is_told(behind: WriteBehind, database: SlowDatabase) -> None:
    database.may_put.set()
    for number in range(2 * BATCH + 1):
        behind.invalidate(user(f"gone-{number}"))
        behind.put(write(str(number)))
    await behind.flush()
    assert len(behind) == 0
    sizes = {
        call: [len(ids) for name, ids in database.calls if name == call] for call in ("put", "invalidate")
    }
    assert sizes == {"put": [BATCH, BATCH, 1], "invalidate": [BATCH, BATCH, 1]}


async def test_closing_tells_what_waits_for_a_put_under_way(
    behind: WriteBehind, database: SlowDatabase
) -> None:
    await putting(behind, database, write("a", b"1"))
    behind.invalidate(A)
    behind.put(write("a", b"2"))
    behind.put(write("b"))
    closing = asyncio.create_task(behind.close())
    await asyncio.sleep(0)
    # Refused, but it wins over the put that is under way.
    behind.invalidate(B)
    assert not behind.put(write("b"))
    database.may_put.set()
    async with asyncio.timeout(5):
        await closing
    assert database.rows[A].item == b"2"
    assert B not in database.rows
    assert len(behind) == 0


@pytest.mark.parametrize("seed", range(50))
async def test_whatever_the_order_the_last_change_of_each_key_stands(
    behind: WriteBehind, database: SlowDatabase, seed: int
) -> None:
    chance = random.Random(seed)
    last: dict[Key, bytes | None] = {}
    for number in range(200):
        key = chance.choice((A, B, C))
        match chance.randrange(5):
            case 0:
                last[key] = b"%d" % number
                assert behind.put(write(key.id, b"%d" % number))
            case 1:
                last[key] = None
                behind.invalidate(key)
            case 2:
                (database.may_put.clear, database.may_put.set)[chance.randrange(2)]()
            case 3:
                (database.may_write.clear, database.may_write.set)[chance.randrange(2)]()
            case _:
                await asyncio.sleep(0)
        # What is said of a key is never older than its last change.
        for changed, item in last.items():
            on_its_way = behind.entry(changed)
            assert on_its_way is None or on_its_way.item == item
            if item is None:
                row = database.rows.get(changed)
                assert row is None or row.item is None or behind.is_forgotten(changed)
    database.may_put.set()
    database.may_write.set()
    await behind.flush()
    stored = {key: database.rows[key].item if key in database.rows else None for key in last}
    assert stored == last


async def test_what_the_database_was_not_told_till_the_end_stays_forgotten(database: SlowDatabase) -> None:
    behind = WriteBehind(
        database, on_confirmed=lambda *_: None, on_result=lambda *_: None, max_pending=10, clock=lambda: 0.0
    )
    told = [behind.invalidate(A), behind.erase(B)]
    await behind.close()
    told.append(behind.invalidate(C))
    for each in told:
        with pytest.raises(StoreError, match="closed"):
            await each
    assert behind.forgotten() == {A, C}, "an erasure that failed has changed nothing"
    assert len(behind) == 0
    async with asyncio.timeout(5):
        await behind.flush()
        async with behind.quiet(A):
            assert behind.is_forgotten(A)


async def test_the_lag_is_that_of_the_oldest_invalidation_which_is_not_durable(
    behind: WriteBehind, database: SlowDatabase
) -> None:
    assert behind.invalidation_lag() == 0
    await putting(behind, database, write("a"))
    waiting = behind.invalidate(user("a"))  # waits for the put that is under way
    database.now += 2
    behind.invalidate(user("a"))
    assert behind.invalidation_lag() == 2
    database.may_put.set()
    await waiting
    assert behind.invalidation_lag() == 0


async def test_an_invalidation_that_failed_lags_until_the_database_has_been_told(
    behind: WriteBehind, database: SlowDatabase
) -> None:
    database.broken.add("invalidate")
    with pytest.raises(StoreError):
        await behind.invalidate(user("a"))
    database.now += 5
    with pytest.raises(StoreError):
        await behind.invalidate(user("b"))
    database.now += 1
    assert behind.invalidation_lag() == 6
    database.broken.clear()
    behind.retry_invalidations()
    await turns(lambda: behind.invalidation_lag() == 0)
    operation, ids = database.calls[-1]
    assert (operation, sorted(ids)) == ("invalidate", ["a", "b"])
