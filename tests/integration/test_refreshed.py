"""The refresher in a whole proxy, over real sockets."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy.demo.services import Services
from tests.integration.harness import PATIENCE, Proxy, running

NOW_AND_THEN: dict[str, Any] = {"enabled": True, "interval": "1ms"}
LIFETIME = 60.0
OLD, NEW = b'{"id":"1","name":"Ana"}', b'{"id":"1","name":"Anna"}'


def resources(**over: Any) -> dict[str, Any]:
    bulk = {"path": "/main/api/v3/users/bulk", "ids": "/userIds", "items": "/users", "count": "/count"}
    return {"user": {"id": "/id", "bulk": bulk, "freshness": {"ttl": f"{LIFETIME}s", "jitter": 0}} | over}


async def asked(upstream: Services, entity: str, times: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while upstream.fetched[entity] < times:
            await asyncio.sleep(0)


async def counted(proxy: Proxy, result: str, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while proxy.metric("refreshes_total", resource="user", result=result) < count:
            await asyncio.sleep(0)


@pytest.mark.parametrize("storage", ["database", "memory"])
async def test_what_is_about_to_end_is_fetched_again_before_anybody_asks(
    storage: str, upstream: Services, tmp_path: Path
) -> None:
    upstream.users["1"] = OLD
    users = resources(storage=storage)
    async with running(upstream.url, tmp_path, refresh=NOW_AND_THEN, resources=users) as proxy:
        async with proxy.client() as client:
            await client.users("1")
            upstream.users["1"] = NEW
            proxy.clock.tick(LIFETIME - 1)
            assert (await client.users("1")).json()["users"] == [{"id": "1", "name": "Ana"}]
            proxy.clock.tick(0.9995)
            await asked(upstream, "1", 2)
            await counted(proxy, "changed", 1)
            proxy.clock.tick(LIFETIME - 1)
            assert (await client.users("1")).json()["users"] == [{"id": "1", "name": "Anna"}]
            assert proxy.metric("entities_total", result="stale") == 0


async def test_without_a_credential_of_its_own_nothing_is_asked_for_that_callers_lend_theirs_for(
    upstream: Services, tmp_path: Path
) -> None:
    users = resources(sharing="service")
    async with running(upstream.url, tmp_path, refresh=NOW_AND_THEN, resources=users) as proxy:
        assert "refreshes_total" not in {sample.name for sample in await proxy.app._measured()}


async def test_without_it_nothing_is_fetched_before_it_is_asked_for(
    upstream: Services, tmp_path: Path
) -> None:
    async with running(upstream.url, tmp_path, resources=resources()) as proxy:
        assert "refreshes_total" not in {sample.name for sample in await proxy.app._measured()}
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "refresher"]
