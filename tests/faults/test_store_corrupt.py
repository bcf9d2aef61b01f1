"""The database is damaged while the proxy runs or before it starts: set aside, begun anew, and never a wrong answer."""

import json
import os
import random
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.store_faults import GIVEN, Stored, hurry, stored
from tests.integration.handshake import USER, internal_id, user_item

SMALL = {"max_bytes": 65_536}
"""Memory for a few entities: the others have to be read from the database."""
MANY = [f"user-{number}" for number in range(150)]


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def overwrite(path: Path, start: int, content: Callable[[int], bytes]) -> None:
    """Write over all of the file from there on, in place."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content(max(0, size - start)))


def pages(here: Stored) -> None:
    overwrite(here.path, 4096, lambda size: b"\xff" * size)


def noise(here: Stored) -> None:
    overwrite(here.path, 0, random.Random(1).randbytes)


def zeros(here: Stored) -> None:
    overwrite(here.path, 4096, bytes)


def cut(here: Stored) -> None:
    os.truncate(here.path, 8192)


def emptied(here: Stored) -> None:
    os.truncate(here.path, 0)


def log_as_well(here: Stored) -> None:
    for name in ("", "-wal"):
        overwrite(Path(f"{here.path}{name}"), 0, random.Random(2).randbytes)


DAMAGES = [pages, noise, zeros, cut, emptied, log_as_well]


async def fill(here: Stored) -> None:
    """More than the connections of the database keep of it in memory, and all of it in the file itself."""
    here.there.services.users |= {user: user_item(user, extra=user * 4_000) for user in MANY}
    for start in range(0, len(MANY), 50):
        assert (await here.there.proxy.users(*MANY[start : start + 50])).status == 200
    await here.there.proxy.durable()
    with closing(sqlite3.connect(here.path)) as shell:
        shell.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


async def right_answers(here: Stored) -> None:
    """Each answer is what the upstream says, whatever there is in the database."""
    for start in range(0, len(MANY), 10):
        asked = MANY[start : start + 10]
        answer = await here.there.proxy.users(*asked)
        assert answer.status == 200
        wanted = b",".join(here.there.services.users[user] for user in asked)
        assert answer.body == b'{"users":[' + wanted + b'],"count":10}'


def is_set_aside(here: Stored) -> None:
    assert here.logged("store_set_aside", log_level="error") == 1
    assert here.metric("store_set_aside_total", reason="corrupt") == 1
    assert stat.S_IMODE(here.aside.stat().st_mode) == 0o600
    assert len(list(here.directory.glob("*.set-aside"))) == 1


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_is_damaged_in_use_is_set_aside_and_begun_anew(
    tmp_path: Path, damage: Callable[[Stored], None]
) -> None:
    async with stored(tmp_path, memory=SMALL) as here:
        await fill(here)
        user = await here.there.ensure()
        user = await here.there.ok("PATCH", f"/v1/users/{user['id']}", {"departmentId": "d"})
        damage(here)
        while not here.logged("store_open") >= 2:
            await right_answers(here)
            answer = await here.there.call("POST", "/v1/users/ensure", {"userId": MANY[0]})
            assert answer.status == 500 or answer.json()["id"] == internal_id(MANY[0])
        await here.healed()
        is_set_aside(here)
        assert here.logged("store_lost", loss="corrupt", log_level="error") == 1
        await right_answers(here)
        await here.works("new")
        for each in MANY[:3]:
            assert (await here.there.ensure(each))["id"] == internal_id(each)


@pytest.mark.parametrize("damage", [noise, emptied])
async def test_a_file_that_is_no_database_any_more_is_noticed_without_a_read(
    tmp_path: Path, damage: Callable[[Stored], None]
) -> None:
    """SQLite has all of it in its cache. Memory still knows what only the file had."""
    async with stored(tmp_path) as here:
        user = await here.there.ensure()
        await here.there.ok("PATCH", f"/v1/users/{user['id']}", {"departmentId": "d"})
        damage(here)
        await here.healed()
        is_set_aside(here)
        assert (await here.there.ensure())["departmentId"] == "d"


@pytest.mark.parametrize("damage", [noise, cut, emptied])
async def test_what_is_damaged_before_the_start_is_set_aside(
    tmp_path: Path, damage: Callable[[Stored], None]
) -> None:
    async with stored(tmp_path, memory=SMALL) as here:
        await fill(here)
        await here.there.proxy.app.stop()
        damage(here)
        here.lines.clear()
        async with here.there.restarted() as again:
            here.there = again
            if damage is emptied:
                assert not here.aside.exists(), "an empty file is a new database"
            else:
                is_set_aside(here)
            assert not here.degraded
            await right_answers(here)
            assert (await again.ensure(MANY[0]))["id"] == internal_id(MANY[0])


async def test_a_directory_in_its_place_is_waited_for(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "handshake.db"
    directory.mkdir(parents=True)
    async with stored(tmp_path) as here:
        assert here.degraded
        assert here.logged("store_degraded", why="open: Is a directory", log_level="error") == 1
        assert (await here.there.proxy.users(USER)).status == 200
        assert (await here.there.login()).status == 500
        directory.rmdir()
        await here.healed(openings=1)
        assert not here.aside.exists()
        assert (await here.there.login()).status == 200


def query(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as shell, shell:
        for statement in statements:
            shell.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE users SET item = (SELECT item FROM users WHERE user_id = 'b') WHERE user_id = 'a'",
        "UPDATE users SET item = substr(item, 1, 20) WHERE user_id = 'a'",
        "UPDATE users SET received_at = 'x' WHERE user_id = 'a'",
        "UPDATE users SET last_synced_at = x'ff00' WHERE user_id = 'a'",
        "UPDATE users SET last_synced_at = CAST(x'ff' AS TEXT) WHERE user_id = 'a'",
        "UPDATE users SET headers = '[[1' WHERE user_id = 'a'",
    ],
)
async def test_a_row_that_is_not_what_was_put_there_is_never_an_answer(
    tmp_path: Path, statement: str
) -> None:
    """The file is whole, as SQLite sees it: the row alone is left out, and written anew."""
    async with stored(tmp_path) as here:
        here.there.services.users |= {"a": user_item("a"), "b": user_item("b")}
        made = await here.there.ensure("a")
        await here.there.ensure("b")
        await here.there.proxy.app.stop()
        query(here.path, statement)
        here.lines.clear()
        async with here.there.restarted() as again:
            here.there = again
            answer = await again.proxy.users("a", "b")
            assert json.loads(answer.body)["users"] == [
                json.loads(again.services.users[user]) for user in ("a", "b")
            ]
            await here.healed(openings=1)
            assert here.logged("store_failed", operation="get", why="SUSPECT_ROW") == 1
            assert not here.logged("store_lost")
            await again.proxy.durable()
            async with again.restarted() as last:
                await again.services.stop()
                known = await last.ensure("a")
                assert (known["id"], known["name"]) == (made["id"], made["name"])


async def test_an_index_that_names_another_row_is_damage(tmp_path: Path) -> None:
    """Found by its external id, or by its internal one, an entity is itself or it is not found."""
    async with stored(tmp_path) as here:
        here.there.services.users |= {"a": user_item("a"), "b": user_item("b")}
        made = {user: await here.there.ensure(user) for user in ("a", "b")}
        await here.there.proxy.app.stop()
        query(here.path, "PRAGMA wal_checkpoint(TRUNCATE)")
        content = bytearray(here.path.read_bytes())
        swap_rowids(content, b"a", b"b")
        here.path.write_bytes(content)
        here.lines.clear()
        async with here.there.restarted() as again:
            here.there = again
            body = json.loads((await again.proxy.users("a", "b")).body)
            assert [user["id"] for user in body["users"]] == ["a", "b"]
            await here.healed()
            is_set_aside(here)
            for user in ("a", "b"):
                assert (await again.ensure(user))["id"] == made[user]["id"]


def swap_rowids(content: bytearray, one: bytes, other: bytes) -> None:
    """In the index by external id, whose cells are so small that they can be recognized: length, types, id, rowid."""
    cells = []
    for name in (one, other):
        # A text of one byte and a rowid: a header of three bytes, serial types 15 and 9 (the number 1) or 1.
        at = [
            place for kind in (b"\x03\x0f\x09", b"\x03\x0f\x01") if (place := content.find(kind + name)) >= 0
        ]
        assert len(at) == 1, at
        cells.append(at[0])
    first, second = cells
    content[first + 3 : first + 4], content[second + 3 : second + 4] = other, one


async def test_what_is_newer_or_of_another_shape_is_set_aside_for_that(tmp_path: Path) -> None:
    async with stored(tmp_path) as here:
        await here.import_user("imported", GIVEN)
        await here.there.proxy.app.stop()
        query(
            here.path,
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('handshake-proxy', '9', 0)",
        )
        async with here.there.restarted() as again:
            here.there = again
            assert here.metric("store_set_aside_total", reason="newer") == 1
            assert (await again.login()).status == 200
            await again.proxy.app.stop()
            query(here.path, "DROP TABLE users", "CREATE TABLE users (x)")
            async with again.restarted() as last:
                here.there = last
                assert here.metric("store_set_aside_total", reason="migration") == 1
                assert (await last.login()).status == 200
