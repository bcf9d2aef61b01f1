"""Events at replicas that share a store: whichever of them takes one, all of them show it, and each counts once."""

import asyncio
import json
import random
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.process import Process, taking_events, tell
from tests.fleet.in_process import stored
from tests.fleet.replicas import RESOURCES, Owner, first_shown, item, owner, processes, shown, until
from tests.fleet.test_must_show import NEWS
from tests.integration.signed import event
from tests.postgres.server import Database

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
REPLICAS = 3
SETTINGS = {"HANDSHAKE_RESOURCES": json.dumps({"user": RESOURCES["user"] | {"source_version": "/version"}})}
ROUNDS = 5
NEWEST = 50
ODD = rb'"odd":1.50e+1'
"""A member that says the same in another spelling, which no event has anything to say of."""


@asynccontextmanager
async def told(source: Owner, directory: Path, database: Database) -> AsyncIterator[Sequence[Process]]:
    """Replicas that take events, with the same secret."""
    settings = SETTINGS | taking_events(directory)
    async with processes(source, directory, *[database.url] * REPLICAS, **settings) as replicas:
        yield replicas


async def shows(replica: Process, user: str) -> int:
    async with replica.client() as client:
        return await shown(client, user)


async def test_an_event_that_one_replica_takes_all_of_them_show(database: Database, tmp_path: Path) -> None:
    users = [f"u{number}" for number in range(REPLICAS)]
    late: list[float] = []
    async with owner(*users) as source, told(source, tmp_path, database) as replicas:
        for replica in replicas:
            assert [await shows(replica, user) for user in users] == [1] * len(users)
        source.forget()
        for number in range(2, 2 + ROUNDS):
            for user, first in zip(users, replicas, strict=True):
                assert await tell(first, event(user, number, item(user, number))) == 204
                told_at = time.monotonic()
                others = [other for other in replicas if other is not first]
                found = asyncio.gather(*(first_shown(other, user, number) for other in others))
                assert await shows(first, user) == number, "the very next request sees it there"
                late += [asked_at - told_at for asked_at in await found]
        assert not source.calls, "what an event has brought nobody has to fetch"
    late.sort()
    half, last = late[len(late) // 2], late[-1]
    print(f"an event is heard of after {half * 1e3:.1f} ms (at the most {last * 1e3:.1f} ms)")  # noqa: T201
    assert half < NEWS


async def test_a_message_counts_once_whichever_replica_it_comes_to(
    database: Database, tmp_path: Path
) -> None:
    async with owner("u") as source, told(source, tmp_path, database) as replicas:
        assert [await shows(replica, "u") for replica in replicas] == [1] * REPLICAS
        body = event("u", 2, item("u", 2))
        at_once = await asyncio.gather(*(tell(replica, body, message="msg_a") for replica in replicas))
        assert sorted(at_once) == [200, 200, 204]
        # Another body under the id, which would change something.
        newer = event("u", 3, item("u", 3))
        assert [await tell(replica, newer, message="msg_a") for replica in replicas] == [200] * REPLICAS
        assert await asyncio.to_thread(stored, database, "u") == 2
        for replica in replicas:
            await first_shown(replica, "u", 2)
        assert [await shows(replica, "u") for replica in replicas] == [2] * REPLICAS
        assert await tell(replicas[-1], newer, message="msg_b") == 204
        assert await shows(replicas[-1], "u") == 3
        assert source.fetched["u"] == 1


def _grown(number: int) -> bytes:
    """The user, who has got a member with each version since the first."""
    members = b"".join(b',"in-%d":true' % one for one in range(2, number + 1))
    return item("u", number)[:-1] + b"," + ODD + members + b"}"


async def test_of_events_that_come_in_any_order_at_once_all_replicas_end_at_the_newest(
    database: Database, tmp_path: Path
) -> None:
    chance = random.Random(9)
    numbers = list(range(2, NEWEST + 1))
    chance.shuffle(numbers)
    async with owner("u") as source, told(source, tmp_path, database) as replicas:
        source.users["u"] = _grown(1)
        assert [await shows(replica, "u") for replica in replicas] == [1] * REPLICAS
        source.forget()
        newest = source.users["u"] = _grown(NEWEST)

        async def send(number: int) -> int:
            patch = b'{"version":%d,"in-%d":true}' % (number, number)
            return await tell(chance.choice(replicas), event("u", number, patch))

        async def all_show_the_newest() -> None:
            for replica in replicas:
                await first_shown(replica, "u", NEWEST)
                async with replica.client() as client:
                    answer = await client.get("/users/u")
                assert answer.json() == json.loads(newest)
                assert ODD in answer.body

        assert set(await asyncio.gather(*map(send, numbers))) == {204}
        # Nobody asks for it: what the storm has outdated is fetched behind it.
        await until(lambda: asyncio.to_thread(stored, database, "u"), lambda version: version == NEWEST)
        await all_show_the_newest()
        print(f"{len(source.calls)} calls of the upstream for {len(numbers)} events")  # noqa: T201
        assert 1 <= source.fetched["u"] <= REPLICAS
        source.forget()
        late = event("u", NEWEST - 1, b'{"version":%d,"name":"Late"}' % (NEWEST - 1))
        assert [await tell(replica, late) for replica in replicas] == [204] * REPLICAS
        await all_show_the_newest()
        assert not source.calls


@pytest.mark.parametrize("way", ["merged", "refetched"])
async def test_what_was_in_the_air_when_another_replica_took_an_event_is_stored_nowhere(
    way: str, database: Database, tmp_path: Path
) -> None:
    async with owner("u") as source, told(source, tmp_path, database) as (first, second, third):
        assert [await shows(replica, "u") for replica in (first, second, third)] == [1] * REPLICAS
        source.forget()
        source.late.add("u")
        async with first.client() as client:
            begun = asyncio.create_task(client.get("/users/u", "Cache-Control: no-cache"))
            await source.wait_for_calls(1)
            # Both the answer and the word of the event wait where it stands still.
            first.process.send_signal(signal.SIGSTOP)
            source.go.set()
            source.late.clear()  # whoever calls from here on is answered at once
            assert source.change("u") == 2
            data = item("u", 2) if way == "merged" else None
            assert await tell(second, event("u", 2, data)) == 204
            assert await shows(second, "u") == 2
            first.process.send_signal(signal.SIGCONT)
            assert (await begun).json()["version"] in {1, 2}, "it was asked for before the event"
        left: set[int | None] = {await asyncio.to_thread(stored, database, "u")}
        for replica in (first, third):
            await first_shown(replica, "u", 2)
        left.add(await asyncio.to_thread(stored, database, "u"))
        # It writes what it has still to write.
        assert await first.terminate() == 0
        left.add(await asyncio.to_thread(stored, database, "u"))
        assert 1 not in left
        assert [await shows(replica, "u") for replica in (second, third)] == [2, 2]
        if way == "merged":
            assert left == {2}
            assert source.fetched["u"] == 1
