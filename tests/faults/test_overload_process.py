"""The memory of a real process under more than there is room for."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.e2e.process import PATIENCE, Process, serving
from tests.faults.crowd import crowd, metric
from tests.faults.sick import SickUpstream, says
from tests.faults.watch import BULK

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

MIB = 2**20
BUDGET = 16 * MIB
PER_CONNECTION = 160 * 1024
"""Bytes that a connection may cost whose body nobody reads: buffers of the kernel's bytes, of the parser's, of ours."""
SPARE = 16 * MIB
"""For what is in memory twice for a moment, and for the allocator's holes."""
HEAD = f"POST {BULK} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n".encode()
HANGS = says(b"", then="hang")
SETTINGS = {
    "HANDSHAKE_LIMITS__BUFFERED": str(BUDGET),
    "HANDSHAKE_UPSTREAMS__MAIN__TIMEOUT": "2s",
    "HANDSHAKE_UPSTREAMS__MAIN__MAX_CONNECTIONS": "20",
    "HANDSHAKE_UPSTREAMS__MAIN__MAX_PENDING": "50",
}


async def is_hit(process: Process) -> None:
    answer = await process.users("known")
    assert answer.field("cache-status").startswith("handshake-proxy; hit"), answer.head


async def answers_of(process: Process, code: str) -> float:
    return await metric(process, "requests_total", 'route="user.bulk"', f'code="{code}"')


async def test_many_large_bodies_take_no_more_than_the_budget(tmp_path: Path) -> None:
    """500 bulks of 8 MiB at a time, before an upstream that hangs: 4 GiB, of which 16 MiB may be held."""
    count = 500
    async with SickUpstream() as upstream, serving(upstream.url, tmp_path, **SETTINGS) as process:
        assert (await process.users("known")).status == 200
        upstream.illness = HANGS
        before = process.memory()
        bound = before + BUDGET + SPARE + count * PER_CONNECTION
        with crowd(process) as senders:
            await senders.come(count)
            await senders.say(HEAD + b'Content-Length: 8388608\r\n\r\n{"userIds":["')
            peak = before
            async with asyncio.timeout(4 * PATIENCE):
                while await answers_of(process, "503") < count / 2:
                    await senders.say(b"x" * 65_536)
                    peak = max(peak, process.memory())
                    await is_hit(process)
            assert peak < bound
        upstream.illness = None
        await is_hit(process)
        async with asyncio.timeout(4 * PATIENCE):
            while (await process.users("another")).status != 200:
                await asyncio.sleep(0)


async def test_large_answers_that_nobody_reads_take_no_more_than_the_budget(tmp_path: Path) -> None:
    """200 clients have answers of 4 MiB due, 800 MiB, and read none of it."""
    count = 200
    item = b'{"users":[{"id":"large","x":"%s"}],"count":1}' % (b"y" * 4 * MIB)
    async with SickUpstream() as upstream, serving(upstream.url, tmp_path, **SETTINGS) as process:
        assert (await process.users("known")).status == 200
        upstream.illness = says(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(item) + item, then="go on"
        )
        assert (await process.users("large")).status == 200
        before = process.memory()
        body = json.dumps({"userIds": ["large"]}).encode()
        with crowd(process) as idlers:
            await idlers.come(count)
            await idlers.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            async with asyncio.timeout(4 * PATIENCE):
                while await answers_of(process, "503") + await answers_of(process, "200") < count:
                    await is_hit(process)
            assert await answers_of(process, "503") >= count - 10
            assert process.memory() < before + 2 * BUDGET + SPARE
            await is_hit(process)
        async with asyncio.timeout(4 * PATIENCE):
            while (await process.users("large")).status != 200:
                await asyncio.sleep(0)


async def test_a_flood_of_misses_before_an_upstream_that_hangs_is_refused_and_hits_go_on(
    tmp_path: Path,
) -> None:
    count = 1000
    async with SickUpstream() as upstream, serving(upstream.url, tmp_path, **SETTINGS) as process:
        assert (await process.users("known")).status == 200
        upstream.illness = HANGS
        before = process.memory()
        with crowd(process) as flood:
            await flood.come(count)
            for number, each in enumerate(flood.sockets):
                each.sendall(b"GET /elsewhere?%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            refused = 0
            async with process.client() as client:
                async with asyncio.timeout(4 * PATIENCE):
                    while refused < count - 70:
                        answer = await client.users("known")
                        assert answer.field("cache-status").startswith("handshake-proxy; hit")
                        refused = int(
                            await metric(process, "requests_total", 'route="passthrough"', 'code="503"')
                        )
            said = [each for each in await flood.heard() if each]
            assert all(each.startswith((b"HTTP/1.1 503", b"HTTP/1.1 504")) for each in said)
            assert all(b"Retry-After: 1\r\n" in each for each in said if b" 503 " in each[:16])
            assert process.memory() < before + count * 64 * 1024
            # 50 wait for a connection, for half of the time, and 20 have one, and the whole of it.
            timed_out = 0.0
            async with asyncio.timeout(4 * PATIENCE):
                while timed_out < 20:
                    timed_out = await metric(process, "requests_total", 'route="passthrough"', 'code="504"')
            assert timed_out == 20
            refused = int(await metric(process, "requests_total", 'route="passthrough"', 'code="503"'))
            assert refused == count - 20
            assert await metric(process, "upstream_errors_total", 'reason="overloaded"') == refused
        upstream.illness = None
        async with process.client() as client:
            assert (await client.get("/elsewhere")).status == 200
