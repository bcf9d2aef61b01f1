"""Reading beside the process that serves."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from store.base import StoreError, TableSpec
from store.sqlite_files import OpenError
from store.sqlite_read import SqliteReader
from tests.unit.store.samples import BUSINESSES, NOW, TABLES, USERS, derive, entry, open_store, user, write

A, B = user("a"), user("b")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handshake.db"


def names(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


async def test_rows_are_read_while_they_are_written(path: Path) -> None:
    store = await open_store(path)
    try:
        await store.put_many([write("a"), write("b")])
        await store.change(A, local={"department_id": "d"})
        reader = await SqliteReader.open(path, TABLES)
        try:
            rows = await store.page("user", after=None, limit=9)
            assert await reader.page("user", after=None, limit=9) == rows
            assert await reader.page("user", after=rows[0].internal_id, limit=1) == rows[1:]
            assert await reader.page("other", after=None, limit=1) == []
            # Between pages nothing is held: what is written is seen, and the log can be emptied.
            await store.erase_many([B])
            assert [row.key for row in await reader.page("user", after=None, limit=9)] == [A]
            assert await reader.count() == 1
        finally:
            await reader.close()
    finally:
        await store.close()


async def test_nothing_is_changed(path: Path) -> None:
    await (await open_store(path)).close()
    Path(f"{path}.lock").unlink()
    before = path.read_bytes()
    reader = await SqliteReader.open(str(path), TABLES)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await reader._connection.run(lambda connection: connection.execute("DELETE FROM users"))
    await reader.close()
    await reader.close()
    assert path.read_bytes() == before
    # No lock; and of an empty log nothing is left that the next opening minds.
    assert names(path) <= {path.name, f"{path.name}-wal", f"{path.name}-shm"}
    await (await open_store(path)).close()
    assert names(path) == {path.name, f"{path.name}.lock"}


async def test_a_closed_one_says_so(path: Path) -> None:
    await (await open_store(path)).close()
    reader = await SqliteReader.open(path, TABLES)
    await reader.close()
    with pytest.raises(StoreError, match=r"^page: the store is closed$"):
        await reader.page("user", after=None, limit=1)
    with pytest.raises(StoreError, match=r"^count: the store is closed$"):
        await reader.count()


async def test_what_is_configured_and_not_there_yet_is_empty(path: Path) -> None:
    old = TableSpec("user", ("name",), (("Department_ID", "TEXT"),))
    store = await open_store(path, tables=(old,))
    await store.put_many([write("a")])
    await store.change(A, local={"Department_ID": "d"})
    await store.close()
    new = replace(USERS, columns=("name", "email", "phone"))
    reader = await SqliteReader.open(path, (new, BUSINESSES))
    try:
        held = entry(A).confirmed(internal_id=derive(A, 0), version=2, local={"department_id": "d"})
        assert await reader.page("user", after=None, limit=9) == [held]
        assert await reader.page("business", after=None, limit=9) == []
        assert await reader.count() == 1
    finally:
        await reader.close()


async def refused(path: Path) -> OpenError:
    with pytest.raises(OpenError) as caught:
        await SqliteReader.open(path, TABLES)
    assert caught.value.__cause__ is None
    return caught.value


async def test_what_is_not_there_is_not_made(path: Path) -> None:
    assert str(await refused(path)) == "open: SQLITE_CANTOPEN"
    assert names(path) == set()


async def test_what_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"this is a text file, and long enough to be looked at\n" * 100)
    assert str(await refused(path)) == "open: SQLITE_NOTADB"


async def test_a_newer_database_is_refused(path: Path) -> None:
    await (await open_store(path)).close()
    with closing(sqlite3.connect(path)) as person, person:
        person.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('handshake-proxy', '9999_future', '')"
        )
    assert "newer than the program" in str(await refused(path))


@pytest.mark.parametrize("is_empty", [False, True])
async def test_an_older_database_is_refused(path: Path, is_empty: bool) -> None:
    if is_empty:
        path.write_bytes(b"")
    else:
        await (await open_store(path)).close()
        with closing(sqlite3.connect(path)) as person, person:
            person.execute("DELETE FROM _sqlite_migrations WHERE name = '0003_rewrite'")
    error = await refused(path)
    assert str(error) == "open: the database has not been migrated yet: start the proxy once"
    assert error.failure == "migration"


async def test_a_row_that_a_person_has_broken_in_a_damaged_file_is_a_store_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_store(path)
    await store.put_many([write("a", synced=NOW)])
    await store.close()
    with closing(sqlite3.connect(path)) as person, person:
        person.execute("UPDATE users SET last_synced_at = 'yesterday'")
    reader = await SqliteReader.open(path, TABLES)
    monkeypatch.setattr("store.sqlite_read.is_whole", lambda _connection: False)
    with pytest.raises(StoreError, match=r"^page: SUSPECT_ROW$"):
        await reader.page("user", after=None, limit=1)
    await reader.close()
