"""Rows that a person has edited, in a file that is whole: left out, and in nobody's way."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from store.base import StoreError
from store.entry import Write
from store.memory import next_position
from store.sqlite import SqliteStore
from store.sqlite_read import SqliteReader
from tests.unit.store.samples import NOW, TABLES, derive, entry, open_store, user, write

A, B = user("a"), user("b")
BAD = {
    "time": "last_synced_at = 'yesterday'",
    "version": "version = 'x'",
    "item": "received_at = 'x'",
    "headers": "headers = '[[1'",
    "text": "last_synced_at = CAST(x'ff' AS TEXT)",
    "id": "id = 'x'",
    "id that is no text": "id = CAST(x'ff' AS TEXT)",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handshake.db"


def edit(path: Path, change: str, where: str = "user_id = 'a'") -> None:
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute(f"UPDATE users SET {change} WHERE {where}")  # noqa: S608 - a test's own


async def edited(path: Path, change: str) -> SqliteStore:
    """A store that knows that the file is whole, whatever the row of A is."""
    store = await open_store(path)
    await store.put_many([write("a"), write("b")])
    await store.change(A, local={"department_id": "d"})
    edit(path, change)
    with pytest.raises(StoreError, match="SUSPECT_ROW"):
        await store.get_many([A])
    assert await store.verify()
    return store


@pytest.mark.parametrize("bad", BAD)
async def test_who_is_reserved_an_id_gets_a_husk_that_is_read_again(path: Path, bad: str) -> None:
    store = await edited(path, BAD[bad])
    assert await store.get_many([A]) == {}
    made = (await store.reserve_many([A], at=NOW))[A]
    assert (made.internal_id, made.item, made.durable) == (derive(A, 0), None, True)
    assert made.local == {"department_id": "d"}
    assert not store.is_suspect
    assert set(await store.get_many([A, B])) == {A, B}
    assert await store.find("user", derive(A, 0)) == "a"
    stored = (await store.put_many([write("a")]))[A]
    assert stored.internal_id == derive(A, 0)
    assert (await store.stats(at=NOW)).entities["user"] == 2
    await store.close()


@pytest.mark.parametrize("bad", BAD)
async def test_what_is_fetched_again_is_written_over_it(path: Path, bad: str) -> None:
    store = await edited(path, BAD[bad])
    assert (await store.put_many([write("a")]))[A].internal_id == derive(A, 0)
    found = (await store.get_many([A]))[A]
    assert (found.internal_id, found.item, found.local) == (
        derive(A, 0),
        b'{"id":"a"}',
        {"department_id": "d"},
    )
    await store.close()


async def test_an_imported_id_is_kept(path: Path) -> None:
    given = "00000000-0000-4000-8000-00000000000a"
    store = await edited(path, f"id = '{given}', version = 'x'")
    assert (await store.reserve_many([A], at=NOW))[A].internal_id == given
    await store.close()


async def test_a_change_of_such_a_row_changes_nothing(path: Path) -> None:
    store = await edited(path, BAD["time"])
    assert await store.change(A, local={"department_id": "new"}) is None
    with closing(sqlite3.connect(path)) as shell:
        assert shell.execute("SELECT department_id FROM users WHERE user_id = 'a'").fetchone() == ("d",)
    await store.close()


async def with_bad_rows(path: Path) -> SqliteStore:
    """Of 300 rows every third is bad, and ten in a row at either end of both orders."""
    store = await open_store(path)
    await store.put_many(
        [
            Write(entry(user(f"u{number}"), b'{"id":"u"}', last_synced_at=NOW + number), {})
            for number in range(300)
        ]
    )
    edit(path, "version = 'x'", "rowid % 3 = 0 OR rowid < 12 OR rowid > 290")
    edit(path, "version = 'x'", "id IN (SELECT id FROM users ORDER BY id LIMIT 12)")
    return store


async def test_listings_go_on_behind_them(path: Path) -> None:
    store = await with_bad_rows(path)
    with pytest.raises(StoreError):
        await store.page("user", after=None, limit=10)
    await store.verify()
    with closing(sqlite3.connect(path)) as shell:
        good = {row[0] for row in shell.execute("SELECT user_id FROM users WHERE version <> 'x'")}
    found, after = [], None
    while page := await store.page("user", after=after, limit=10):
        found += page
        after = page[-1].internal_id
    assert len(found) == len(good)
    assert {row.key.id for row in found} == good
    stale, position = [], None
    while True:
        rows = await store.longest_unsynced("user", before=NOW + 1e6, after=position, limit=10)
        stale += rows
        position = next_position(rows, 10)
        if position is None:
            break
    assert [row.last_synced_at for row in stale] == sorted(row.last_synced_at for row in found)
    await store.close()


async def test_an_export_leaves_them_out_and_counts_them(path: Path) -> None:
    store = await with_bad_rows(path)
    with closing(sqlite3.connect(path)) as shell:
        (bad,) = shell.execute("SELECT count(*) FROM users WHERE version = 'x'").fetchone()
    reader = await SqliteReader.open(path, TABLES)
    assert len(await reader.page("user", after=None, limit=1_000)) == 300 - bad
    assert reader.left_out == bad
    await reader.close()
    await store.close()


async def test_listings_go_on_behind_what_is_no_text(path: Path) -> None:
    store = await open_store(path)
    await store.put_many([write(name) for name in ("a", "b", "c")])
    edit(path, "id = CAST(substr(id, 1, 8) || x'ff' AS TEXT)")
    edit(path, "last_synced_at = CAST('2000' || x'ff' AS TEXT)")
    await store.verify()
    assert {row.key for row in await store.page("user", after=None, limit=2)} == {B, user("c")}
    rows = await store.longest_unsynced("user", before=NOW + 1, after=None, limit=1)
    rows += await store.longest_unsynced("user", before=NOW + 1, after=next_position(rows, 1), limit=1)
    assert {row.key for row in rows} == {B, user("c")}
    await store.close()


async def test_what_is_no_text_at_all_does_not_make_a_listing_endless(path: Path) -> None:
    store = await open_store(path)
    await store.put_many([write(name) for name in ("a", "b", "c")])
    edit(path, "id = x'ff' || user_id", "user_id <> 'a'")
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute("UPDATE users SET id = CAST(id AS BLOB) WHERE user_id <> 'a'")
    await store.verify()
    assert [row.key for row in await store.page("user", after=None, limit=2)] == [A]
    assert [row.key for row in await store.page("user", after=None, limit=1)] == [A]
    assert await store.page("user", after=derive(A, 0), limit=1) == []
    await store.close()
