"""The last used entities, in memory once more after a restart."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from proxy import storage
from proxy.demo.services import Services
from store.base import StoreError
from store.sqlite import SqliteStore
from tests.integration.harness import PATIENCE, Clock, Proxy, running


async def until_warm(proxy: Proxy) -> list[str]:
    """The ids in memory once nothing more is loaded, the next to go first."""
    await asyncio.sleep(0)  # it begins in the turn after the start
    async with asyncio.timeout(PATIENCE):
        while any(task.get_name() == "warm-up" for task in asyncio.all_tasks()):
            await asyncio.sleep(0)
    memory = proxy.app._storage.tiers.memory
    gone = []
    with suppress(KeyError):
        while True:
            gone.append(memory._cache.popitem()[0].id)
    return gone


async def use(proxy: Proxy, *ids: str) -> None:
    for entity in ids:
        proxy.clock.tick(2)
        answer = await proxy.users(entity)
        assert "hit" in answer.field("cache-status")


def noted(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each call that notes or reads uses written down."""
    for name in ("note_used", "recently_used"):
        real = getattr(SqliteStore, name)

        def seen(self: SqliteStore, *what: object, _name: str = name, _real: object = real) -> object:
            calls.append(_name)
            return _real(self, *what)  # type: ignore[operator]

        monkeypatch.setattr(SqliteStore, name, seen)


async def test_after_a_restart_memory_has_what_was_used_last(upstream: Services, tmp_path: Path) -> None:
    clock = Clock()
    async with running(upstream.url, tmp_path, memory={"warm": 2}, clock=clock) as proxy:
        await proxy.users("3", "1", "2", "4")
        await proxy.durable()
        await use(proxy, "1", "2", "3")
    calls = len(upstream.calls)
    async with running(upstream.url, tmp_path, memory={"warm": 2}, clock=clock) as proxy:
        assert await until_warm(proxy) == ["2", "3"]
        assert proxy.metric("lookups_total") == 0
    assert len(upstream.calls) == calls


async def test_what_was_fetched_just_before_the_stop_is_noted(upstream: Services, tmp_path: Path) -> None:
    clock = Clock()
    async with running(upstream.url, tmp_path, memory={"warm": 9}, clock=clock) as proxy:
        await proxy.users("1")
    async with running(upstream.url, tmp_path, memory={"warm": 9}, clock=clock) as proxy:
        assert await until_warm(proxy) == ["1"]


async def test_readiness_does_not_wait_for_it(
    upstream: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def hangs(_self: SqliteStore, _limit: int) -> object:
        asked.set()
        await may_answer.wait()
        return []

    monkeypatch.setattr(SqliteStore, "recently_used", hangs)
    async with running(upstream.url, tmp_path, memory={"warm": 9}) as proxy:
        async with asyncio.timeout(PATIENCE):
            await asked.wait()
            async with proxy.client("ops") as client:
                assert (await client.get("/readyz")).status == 200
            assert (await proxy.users("1")).status == 200
        assert not may_answer.is_set()


async def test_by_default_nothing_is_noted_or_read(
    upstream: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    noted(calls, monkeypatch)
    monkeypatch.setattr(storage, "_NOTE_EVERY", 0.0)
    for _ in range(2):
        async with running(upstream.url, tmp_path) as proxy:
            await proxy.users("1")
            await until_warm(proxy)
    assert calls == []


async def test_it_is_noted_while_it_runs(
    upstream: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    noted(calls, monkeypatch)
    monkeypatch.setattr(storage, "_NOTE_EVERY", 0.0)
    async with running(upstream.url, tmp_path, memory={"warm": 9}) as proxy:
        await proxy.users("1")
        await proxy.durable()
        async with asyncio.timeout(PATIENCE):
            while "note_used" not in calls:
                await asyncio.sleep(0.001)
        assert calls[0] == "recently_used"


async def test_a_stop_waits_for_a_database_that_hangs_no_longer_than_it_may(
    upstream: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def hangs(_self: SqliteStore, _uses: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(SqliteStore, "note_used", hangs)
    monkeypatch.setattr(storage, "_NOTE_WITHIN", 0.05)
    async with asyncio.timeout(PATIENCE):
        async with running(upstream.url, tmp_path, memory={"warm": 9}) as proxy:
            await proxy.users("1")
            await proxy.durable()
    assert begun.is_set()


async def test_a_read_that_fails_is_counted_and_costs_nothing_else(
    upstream: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_self: SqliteStore, _limit: int) -> object:
        raise StoreError("recent: SQLITE_IOERR")

    monkeypatch.setattr(SqliteStore, "recently_used", fails)
    async with running(upstream.url, tmp_path, memory={"warm": 9}) as proxy:
        assert await until_warm(proxy) == []
        assert proxy.metric("store_errors_total", operation="warm") == 1
        assert (await proxy.users("1")).status == 200
