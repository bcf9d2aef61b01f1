"""What is SQLite's own, beyond the contract of every store."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from store.base import StoreError
from store.entry import Key, Write
from tests.unit.store.samples import BUSINESSES, NOW, USERS, derive, entry, ignore, open_store, user, write

A, B = user("a"), user("b")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handshake.db"


def query(path: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    """As a person would, beside the running program."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(sql, values).fetchall()


async def test_a_person_can_read_the_table_while_it_is_open(path: Path) -> None:
    store = await open_store(path)
    try:
        item = '{"id": "a", "name": "É"}'
        await store.put_many([write("a", item.encode(), synced=NOW + 0.25, name="É", email="a@example.org")])
        assert query(path, "SELECT id, user_id, name, email, last_synced_at, item FROM users") == [
            (derive(A, 0), "a", "É", "a@example.org", "2023-11-14T22:13:20.250Z", item)
        ]
        await store.put_many([write("a", b"\xff"), write("b", b"nul\0")])
        assert query(path, "SELECT typeof(item) FROM users") == [("blob",), ("blob",)]
        columns = [row[1] for row in query(path, "PRAGMA table_info(businesses)")]
        assert columns[:3] == ["id", "business_id", "name"]
    finally:
        await store.close()


async def test_values_of_columns_are_readable_text(path: Path) -> None:
    store = await open_store(path)
    values = {"1": True, "2": 2**70, "3": 1.5, "4": None, "5": "\ud800", "6": float("nan")}
    await store.put_many([write(identity, name=value) for identity, value in values.items()])
    await store.close()
    names = [name for (name,) in query(path, "SELECT name FROM users ORDER BY user_id")]
    assert names == ["true", str(2**70), "1.5", None, "\\ud800", "nan"]


async def test_an_invalidation_leaves_no_personal_data_in_the_row(path: Path) -> None:
    store = await open_store(path)
    sent = Write(entry(A, headers=((b"etag", b"1"),)), {"name": "n", "email": "e"})
    await store.put_many([sent])
    await store.invalidate_many([A])
    await store.close()
    assert query(path, "SELECT name, email, item, headers, invalidated FROM users") == [
        (None, None, None, None, 1)
    ]


def modes(directory: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()}


async def test_all_files_are_for_the_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        store = await open_store(path)
    finally:
        os.umask(before)
    await store.put_many([write("a")])
    names = {path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}.lock"}
    assert modes(path.parent) == dict.fromkeys(names, 0o600)
    await store.close()
    assert set(modes(path.parent)) == {path.name, f"{path.name}.lock"}
    path.chmod(0o644)
    await (await open_store(path)).close()
    assert modes(path.parent)[path.name] == 0o600


def pragma(name: str, connection: sqlite3.Connection) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()


async def test_settings(path: Path) -> None:
    store = await open_store(path)
    try:
        pragmas = {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "auto_vacuum": 2,
        }
        writer = store._connections[1]
        for name, value in pragmas.items():
            got: object = await writer.run(partial(pragma, name))
            assert got == (value,), name
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await store._reader.run(lambda connection: connection.execute("DELETE FROM users"))
    finally:
        await store.close()


async def test_attributes_of_our_own_survive_refresh_invalidation_and_pruning(path: Path) -> None:
    store = await open_store(path)
    try:
        await store.put_many([write("a", b"1", name="old"), write("b", name="b")])
        query(path, "UPDATE users SET department_id = 'd', is_field_worker = 0 WHERE user_id = 'a'")
        await store.put_many([write("a", b"2", name="new")])
        assert query(path, "SELECT name, department_id, is_field_worker FROM users WHERE user_id = 'a'") == [
            ("new", "d", 0)
        ]
        await store.invalidate_many([A])
        await store.put_many([write("a", b"3")])
        assert await store.prune(older_than=NOW + 1) == 2
        assert await store.prune(older_than=NOW + 1) == 0
        assert query(path, "SELECT user_id, department_id, item, name FROM users") == [("a", "d", None, None)]
        husk = (await store.get_many([A]))[A]
        assert (husk.item, husk.internal_id, husk.version) == (None, derive(A, 0), 3)
        assert (await store.put_many([write("a", b"3")]))[A].version == 4
        assert (await store.stats(at=NOW)).entities["user"] == 1
    finally:
        await store.close()


async def test_an_imported_id_stays_and_is_not_given_twice(path: Path) -> None:
    store = await open_store(path)
    try:
        await store.put_many([write("a")])
        # "a" was imported under the id that "b" would derive.
        query(path, "UPDATE users SET id = ?", derive(B, 0))
        assert (await store.put_many([write("a", b"2")]))[A].internal_id == derive(B, 0)
        assert (await store.put_many([write("b")]))[B].internal_id == derive(B, 1)
        assert (await store.put_many([write("b", b"2")]))[B].internal_id == derive(B, 1)
        assert await store.prune(older_than=NOW + 1) == 2
        assert {key: husk.internal_id for key, husk in (await store.get_many([A, B])).items()} == {
            A: derive(B, 0),
            B: derive(B, 1),
        }
    finally:
        await store.close()


async def test_ids_that_are_all_taken_are_an_error(path: Path) -> None:
    store = await open_store(path, derive_id=lambda _key, _attempt: "same")
    try:
        await store.put_many([write("a")])
        with pytest.raises(StoreError, match=r"^put: SQLITE_CONSTRAINT_PRIMARYKEY$"):
            await store.put_many([write("b")])
        assert (await store.put_many([write("a", b"2")]))[A].version == 2
    finally:
        await store.close()


async def test_invalidated_rows_are_pruned_by_age(path: Path) -> None:
    store = await open_store(path)
    try:
        await store.put_many([write("a"), write("b")])
        await store.invalidate_many([A])
        assert await store.prune(older_than=NOW + 1) == 1
        assert await store.get_many([A, B]) == {}
    finally:
        await store.close()


async def test_pruning_many_rows_gives_the_space_back(path: Path) -> None:
    store = await open_store(path)
    try:
        await store.put_many([write(str(number), b"x" * 1000) for number in range(3000)])
        before = (await store.stats(at=NOW)).bytes
        assert await store.prune(older_than=NOW + 1) == 3000
        assert (await store.stats(at=NOW)).bytes < before / 10
    finally:
        await store.close()


async def test_at_its_bound_the_longest_unsynced_make_room_for_the_newest(path: Path) -> None:
    bound = 1 << 20
    store = await open_store(path, max_bytes=bound)
    try:
        shop = Key("business", "old")
        await store.put_many([Write(entry(shop, b"x" * 1000, last_synced_at=NOW - 1), {})])
        for start in range(0, 4000, 100):
            puts = (
                store.put_many([write(str(number), b"x" * 1000, synced=NOW + number)])
                for number in range(start, start + 100)
            )
            await asyncio.gather(*puts)
            assert (await store.stats(at=NOW)).bytes < 1.5 * bound
        found = await store.get_many([shop, *(user(str(number)) for number in range(4000))])
        numbers = sorted(int(key.id) for key in found)
        assert numbers == list(range(4000 - len(numbers), 4000))
        assert len(numbers) > 300
        assert path.stat().st_size <= bound
    finally:
        await store.close()


async def test_pruning_leaves_alone_what_has_room(path: Path) -> None:
    store = await open_store(path, max_bytes=1 << 20)
    await store.put_many([write(str(number), b"x" * 1000) for number in range(100)])
    assert await store.prune(older_than=0) == 0
    await store.close()


async def test_pruning_for_space_takes_no_more_than_it_must_when_ages_are_in_no_order(path: Path) -> None:
    store = await open_store(path)
    try:
        ages = [(number * 7919) % 6000 for number in range(6000)]
        await store.put_many(
            [write(str(number), b"x" * 500, synced=NOW + age) for number, age in enumerate(ages)]
        )
        store._room.max_bytes = bound = path.stat().st_size
        assert 0 < await store.prune(older_than=0) < 6000 / 4
        assert (await store.stats(at=NOW)).bytes < 0.85 * bound
        found = await store.get_many([user(str(number)) for number in range(6000)])
        kept = sorted(ages[int(key.id)] for key in found)
        assert kept == list(range(6000 - len(kept), 6000))
    finally:
        await store.close()


async def test_pruning_ends_when_there_is_nothing_more_to_prune(path: Path) -> None:
    store = await open_store(path)
    store._room.max_bytes = 1
    await store.put_many([write("a"), Write(entry(Key("business", "a")), {})])
    assert await store.prune(older_than=0) == 2
    await store.close()


async def test_pruning_a_file_without_auto_vacuum_ends_too(path: Path) -> None:
    query(path, "PRAGMA auto_vacuum = NONE")
    query(path, "CREATE TABLE something (x)")
    store = await open_store(path)
    await store.put_many([write(str(number), b"x" * 1000) for number in range(300)])
    assert await store.prune(older_than=NOW + 1) == 300
    await store.close()


async def test_a_reading_shell_does_not_hold_up_pruning_and_closing(path: Path) -> None:
    store = await open_store(path)
    await store.put_many([write("a")])
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("BEGIN")
        shell.execute("SELECT * FROM users").fetchall()
        assert await store.prune(older_than=NOW + 1) == 1
        await store.close()


async def test_a_full_database_writes_nothing_by_half_and_goes_on(path: Path) -> None:
    store = await open_store(path, max_bytes=400_000)
    try:
        await store.put_many([write("a", b"1")])
        large = [write(str(number), b"x" * 10_000) for number in range(100)]
        with pytest.raises(StoreError, match=r"^put: SQLITE_FULL$"):
            await store.put_many([write("a", b"2"), *large])
        found = await store.get_many([A, *(row.entry.key for row in large)])
        assert {key: found[key].item for key in found} == {A: b"1"}
        assert (await store.stats(at=NOW)).entities["user"] == 1
        assert (await store.put_many([write("a", b"2")]))[A].version == 2
    finally:
        await store.close()


async def test_what_waits_together_is_committed_together(path: Path) -> None:
    store = await open_store(path)
    try:
        statements: list[str] = []
        writer = store._connections[1]
        await writer.run(lambda connection: connection.set_trace_callback(statements.append))
        await asyncio.gather(*(store.put_many([write(str(number))]) for number in range(500)))
        await writer.run(lambda connection: connection.set_trace_callback(None))
        assert statements.count("COMMIT") <= 3
        statements.clear()
        await writer.run(lambda connection: connection.set_trace_callback(statements.append))
        await asyncio.gather(
            *(store.put_many([write(f"{call}-{n}") for n in range(300)]) for call in range(10))
        )
        # Three calls of 300 rows are what 1,000 rows have room for.
        assert 4 <= statements.count("COMMIT") <= 5
    finally:
        await store.close()


async def test_hooks_are_told_of_each_operation(path: Path) -> None:
    told: list[tuple[str, bool]] = []

    def tell(operation: str, seconds: float, ok: bool) -> None:
        assert 0 <= seconds < 10
        told.append((operation, ok))

    store = await open_store(path, on_operation=tell)
    await store.put_many([write("a")])
    await store.get_many([A])
    await store.invalidate_many([A])
    await store.stats(at=NOW)
    await store.prune(older_than=0)
    with pytest.raises(StoreError):
        await store.put_many([Write(replace(entry(A), source_version="\ud800"), {})])
    await store.close()
    assert told == [
        *((operation, True) for operation in ("put", "get", "invalidate", "stats", "prune")),
        ("put", False),
    ]


async def test_a_locked_database_fails_all_that_wait_at_once(path: Path) -> None:
    store = await open_store(path)
    try:
        await store._connections[1].run(lambda connection: connection.execute("PRAGMA busy_timeout = 0"))
        with closing(sqlite3.connect(path, isolation_level=None)) as shell:
            shell.execute("BEGIN IMMEDIATE")
            puts = [store.put_many([write(str(number))]) for number in range(10)]
            results = await asyncio.gather(*puts, return_exceptions=True)
            assert {str(result) for result in results} == {"put: SQLITE_BUSY"}
            shell.execute("ROLLBACK")
        assert await store.put_many([write("a")])
    finally:
        await store.close()


async def test_a_stopped_writer_leaves_nobody_waiting(path: Path) -> None:
    store = await open_store(path)
    puts = [asyncio.create_task(store.put_many([write(str(number))])) for number in range(3)]
    await asyncio.sleep(0)
    store._writer._task.cancel()
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert all(isinstance(result, StoreError) for result in results)
    with pytest.raises(StoreError, match="closed"):
        await store.put_many([write("a")])
    await store.close()


async def test_closing_goes_on_when_its_caller_is_cancelled(path: Path) -> None:
    store = await open_store(path)
    put = asyncio.create_task(store.put_many([write("a")]))
    await asyncio.sleep(0)
    first = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await store.close()
    assert A in await put
    again = await open_store(path)
    assert A in await again.get_many([A])
    await again.close()


KILLED = """
import asyncio, os, signal, sys
from tests.unit.store.samples import open_store, write

async def main():
    store = await open_store(sys.argv[1])
    for number in range(10_000):
        await store.put_many([write(str(number), b"%d" % number)])
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def writing(path: Path) -> Iterator[subprocess.Popen[str]]:
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert process.stdout is not None
    with process:
        yield process
        process.kill()


async def test_what_was_answered_survives_kill_9(path: Path, writing: subprocess.Popen[str]) -> None:
    assert writing.stdout is not None
    answered = [int(writing.stdout.readline()) for _ in range(100)]
    with pytest.raises(StoreError, match="in use by another process"):
        await open_store(path)
    writing.send_signal(signal.SIGKILL)
    answered += [int(line) for line in writing.stdout if line.endswith("\n")]
    writing.wait()
    store = await open_store(path)
    try:
        found = await store.get_many([user(str(number)) for number in answered])
        assert {int(key.id): kept.item for key, kept in found.items()} == {
            number: b"%d" % number for number in answered
        }
        assert (await store.stats(at=NOW)).entities["user"] >= len(answered)
    finally:
        await store.close()


async def test_columns_that_are_newly_configured_are_added_and_none_is_dropped(path: Path) -> None:
    store = await open_store(path, tables=(USERS,))
    await store.put_many([write("a", name="n", email="e")])
    await store.close()
    store = await open_store(path, tables=(replace(USERS, columns=("name", 'odd "name')), BUSINESSES))
    odd: dict[str, Any] = {'odd "name': "o"}
    await store.put_many([write("b", name="m", **odd)])
    assert (await store.stats(at=NOW)).entities == {"user": 2, "business": 0}
    await store.close()
    assert query(path, 'SELECT user_id, name, email, "odd ""name" FROM users ORDER BY 1') == [
        ("a", "n", "e", None),
        ("b", "m", None, "o"),
    ]


@pytest.mark.parametrize(
    "tables",
    [
        (USERS, USERS),
        (replace(USERS, columns=("name", "Name")),),
        (replace(USERS, columns=("item",)),),
        (replace(USERS, columns=("USER_ID",)),),
        (replace(USERS, columns=("department_id",)),),
        (replace(USERS, local_columns=(("x", "TEXT; DROP TABLE users"),)),),
    ],
)
async def test_names_that_collide_are_refused(path: Path, tables: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=r"share|reserved|local columns"):
        await open_store(path, tables=tables)  # type: ignore[arg-type]
    assert not path.exists()


async def test_a_column_that_is_not_text_any_more_fails_with_a_store_error(path: Path) -> None:
    store = await open_store(path)
    try:
        await store.put_many([write("a")])
        query(path, "UPDATE users SET last_synced_at = 'yesterday'")
        with pytest.raises(StoreError, match=r"^get: SUSPECT_ROW$"):
            await store.get_many([A])
        query(path, "UPDATE users SET id = CAST(x'ff' AS TEXT)")
        with pytest.raises(StoreError, match=r"^get: SUSPECT_ROW$"):
            await store.get_many([A])
    finally:
        await store.close()


def test_the_package_is_imported_without_its_heavy_parts() -> None:
    code = "import sys, store.sqlite, store.tiered; sys.exit('sqlite_utils' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_the_sample_hook_is_silent() -> None:
    ignore("get", 0.0, True)
