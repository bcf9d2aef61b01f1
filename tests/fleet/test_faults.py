"""The database that replicas share is gone, hangs, or is another one: no client notices, and it heals by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs

from tests.fleet.in_process import (
    INTERVAL,
    Load,
    hurry,
    is_degraded,
    joined,
    put,
    replica,
    seen,
    stored,
    under_load,
    until,
    until_shown,
)
from tests.fleet.replicas import Owner, item, owner, reads
from tests.integration.harness import Proxy
from tests.postgres.relay import Relay
from tests.postgres.server import Database, Server, following

KNOWN = [f"u{number}" for number in range(30)]
AT_WORST = 2.5
"""Seconds for an answer while it is found out that the database does not answer: two, and what a busy machine adds."""
QUICK = 0.8
"""The same once that is known: less than anybody waits for a database."""


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@dataclass
class Here:
    """Two replicas that reach their database through the relay."""

    source: Owner
    replicas: tuple[Proxy, Proxy]
    lines: list[Any]
    database: Database
    server: Server
    relay: Relay
    directory: Path

    def logged(self, event: str, **members: object) -> int:
        return sum(line["event"] == event and members.items() <= line.items() for line in self.lines)

    @asynccontextmanager
    async def another(self) -> AsyncIterator[Proxy]:
        """A replica that starts now, with nothing in its memory."""
        async with replica(self.source, self.directory / "c", self.relay.url(self.database)) as third:
            yield third

    async def is_shared(self, user: str) -> None:
        """What one replica fetches the other has from the database."""
        one, other = self.replicas
        self.source.add(user)
        assert await seen(one, user) == [1]
        await one.durable()
        self.source.forget()
        assert await seen(other, user) == [1]
        assert user not in self.source.fetched


@asynccontextmanager
async def two(server: Server, directory: Path) -> AsyncIterator[Here]:
    """Both have all that is known, and so has the database."""
    with capture_logs() as lines:
        async with AsyncExitStack() as stack:
            database = stack.enter_context(server.database())
            relay = await stack.enter_async_context(Relay(server.port))
            source = await stack.enter_async_context(owner(*KNOWN))
            url = relay.url(database)
            one = await stack.enter_async_context(replica(source, directory / "a", url))
            other = await stack.enter_async_context(replica(source, directory / "b", url))
            await joined(one, other)
            for proxy in (one, other):
                assert await seen(proxy, *KNOWN) == [1] * len(KNOWN)
                await proxy.durable()
            yield Here(source, (one, other), lines, database, server, relay, directory)


Fault = Callable[[Here], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def refused(here: Here) -> AsyncIterator[None]:
    """Connections are reset, and none is accepted."""
    here.relay.refuse()
    here.relay.cut()
    yield
    await here.relay.heal()


@asynccontextmanager
async def silent(here: Here) -> AsyncIterator[None]:
    """Nothing gets through, and nobody is told."""
    here.relay.swallow()
    yield
    await here.relay.heal()


@asynccontextmanager
async def killed(here: Here) -> AsyncIterator[None]:
    """All processes of the server are, at once."""
    await asyncio.to_thread(here.server.stop, "kill")
    try:
        yield
    finally:
        await asyncio.to_thread(here.server.start)


@asynccontextmanager
async def hung(here: Here) -> AsyncIterator[None]:
    """All processes of the server stand still, while the kernel accepts connections for them."""
    assert here.server._process is not None
    main = psutil.Process(here.server._process.pid)
    main.suspend()
    frozen = [main, *main.children(recursive=True)]
    for process in frozen:
        process.suspend()
    try:
        yield
    finally:
        for process in frozen:
            process.resume()


FAULTS: list[Fault] = [refused, silent, killed, hung]


async def _goes_on(here: Here, load: Load) -> None:
    """All are answered, and at once; who was never seen gets no id."""
    await load.anew()
    await load.answers(100)
    assert load.slowest < QUICK
    assert await reads(here.replicas[0], "store_degraded") == 1
    here.source.add("registered")
    none = await here.replicas[0].call("POST", "/v1/users/ensure", {"userId": "registered"})
    assert (none.status, "store" in none.json()["detail"]) == (500, True)


@pytest.mark.parametrize(
    "fault", [pytest.param(one, marks=[] if one is killed else pytest.mark.slow) for one in FAULTS]
)
async def test_a_database_that_is_gone_costs_no_answer_and_is_caught_up_with(
    fault: Fault, own_postgres: Server, tmp_path: Path
) -> None:
    async with two(own_postgres, tmp_path) as here:
        one, other = here.replicas
        async with under_load(here.source, KNOWN[1:], one, other) as load:
            await load.answers(50)
            async with fault(here):
                await until(lambda: is_degraded(one) and is_degraded(other))
                await load.answers(20)
                print(f"{fault.__name__}: {load.slowest:.2f} s at the worst")  # noqa: T201
                assert load.slowest < AT_WORST
                await _goes_on(here, load)
                meanwhile = set(load.fetched)
                assert one.metric("store_errors_total") > 0
                assert here.logged("store_lost", loss="server", log_level="error") == 2
            await load.anew()
            await joined(one, other)
            await load.answers(50)
            print(f"{fault.__name__}: {load.slowest:.2f} s while it comes back")  # noqa: T201
            assert load.slowest < QUICK
            assert here.logged("store_open") == 4
            assert await reads(one, "store_degraded") == 0
            assert await reads(one, "change_log_listening") == 1
        await here.is_shared("afterwards")
        await one.durable()
        await other.durable()
        async with here.another() as third:
            await joined(third)
            here.source.forget()
            late = sorted(meanwhile)
            assert await seen(third, *late) == [1] * len(late)
            assert not here.source.fetched.keys() & meanwhile, "it is in the database"


@pytest.mark.parametrize("fault", [refused, pytest.param(silent, marks=pytest.mark.slow)])
async def test_who_has_an_id_keeps_it_while_the_database_is_gone(
    fault: Fault, own_postgres: Server, tmp_path: Path
) -> None:
    """Also when what memory has is doubted, and was fetched again."""
    async with two(own_postgres, tmp_path) as here:
        one = here.replicas[0]
        sharing = one.app._storage.tiers.sharing
        assert sharing is not None
        before = await _ids(one)
        async with fault(here):
            await until(lambda: is_degraded(one) and sharing.lag() > 2 * INTERVAL)
            here.source.forget()
            for _ in range(2):
                assert await _ids(one) == before
            assert here.source.fetched.keys() >= set(KNOWN[:3])
        await joined(one)
        assert await _ids(one) == before


async def _ids(proxy: Proxy) -> list[str]:
    answers = [await proxy.call("POST", "/v1/users/ensure", {"userId": user}) for user in KNOWN[:3]]
    assert [answer.status for answer in answers] == [200] * 3
    return [answer.json()["id"] for answer in answers]


@pytest.mark.parametrize("fault", [refused, pytest.param(silent, marks=pytest.mark.slow)])
async def test_what_is_invalidated_meanwhile_is_told_to_all_when_it_is_back(
    fault: Fault, own_postgres: Server, tmp_path: Path
) -> None:
    async with two(own_postgres, tmp_path) as here:
        one, other = here.replicas
        async with fault(here):
            await until(lambda: is_degraded(one) and is_degraded(other))
            await put(one, "u1")
            await put(one, "u2")
            assert await seen(one, "u1") == [2], "it holds here at once"
            assert await asyncio.to_thread(stored, here.database, "u1") == 1
        await joined(one, other)
        for user in ("u1", "u2"):
            await until_shown(other, user, 2)
            await other.durable()
            assert await asyncio.to_thread(stored, here.database, user) == 2
        assert await seen(one, "u1", "u2") == [2, 2]
        here.source.forget()
        assert await seen(other, *KNOWN[3:]) == [1] * len(KNOWN[3:])


async def test_all_connections_are_ended_by_the_server(own_postgres: Server, tmp_path: Path) -> None:
    """As at a restart that is over before anybody looks: nobody notices."""
    async with two(own_postgres, tmp_path) as here:
        async with under_load(here.source, KNOWN, *here.replicas) as load:
            for _ in range(3):
                await load.answers(20)
                await asyncio.to_thread(
                    here.database.sql,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'handshake'",
                )
            await load.answers(20)
            assert load.slowest < QUICK
        await joined(*here.replicas)
        await here.is_shared("afterwards")


@pytest.mark.slow
async def test_a_table_that_is_locked_is_not_waited_for_for_long(
    own_postgres: Server, tmp_path: Path
) -> None:
    """As somebody's VACUUM FULL does it: connections are there, and what reads or writes the table hangs."""
    async with two(own_postgres, tmp_path) as here:
        async with under_load(here.source, KNOWN, *here.replicas) as load:
            await load.answers(20)
            lock = asyncio.create_task(
                asyncio.to_thread(
                    here.database.sql,
                    "BEGIN; LOCK TABLE handshake_proxy.users IN ACCESS EXCLUSIVE MODE;"
                    " SELECT pg_sleep(3) /* locked */; COMMIT",
                )
            )
            while not lock.done():
                await load.answers(1)
            await lock
            print(f"{load.slowest:.2f} s")  # noqa: T201
            assert load.slowest < AT_WORST
            await joined(*here.replicas)
        await here.is_shared("afterwards")


async def test_a_schema_that_somebody_has_dropped_is_made_again(own_postgres: Server, tmp_path: Path) -> None:
    async with two(own_postgres, tmp_path) as here:
        one, other = here.replicas
        await asyncio.to_thread(here.database.sql, "DROP SCHEMA handshake_proxy CASCADE")
        async with under_load(here.source, KNOWN, one, other) as load:
            await load.answers(50)
            await until(lambda: here.logged("store_lost") >= 1)
            await joined(one, other)
            assert load.slowest < QUICK
        await here.is_shared("afterwards")


async def test_a_standby_that_takes_over_is_found_and_memory_begins_anew(
    own_postgres: Server, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        lines = stack.enter_context(capture_logs())
        database = stack.enter_context(own_postgres.database())
        standby = stack.enter_context(following(own_postgres))
        source = await stack.enter_async_context(owner(*KNOWN))
        url = database.at(own_postgres.port, standby.port)
        one = await stack.enter_async_context(replica(source, tmp_path / "a", url))
        other = await stack.enter_async_context(replica(source, tmp_path / "b", url))
        await joined(one, other)
        for proxy in (one, other):
            assert await seen(proxy, *KNOWN) == [1] * len(KNOWN)
            await proxy.durable()
        await asyncio.to_thread(standby.catch_up)
        async with under_load(source, KNOWN[1:], one, other) as load:
            await load.answers(20)
            await asyncio.to_thread(own_postgres.stop, "kill")
            try:
                await load.answers(50)
                await asyncio.to_thread(standby.promote)
                # Not by way of the log: only who has forgotten what it had in memory reads it.
                await asyncio.to_thread(_write_over, database, standby)
                await joined(one, other)
                await load.answers(50)
                assert load.slowest < AT_WORST
                source.forget()
                assert await seen(one, KNOWN[0]) == await seen(other, KNOWN[0]) == [7]
                assert KNOWN[0] not in source.fetched
                await put(one, KNOWN[0])
                await one.durable()
                await until_shown(other, KNOWN[0], 2)
            finally:
                await asyncio.to_thread(own_postgres.start)
        assert sum(line["event"] == "store_open" for line in lines) >= 4


def _write_over(database: Database, server: Server) -> None:
    body = item(KNOWN[0], 7).decode()
    server.sql(
        f"UPDATE handshake_proxy.users SET item = convert_to('{body}', 'UTF8')"  # noqa: S608
        f" WHERE user_id = '{KNOWN[0]}'",
        database=database.name,
    )


async def test_without_a_database_at_the_start_it_serves_and_joins_later(
    database: Database, relay: Relay, tmp_path: Path
) -> None:
    relay.refuse()
    async with owner(*KNOWN) as source, replica(source, tmp_path / "a", database.url) as one:
        await joined(one)
        assert await seen(one, "u1") == [1]
        await one.durable()
        async with replica(source, tmp_path / "b", relay.url(database)) as late:
            async with late.client("ops") as ops:
                assert (await ops.get("/readyz")).status == 200
            assert await reads(late, "store_degraded") == 1
            assert await seen(late, "u1", "u2") == [1, 1]
            assert source.fetched["u1"] == 2
            await put(one, "u2")
            await relay.heal()
            await joined(one, late)
            assert await seen(late, "u2") == [2]
            source.forget()
            assert await seen(late, "u3") == [1]
            await late.durable()
            assert await seen(one, "u3") == [1]
            assert source.fetched.total() == 1
