"""The upstream answers with 1 GiB: nobody holds it. A fill stops at `limits.cached_response`, and it is streamed on."""

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.faults.asking import answered, heals, warm
from tests.faults.sick import SickUpstream
from tests.faults.watch import BULK, USER, watched
from tests.integration.harness import Client, Seen

MIB = 2**20
GIB = 1024 * MIB
PART = bytes(range(256)) * 4096
ROOM = 64 * MIB
"""What this process may grow by, with the test's own buffers of some MiB on both sides of the proxy."""
TARGETS = {
    "bulk": f'POST {BULK} HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n{{"userIds":["{USER}"]}}',
    "single": f"GET /users/{USER} HTTP/1.1\r\nHost: a\r\n\r\n",
    "pass": "GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n",
}
BODY = len(f'{{"userIds":["{USER}"]}}')


async def large(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIB)
    for _ in range(GIB // MIB):
        writer.write(PART)
        await writer.drain()


async def read(client: Client, size: int) -> int:
    """Read a body of so many bytes, and compare it; returns the most memory that the process had meanwhile."""
    process = psutil.Process()
    most = 0
    for number in range(size // MIB):
        async with asyncio.timeout(30):
            assert await client.reader.readexactly(MIB) == PART
        if number % 8 == 0:
            most = max(most, process.memory_info().rss)
    return most


@pytest.mark.slow
@pytest.mark.timeout(240)  # a GiB in one process that plays all three parts, on a machine that may be busy
@pytest.mark.parametrize("face", TARGETS)
async def test_a_gibibyte(face: str, tmp_path: Path) -> None:
    limits = {"cached_response": "4MiB"}
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path, limits=limits) as seen:
        await warm(seen)
        upstream.illness = large
        calls = len(upstream.upstream.seen)
        async with seen.proxy.client() as client:
            before = psutil.Process().memory_info().rss
            request = TARGETS[face]
            await client.send((request % BODY if "%d" in request else request).encode())
            head = await client.receive(head_only=True)
            # One face has it all; for the others the part that differs, the begin, is enough.
            most = await read(client, GIB if face == "pass" else 64 * MIB)
        assert (head.status, head.field("content-length")) == (200, str(GIB))
        assert most - before < ROOM
        asked_twice = face != "pass"
        assert head.field("cache-status") == (
            "handshake-proxy; fwd=bypass; detail=uncacheable" if asked_twice else ""
        )
        assert len(upstream.upstream.seen) == calls + 1 + asked_twice
        assert seen.errors() == ({"too_large": 1} if asked_twice else {})
        assert seen.logged("upstream_failed", reason="too_large") == asked_twice
        # What is held is no answer now: the upstream is well, and has a newer one, which is streamed.
        upstream.illness = None
        await heals(seen, face)
        await seen.settled()
        seen.says_nothing()


async def test_a_login_needs_an_entity_that_fits(tmp_path: Path) -> None:
    """There is nobody to stream it to."""
    limits = {"cached_response": "4MiB"}
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path, limits=limits) as seen:
        await warm(seen)
        upstream.illness = large
        before = psutil.Process().memory_info().rss
        answer = await answered(seen, "login")
        assert psutil.Process().memory_info().rss - before < ROOM
        assert (answer.status, answer.field("content-type")) == (503, "application/problem+json")
        seen.says_nothing(answer)
        assert seen.errors() == {"too_large": 1}
        upstream.illness = None
        await heals(seen, "login")
        await seen.settled()
