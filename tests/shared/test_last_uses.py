"""When entities were last used, as several replicas note it."""

import asyncio

from store.postgres.store import PostgresStore
from tests.postgres.server import Database
from tests.shared.replicas import A, B, C, leased, put
from tests.unit.store.samples import NOW, open_shared

Two = tuple[PostgresStore, PostgresStore]


async def test_the_latest_use_of_all_replicas_stays_and_nobody_is_told(replicas: Two) -> None:
    one, other = replicas
    await put(one, leased("a", None), leased("b", None), leased("c", None))
    begun = await other.changes_begin()
    await one.note_used([(A, NOW + 5), (B, NOW + 1)])
    await other.note_used([(B, NOW + 3), (A, NOW + 4), (C, NOW)])
    assert await one.recently_used(9) == [(A, NOW + 5), (B, NOW + 3), (C, NOW)]
    assert (await other.changes_since(begun)).changes == []


async def test_replicas_that_note_the_same_in_any_order_do_not_wait_for_each_other(replicas: Two) -> None:
    keys = [A, B, C]
    await put(replicas[0], *(leased(key.id, None) for key in keys))
    rounds = range(20)
    await asyncio.gather(
        *(replicas[0].note_used([(key, NOW + place) for key in keys]) for place in rounds),
        *(replicas[1].note_used([(key, NOW + place) for key in reversed(keys)]) for place in rounds),
    )
    assert await replicas[0].recently_used(9) == [(key, NOW + 19) for key in keys]


async def test_a_table_of_an_earlier_version_gets_the_column(database: Database) -> None:
    old = await open_shared(database.url)
    await put(old, leased("a", None))
    database.sql("ALTER TABLE handshake_proxy.users DROP COLUMN used_at")
    new = await open_shared(database.url)
    await new.note_used([(A, NOW)])
    assert await new.recently_used(9) == [(A, NOW)]
    assert await put(old, leased("a", None, b"[]")) == {A}
    await old.close()
    await new.close()
