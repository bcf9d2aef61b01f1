"""Copies that were served are compared with the upstream, over real sockets: with the fast lane, and without it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy.demo.services import Services
from tests.integration.harness import PATIENCE, Proxy, running

AUDIT: dict[str, Any] = {"sample_ratio": 1, "max_rate": 1_000_000}
"""Of all copies, and without a pause to speak of between two calls."""
OLD, NEW = b'{"id":"1","name":"Ana"}', b'{"id":"1","name":"Anna"}'
_REPEATS = 5
"""Requests after which the lane knows one by its bytes."""


def in_lane(proxy: Proxy) -> int:
    """Requests that the lane has answered since somebody looked at the metrics."""
    return sum(tally.requests for tally in proxy.app.metrics._tallies.values())


async def audited(proxy: Proxy, result: str, count: int) -> None:
    """Wait until so many comparisons have come to that."""
    async with asyncio.timeout(PATIENCE):
        while proxy.metric("audits_total", resource="user", result=result) < count:
            await asyncio.sleep(0)


async def for_nothing() -> None:
    """Let the event loop turn far more often than it does for an audit."""
    for _ in range(200):
        await asyncio.sleep(0)


@pytest.mark.parametrize("fast", [True, False])
async def test_a_hit_that_is_out_of_date_is_found_out(fast: bool, upstream: Services, tmp_path: Path) -> None:
    upstream.users["1"] = OLD
    async with running(upstream.url, tmp_path, audit=AUDIT, lane=fast) as proxy, proxy.client() as client:
        await client.users("1")
        assert proxy.metric("audits_total") == 0
        for repeat in range(1, 1 + _REPEATS):
            proxy.clock.tick(1)
            await client.users("1")
            await audited(proxy, "current", repeat)
        await proxy.durable()  # what the database confirms is put together anew
        for _ in range(_REPEATS):
            await client.users("1")
        upstream.users["1"] = NEW
        proxy.clock.tick(30)
        before = in_lane(proxy)
        assert (await client.users("1")).json()["users"] == [{"id": "1", "name": "Ana"}]
        assert in_lane(proxy) - before == (1 if fast else 0)
        await audited(proxy, "outdated", 1)
        asked = upstream.fetched["1"]
        assert (await client.users("1")).json()["users"] == [{"id": "1", "name": "Anna"}]
        assert upstream.fetched["1"] == asked  # the comparison has brought it
        assert proxy.metric("audit_outdated_seconds_count", bound="at_most") == 1
        assert proxy.metric("audit_outdated_seconds_sum", bound="at_most") == pytest.approx(30)
        assert proxy.metric("audits_total", result="failed") == 0


async def test_a_login_is_audited(upstream: Services, tmp_path: Path) -> None:
    async with running(upstream.url, tmp_path, audit=AUDIT) as proxy:
        for _ in range(2):
            assert (await proxy.call("POST", "/v1/users/ensure", {"userId": "1"})).status == 200
        await audited(proxy, "current", 1)


async def test_an_upstream_whose_circuit_is_open_is_left_alone(upstream: Services, tmp_path: Path) -> None:
    circuit = {"failures": 1, "window": "10s", "open_for": "1h"}
    once = {"circuit": circuit, "retries": 0}
    async with running(upstream.url, tmp_path, audit=AUDIT, upstream=once) as proxy:
        await proxy.users("1")
        await upstream.stop()
        assert (await proxy.users("2")).status == 503
        proxy.clock.tick(60)  # it is backed off from no longer
        assert (await proxy.users("1")).status == 200
        await proxy.quiet()
        await for_nothing()
        assert proxy.metric("audits_total") == 0
        assert proxy.metric("upstream_errors_total", reason="circuit_open") == 0


async def test_without_a_ratio_nothing_is_built(upstream: Services, tmp_path: Path) -> None:
    async with running(upstream.url, tmp_path) as proxy:
        assert "audit" not in {task.get_name() for task in asyncio.all_tasks()}
        await proxy.users("1")
        await proxy.users("1")
        assert upstream.fetched["1"] == 1


async def test_who_is_fetched_by_what_callers_lend_is_not_audited(upstream: Services, tmp_path: Path) -> None:
    """The proxy's own call would be answered as nobody's."""
    sections: dict[str, Any] = {
        "resources": {
            "user": {
                "upstream": "main",
                "id": "/id",
                "sharing": "service",
                "bulk": {
                    "path": "/main/api/v3/users/bulk",
                    "ids": "/userIds",
                    "items": "/users",
                    "count": "/count",
                },
            }
        }
    }
    async with running(upstream.url, tmp_path, audit=AUDIT, **sections) as proxy:
        for _ in range(2):
            await proxy.users("1")
        await proxy.quiet()
        await for_nothing()
        assert upstream.fetched["1"] == 1
