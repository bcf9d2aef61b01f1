"""The connection that listens: what it hears, and how it finds out that it hears nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from store.base import StoreError
from store.postgres import listener as listeners
from store.postgres.listener import Listener
from store.postgres.store import PostgresStore
from tests.postgres.relay import Relay
from tests.postgres.server import Database
from tests.shared.replicas import A
from tests.unit.store.samples import open_shared


@dataclass
class Ear:
    """A listener, and what it has told."""

    other: PostgresStore
    listener: Listener | None = None
    heard: int = 0
    told: list[str] = field(default_factory=list)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)

    async def hears(self) -> None:
        """Something that another replica does now is heard."""
        before = self.heard
        await self.other.invalidate_many([A])
        await self.until(lambda: self.heard > before)

    def notice(self) -> None:
        self.heard += 1


@asynccontextmanager
async def listening(url: str, database: Database, every: float = 0.05) -> AsyncIterator[Ear]:
    mine, other = await open_shared(database.url), await open_shared(database.url)
    ear = Ear(other)
    ear.listener = Listener(
        url,
        prepared=True,
        probe_every=every,
        notify=mine.notify,
        on_heard=ear.notice,
        on_deaf=lambda _why: ear.told.append("deaf"),
        on_hearing=lambda: ear.told.append("hearing"),
    )
    task = asyncio.create_task(ear.listener.listen())
    try:
        await ear.until(lambda: ear.told == ["hearing"])
        yield ear
    finally:
        task.cancel()
        await asyncio.wait([task])
        await mine.close()
        await other.close()


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "_FIRST_DELAY", 0.05)
    monkeypatch.setattr(listeners, "_ECHO_WITHIN", 0.3)


async def test_what_another_replica_does_is_heard(database: Database) -> None:
    async with listening(database.url, database, every=60.0) as ear:
        await ear.hears()
        assert ear.listener is not None
        assert ear.listener.is_hearing


async def test_a_connection_that_is_closed_is_made_again(relay: Relay, database: Database) -> None:
    async with listening(relay.url(database), database) as ear:
        before = ear.heard
        relay.cut()
        await ear.until(lambda: ear.told == ["hearing", "deaf", "hearing"])
        assert ear.heard > before, "the log is to be read: something may have been sent meanwhile"
        await ear.hears()


async def test_a_connection_that_is_silent_is_found_out(relay: Relay, database: Database) -> None:
    async with listening(relay.url(database), database) as ear:
        relay.swallow()
        await ear.until(lambda: ear.told == ["hearing", "deaf"])
        assert ear.listener is not None
        assert not ear.listener.is_hearing
        await relay.heal()
        await ear.until(lambda: ear.told == ["hearing", "deaf", "hearing"])
        await ear.hears()


async def test_that_nothing_can_be_sent_says_nothing_about_listening(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(database.url, database) as ear:
        assert ear.listener is not None
        asked = asyncio.Event()

        async def fails(_channel: str) -> None:
            asked.set()
            raise StoreError("there is no database")

        monkeypatch.setattr(ear.listener, "_notify", fails)
        await asked.wait()
        await ear.hears()
        assert ear.told == ["hearing"]
