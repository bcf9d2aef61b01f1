"""An upgrade that is killed: at each of its statements the files are copied as a SIGKILL then would leave them."""

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from store import sqlite_pragmas
from store.base import TableSpec
from store.migrations import prepare
from tests.crash.files import copied
from tests.unit.store.samples import NOW, open_store
from tests.unit.store.test_filled_by import GONE, SECRET, A, B, filled, opened
from tests.unit.store.test_store_fixture import FIXTURES, expected

LEAST = 10
"""Statements that an opening has at least; fewer, and they were not seen."""


@contextmanager
def killed(into: Path) -> Iterator[list[Path]]:
    """What a kill before each statement of an opening, and after the last, would leave."""
    found: list[Path] = []

    def leave(database: Path) -> None:
        found.append(copied(database.parent, into / f"statement-{len(found)}"))

    def observed(connection: sqlite3.Connection, tables: Sequence[TableSpec]) -> list[str]:
        database = Path(connection.execute("PRAGMA database_list").fetchone()[2])
        connection.set_trace_callback(lambda _: leave(database))
        forgotten = prepare(connection, tables)
        connection.set_trace_callback(None)
        leave(database)
        return forgotten

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_pragmas, "prepare", observed)
        yield found


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("store-*.db")), ids=lambda path: path.stem)
async def test_an_earlier_database_keeps_its_rows(path: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "handshake.db"
    shutil.copy(path, earlier)
    with killed(tmp_path) as kills:
        await (await open_store(earlier)).close()
    assert len(kills) > LEAST
    for left in kills:
        store = await open_store(left)
        try:
            assert await store.get_many(list(expected())) == expected()
            assert (await store.stats(at=NOW)).entities == {"user": 2, "business": 1}
        finally:
            await store.close()


async def test_rows_that_another_filled_keep_their_ids_and_show_nothing(tmp_path: Path) -> None:
    path = tmp_path / "handshake.db"
    before = await filled(path)
    with killed(tmp_path) as kills:
        await opened(path, "nobody")
    assert len(kills) > LEAST
    for left in kills:
        found, _, entities = await opened(left, "nobody")
        assert found == before | {key: replace(before[key], item=None) for key in (A, B, GONE)}
        assert entities == {"user": 0, "business": 1}
        assert SECRET not in left.read_bytes()
