"""What is all here goes on in one write, head and body; what is not is streamed. The bytes are the same."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.harness import ScriptedUpstream, Seen, running

LARGE = 40_000
"""More than goes with a head."""


async def answer(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The body that was sent."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(seen.body), seen.body))


@pytest.mark.parametrize("size", [1, 100, 16 * 1024, 16 * 1024 + 1, LARGE])
@pytest.mark.parametrize("late", [0, 1])
async def test_a_body_goes_both_ways_whole(size: int, late: int, tmp_path: Path) -> None:
    """`late`: so many of its bytes come in a packet of their own."""
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    async with ScriptedUpstream(answer) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            request = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + body
            for _ in range(2):  # the second over the kept connections
                await client.send(request[: len(request) - late])
                if late:
                    await client.send(request[-late:])
                response = await client.receive()
                assert (response.status, response.body) == (200, body)
        assert [seen.body for seen in upstream.seen] == [body, body]


@pytest.mark.parametrize("size", [1, 16 * 1024 + 1])
async def test_a_chunked_answer_that_is_all_here_ends_with_its_last_chunk(size: int, tmp_path: Path) -> None:
    async def chunked(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size))

    async with ScriptedUpstream(chunked) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            for _ in range(2):
                response = await client.request(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (response.status, response.body) == (200, b"x" * size)


async def test_a_chunked_answer_without_a_byte_is_one_chunk(tmp_path: Path) -> None:
    """An empty chunk in its place would be the end, and what follows it another answer."""

    async def empty(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    async with ScriptedUpstream(empty) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            client.writer.write_eof()
            assert (await client.ended()).partition(b"\r\n\r\n")[2] == b"0\r\n\r\n"
