"""Connections that break, and a server that goes away."""

import asyncio
import ssl
import time
from pathlib import Path

import pytest
import trustme

from store.base import StoreError
from store.postgres import pool as pools
from store.postgres.pool import Pool
from store.postgres.store import PostgresStore
from tests.postgres.relay import Relay
from tests.postgres.server import Database, Server
from tests.shared.replicas import A, Person, item, leased, put
from tests.unit.store.samples import LARGE, TABLES, derive, ignore, open_shared


async def behind(relay: Relay, database: Database) -> PostgresStore:
    return await open_shared(relay.url(database))


async def test_a_connection_that_was_closed_while_it_was_idle_is_replaced(
    database: Database, person: Person
) -> None:
    store = await open_shared(database.url)
    await person.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert await put(store, leased("a", None)) == {A}
    assert store.is_there
    await store.close()


async def test_a_server_that_resets_everything_is_lost_and_found_again(
    relay: Relay, database: Database
) -> None:
    store = await behind(relay, database)
    relay.refuse()
    relay.cut()
    for why in ("get: ", "there is no database"):
        with pytest.raises(StoreError, match=why):
            await item(store, A)
    with pytest.raises(StoreError, match="there is no database"):
        await item(store, A)
    with pytest.raises(StoreError, match="open:"):
        await store.open()
    await relay.heal()
    await store.open()
    assert store.is_there
    assert await put(store, leased("a", None)) == {A}
    await store.close()


async def test_a_server_that_is_silent_costs_one_timeout(
    relay: Relay, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "CONNECT_WITHIN", 0.2)
    store = await behind(relay, database)
    relay.swallow()
    began = time.monotonic()
    with pytest.raises(StoreError):
        await item(store, A)
    assert time.monotonic() - began < 5
    assert not store.is_there
    began = time.monotonic()
    with pytest.raises(StoreError, match="there is no database"):
        await item(store, A)
    assert time.monotonic() - began < 0.1, "nobody waits for it again"
    await relay.heal()
    await store.open()
    assert await item(store, A) is None
    await store.close()


async def test_a_server_that_can_not_be_written_is_given_up(database: Database, person: Person) -> None:
    """As a primary is after a failover that has made it a standby."""
    lost: list[bool] = []
    pool = Pool(database.url, connections=2, prepared=True, on_lost=lambda: lost.append(True))
    store = PostgresStore(pool, TABLES, max_bytes=LARGE, derive_id=derive, on_operation=ignore)
    await store.open()
    await person.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    await person.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with pytest.raises(StoreError):
        await put(store, leased("a", None))
    assert not store.is_there
    assert lost == [True]
    with pytest.raises(StoreError):
        await store.open()
    await store.close()


async def test_statements_that_are_not_kept_prepared_do_the_same(database: Database) -> None:
    pool = Pool(database.url, connections=2, prepared=False)
    store = PostgresStore(pool, TABLES, max_bytes=LARGE, derive_id=derive, on_operation=ignore)
    await store.open()
    assert await put(store, leased("a", None)) == {A}
    await store.invalidate_many([A])
    assert await item(store, A) is None
    (count,) = await asyncio.to_thread(
        database.sql,
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT%' AND usename = 'handshake'",
    )
    assert int(count) <= 2
    await store.close()


async def test_no_more_connections_than_are_allowed(database: Database, person: Person) -> None:
    store = await open_shared(database.url)
    await asyncio.gather(*(store.get_many([A]) for _ in range(50)))
    there = await person.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert 1 <= there <= 4
    await store.close()
    assert not store.is_there


async def test_a_row_that_somebody_has_locked_is_no_server_that_is_gone(
    database: Database, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.postgres.store.COMMAND_WITHIN", 0.1)
    store = await open_shared(database.url)
    await put(store, leased("a", None))
    locked = person.transaction()
    await locked.start()
    await person.execute("SELECT FROM handshake_proxy.users FOR UPDATE")
    with pytest.raises(StoreError, match="TimeoutError"):
        await store.change(A, synced_at=1.0)
    assert store.is_there
    assert await item(store, A) == b"{}"
    await locked.rollback()
    assert await store.change(A, synced_at=1.0)
    await store.close()


async def test_connections_that_are_all_busy_are_no_server_that_is_gone(
    database: Database, person: Person
) -> None:
    pool = Pool(database.url, connections=1, prepared=True)
    await pool.open(lambda _: asyncio.sleep(0), within=9.0)
    held = asyncio.Event()
    let_go = asyncio.Event()

    async def hold(_connection: Person) -> None:
        held.set()
        await let_go.wait()

    busy = asyncio.create_task(pool.run(hold, within=60.0))
    await held.wait()
    with pytest.raises(StoreError, match="no connection was free in time"):
        await pool.run(lambda _: asyncio.sleep(0), within=0.05)
    assert pool.is_there
    let_go.set()
    await busy
    await pool.run(lambda _: asyncio.sleep(0))
    await pool.close()


async def test_the_url_says_whose_certificate_the_server_must_have(
    postgres: Server, database: Database, tmp_path: Path
) -> None:
    ours, another = trustme.CA(), trustme.CA()
    files = {name: tmp_path / name for name in ("ours", "another")}
    ours.cert_pem.write_to_path(str(files["ours"]))
    another.cert_pem.write_to_path(str(files["another"]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("127.0.0.1").configure_cert(context)
    async with Relay(postgres.port, tls=context) as encrypting:

        def url(name: str) -> str:
            return encrypting.url(database, sslmode="verify-full", sslrootcert=str(files[name]))

        store = await open_shared(url("ours"))
        assert await put(store, leased("a", None)) == {A}
        await store.close()
        with pytest.raises(StoreError, match="open: SSLCertVerificationError"):
            await open_shared(url("another"))
        with pytest.raises(StoreError, match="open: "):
            await open_shared(
                database.at(postgres.port, sslmode="verify-full", sslrootcert=str(files["ours"]))
            )
