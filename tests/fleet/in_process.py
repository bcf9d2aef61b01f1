"""Replicas in the test's own process, whose clocks go by themselves, and what they are asked all the time."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.replicas import RESOURCES, Owner, version
from tests.integration.harness import PATIENCE, Clock, Proxy, running
from tests.postgres.server import Database

INTERVAL = 0.5
"""Seconds between two looks at the log."""


class Wall(Clock):
    """Goes on, as the clock on the wall does."""

    def __call__(self) -> float:
        return time.time()


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replicas look after their database many times a second. How long they wait for an answer of it stays."""
    monkeypatch.setattr("proxy.storage.LOOK_EVERY", 0.05)
    monkeypatch.setattr("proxy.storage.FIRST_DELAY", 0.05)
    monkeypatch.setattr("proxy.storage.MAX_DELAY", 0.1)
    monkeypatch.setattr("store.postgres.database._FIRST_DELAY", 0.1)
    monkeypatch.setattr("store.postgres.database._LAST_DELAY", 0.2)
    monkeypatch.setattr("store.postgres.listener._FIRST_DELAY", 0.1)
    monkeypatch.setattr("store.postgres.listener._LAST_DELAY", 0.2)


@asynccontextmanager
async def replica(source: Owner, directory: Path, store: str, **sections: Any) -> AsyncIterator[Proxy]:
    """One that shares the database of that URL. It may not be there."""
    directory.mkdir(exist_ok=True)
    url = {"url": store, "poll_interval": f"{INTERVAL * 1e3:.0f}ms"}
    sections = {"resources": RESOURCES, "store": url, **sections}
    async with running(source.url, directory, clock=Wall(), monotonic=time.monotonic, **sections) as proxy:
        yield proxy


def is_degraded(proxy: Proxy) -> bool:
    return proxy.app._storage.tiers.degraded


def is_joined(proxy: Proxy) -> bool:
    """Whether it has the database, owes it nothing, and hears of what others change."""
    tiers = proxy.app._storage.tiers
    is_settled = not (tiers.degraded or tiers.is_doubtful or len(tiers._catch_up))
    return is_settled and proxy.app._storage.is_hearing


async def joined(*replicas: Proxy) -> None:
    """Wait until each of them is."""
    await until(lambda: all(map(is_joined, replicas)))


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, as long as a test is patient; a database takes its time."""
    async with asyncio.timeout(3 * PATIENCE):
        while not holds():
            await asyncio.sleep(0.002)


async def seen(proxy: Proxy, *users: str) -> list[int]:
    """The versions that a replica shows."""
    answer = await proxy.users(*users)
    assert answer.status == 200, answer.body
    return [one["version"] for one in answer.json()["users"]]


async def until_shown(proxy: Proxy, user: str, wanted: int) -> None:
    """Ask until a replica shows that version."""
    async with asyncio.timeout(PATIENCE):
        while await seen(proxy, user) != [wanted]:
            pass


async def put(proxy: Proxy, user: str) -> None:
    """Have the owner make the next version, through a replica."""
    async with proxy.client() as client:
        answer = await client.send_body("PUT", f"/users/{user}", b"", "Content-Length: 0\r\n")
    assert answer.status == 204


def stored(database: Database, user: str) -> int | None:
    """The version that the database has of a user; 0 of a row without one, None where there is no row."""
    column = "coalesce(convert_from(item, 'UTF8'), '')"
    found = database.sql(f"SELECT {column} FROM handshake_proxy.users WHERE user_id = '{user}'")  # noqa: S608
    if not found:
        return None
    return version(found[0].encode()) if found[0] else 0


@dataclass
class Load:
    """Clients who ask for users, some of whom nobody has asked for before; each has to be answered."""

    source: Owner
    known: Sequence[str]
    slowest: float = 0.0
    """Seconds that an answer took, at the most, since `anew`."""
    answered: int = 0
    fetched: list[str] = field(default_factory=list)
    """Users whom nobody had asked for before."""
    failures: list[str] = field(default_factory=list)
    by_client: Counter[int] = field(default_factory=Counter)

    async def anew(self) -> None:
        """Begin to look at how long answers take, once nobody waits for what was asked before."""
        before = dict(self.by_client)
        await until(lambda: all(self.by_client[client] > count for client, count in before.items()))
        self.slowest = 0.0

    async def answers(self, count: int) -> None:
        """Return when there have been that many more."""
        wanted = self.answered + count
        await until(lambda: self.answered >= wanted)

    async def ask(self, proxy: Proxy, seed: int) -> None:
        """Ask until cancelled."""
        chance = random.Random(seed)
        async with proxy.client() as client:
            while True:
                ids = chance.sample(self.known, 5)
                if chance.random() < 0.3:
                    ids[0] = f"new-{len(self.fetched)}"
                    self.source.add(ids[0])
                    self.fetched.append(ids[0])
                began = time.monotonic()
                answer = await client.users(*ids)
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.answered += 1
                self.by_client[seed] += 1
                if answer.status != 200 or [one["id"] for one in answer.json()["users"]] != ids:
                    self.failures.append(f"{answer.status} {answer.body!r} for {ids}")
                await asyncio.sleep(0.005)


@asynccontextmanager
async def under_load(source: Owner, known: Sequence[str], *replicas: Proxy) -> AsyncIterator[Load]:
    """Two clients of each replica."""
    load = Load(source, known)
    tasks = [asyncio.create_task(load.ask(proxy, seed)) for seed, proxy in enumerate(replicas * 2)]
    try:
        yield load
        assert not any(task.done() for task in tasks), "each client asks to the end"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert load.failures == []
