"""At its bound: who may still grow, and where the room comes from."""

import asyncio
import random
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from store.sqlite import SqliteStore
from store.sqlite_pragmas import rewrite
from store.write_behind import WriteBehind
from tests.unit.store.fakes import turns
from tests.unit.store.samples import NOW, open_store, user, write

BOUND = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handshake.db"


def has_no_page_left(connection: sqlite3.Connection) -> bool:
    count, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")
    )
    return bool(count >= BOUND // 4096 and free == 0)


async def filled(store: SqliteStore) -> list[str]:
    """The ids of rows, in no order, that take every page of the bound."""
    ids: list[str] = []
    ordered = random.Random(1)
    while not await store._reader.run(has_no_page_left):
        ids.append(str(ordered.getrandbits(60)))
        await store.put_many([write(ids[-1], b"x" * 300, synced=NOW + len(ids))])
    assert (await store.stats(at=NOW)).entities["user"] == len(ids)
    ordered.shuffle(ids)
    return ids


def keep_all_rows(path: Path) -> None:
    """Give every row a local attribute, so that it is emptied and not deleted."""
    with closing(sqlite3.connect(path)) as person, person:
        person.execute("UPDATE users SET is_field_worker = 0")


async def test_a_full_database_forgets_what_is_invalidated(path: Path) -> None:
    store = await open_store(path, max_bytes=BOUND)
    ids = await filled(store)
    for start in range(0, len(ids), 5):
        await store.invalidate_many([user(name) for name in ids[start : start + 5]])
    # Moved in the index, and emptied: all of it costs a few pages.
    assert path.stat().st_size <= 1.1 * BOUND
    await store.close()
    store = await open_store(path, max_bytes=BOUND)
    found = await store.get_many([user(name) for name in ids])
    assert len(found) == len(ids)
    assert not any(husk.item for husk in found.values())
    await store.close()


async def test_a_full_database_takes_puts_again_after_invalidations(path: Path) -> None:
    store = await open_store(path, max_bytes=BOUND)
    ids = await filled(store)
    await store.invalidate_many([user(name) for name in ids[: len(ids) // 4]])
    for number in range(300):
        await store.put_many([write(f"new-{number}", b"x" * 1000, synced=NOW * 2)])
    assert path.stat().st_size <= 1.1 * BOUND
    await store.close()


async def test_a_full_database_makes_room_where_rows_must_be_kept(path: Path) -> None:
    store = await open_store(path, max_bytes=BOUND)
    ids = await filled(store)
    keep_all_rows(path)
    for number in range(100):
        await store.put_many([write(f"new-{number}", b"x" * 300, synced=NOW * 2)])
    found = await store.get_many([user(name) for name in ids])
    assert len(found) == len(ids)
    assert any(husk.item is None for husk in found.values())
    await store.close()


async def test_a_full_database_is_pruned_where_rows_must_be_kept(path: Path) -> None:
    store = await open_store(path, max_bytes=BOUND)
    ids = await filled(store)
    keep_all_rows(path)
    assert await store.prune(older_than=0) > 0
    assert await store.prune(older_than=NOW * 2) > 0
    found = await store.get_many([user(name) for name in ids])
    assert len(found) == len(ids)
    assert not any(husk.item for husk in found.values())
    await store.close()


async def test_those_who_make_room_at_the_same_time_make_it_once(path: Path) -> None:
    store = await open_store(path, max_bytes=BOUND)
    ids = await filled(store)
    evicted = await asyncio.gather(store.prune(older_than=0), store._room.make(), store.prune(older_than=0))
    assert sorted(evicted)[:2] == [0, 0]
    assert len(ids) / 10 < sum(evicted) < len(ids) / 3
    await store.close()


async def test_an_invalidation_passes_a_put_that_makes_room(path: Path) -> None:
    store = await open_store(path, max_bytes=BOUND)
    ids = await filled(store)
    behind = WriteBehind(
        store, on_confirmed=lambda *_: None, on_result=lambda *_: None, max_pending=1_000, clock=lambda: 0.0
    )
    behind.start()
    async with store._room.making:
        for number in range(50):
            behind.put(write(f"new-{number}", b"x" * 1_000, synced=NOW * 2))
        await turns(lambda: len(behind._writing) == 50)
        put = behind.written(user("new-0"))
        await behind.invalidate(user(ids[0]))
        assert put is not None
        assert not put.done()
    assert (await put).durable
    await behind.close()
    await store.close()


def temporary_files_of_a_rewrite(connection: sqlite3.Connection) -> set[Path]:
    """Which the process has open meanwhile, without a name by then."""
    found: set[Path] = set()

    def look() -> None:
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):
                target = descriptor.readlink()
                if "etilqs" in target.name:
                    found.add(target.parent)

    connection.set_progress_handler(look, 10_000)
    rewrite(connection)
    connection.set_progress_handler(None, 0)
    return found


def temporary_directory() -> object:
    with closing(sqlite3.connect(":memory:")) as connection:
        return connection.execute("PRAGMA temp_store_directory").fetchone()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into Linux's /proc")
async def test_a_rewrite_copies_the_database_to_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SQLITE_TMPDIR", raising=False)
    directory = tmp_path / 'it\'s "odd"'
    directory.mkdir()
    monkeypatch.chdir(directory)
    store = await open_store(Path("relative.db"))
    # More than SQLite's cache of 2 MB, so that it has to write a file.
    await store.put_many([write(str(number), b"x" * 2_000) for number in range(4_000)])
    assert await store._writer.submit(temporary_files_of_a_rewrite, is_alone=True) == {directory}
    await store.close()


async def test_the_operator_may_choose_where_temporary_files_go(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", "/elsewhere")
    before = temporary_directory()
    await (await open_store(path)).close()
    assert temporary_directory() == before != (str(path.parent),)
