"""Rows that were filled in another's name than they would be now are forgotten; ids and local attributes stay."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from store.base import StoreError
from store.entry import Entry, Key, Write
from tests.unit.store.samples import BUSINESSES, NOW, USERS, entry, open_store, user, write

A, B, GONE = user("a"), user("b"), user("gone")
SHOP = Key("business", "a")
SECRET = b"only-the-first-one-may-see-this"
ITEM = b'{"id":"a","x":"' + SECRET * 200 + b'"}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handshake.db"


async def opened(path: Path, filled_by: str) -> tuple[dict[Key, Entry], list[str], dict[str, int]]:
    """What there is, what was forgotten, and how many are counted, in the name of that one."""
    store = await open_store(path, tables=(replace(USERS, filled_by=filled_by), BUSINESSES))
    try:
        found = await store.get_many([A, B, GONE, SHOP])
        return found, store.forgotten, (await store.stats(at=NOW)).entities
    finally:
        await store.close()


async def filled(path: Path) -> dict[Key, Entry]:
    store = await open_store(path, tables=(replace(USERS, filled_by="callers"), BUSINESSES))
    await store.put_many(
        [write("a", ITEM, name="A"), write("b"), write("gone"), Write(entry(SHOP, b'{"id":"a"}'), {})]
    )
    await store.change(A, local={"department_id": "d"})
    await store.invalidate_many([GONE])
    found = await store.get_many([A, B, GONE, SHOP])
    await store.close()
    return found


def husk(held: Entry) -> Entry:
    return replace(held, item=None)


async def test_rows_filled_in_another_name_lose_their_representations_alone(path: Path) -> None:
    before = await filled(path)
    found, forgotten, entities = await opened(path, "nobody")
    assert forgotten == ["user"]
    assert found == before | {key: husk(before[key]) for key in (A, B, GONE)}
    assert found[A].local == {"department_id": "d"}
    assert entities == {"user": 0, "business": 1}
    assert SECRET not in path.read_bytes()


async def test_the_forgotten_table_is_as_any_other(path: Path) -> None:
    before = await filled(path)
    await opened(path, "nobody")
    spec = (replace(USERS, filled_by="nobody"), BUSINESSES)
    store = await open_store(path, tables=spec)
    try:
        assert store.forgotten == []
        stored = await store.put_many([write("a", b'{"id":"a"}')])
        assert (stored[A].internal_id, stored[A].version) == (before[A].internal_id, before[A].version + 1)
        assert (await store.stats(at=NOW)).entities == {"user": 1, "business": 1}
        assert [
            one.key for one in await store.longest_unsynced("user", before=NOW + 1, after=None, limit=9)
        ] == [A]
    finally:
        await store.close()
    with closing(sqlite3.connect(path)) as person:
        indexes = {name for _, name, *_ in person.execute("PRAGMA index_list(users)")}
        assert {"users_unsynced", "users_fresh_until"} <= indexes
        assert person.execute("SELECT 1 FROM sqlite_master WHERE name = '_forgotten'").fetchone() is None


async def test_in_the_same_name_nothing_is_forgotten(path: Path) -> None:
    before = await filled(path)
    assert await opened(path, "callers") == (before, [], {"user": 2, "business": 1})


async def test_of_an_earlier_version_nobody_knows_and_the_name_of_now_counts(path: Path) -> None:
    before = await filled(path)
    with closing(sqlite3.connect(path)) as person, person:
        person.execute("UPDATE _resources SET filled_by = NULL")
    found, forgotten, _ = await opened(path, "nobody")
    assert (found, forgotten) == (before, [])
    assert (await opened(path, "callers"))[1] == ["user"]


async def test_an_opening_that_fails_has_forgotten_nothing_and_is_made_good(path: Path) -> None:
    await filled(path)
    with closing(sqlite3.connect(path)) as person, person:
        person.execute(
            "CREATE TRIGGER no BEFORE UPDATE OF filled_by ON _resources BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    with pytest.raises(StoreError):
        await opened(path, "nobody")
    with closing(sqlite3.connect(path)) as person, person:
        person.execute("DROP TRIGGER no")
        assert person.execute("SELECT count(item) FROM users").fetchone() == (2,)
    found, forgotten, _ = await opened(path, "nobody")
    assert forgotten == ["user"]
    assert all(found[key].item is None for key in (A, B, GONE))
