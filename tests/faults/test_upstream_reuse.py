"""A kept-alive connection is no good any more: what may be repeated is, once; what may not is not sent twice."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.asking import FACES, answered, heals, warm
from tests.faults.sick import SickUpstream, well
from tests.faults.watch import USER, Watched, until, watched
from tests.integration.harness import Seen

UPLOADS = f"/elsewhere?{USER}".encode()
SETTINGS = {"retries": 0, "timeout": "30s"}


def closes_reused(upstream: SickUpstream) -> None:
    """Each connection serves what it has served until now, then closes at the next request, without an answer."""
    used: set[asyncio.StreamWriter] = set(upstream.upstream._writers)

    async def script(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer in used:
            writer.close()
            return
        used.add(writer)
        await well(seen, reader, writer)

    upstream.illness = script


def pooled(seen: Watched) -> int:
    """Idle connections to the upstream."""
    (upstream,) = seen.proxy.app._upstreams
    connector = upstream._connector
    assert connector is not None
    return sum(map(len, connector._conns.values()))


@pytest.mark.parametrize("face", FACES)
async def test_closed_as_it_is_used_again(face: str, tmp_path: Path) -> None:
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path, upstream=SETTINGS) as seen:
        await warm(seen)
        assert pooled(seen)
        closes_reused(upstream)
        connections = upstream.upstream.connections
        assert (await answered(seen, face)).status == 200
        assert upstream.upstream.connections == connections + 1
        assert seen.errors() == {}
        assert not seen.logged("upstream_failed")
        upstream.illness = None
        await heals(seen, face)
        await seen.settled()


async def test_an_upload_is_not_sent_twice(tmp_path: Path) -> None:
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path, upstream=SETTINGS) as seen:
        await warm(seen)
        assert pooled(seen)
        closes_reused(upstream)
        answer = await answered(seen, "upload")
        assert (answer.status, answer.field("content-type")) == (502, "application/problem+json")
        assert upstream.calls(UPLOADS) == 1
        assert seen.errors() == {"disconnected": 1}
        assert seen.logged("upstream_failed", reason="disconnected", upstream="main") == 1
        assert seen.logged("request", route="passthrough", code=502) == 1
        seen.says_nothing(answer)
        upstream.illness = None
        assert (await answered(seen, "upload")).status == 200
        assert upstream.calls(UPLOADS) == 2
        await seen.settled()


async def test_bytes_that_nobody_asked_for_are_no_answer(tmp_path: Path) -> None:
    """An upstream that goes on after its answer: that is not kept without a bound, nor taken for anything."""
    stuck = asyncio.Event()
    part = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison" * 1000

    async def script(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await well(seen, reader, writer)
        await writer.drain()
        await until(lambda: pooled(proxy) > 0)  # or they would break the answer that is under way
        upstream.illness = None
        writer.transport.set_write_buffer_limits(0)
        while not writer.is_closing():
            writer.write(part)
            draining = asyncio.ensure_future(writer.drain())
            for _ in range(1000):  # turns of the loop in which the proxy could have read on
                await asyncio.sleep(0)
            if not draining.done():
                stuck.set()
            await draining

    async with SickUpstream() as upstream, watched(upstream.url, tmp_path, upstream=SETTINGS) as proxy:
        upstream.illness = script
        assert (await answered(proxy, "pass")).body == b"ok"
        async with asyncio.timeout(30):
            await stuck.wait()
        (there,) = proxy.proxy.app._upstreams
        assert there._connector is not None
        ((held, _),) = (one for each in there._connector._conns.values() for one in each)
        assert len(held._tail) <= 2**19
        assert not held._buffer
        assert (await answered(proxy, "pass")).body == b"ok"
        assert proxy.errors() == {}
        await proxy.settled()
