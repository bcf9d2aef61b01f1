"""The database fails under a call: 500, nothing half-written, and the next call works."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from store.sqlite_writer import Connection
from tests.integration.handshake import BUSINESS, USER, Handshake, handshake, internal_id, user_item


def writer(there: Handshake) -> Connection:
    database = there.proxy.app._storage.current
    assert database is not None
    return database._writer._connection


@asynccontextmanager
async def read_only(there: Handshake) -> AsyncIterator[None]:
    await writer(there).run(lambda connection: connection.execute("PRAGMA query_only = ON"))
    yield
    await writer(there).run(lambda connection: connection.execute("PRAGMA query_only = OFF"))


@asynccontextmanager
async def locked(there: Handshake) -> AsyncIterator[None]:
    """Somebody's shell is in the middle of a transaction."""
    await writer(there).run(lambda connection: connection.execute("PRAGMA busy_timeout = 20"))
    shell = sqlite3.connect(there.directory / "handshake.db", isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    yield
    shell.close()


@asynccontextmanager
async def disk_full(there: Handshake) -> AsyncIterator[None]:
    database = there.proxy.app._storage.current
    assert database is not None
    bound, database._room.max_bytes = database._room.max_bytes, 4096
    yield
    database._room.max_bytes = bound


Failure = Callable[[Handshake], AbstractAsyncContextManager[None]]
FAILURES = [read_only, locked, disk_full]


def rows(there: Handshake) -> list[tuple[Any, ...]]:
    shell = sqlite3.connect(there.directory / "handshake.db")
    try:
        return shell.execute(
            "SELECT user_id, id, version, department_id, last_synced_at, item FROM users"
        ).fetchall()
    finally:
        shell.close()


async def failed(there: Handshake, method: str, target: str, document: object = None) -> None:
    response = await there.call(method, target, document)
    assert response.status == 500, (target, response.body)
    assert "store" in response.json()["detail"]
    assert USER.encode() not in response.body


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_first_login(tmp_path: Path, failure: Failure) -> None:
    async with handshake(tmp_path) as there:
        there.services.users["big"] = user_item("big", extra="x" * 20_000)
        async with failure(there):
            await failed(there, "POST", "/v1/login", {"userId": "big", "businessId": BUSINESS})
            await failed(there, "POST", "/v1/users/ensure", {"userId": "big"})
            await failed(there, "POST", "/v1/users/exists", {"userId": "big"})
            await failed(there, "POST", "/v1/users/ensure-batch", {"userIds": ["big"]})
            assert (await there.proxy.users("big")).status == 200, "the transparent face needs no disk"
            assert not rows(there)
        login = await there.login("big")
        assert login.json()["user"]["id"] == internal_id("big")
        assert [row[0] for row in rows(there)] == ["big"]
        assert there.services.fetched["big"] == 1


@pytest.mark.parametrize("failure", [read_only, locked])
async def test_a_change_and_an_erasure(tmp_path: Path, failure: Failure) -> None:
    async with handshake(tmp_path) as there:
        user = await there.ensure()
        path = f"/v1/users/{user['id']}"
        before = rows(there)
        there.tick(1)
        async with failure(there):
            with capture_logs() as lines:
                await failed(there, "PATCH", path, {"departmentId": "d"})
            why = "SQLITE_READONLY" if failure is read_only else "SQLITE_BUSY"
            assert [line["why"] for line in lines if line["event"] == "store_failed"] == [why]
            await failed(there, "POST", "/v1/users/synced", {"userId": USER})
            assert await there.ensure() == user, "what is known is answered all the same"
            await failed(there, "DELETE", path)
            assert rows(there) == before
        if failure is locked:
            await writer(there).run(lambda connection: connection.execute("PRAGMA busy_timeout = 2000"))
        assert (await there.call("PATCH", path, {"departmentId": "d"})).status == 200
        assert (await there.call("DELETE", path)).status == 200
        assert not rows(there)


async def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    """No id may be made up that a database could contradict; the transparent face goes on."""
    store = {"url": f"sqlite:///{tmp_path}/missing/handshake.db"}
    async with handshake(tmp_path, store=store) as there:
        await failed(there, "POST", "/v1/login", {"userId": USER, "businessId": BUSINESS})
        await failed(there, "GET", f"/v1/users/{internal_id(USER)}")
        await failed(there, "GET", "/v1/users/stale")
        await failed(there, "POST", "/v1/users/exists", {"userId": USER})
        assert (await there.call("POST", "/v1/businesses/ensure", {"businessId": BUSINESS})).status == 200
        assert (await there.proxy.users(USER)).status == 200


async def test_one_that_can_t_be_stored_does_not_fail_its_batch(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        there.services.users |= {"big": user_item("big", extra="x" * 20_000), "small": user_item("small")}
        await there.ensure()
        await writer(there).run(
            lambda connection: connection.execute(
                "CREATE TRIGGER no_big BEFORE INSERT ON users WHEN new.user_id = 'big'"
                " BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        )
        answer = await there.ok("POST", "/v1/users/ensure-batch", {"userIds": ["big", "small", USER]})
        assert [user["userId"] for user in answer["users"]] == ["small", USER]
        assert answer["failed"] == ["big"]


@pytest.mark.parametrize("failure", [read_only, locked])
async def test_a_known_user_is_answered_though_a_newer_copy_can_t_be_written(
    tmp_path: Path, failure: Failure
) -> None:
    async with handshake(tmp_path) as there:
        user = await there.ensure()
        async with failure(there):
            there.services.users[USER] = user_item(USER, name="New", extra="x" * 20_000)
            refreshed = await there.ok("POST", "/v1/users/refresh", {"userId": USER})
            assert (refreshed["id"], refreshed["name"], refreshed["version"]) == (user["id"], "New", 2)
            assert await there.ensure() == refreshed
            known = await there.ok("POST", "/v1/users/exists", {"userId": USER})
            assert (known["exists"], known["id"]) == (True, user["id"])
            assert (await there.ok("POST", "/v1/users/explain", {"userId": USER}))["id"] == user["id"]
            assert (await there.login()).json()["user"] == refreshed


@pytest.mark.parametrize("failure", [read_only, locked])
async def test_a_failed_erasure_leaves_the_copy(tmp_path: Path, failure: Failure) -> None:
    async with handshake(tmp_path) as there:
        user = await there.ensure()
        await there.services.stop()
        async with failure(there):
            await failed(there, "DELETE", f"/v1/users/{user['id']}")
            assert await there.ensure() == user
        assert await there.ensure() == user


async def test_an_erasure_that_can_t_be_finished_says_so_and_is_finished(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        user = await there.ensure()
        reader = sqlite3.connect(tmp_path / "handshake.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM users").fetchone()
        for _ in range(2):
            response = await there.call("DELETE", f"/v1/users/{user['id']}")
            assert (response.status, "is erased" in response.json()["detail"]) == (500, True)
        reader.close()
        assert (await there.call("DELETE", f"/v1/users/{user['id']}")).status == 404
        files = b"".join(file.read_bytes() for file in tmp_path.glob("handshake.db*"))
        assert USER.encode() not in files


async def test_a_read_that_fails_is_no_absence(tmp_path: Path) -> None:
    async with handshake(tmp_path) as there:
        await there.ensure()
        async with there.restarted() as again:
            database = again.proxy.app._storage.current
            assert database is not None
            database._direct = None  # what it can't read is for the reader all the same
            reader = database._reader
            original = reader.run

            async def broken(_: object) -> Any:
                raise sqlite3.OperationalError("disk I/O error")

            reader.run = broken  # type: ignore[method-assign,assignment]
            await failed(again, "POST", "/v1/users/exists", {"userId": USER})
            await failed(again, "POST", "/v1/users/explain", {"userId": USER})
            reader.run = original  # type: ignore[method-assign]
            assert (await again.ok("POST", "/v1/users/exists", {"userId": USER}))["exists"] is True
