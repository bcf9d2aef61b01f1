"""The bound of the shared database: one replica makes room, and nothing goes that could not be made again."""

import pytest
from msgspec.structs import replace

from store.entry import Write
from store.postgres import reading, room
from store.postgres.store import PostgresStore
from tests.postgres.server import Database
from tests.shared.replicas import A, B, Person, leased, put
from tests.unit.store.samples import NOW, derive, entry, open_shared, user, write

GIVEN = "00000000-0000-4000-8000-000000000001"
LARGE_ITEM = b"x" * 4_000
_MINE = f"SELECT pg_advisory_lock({room._LOCK})"


async def filled(database: Database, max_bytes: int) -> PostgresStore:
    """With 100 users of 4 kB; those with the highest number were synced last."""
    store = await open_shared(database.url, max_bytes=max_bytes)
    await put(store, *(write(f"{number:02}", LARGE_ITEM, synced=NOW + number) for number in range(100)))
    return store


async def test_the_oldest_go_until_there_is_room(database: Database) -> None:
    store = await filled(database, 10_000)
    # Compressed as they are, all of them fit.
    sizes = database.sql("SELECT sum(pg_column_size(users.*)) FROM handshake_proxy.users")
    await store.close()
    store = await open_shared(database.url, max_bytes=int(sizes[0]))
    gone = await store.prune(older_than=0.0)
    left = await store.page("user", after=None, limit=1000)
    assert gone == 100 - len(left) == 20
    assert min(row.key.id for row in left) == "20"
    assert await store.prune(older_than=0.0) == 0, "that is enough for now"
    await store.close()


async def test_one_replica_makes_room_and_the_others_do_not(database: Database, person: Person) -> None:
    store = await filled(database, 1 << 30)
    await person.execute(_MINE)
    assert await store.prune(older_than=NOW + 50) == 0
    assert len(await store.page("user", after=None, limit=1000)) == 100
    await person.execute("SELECT pg_advisory_unlock_all()")
    assert await store.prune(older_than=NOW + 50) == 50
    await store.close()


async def test_what_could_not_be_made_again_keeps_its_ids(database: Database) -> None:
    store = await open_shared(database.url, max_bytes=1)
    await put(store, leased("a", None), leased("b", None))
    changed = await store.change(A, local={"department_id": "d"})
    assert changed is not None
    await store.adopt_many([Write(replace(entry(user("c")), internal_id=GIVEN), {})])
    assert await store.prune(older_than=0.0) == 3
    rows = await store.get_many([A, B, user("c")])
    assert {key.id: (row.item, row.internal_id) for key, row in rows.items()} == {
        "a": (None, derive(A, 0)),
        "c": (None, GIVEN),
    }
    assert rows[A].local == {"department_id": "d"}
    await store.close()


async def test_leases_of_nobody_go(database: Database, person: Person) -> None:
    store = await open_shared(database.url)
    await store.claim_many([A, B], 1, seconds=60.0)
    await person.execute(
        "UPDATE handshake_proxy.leases SET until = until - interval '10 minutes' WHERE external_id = 'a'"
    )
    await store.prune(older_than=0.0)
    assert [row[0] for row in await person.fetch("SELECT external_id FROM handshake_proxy.leases")] == ["b"]
    await store.close()


async def test_of_many_rows_the_count_is_given_again_for_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:

    store = await open_shared(database.url)
    await put(store, leased("a", None))
    monkeypatch.setattr(reading, "_DEAR", -1.0)
    monkeypatch.setattr(reading, "_COUNT_SHARE", 1e9)
    assert (await store.stats(at=NOW)).entities["user"] == 1
    await put(store, leased("b", None))
    other = await open_shared(database.url)
    for one in (store, other):
        assert (await one.stats(at=NOW)).entities["user"] == 1
        await one.close()


async def test_of_many_rows_the_size_is_estimated(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_shared(database.url)
    await put(store, *(write(str(number), b"%0200d" % number, synced=NOW + number) for number in range(3000)))
    await store.close()
    monkeypatch.setattr(room, "_SAMPLED_PAGES", 60)
    used = int(database.sql("SELECT sum(pg_column_size(users.*)) FROM handshake_proxy.users")[0])
    pages = int(database.sql("SELECT pg_relation_size('handshake_proxy.users') / 8192")[0])
    assert pages > 60
    store = await open_shared(database.url, max_bytes=used)
    database.sql("UPDATE pg_class SET reltuples = -1 WHERE relname = 'users'")
    assert await store.prune(older_than=0.0) == 0, "nobody knows how many there are"
    database.sql("ANALYZE handshake_proxy.users")
    assert 300 < await store.prune(older_than=0.0) < 900
    await store.close()
