"""How SQLite goes through rows, and what it does with them when it can't write."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from store import row_values
from store.base import Adopted, Position, StoreError
from store.entry import NO_LOCALS, Column, Key, Write
from store.sqlite import SqliteStore
from tests.unit.store.samples import BUSINESSES, NOW, USERS, derive, entry, open_store, user, write

A, B = user("a"), user("b")
GIVEN = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handshake.db"


def plan(connection: sqlite3.Connection, sql: str) -> list[str]:
    values = [NOW] * sql.count("?")
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


async def test_lists_are_served_by_an_index_in_its_order(path: Path) -> None:
    store = await open_store(path)
    try:
        table = store._tables["user"]
        plans = await store._reader.run(
            lambda connection: [
                plan(connection, sql)
                for sql in (
                    table._unsynced,
                    table._page,
                    table._oldest,
                    table._first,
                    table._find,
                    table._count_stale,
                )
            ]
        )
    finally:
        await store.close()
    held = "invalidated=? AND (last_synced_at,id)>(?,?) AND last_synced_at<?"
    assert plans == [
        [f"SEARCH users USING INDEX users_unsynced ({held})"],
        ["SEARCH users USING INDEX sqlite_autoindex_users_1 (id>?)"],
        ["SEARCH users USING INDEX users_unsynced (invalidated=? AND last_synced_at<?)"],
        ["SEARCH users USING COVERING INDEX users_unsynced (invalidated=?)"],
        ["SEARCH users USING INDEX sqlite_autoindex_users_1 (id=?)"],
        ["SEARCH users USING COVERING INDEX users_fresh_until (invalidated=? AND <expr><?)"],
    ]


@pytest.mark.parametrize("start", [0.0, NOW, 4_102_444_800.0, 2.0**33 - 1_000])
async def test_a_list_neither_loops_nor_skips_at_any_millisecond(path: Path, start: float) -> None:
    """A position is a number and the column a text: each must come back from the other."""
    store = await open_store(path)
    try:
        await store.put_many(
            [write(str(number), synced=start + number / 1_000 + 0.0004) for number in range(1_000)]
        )
        seen: list[str] = []
        after: Position | None = None
        while page := await store.longest_unsynced("user", before=start + 2_000, after=after, limit=7):
            seen += [found.key.id for found in page]
            after = Position(page[-1].last_synced_at, page[-1].internal_id or "")
            assert len(seen) <= 1_000
        assert seen == [str(number) for number in range(1_000)]
    finally:
        await store.close()


async def test_the_index_of_an_earlier_version_gives_way(path: Path) -> None:
    store = await open_store(path)
    await store.put_many([write("a")])
    await store.close()
    with closing(sqlite3.connect(path)) as person, person:
        person.execute("DROP INDEX users_unsynced")
        person.execute("CREATE INDEX users_last_synced_at ON users (invalidated, last_synced_at)")
    await (await open_store(path)).close()
    with closing(sqlite3.connect(path)) as person:
        indexes = {row[1] for row in person.execute("PRAGMA index_list(users)")}
        columns = [row[2] for row in person.execute("PRAGMA index_info(users_unsynced)")]
    assert {name for name in indexes if not name.startswith("sqlite_")} == {
        "users_fresh_until",
        "users_unsynced",
    }
    assert columns == ["invalidated", "last_synced_at", "id"]


async def test_local_attributes_have_the_type_of_their_column(path: Path) -> None:
    locals_ = (("text", "TEXT"), ("whole", "INTEGER"), ('odd "real', "REAL"))
    store = await open_store(path, tables=(replace(USERS, local_columns=locals_),))
    try:
        await store.put_many([write("a")])
        first = await store.change(A, local={"text": 5, "whole": 5.0, 'odd "real': 5})
        assert first is not None
        assert first.local == {"text": "5", "whole": 5, 'odd "real': 5.0}
        assert [type(value) for value in first.local.values()] == [str, int, float]
        assert (await store.put_many([write("a")]))[A] == first
        same: dict[str, Column] = {"text": "5", "whole": True + 4, 'odd "real': 5.0}
        assert await store.change(A, local=same) == first
        # What no number is stands as it is: SQLite's columns have a preference, not a type.
        other = await store.change(A, local={"text": "é\0", "whole": "x", 'odd "real': float("nan")})
        assert other is not None
        assert (other.local, other.version) == ({"text": "é\0", "whole": "x"}, 3)
    finally:
        await store.close()


async def test_without_local_columns_there_are_none(path: Path) -> None:
    store = await open_store(path, tables=(BUSINESSES,))
    key = Key("business", "a")
    try:
        sent = Write(replace(entry(key), internal_id=GIVEN), {})
        assert await store.adopt_many([sent]) == Adopted(added=1)
        assert (await store.put_many([Write(entry(key), {})]))[key].local is NO_LOCALS
        assert (await store.get_many([key]))[key].local is NO_LOCALS
        assert await store.prune(older_than=NOW + 1) == 1
        await store.erase_many([key])
        assert await store.get_many([key]) == {}
    finally:
        await store.close()


async def test_hooks_are_told_of_rows_by_name(path: Path) -> None:
    told: list[tuple[str, bool]] = []
    store = await open_store(path, on_operation=lambda name, _seconds, ok: told.append((name, ok)))
    await store.find("user", GIVEN)
    await store.reserve_many([A], at=NOW)
    await store.change(A, synced_at=NOW)
    await store.erase_many([A])
    await store.longest_unsynced("user", before=NOW, after=None, limit=1)
    await store.page("user", after=None, limit=1)
    await store.adopt_many([write("a")])
    with pytest.raises(StoreError, match=r"^change: OverflowError$"):
        await store.change(A, synced_at=float("inf"))
    # What asks nothing of the database is no operation of it.
    await store.find("other", GIVEN)
    await store.reserve_many([], at=NOW)
    await store.change(Key("other", "a"))
    await store.erase_many([Key("other", "a")])
    await store.longest_unsynced("other", before=NOW, after=None, limit=1)
    await store.page("other", after=None, limit=1)
    await store.adopt_many([])
    await store.close()
    names = ("find", "reserve", "change", "erase", "unsynced", "page", "adopt")
    assert told == [*((name, True) for name in names), ("change", False)]


WRITES: dict[str, Callable[[SqliteStore], Awaitable[object]]] = {
    "reserve": lambda store: store.reserve_many([A, B, user("new")], at=NOW),
    "change": lambda store: store.change(A, local={"department_id": "d"}, synced_at=NOW + 1),
    "erase": lambda store: store.erase_many([A, B]),
    "adopt": lambda store: store.adopt_many([write("a", b"2", synced=NOW + 1), write("new", b"2")]),
}


@pytest.mark.parametrize("operation", list(WRITES))
@pytest.mark.parametrize("failure", ["SQLITE_READONLY", "SQLITE_BUSY", "SQLITE_FULL"])
async def test_a_write_that_fails_writes_nothing_and_the_next_one_works(
    path: Path, operation: str, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_store(path)
    writer = store._connections[1]
    await writer.run(lambda connection: connection.execute("PRAGMA busy_timeout = 0"))
    keys = [A, B, user("new")]
    try:
        before = await store.put_many([write("a", b"1"), write("b", b"1")])
        with closing(sqlite3.connect(path, isolation_level=None)) as shell, monkeypatch.context() as patched:
            if failure == "SQLITE_READONLY":
                await writer.run(lambda connection: connection.execute("PRAGMA query_only = ON"))
            elif failure == "SQLITE_BUSY":
                shell.execute("BEGIN IMMEDIATE")
            else:

                def full(connection: sqlite3.Connection) -> None:
                    connection.execute("PRAGMA max_page_count = 1")
                    connection.execute("CREATE TABLE filler (x)")

                for one, function in ((store._all, "reserve"), (store, "_erase")):
                    patched.setattr(one, function, lambda *arguments: full(arguments[-1]))
                patched.setattr("store.sqlite.adopt_all", lambda *arguments: full(arguments[-1]))
                patched.setattr(
                    store._tables["user"], "change", lambda connection, **_others: full(connection)
                )
            with pytest.raises(StoreError, match=rf"^{operation}: {failure}$"):
                await WRITES[operation](store)
        await writer.run(lambda connection: connection.execute("PRAGMA query_only = OFF"))
        assert await store.get_many(keys) == before
        await WRITES[operation](store)
        assert await store.get_many(keys) != before
    finally:
        await store.close()


async def test_an_import_that_does_not_fit_pushes_nothing_out(path: Path) -> None:
    store = await open_store(path, max_bytes=400_000)
    try:
        before = await store.put_many([write(str(number), b"x" * 1_000) for number in range(100)])
        large = [write(f"new-{number}", b"x" * 1_000) for number in range(1_000)]
        with pytest.raises(StoreError, match=r"^adopt: SQLITE_FULL$"):
            await store.adopt_many(large)
        assert await store.get_many([*before, *(row.entry.key for row in large)]) == before
        assert await store.adopt_many(large[:10]) == Adopted(added=10)
        assert await store.put_many(large[10:20])
    finally:
        await store.close()


async def test_reservations_and_changes_at_the_bound_make_room(path: Path) -> None:
    store = await open_store(path, max_bytes=400_000)
    try:
        await store.put_many([write(str(number), b"x" * 1_000, synced=NOW - 1) for number in range(200)])
        for number in range(900):
            await store.reserve_many([user(f"new-{number}")], at=NOW)
            changed = await store.change(user(f"new-{number}"), local={"department_id": "d" * 50})
            assert changed is not None
        assert (await store.stats(at=NOW)).entities["user"] < 200
        assert path.stat().st_size <= 400_000
        kept = await store.get_many([user(f"new-{number}") for number in range(900)])
        assert {husk.local["department_id"] for husk in kept.values()} == {"d" * 50}
        assert len(kept) == 900
    finally:
        await store.close()


async def test_an_import_gives_back_the_memory_that_it_took(path: Path) -> None:
    def cache(connection: sqlite3.Connection) -> object:
        return connection.execute("PRAGMA cache_size").fetchone()

    store = await open_store(path)
    try:
        before = await store._connections[1].run(cache)
        await store.adopt_many([write("a")])
        with pytest.raises(StoreError):
            await store.adopt_many([Write(replace(entry(B), source_version="\ud800"), {})])
        assert await store._connections[1].run(cache) == before
    finally:
        await store.close()


async def test_ids_that_are_all_taken_are_an_error_of_an_import_too(path: Path) -> None:
    store = await open_store(path, derive_id=lambda _key, _attempt: GIVEN)
    try:
        await store.put_many([write("a")])
        for call in (store.adopt_many([write("b")]), store.reserve_many([B], at=NOW)):
            with pytest.raises(StoreError, match=r": SQLITE_CONSTRAINT_PRIMARYKEY$"):
                await call
        assert set(await store.get_many([A, B])) == {A}
    finally:
        await store.close()


async def test_states_of_rows_are_those_that_a_person_sees(path: Path) -> None:
    store = await open_store(path)
    await store.reserve_many([user("reserved")], at=NOW)
    await store.adopt_many(
        [Write(replace(entry(A, None), internal_id=GIVEN), {}), Write(entry(B), {"name": "n", "email": "e"})]
    )
    await store.close()
    with closing(sqlite3.connect(path)) as person:
        rows = person.execute("SELECT user_id, id, invalidated, name, received_at, lifetime FROM users")
        assert set(rows) == {
            ("reserved", derive(user("reserved"), 0), row_values.INVALIDATED, None, NOW, 0.0),
            ("a", GIVEN, row_values.INVALIDATED, None, NOW, 60.0),
            ("b", derive(B, 0), row_values.HELD, "n", NOW, 60.0),
        }


async def test_an_index_that_an_upgrade_makes_leaves_no_log_behind(path: Path) -> None:
    """It counts for the bound: a store that is nearly full would evict for it."""
    store = await open_store(path)
    await store.put_many([write(str(number)) for number in range(2_000)])
    await store.close()
    with closing(sqlite3.connect(path)) as person, person:
        person.execute("DROP INDEX users_fresh_until")
    store = await open_store(path)
    try:
        assert Path(f"{path}-wal").stat().st_size == 0
        assert (await store.stats(at=NOW + 1_000)).stale["user"] == 2_000
    finally:
        await store.close()
