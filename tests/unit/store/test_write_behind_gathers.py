"""A put that nobody waits for waits for others, as long as `gathers` says; one that somebody waits for does not."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from store.write_behind import BATCH, WriteBehind
from tests.unit.store.fakes import Database, turns
from tests.unit.store.samples import NOW, user, write

_LONG = 3600.0
A = user("a")


@pytest.fixture
async def database() -> Database:
    return Database()


@pytest.fixture
async def make(database: Database) -> AsyncIterator[Callable[[float], WriteBehind]]:
    made: list[WriteBehind] = []

    def one(gathers: float) -> WriteBehind:
        behind = WriteBehind(
            database,
            on_confirmed=lambda _sent, _confirmed: None,
            on_result=lambda _operation, _ok: None,
            max_pending=10_000,
            clock=lambda: NOW,
            gathers=gathers,
        )
        behind.start()
        made.append(behind)
        return behind

    yield one
    async with asyncio.timeout(5):
        for behind in made:
            await behind.close()


async def idle() -> None:
    """Longer than any put takes that is not held back."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_puts_gather_into_one_transaction(
    make: Callable[[float], WriteBehind], database: Database
) -> None:
    behind = make(_LONG)
    for identity in "abc":
        behind.put(write(identity))
        await idle()
    assert database.calls == []
    await behind.flush()
    assert database.calls == [("put", ("a", "b", "c"))]


async def test_the_time_ends_by_itself(make: Callable[[float], WriteBehind], database: Database) -> None:
    behind = make(0.001)
    behind.put(write("a"))
    async with asyncio.timeout(5):
        while len(behind):
            await asyncio.sleep(0)
    assert database.calls == [("put", ("a",))]


async def test_who_waits_for_a_put_does_not_wait_for_others(
    make: Callable[[float], WriteBehind], database: Database
) -> None:
    behind = make(_LONG)
    behind.put(write("a"))
    written = behind.written(A)
    assert written is not None
    await turns(written.done)
    assert database.calls == [("put", ("a",))]


async def test_a_change_of_a_row_does_not_wait_for_others(
    make: Callable[[float], WriteBehind], database: Database
) -> None:
    behind = make(_LONG)
    behind.put(write("a"))
    async with asyncio.timeout(5), behind.quiet(A):
        assert database.calls == [("put", ("a",))]


async def test_a_whole_batch_is_enough(make: Callable[[float], WriteBehind], database: Database) -> None:
    behind = make(_LONG)
    for number in range(BATCH):
        behind.put(write(f"{number}"))
    await turns(lambda: not len(behind))
    assert [operation for operation, _ in database.calls] == ["put"]


async def test_an_invalidation_is_not_held_back(
    make: Callable[[float], WriteBehind], database: Database
) -> None:
    behind = make(_LONG)
    behind.put(write("a"))
    forgotten = behind.invalidate(user("b"))
    await turns(forgotten.done)
    assert ("invalidate", ("b",)) in database.calls


async def test_what_gathers_is_written_at_the_end(
    make: Callable[[float], WriteBehind], database: Database
) -> None:
    behind = make(_LONG)
    behind.put(write("a"))
    async with asyncio.timeout(5):
        await behind.close()
    assert database.calls == [("put", ("a",))]
