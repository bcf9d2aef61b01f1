"""Bad input from both sides, many times over: the process neither grows nor keeps anything open."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.process import Process, serving
from tests.integration.harness import ScriptedUpstream, Seen

pytestmark = pytest.mark.e2e
MIB = 2**20
ROUNDS = 40
HEAD = b"POST /main/api/v3/users/bulk HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"

CLIENTS_SAY = [
    HEAD + b"Content-Length: 7\r\n\r\n{broken",
    HEAD + b'Content-Length: 13\r\n\r\n{"userIds":1}',
    HEAD + b'Content-Length: 16\r\n\r\n{"userIds":[""]}',
    HEAD + b'Content-Length: 10015\r\n\r\n{"userIds":["' + b"x" * 10_000 + b'"]}',
    HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    HEAD + b"Content-Length: 100\r\n\r\nthen nothing",
    b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
    b"GET /x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\n",
    b"",
]

UPSTREAM_SAYS = [
    b"<html>",
    b'{"users":[{"id":"1"',
    b'{"users":[{"id":"other"}],"count":1}',
    b'{"users":[{"id":"1"},{"id":"1"}],"count":2}',
    b'{"users":[' + b",".join(b'{"id":"x%d"}' % number for number in range(200)) + b'],"count":200}',
    # Too deep for us, so that the request is passed on and gets the answer after it.
    b'{"users":[' + b"[" * 5000 + b"]" * 5000 + b"]}",
    b'{"users":[],"count":0}',
    None,
]


async def round_of(proxy: Process, number: int) -> None:
    for request in CLIENTS_SAY:
        async with proxy.client() as client:
            await client.send(request)
            client.writer.write_eof()
            await client.ended()
    for place in range(len(UPSTREAM_SAYS)):
        response = await proxy.users(f"{number}-{place}", *(["1"] if place < 2 else []))
        assert response.status in {200, 503}


@pytest.mark.slow
async def test_the_process_does_not_grow(tmp_path: Path) -> None:
    answers: Iterator[bytes | None] = itertools.cycle(UPSTREAM_SAYS)

    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = next(answers) if seen.line.startswith(b"POST") else b"ok"
        if body is None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf a body")
            await writer.drain()
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with ScriptedUpstream(script) as upstream, serving(upstream.url, tmp_path) as proxy:
        for number in range(ROUNDS // 2):
            await round_of(proxy, number)
        memory, descriptors = proxy.memory(), proxy.descriptors()
        for number in range(ROUNDS // 2, ROUNDS):
            await round_of(proxy, number)
        assert proxy.memory() - memory < 2 * MIB
        await proxy.closes_down_to(descriptors + 2)
        # Nothing of it was stored as what was asked for, and the process still works.
        answers = itertools.repeat(b'{"users":[{"id":"good"}],"count":1}')
        assert (await proxy.users("good")).body == json.dumps(
            {"users": [{"id": "good"}], "count": 1}, separators=(",", ":")
        ).encode()
        assert await proxy.terminate() == 0
