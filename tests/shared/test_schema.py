"""The schema: made by whoever comes first, followed by the rest, and never taken back."""

import asyncio

import pytest
from msgspec.structs import replace

from store.base import StoreError, TableSpec
from store.postgres.errors import OpenError
from store.postgres.pool import Pool
from store.postgres.reader import PostgresReader
from store.postgres.statements import migrations
from tests.postgres.server import ROLE, Database
from tests.shared.replicas import A, B, Person, granted, item, leased, put
from tests.unit.store.samples import BUSINESSES, NOW, TABLES, USERS, derive, open_shared


async def test_many_replicas_start_at_once(database: Database) -> None:
    stores = await asyncio.gather(*(open_shared(database.url) for _ in range(6)))
    assert await put(stores[0], leased("a", None)) == {A}
    for store in stores:
        assert await item(store, A) == b"{}"
        await store.close()


async def test_a_role_that_may_make_no_schema_uses_the_one_that_was_made_for_it(database: Database) -> None:
    database.sql(
        f"REVOKE ALL ON DATABASE {database.name} FROM PUBLIC",
        f"ALTER DATABASE {database.name} OWNER TO postgres",
        f"GRANT CONNECT ON DATABASE {database.name} TO {ROLE}",
    )
    with pytest.raises(StoreError, match=r"open: InsufficientPrivilegeError \(42501\)"):
        await open_shared(database.url)
    database.sql(f"CREATE SCHEMA handshake_proxy AUTHORIZATION {ROLE}")
    store = await open_shared(database.url)
    assert await put(store, leased("a", None)) == {A}
    await store.close()


async def test_the_tables_are_as_the_contract_has_them(database: Database) -> None:
    store = await open_shared(database.url)
    await put(store, leased("a", None, b'{"id":"a"}'))
    await store.change(A, local={"department_id": "d", "is_field_worker": True})
    await store.close()
    shown = (
        "SELECT id, user_id, name, department_id, is_field_worker, convert_from(item, 'UTF8')"
        " FROM handshake_proxy.users"
    )
    assert database.sql(shown) == [f'{derive(A, 0)}|a||d|1|{{"id":"a"}}']


async def test_a_newer_schema_is_left_alone(database: Database, person: Person) -> None:
    await (await open_shared(database.url)).close()
    await person.execute("INSERT INTO handshake_proxy.migrations (name) VALUES ('9999_later')")
    with pytest.raises(OpenError, match="newer than the program"):
        await open_shared(database.url)
    with pytest.raises(OpenError, match="another version"):
        await PostgresReader.open(database.url, TABLES, prepared=True)


async def test_what_there_is_is_not_migrated_to_be_read(database: Database) -> None:
    with pytest.raises(OpenError, match="start the proxy once"):
        await PostgresReader.open(database.url, TABLES, prepared=True)
    assert database.sql("SELECT to_regnamespace('handshake_proxy') IS NULL") == ["t"]


async def test_it_is_read_as_far_as_it_is_there(database: Database) -> None:
    store = await open_shared(database.url, tables=(replace(USERS, local_columns=()),))
    await put(store, leased("a", None))
    reader = await PostgresReader.open(database.url, TABLES, prepared=True)
    assert [row.key for row in await reader.page("user", after=None, limit=9)] == [A]
    assert await reader.page("business", after=None, limit=9) == []
    assert (await reader.count(), reader.left_out) == (1, 0)
    await reader.close()
    with pytest.raises(StoreError):
        await reader.count()
    await store.close()


async def test_each_step_is_a_file_that_is_applied_once(database: Database) -> None:
    for _ in range(2):
        await (await open_shared(database.url)).close()
    assert database.sql("SELECT name FROM handshake_proxy.migrations ORDER BY name") == migrations()


async def test_a_new_column_comes_to_a_table_that_others_use(database: Database) -> None:
    old = await open_shared(database.url, tables=(TableSpec("user", ("name",)),))
    await put(old, leased("a", None))
    new = await open_shared(database.url)
    assert await put(new, leased("b", None)) == {B}
    assert await put(old, leased("a", None, b"[]")) == {A}
    assert await item(new, A) == b"[]"
    await old.close()
    await new.close()


async def test_rows_that_were_filled_in_anothers_name_are_forgotten_by_all(database: Database) -> None:
    first = await open_shared(database.url, tables=(replace(USERS, filled_by="nobody"), BUSINESSES))
    await put(first, leased("a", None))
    changed = await first.change(A, local={"department_id": "d"})
    assert changed is not None
    await granted(first, 1, B)
    begun = await first.changes_begin()
    second = await open_shared(database.url, tables=(replace(USERS, filled_by="callers"), BUSINESSES))
    assert second.forgotten == ["user"]
    row = (await second.get_many([A]))[A]
    assert (row.item, row.internal_id, row.local) == (None, changed.internal_id, changed.local)
    assert (await first.changes_since(begun)).is_broken
    assert await put(first, leased("b", 1)) == set()
    again = await open_shared(database.url, tables=(replace(USERS, filled_by="callers"), BUSINESSES))
    assert again.forgotten == []
    for store in (first, second, again):
        await store.close()


async def test_a_schema_that_somebody_has_dropped_is_made_again(database: Database, person: Person) -> None:
    store = await open_shared(database.url)
    await person.execute("DROP SCHEMA handshake_proxy CASCADE")
    with pytest.raises(StoreError, match="UndefinedTableError"):
        await store.get_many([A])
    assert not store.is_there
    await store.open()
    assert await put(store, leased("a", None)) == {A}
    await store.close()


async def test_a_row_that_a_person_has_changed_is_left_out(database: Database, person: Person) -> None:
    def identify(item_: bytes) -> str | None:
        return item_.decode()

    store = await open_shared(database.url, tables=(replace(USERS, identify=identify), BUSINESSES))
    await put(store, leased("a", None, b"a"), leased("b", None, b"b"))
    await person.execute("UPDATE handshake_proxy.users SET item = 'other' WHERE user_id = 'a'")
    await person.execute("UPDATE handshake_proxy.users SET headers = '[' WHERE user_id = 'b'")
    assert await store.get_many([A, B]) == {}
    assert store.left_out == 2
    assert await store.page("user", after=None, limit=1) == []
    assert await store.longest_unsynced("user", before=NOW + 1, after=None, limit=9) == []
    assert await put(store, leased("a", None, b"a")) == {A}
    assert await item(store, A) == b"a"
    await store.close()


async def test_a_server_that_is_not_there(database: Database) -> None:
    pool = Pool(database.at(1), connections=1, prepared=True)
    with pytest.raises(StoreError, match=r"open: ConnectionRefusedError \(Connection refused\)"):
        await pool.open(lambda _: asyncio.sleep(0), within=9.0)
    assert not pool.is_there
    assert pool.last_failure == "ConnectionRefusedError (Connection refused)"
