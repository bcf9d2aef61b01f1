"""Behind a connection pooler in transaction mode: all but listening."""

import asyncio
from pathlib import Path

import pytest

from store.postgres import listener as listeners
from store.postgres.listener import Listener
from store.postgres.store import PostgresStore
from tests.postgres.server import Database
from tests.shared.pooler import pooling
from tests.shared.replicas import A, Person, granted, item, leased, put
from tests.unit.store.samples import open_shared, user


async def prepared(store: PostgresStore) -> int:
    async def work(connection: Person) -> int:
        count: int = await connection.fetchval("SELECT count(*) FROM pg_prepared_statements")
        return count

    return await store._pool.run(work)


async def test_replicas_share_a_store_through_it(database: Database, tmp_path: Path) -> None:
    with pooling(database, tmp_path) as url:
        stores = [await open_shared(url) for _ in range(3)]

        async def work(store: PostgresStore, first: int) -> None:
            for number in range(first, first + 20):
                key = user(str(number))
                assert await granted(store, number + 1, key) == {key}
                assert await put(store, leased(key.id, number + 1, b"%d" % number)) == {key}
                assert await item(store, key) == b"%d" % number
                await store.change(key, local={"department_id": "d"})
                await store.invalidate_many([key])

        begun = await stores[0].changes_begin()
        await asyncio.gather(*(work(stores[number % 3], 20 * number) for number in range(9)))
        assert await item(stores[0], user("0")) is None
        assert len((await stores[0].changes_since(begun)).changes) == 2 * 20 * 6
        assert await prepared(stores[0]) == 0
        for store in stores:
            await store.close()


async def test_without_one_statements_are_kept(database: Database) -> None:
    store = await open_shared(database.url)
    assert await put(store, leased("a", None)) == {A}
    assert await prepared(store) > 0
    await store.close()


async def test_a_listener_behind_it_finds_out_that_it_hears_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_ECHO_WITHIN", 0.2)
    with pooling(database, tmp_path) as url:
        store = await open_shared(url)
        deaf, hearing = asyncio.Event(), asyncio.Event()
        through, direct = (
            Listener(
                where,
                prepared=False,
                probe_every=60.0,
                notify=store.notify,
                on_heard=lambda: None,
                on_deaf=lambda _why: deaf.set(),
                on_hearing=hearing.set,
            )
            for where in (url, database.url)
        )
        tasks = [asyncio.create_task(one.listen()) for one in (through, direct)]
        async with asyncio.timeout(20):
            await deaf.wait()
            await hearing.wait()
        assert (through.is_hearing, direct.is_hearing) == (False, True)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await store.close()
