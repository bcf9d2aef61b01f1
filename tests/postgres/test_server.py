"""What the tests of a shared store stand on: databases of their own, and servers that end, come back and take over."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest

from tests.postgres.installation import ProgramFailed
from tests.postgres.relay import Relay
from tests.postgres.server import (
    HOST,
    PATIENCE,
    ROLE,
    Database,
    End,
    Server,
    StartFailed,
    following,
    running,
    wait,
)
from tests.postgres.watcher import lives

TABLE = "CREATE TABLE numbers (number int PRIMARY KEY)"


async def connected(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url, timeout=PATIENCE)


async def numbers(url: str) -> list[int]:
    connection = await connected(url)
    try:
        return [row[0] for row in await connection.fetch("SELECT number FROM numbers ORDER BY 1")]
    finally:
        await connection.close()


async def insert(url: str, number: int) -> None:
    connection = await connected(url)
    try:
        await connection.execute("INSERT INTO numbers VALUES ($1)", number)
    finally:
        await connection.close()


@pytest.mark.parametrize("_time", ["first", "second"])
async def test_each_test_has_a_database_that_is_new(database: Database, _time: str) -> None:
    connection = await connected(database.url)
    await connection.execute(TABLE)  # which fails where it is there already
    await connection.close()


async def test_the_role_owns_its_database_and_no_more(database: Database) -> None:
    connection = await connected(database.url)
    asked = "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolreplication FROM pg_roles WHERE rolname = user"
    assert tuple(await connection.fetchrow(asked)) == (ROLE, False, False, False, False)
    await connection.execute("CREATE SCHEMA its_own")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("ALTER SYSTEM SET work_mem = '1MB'")
    await connection.close()


async def test_nobody_gets_in_with_another_password(database: Database) -> None:
    name = urlsplit(database.url)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connected(f"postgresql://{ROLE}:other@{HOST}:{name.port}{name.path}")


async def test_a_database_is_dropped_with_the_connections_to_it(postgres: Server) -> None:
    listing = "SELECT datname FROM pg_database"
    with postgres.database() as one:
        connection = await connected(one.url)
        assert one.name in postgres.sql(listing)
    assert one.name not in postgres.sql(listing)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.execute("SELECT 1")
    connection.terminate()


def test_a_statement_that_fails_is_no_answer(database: Database) -> None:
    assert database.sql("SELECT 1, 2", "SELECT 3") == ["1|2", "3"]
    with pytest.raises(ProgramFailed, match="division by zero"):
        database.sql("SELECT 1 / 0", "SELECT 1")


def test_settings_are_quick_and_of_another_time_zone(postgres: Server) -> None:
    asked = ("fsync", "full_page_writes", "synchronous_commit", "max_connections", "timezone")
    assert postgres.sql(*(f"SHOW {name}" for name in asked)) == ["off", "off", "on", "200", "Asia/Kathmandu"]


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
async def test_what_is_committed_outlives_each_end(own_postgres: Server, how: End) -> None:
    with own_postgres.database() as one:
        one.sql(TABLE, f"ALTER TABLE numbers OWNER TO {ROLE}")
        url, there = one.url, await connected(one.url)
        await insert(url, 1)
        await asyncio.to_thread(own_postgres.stop, how)
        assert not own_postgres.running
        # The driver has its word for a server's last one that it has read half, too.
        with pytest.raises(
            (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
        ):
            await there.execute("SELECT 1")
        with pytest.raises(ConnectionRefusedError):
            await connected(url)
        await asyncio.to_thread(own_postgres.start)
        assert await numbers(url) == [1]
        there.terminate()


def test_a_server_that_does_not_start_says_why(own_postgres: Server) -> None:
    own_postgres.stop()
    settings = own_postgres.data / "postgresql.conf"
    before = settings.read_text()
    try:
        settings.write_text(f"{before}\nnonsense = 1\n")
        with pytest.raises(StartFailed, match='unrecognized configuration parameter "nonsense"'):
            own_postgres.start()
    finally:
        settings.write_text(before)
    own_postgres.start()
    assert own_postgres.sql("SELECT 1") == ["1"]


async def test_a_standby_takes_over_from_a_primary_that_was_killed(own_postgres: Server) -> None:
    with own_postgres.database() as one, following(own_postgres) as standby:
        one.sql(TABLE, f"ALTER TABLE numbers OWNER TO {ROLE}")
        there = replace(one, server=standby)
        either = one.at(own_postgres.port, standby.port, target_session_attrs="read-write")
        async with Relay(own_postgres.port) as relay:
            address = relay.url(one)
            await insert(either, 1)
            await insert(address, 2)
            await asyncio.to_thread(standby.catch_up)
            assert await numbers(there.url) == [1, 2]
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await insert(there.url, 3)
            await asyncio.to_thread(own_postgres.stop, "kill")
            await asyncio.to_thread(standby.promote)
            relay.target = standby.port
            await insert(there.url, 3)
            await insert(either, 4)
            await insert(address, 5)
            assert await numbers(address) == [1, 2, 3, 4, 5]
    own_postgres.start()


_RUN = """
from tests.postgres.server import running
with running() as server:
    print(server.data, flush=True)
    input()
"""


def test_a_run_that_is_killed_leaves_no_server() -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", _RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as run:
        assert run.stdout is not None
        data = Path(run.stdout.readline().strip())
        server = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        assert server.is_running()
        run.kill()
    wait(lambda: not data.parent.exists())
    assert not lives(server)


def test_an_older_version_can_be_had() -> None:
    with running(16) as server:
        assert server.sql("SHOW server_version")[0].startswith("16.")
        with server.database() as one:
            assert one.sql("SELECT current_database()") == [one.name]
