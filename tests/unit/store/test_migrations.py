"""What an earlier version of the program has made, built by hand, and what a later one makes of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from store import sqlite_erasure
from store.entry import Key, Write
from store.sqlite_pragmas import rewrite
from tests.unit.store.samples import NOW, derive, entry, open_store, user, write

A = user("a")

OLD_SCHEMA = """
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY, "migration_set" TEXT, "name" TEXT, "applied_at" TEXT
);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('handshake-proxy', '0001_registry', '');
CREATE TABLE _resources (
    resource TEXT PRIMARY KEY, table_name TEXT UNIQUE NOT NULL, entities INTEGER NOT NULL DEFAULT 0
);
"""

OLD_TABLE = """
CREATE TABLE "{table}" (
  "id" TEXT PRIMARY KEY NOT NULL,
  "{resource}_id" TEXT UNIQUE NOT NULL,
  "name" TEXT,
  "department_id" TEXT,
  "last_synced_at" TEXT NOT NULL,
  "received_at" REAL NOT NULL,
  "lifetime" REAL NOT NULL,
  "initial_age" REAL NOT NULL,
  "version" INTEGER NOT NULL DEFAULT 1,
  "source_version" TEXT,
  "invalidated" INTEGER NOT NULL DEFAULT 0,
  "headers" TEXT,
  "item" TEXT
);
INSERT INTO _resources VALUES ('{resource}', '{table}', 1);
CREATE INDEX "{table}_last_synced_at" ON "{table}" (invalidated, last_synced_at);
INSERT INTO "{table}" VALUES
  ('{id}', 'a', 'n', 'd', '2023-11-14T22:13:20.000Z', 1700000000.0, 60.0, 1.5, 3, '7', 0, NULL, '{{"id":"a"}}');
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of the first version, with a table that is configured and one that is not any more."""
    made = tmp_path / "handshake.db"
    with closing(sqlite3.connect(made)) as connection, connection:
        connection.executescript(OLD_SCHEMA)
        for resource, table in (("user", "users"), ("odd one", "odd ones")):
            connection.executescript(OLD_TABLE.format(resource=resource, table=table, id=derive(A, 0)))
    return made


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A person's shell."""
    with closing(sqlite3.connect(path)) as opened:
        yield opened


async def test_rows_of_the_first_version_stay_and_allow_what_was_allowed(path: Path) -> None:
    store = await open_store(path)
    try:
        old = replace(entry(A), initial_age=1.5, source_version="7")
        held = old.confirmed(internal_id=derive(A, 0), version=3, local={"department_id": "d"})
        assert await store.get_many([A]) == {A: held}
        new = replace(old, stale_if_error=5.0, must_revalidate=True, last_synced_at=NOW + 1)
        confirmed = await store.put_many([Write(new, {})])
        assert confirmed[A].version == 3
        assert await store.get_many([A]) == confirmed
    finally:
        await store.close()


async def test_every_table_gets_the_columns_once(path: Path, connection: sqlite3.Connection) -> None:
    for _ in range(2):
        await (await open_store(path)).close()
    for table in ("users", "odd ones"):
        columns = {row[1]: row[2:5] for row in connection.execute(f"PRAGMA table_info('{table}')")}
        assert columns["stale_while_revalidate"] == columns["stale_if_error"] == ("REAL", 0, None)
        assert columns["must_revalidate"] == columns["shareable"] == ("INTEGER", 1, "0")
    rows = connection.execute(
        'SELECT name, department_id, shareable, stale_if_error FROM "odd ones"'
    ).fetchall()
    assert rows == [("n", "d", 0, None)]


async def test_a_table_that_a_person_has_dropped_is_no_obstacle(
    path: Path, connection: sqlite3.Connection
) -> None:
    connection.execute("DROP TABLE 'odd ones'")
    store = await open_store(path)
    assert A in await store.get_many([A])
    await store.put_many([write("b"), Write(entry(Key("business", "b")), {})])
    await store.close()


DELETED = b"somebody-who-was-deleted"


def leave_deleted(connection: sqlite3.Connection) -> None:
    """Rows that were deleted without being overwritten, as SQLite does where it is not told otherwise."""
    connection.execute("PRAGMA secure_delete = OFF").fetchall()
    with connection:
        connection.execute("CREATE TABLE deleted (x)")
        connection.executemany("INSERT INTO deleted VALUES (?)", [(DELETED.decode() * 20,)] * 100)
    with connection:
        connection.execute("DROP TABLE deleted")


def wanted_rewrites(monkeypatch: pytest.MonkeyPatch, *, fail: bool = False) -> list[int]:
    done: list[int] = []

    def counted(connection: sqlite3.Connection) -> None:
        done.append(1)
        if fail:
            raise sqlite3.OperationalError("database or disk is full")
        rewrite(connection)

    monkeypatch.setattr(sqlite_erasure, "rewrite", counted)
    return done


async def test_what_an_earlier_version_has_deleted_is_gone_after_the_upgrade(
    path: Path, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_deleted(connection)
    connection.close()
    aside = Path(f"{path}.set-aside")
    aside.write_bytes(b"kept")
    assert DELETED in path.read_bytes()
    done = wanted_rewrites(monkeypatch)
    for _ in range(2):
        store = await open_store(path)
        assert A in await store.get_many([A])
        await store.close()
        assert DELETED not in path.read_bytes()
        assert len(done) == 1
    assert aside.exists()


async def test_a_database_that_there_is_no_room_to_rewrite_is_opened_and_rewritten_later(
    path: Path, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_deleted(connection)
    connection.close()
    with monkeypatch.context() as patched:
        done = wanted_rewrites(patched, fail=True)
        await (await open_store(path)).close()
        store = await open_store(path)
        assert len(done) == 2
        assert A in await store.get_many([A])
        assert DELETED in path.read_bytes()
    await store.prune(older_than=0)
    assert DELETED not in path.read_bytes()
    await store.close()


async def test_a_new_database_is_not_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = wanted_rewrites(monkeypatch)
    await (await open_store(tmp_path / "new.db")).close()
    assert done == []
