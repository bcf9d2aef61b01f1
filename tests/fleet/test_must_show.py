"""What replicas that share a store promise each other: one call of the upstream for all, and no news that is old."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.e2e.process import Process
from tests.fleet.replicas import FORGET_THE_LOG, first_shown, owner, processes, put, reads, shown, until
from tests.integration.harness import Client
from tests.postgres.relay import Relay
from tests.postgres.server import Database

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
REPLICAS = 3
WORKERS = 3
"""Clients of each replica."""
INTERVAL = 1.0
"""Seconds between two looks at the log, where a test is about those."""
EVERY = {"HANDSHAKE_STORE__POLL_INTERVAL": f"{INTERVAL:.0f}s"}
_LEFT = "SELECT count(*) FROM handshake_proxy.changes"
NEWS = 0.1
"""Seconds in which a change is heard of."""


async def _ask(client: Client, chance: random.Random, users: Sequence[str], calls: int) -> None:
    """Bulk calls for ids that overlap with those of everybody else; each answer is checked."""
    for _ in range(calls):
        ids = chance.sample(users, chance.randint(20, 100))
        answer = await client.users(*ids)
        assert answer.status == 200, answer.body
        assert [one["id"] for one in answer.json()["users"]] == ids


async def _shares(database: Database, directory: Path, *, users: int, calls: int) -> float:
    """Distinct ids that were fetched to ids that the upstream was asked for, under random traffic."""
    names = [f"u{number}" for number in range(users)]
    async with (
        owner(*names, latency=0.01) as source,
        processes(source, directory, *[database.url] * REPLICAS) as replicas,
        AsyncExitStack() as stack,
        asyncio.TaskGroup() as tasks,
    ):
        for number, replica in enumerate(replicas * WORKERS):
            client = await stack.enter_async_context(replica.client())
            tasks.create_task(_ask(client, random.Random(number), names, calls))
    distinct, asked = len(source.fetched), source.fetched.total()
    print(f"{distinct} of {users} users fetched by {asked} ids: {distinct / asked:.4f}")  # noqa: T201
    assert distinct > 0.9 * users, "the traffic has to reach most of them"
    return distinct / asked


async def test_three_replicas_fetch_each_user_once(database: Database, tmp_path: Path) -> None:
    assert await _shares(database, tmp_path, users=600, calls=10) >= 0.99


@pytest.mark.slow
async def test_three_replicas_fetch_each_of_ten_thousand_users_once(
    database: Database, tmp_path: Path
) -> None:
    assert await _shares(database, tmp_path, users=10_000, calls=100) >= 0.99


async def _late(replicas: Sequence[Process], user: str) -> list[float]:
    """Seconds for which the others show what the first has invalidated; the first itself does not."""
    first, *others = replicas
    async with first.client() as client:
        before = await shown(client, user)
        for other in others:
            async with other.client() as asking:
                assert await shown(asking, user) == before
        await put(client, user)
        told_at = time.monotonic()
        found = asyncio.gather(*(first_shown(other, user, before + 1) for other in others))
        assert await shown(client, user) == before + 1, "it holds there at once"
        return [asked_at - told_at for asked_at in await found]


async def _all_late(database: Database, directory: Path, times: int) -> list[float]:
    """Of so many invalidations, through each replica in turn, in order."""
    names = [f"u{number}" for number in range(20)]
    late: list[float] = []
    async with (
        owner(*names) as source,
        processes(source, directory, *[database.url] * REPLICAS) as replicas,
    ):
        for number in range(times):
            turned = replicas[number % REPLICAS :] + replicas[: number % REPLICAS]
            late += await _late(turned, names[number % len(names)])
    late.sort()
    _print("an invalidation is heard of", late)
    return late


def _print(what: str, late: Sequence[float]) -> None:
    half, most, last = late[len(late) // 2], late[int(0.99 * len(late))], late[-1]
    print(f"{what} after {half * 1e3:.1f} ms (p99 {most * 1e3:.1f} ms, at the most {last * 1e3:.1f} ms)")  # noqa: T201


async def test_an_invalidation_holds_at_once_and_is_heard_by_the_others(
    database: Database, tmp_path: Path
) -> None:
    late = await _all_late(database, tmp_path, 20)
    assert late[len(late) // 2] < NEWS


@pytest.mark.slow
async def test_of_300_invalidations_the_others_hear_within_100_ms(database: Database, tmp_path: Path) -> None:
    late = await _all_late(database, tmp_path, 300)
    assert late[int(0.99 * len(late))] < NEWS


async def _late_without_a_word(database: Database, relay: Relay, directory: Path, times: int) -> list[float]:
    """As above, where the one that listens for the second hears nothing, and is not told so."""
    late: list[float] = []
    ways = (database.url, relay.url(database))
    names = [f"u{number}" for number in range(times)]
    async with (
        owner(*names) as source,
        processes(source, directory, *ways, **EVERY) as replicas,
    ):
        relay.swallow_listeners()
        for name in names:
            late += await _late(replicas, name)
        await until(lambda: reads(replicas[1], "change_log_listening"), lambda listening: listening == 0)
        assert await reads(replicas[0], "change_log_listening") == 1
        assert await reads(replicas[1], "change_log_lag_seconds") < INTERVAL
    late.sort()
    _print("unheard, an invalidation shows", late)
    return late


async def test_a_listener_that_is_cut_off_silently_costs_the_interval_at_most(
    database: Database, relay: Relay, tmp_path: Path
) -> None:
    assert max(await _late_without_a_word(database, relay, tmp_path, 3)) <= INTERVAL + NEWS


@pytest.mark.slow
async def test_of_30_that_are_not_heard_none_is_late_by_more_than_the_interval(
    database: Database, relay: Relay, tmp_path: Path
) -> None:
    assert max(await _late_without_a_word(database, relay, tmp_path, 30)) <= INTERVAL + NEWS


async def _seen(replica: Process, names: Sequence[str]) -> list[int]:
    async with replica.client() as client:
        return [await shown(client, name) for name in names]


async def _changed(replica: Process, names: Sequence[str]) -> float:
    """Invalidate all of them through a replica; when that was done (monotonic seconds)."""
    async with replica.client() as client:
        for name in names:
            await put(client, name)
    return time.monotonic()


async def _is_over(replica: Process, at: float) -> None:
    """Wait until then, and until the replica doubts what it has."""
    await until(
        lambda: reads(replica, "change_log_lag_seconds"),
        lambda lag: lag > INTERVAL and time.monotonic() >= at,
    )


@pytest.mark.slow
async def test_past_the_interval_a_replica_that_hears_nothing_at_all_shows_nothing_old(
    database: Database, relay: Relay, tmp_path: Path
) -> None:
    names = [f"u{number}" for number in range(10)]
    async with (
        owner(*names) as source,
        processes(source, tmp_path, database.url, relay.url(database), **EVERY) as (first, second),
    ):
        assert await _seen(second, names) == [1] * len(names)
        relay.swallow()
        told_at = await _changed(first, names)
        await _is_over(second, told_at + INTERVAL)
        source.forget()
        assert await _seen(second, names) == [2] * len(names)
        assert set(source.fetched) == set(names), "its memory has no word of it"
        await relay.heal()


@pytest.mark.slow
async def test_of_a_log_that_was_pruned_meanwhile_nothing_old_is_shown(
    database: Database, relay: Relay, tmp_path: Path
) -> None:
    names = [f"u{number}" for number in range(60)]
    async with (
        owner(*names) as source,
        processes(source, tmp_path, database.url, relay.url(database), **EVERY) as (first, second),
    ):
        assert await _seen(second, names) == [1] * len(names)
        relay.refuse()
        relay.cut()
        told_at = await _changed(first, names)
        assert await asyncio.to_thread(database.sql, FORGET_THE_LOG, _LEFT) == ["0"]
        await _is_over(second, told_at + INTERVAL)
        left = list(names)
        assert await _seen(second, [left.pop()]) == [2]
        await relay.heal()
        while await reads(second, "change_log_lag_seconds") > INTERVAL:
            assert await _seen(second, [left.pop()]) == [2]
            await asyncio.sleep(0.1)
        assert left, "some have to be left that nobody has asked for in doubt"
        assert await _seen(second, left) == [2] * len(left)
        await until(lambda: reads(second, "store_degraded"), lambda degraded: degraded == 0)
        # What was fetched in doubt was forgotten with all the rest.
        assert await _seen(second, names) == [2] * len(names)
        source.forget()
        assert await _seen(second, names) == [2] * len(names)
        assert not source.fetched, "they are believed again"
