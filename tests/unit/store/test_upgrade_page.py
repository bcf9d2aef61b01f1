"""What docs/upgrade.md says to do with a database that an older version has set aside."""

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from store.base import StoreError
from tests.unit.store.samples import open_store, opening, user, write

PAGE = Path(__file__).parents[3] / "docs" / "upgrade.md"


def commands() -> str:
    (block,) = re.findall(r"```sh\n(\s*rm -f handshake\.db .*?)```", PAGE.read_text(), re.DOTALL)
    return str(block)


async def test_a_newer_version_takes_back_what_an_older_one_has_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "handshake.db"
    store = await open_store(path)
    await store.put_many([write("a")])
    await store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('handshake-proxy', '9999_future', '')"
        )

    older, why, *_ = await opening(path).open()
    assert older is not None
    assert why is not None
    assert "newer than the program" in why
    assert not await older.get_many([user("a")])
    await older.put_many([write("b")])
    await older.close()

    shell = await asyncio.create_subprocess_exec("sh", "-euc", commands(), cwd=tmp_path)
    assert await shell.wait() == 0
    assert not list(tmp_path.glob("*.set-aside*"))
    with pytest.raises(StoreError, match="9999_future"):  # which this program, the older one, can't read
        await open_store(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM _sqlite_migrations WHERE name = '9999_future'")
    newer = await open_store(path)
    assert set(await newer.get_many([user("a"), user("b")])) == {user("a")}
    await newer.close()
