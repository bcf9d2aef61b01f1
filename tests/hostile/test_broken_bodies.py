"""A body that breaks its framing ends its exchange at once, whichever byte the break comes with."""

import asyncio
from pathlib import Path

import pytest

from tests.hostile.corpus import chunked
from tests.hostile.recorder import RecordingUpstream
from tests.integration.harness import PATIENCE, ScriptedUpstream, Seen, running

# The end of a chunk wakes whoever reads the body, with nothing to read; and what breaks the body comes with it.
_BEFORE, _BREAK = b"3\r\nabc\r", b"\nzz\r\n\r\n"


async def test_a_request_that_breaks_with_the_end_of_a_chunk_is_400(tmp_path: Path) -> None:
    async with RecordingUpstream() as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.send(chunked(_BEFORE))
            async with asyncio.timeout(PATIENCE):
                while not any(data.endswith(b"abc\r\n") for data in upstream.received.values()):
                    await asyncio.sleep(0)
            response = await client.request(_BREAK)
            assert (response.status, response.field("connection")) == (400, "close")
            assert await client.ended() == b""
    assert not any(b"0\r\n\r\n" in data for data in upstream.received.values())


@pytest.mark.parametrize(("before", "rest"), [(_BEFORE, _BREAK), (_BEFORE + b"\n", b"zz\r\n\r\n")])
async def test_an_answer_that_breaks_is_cut_at_once(before: bytes, rest: bytes, tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def script(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + before)
        await go_on.wait()
        writer.write(rest)
        await reader.read()  # the connection is left open

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.reader.readuntil(b"abc")
            go_on.set()
            assert b"0\r\n\r\n" not in await client.ended()
        assert proxy.metric("upstream_errors_total", reason="body") == 1


async def test_a_fill_that_breaks_is_no_time_out(tmp_path: Path) -> None:
    async def script(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"u\r\n')
        for _ in range(50):  # the proxy reads it, in this same loop
            await asyncio.sleep(0)
        writer.write(b"zz\r\n")
        await reader.read()

    async with ScriptedUpstream(script) as upstream:
        async with running(upstream.url, tmp_path, upstream={"retries": 0, "timeout": "2s"}) as proxy:
            assert (await proxy.users("1")).status == 503
            assert proxy.metric("upstream_errors_total", reason="timeout") == 0
            assert proxy.metric("upstream_errors_total") >= 1
