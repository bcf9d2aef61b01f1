"""A replica that is killed, or stands still, while it fetches for all."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.process import Process
from tests.fleet.in_process import stored
from tests.fleet.replicas import owner, processes, put, shown, until
from tests.postgres.server import Database

pytestmark = pytest.mark.e2e
LEASE = 1.0
"""Seconds for which a leader is waited for at the most."""
MARGIN = 1.0
"""Seconds that a busy machine adds."""


async def _asked(replica: Process, user: str) -> int:
    async with replica.client() as client:
        return await shown(client, user)


@pytest.mark.slow
async def test_who_is_killed_while_it_fetches_is_waited_for_as_long_as_its_lease(
    database: Database, tmp_path: Path
) -> None:
    async with (
        owner("u1", "u2") as source,
        processes(source, tmp_path, *[database.url] * 3) as (leader, *others),
    ):
        source.held.add("u1")
        begun = asyncio.create_task(_asked(leader, "u1"))
        await source.wait_for_calls(1)
        waiting = [asyncio.create_task(_asked(other, "u1")) for other in others]
        source.held.clear()  # whoever calls from here on is answered at once
        began = time.monotonic()
        await leader.kill()
        assert await asyncio.gather(*waiting) == [1, 1]
        took = time.monotonic() - began
        print(f"the others are answered after {took:.2f} s")  # noqa: T201
        assert took < LEASE + MARGIN
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await begun
        source.forget()
        assert [await _asked(other, "u1") for other in others] == [1, 1]
        assert not source.calls
        await _until_stored(database, "u1", 1)


async def test_what_a_replica_fetched_that_stood_still_over_an_invalidation_is_not_stored(
    database: Database, tmp_path: Path
) -> None:
    async with (
        owner("u1") as source,
        processes(source, tmp_path, *[database.url] * 2) as (sleeper, other),
    ):
        source.held.add("u1")
        begun = asyncio.create_task(_asked(sleeper, "u1"))
        await source.wait_for_calls(1)
        sleeper.process.send_signal(signal.SIGSTOP)
        source.go.set()  # the answer, of version 1, waits where it stands still
        async with other.client() as client:
            await put(client, "u1")
            assert await asyncio.to_thread(stored, database, "u1") is None
            sleeper.process.send_signal(signal.SIGCONT)
            assert await begun == 1, "it was asked for before the change"
            await until(lambda: _asked(sleeper, "u1"), lambda version: version == 2)
            assert await asyncio.to_thread(stored, database, "u1") != 1
            source.forget()
            assert [await shown(client, "u1"), await _asked(sleeper, "u1")] == [2, 2]
            assert source.fetched["u1"] <= 1
        await _until_stored(database, "u1", 2)


@pytest.mark.slow
async def test_a_replica_that_stood_still_shows_nothing_old_once_it_has_read_the_log(
    database: Database, tmp_path: Path
) -> None:
    users = [f"u{number}" for number in range(20)]
    async with (
        owner(*users) as source,
        processes(source, tmp_path, *[database.url] * 2) as (sleeper, other),
    ):
        assert [await _asked(sleeper, user) for user in users] == [1] * len(users)
        sleeper.process.send_signal(signal.SIGSTOP)
        async with other.client() as client:
            for user in users:
                await put(client, user)
            assert [await shown(client, user) for user in users] == [2] * len(users)
        sleeper.process.send_signal(signal.SIGCONT)
        await until(lambda: _asked(sleeper, users[-1]), lambda version: version == 2)
        source.forget()
        assert [await _asked(sleeper, user) for user in users] == [2] * len(users)
        assert not source.fetched


async def _until_stored(database: Database, user: str, wanted: int) -> None:
    await until(lambda: asyncio.to_thread(stored, database, user), lambda version: version == wanted)


@pytest.mark.slow
async def test_a_replica_that_stood_still_for_longer_than_the_interval_shows_nothing_old_at_all(
    database: Database, tmp_path: Path
) -> None:
    """Those who have asked it meanwhile are answered before it gets to read the log."""
    users = [f"u{number}" for number in range(10)]
    interval = 1.0
    every = {"HANDSHAKE_STORE__POLL_INTERVAL": f"{interval:.0f}s"}
    async with (
        owner(*users) as source,
        processes(source, tmp_path, *[database.url] * 2, **every) as (sleeper, other),
    ):
        assert [await _asked(sleeper, user) for user in users] == [1] * len(users)
        sleeper.process.send_signal(signal.SIGSTOP)
        stood_at = time.monotonic()
        async with other.client() as client:
            for user in users:
                await put(client, user)
        asked = [asyncio.create_task(_asked(sleeper, user)) for user in users]
        await until(lambda: asyncio.sleep(0, time.monotonic()), lambda now: now > stood_at + interval)
        sleeper.process.send_signal(signal.SIGCONT)
        assert await asyncio.gather(*asked) == [2] * len(users)
