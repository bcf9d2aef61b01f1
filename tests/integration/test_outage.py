"""The upstream is gone for an hour, or hangs: what clients get, how fast, and what the upstream is spared."""

import asyncio
import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import Proxy, ScriptedUpstream, Seen, running
from tests.integration.people import BULK, envelope

KNOWN = [f"known-{number}" for number in range(50)]
FRESHNESS = {"ttl": "1m", "stale_if_error": "90d"}


async def answer(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    ids = json.loads(seen.body)["userIds"]
    body = envelope(*(json.dumps({"id": entity}).encode() for entity in ids if entity in KNOWN))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def resources(**freshness: Any) -> dict[str, Any]:
    bulk = {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"}
    return {"user": {"id": "/id", "bulk": bulk, "freshness": FRESHNESS | freshness}}


def attempts(proxy: Proxy) -> float:
    return proxy.metric("upstream_errors_total", reason="connect")


@pytest.mark.parametrize(
    ("window", "minutes"),
    [("30d", 10), *(pytest.param(window, 60, marks=pytest.mark.slow) for window in ("0s", "30d"))],
)
async def test_minutes_without_upstream(window: str, minutes: int, tmp_path: Path) -> None:
    rounds = minutes * 24
    sections = {"resources": resources(stale_while_revalidate=window)}
    async with ScriptedUpstream(answer) as upstream, running(upstream.url, tmp_path, **sections) as proxy:
        assert (await proxy.users(*KNOWN)).json()["count"] == 50
        await upstream.stop()
        proxy.clock.tick(61)
        seconds: list[float] = []
        probes: list[float] = []
        for number in range(5):
            assert (await proxy.users(f"early-{number}")).status == 503
        opening = attempts(proxy)
        async with proxy.client() as client:
            for number in range(rounds):
                proxy.clock.tick(2.5)
                known = await client.users(*KNOWN)
                assert (known.status, known.json()["count"]) == (200, 50)
                before = attempts(proxy)
                started = time.perf_counter()
                unknown = await client.users(f"unknown-{number}")
                took = time.perf_counter() - started
                if attempts(proxy) == before:  # the circuit is open
                    seconds.append(took)
                    assert unknown.field("retry-after")
                else:
                    probes.append(proxy.clock.now)
                assert (unknown.status, unknown.field("content-type")) == (503, "application/problem+json")
        assert proxy.metric("entities_total", result="negative") == 0
        assert len(seconds) > rounds // 2 - 20
        # A wait of the proxy's own would be in each of them; what a busy machine adds is not in the fastest tenth.
        assert sorted(seconds)[len(seconds) // 10] < 0.005
        assert all(two - one >= 5.0 for one, two in pairwise(probes))
        assert opening <= 5 * 3
        assert attempts(proxy) - opening <= 60 * minutes / 5


async def test_an_upstream_that_is_back_is_noticed(tmp_path: Path) -> None:
    down = True

    async def script(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if down:
            writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
        else:
            await answer(seen, reader, writer)

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        for number in range(8):
            response = await proxy.users(f"known-{number}")
            assert response.status == (500 if number < 5 else 503)
        assert response.field("retry-after") == "5"
        assert len(upstream.seen) == 5
        down = False
        proxy.clock.tick(5)
        assert (await proxy.users("known-1")).status == 200
        assert (await proxy.users("known-2")).status == 200


async def test_a_hung_upstream_holds_nobody_who_has_a_copy(tmp_path: Path) -> None:
    hung = False

    async def script(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if hung:
            await reader.read()
        else:
            await answer(seen, reader, writer)

    sections = {"resources": resources(stale_while_revalidate="0s", revalidate_timeout="100ms")}
    async with ScriptedUpstream(script) as upstream:
        async with running(upstream.url, tmp_path, upstream={"timeout": "1s"}, **sections) as proxy:
            await proxy.users(*KNOWN)
            proxy.clock.tick(61)
            hung = True
            async with proxy.client() as client:
                for _ in range(3):
                    started = time.perf_counter()
                    response = await client.users("known-1", "known-2")
                    assert time.perf_counter() - started < 0.9
                    assert response.field("cache-status").startswith("handshake-proxy; hit; ttl=-")
                started = time.perf_counter()
                assert (await client.users("known-1", "unknown")).status == 503
                assert time.perf_counter() - started < 1.9
