"""What goes wrong on either side of the pass-through: never a wrong answer, never a connection that lies."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.harness import ScriptedUpstream, Seen, running
from tests.integration.test_passthrough import OK, answer_ok


async def test_an_early_refusal_of_an_upload_reaches_the_client(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")

    async with (
        ScriptedUpstream(script, read_body=False) as upstream,
        running(upstream.url, tmp_path) as proxy,
    ):
        async with proxy.client() as client:
            response = await client.request(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\npart")
            assert (response.status, response.body) == (413, b"big")


async def test_an_upstream_that_refuses_is_502(tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream:
        url = upstream.url
    async with running(url, tmp_path) as proxy:
        response = await proxy.get("/secret-path")
        assert (response.status, response.field("content-type")) == (502, "application/problem+json")
        assert b"secret" not in response.body
        assert proxy.metric("upstream_errors_total", reason="connect") == 1


async def test_an_upstream_that_hangs_is_504(tmp_path: Path) -> None:
    async def script(_seen: Seen, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with ScriptedUpstream(script) as upstream:
        async with running(upstream.url, tmp_path, upstream={"timeout": "50ms"}) as proxy:
            assert (await proxy.get("/x")).status == 504
            assert proxy.metric("upstream_errors_total", reason="timeout") == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf",
    ],
)
async def test_half_an_answer_never_looks_whole(answer: bytes, tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
                await client.receive()


@pytest.mark.parametrize("answer", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: a\r\n\x00: b\r\n\r\n"])
async def test_an_upstream_that_does_not_speak_http_is_502(answer: bytes, tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        assert (await proxy.get("/x")).status == 502


async def test_a_client_that_leaves_frees_the_upstream(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def script(_seen: Seen, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            await arrived.wait()
        await asyncio.wait_for(upstream.closed.wait(), 3)
        assert proxy.metric("upstream_errors_total") == 0


async def test_a_client_that_leaves_in_its_upload_never_completes_it(tmp_path: Path) -> None:
    got: list[bytes] = []
    arrived = asyncio.Event()

    async def script(_seen: Seen, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        arrived.set()
        try:
            while data := await reader.read(100):
                got.append(data)
        finally:
            ended.set()

    ended = asyncio.Event()
    async with (
        ScriptedUpstream(script, read_body=False) as upstream,
        running(upstream.url, tmp_path) as proxy,
    ):
        async with proxy.client() as client:
            await client.send(b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await arrived.wait()
        await asyncio.wait_for(ended.wait(), 3)
        assert b"0\r\n\r\n" not in b"".join(got)


async def test_a_kept_alive_connection_that_the_upstream_closed_is_replaced(tmp_path: Path) -> None:
    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seen.line.startswith(b"GET /close"):  # read, then closed without an answer
            writer.close()
            return
        writer.write(OK)

    async def second(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(upstream.seen) == 2:
            writer.close()
        else:
            await script(seen, reader, writer)

    async with ScriptedUpstream(second) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            assert (await client.get("/a")).status == 200
            assert (await client.get("/b")).status == 200
        assert [seen.line.split()[1] for seen in upstream.seen] == [b"/a", b"/b", b"/b"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /x HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nSecret token\r\n\r\n",
        b"NONSENSE /x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nX: \x00secret\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_400_and_reaches_nobody(request_bytes: bytes, tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            response = await client.request(request_bytes)
            assert (response.status, response.field("connection")) == (400, "close")
            assert response.field("content-type") == "application/problem+json"
            assert b"secret" not in response.head.lower() + response.body.lower()
        assert not upstream.seen


async def test_a_body_that_breaks_its_framing_is_400_and_never_completes(tmp_path: Path) -> None:
    got: list[bytes] = []
    arrived = asyncio.Event()
    ended = asyncio.Event()

    async def script(_seen: Seen, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(100):
                got.append(data)
                arrived.set()
        finally:
            ended.set()

    async with (
        ScriptedUpstream(script, read_body=False) as upstream,
        running(upstream.url, tmp_path) as proxy,
    ):
        async with proxy.client() as client:
            await client.send(b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await arrived.wait()
            response = await client.request(b"zz\r\n")
            assert (response.status, response.field("connection")) == (400, "close")
        await asyncio.wait_for(ended.wait(), 3)
        assert b"0\r\n\r\n" not in b"".join(got)


async def test_many_fields_that_are_large_together_are_431(tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            fields = b"".join(b"X-%d: %b\r\n" % (number, b"v" * 1000) for number in range(100))
            response = await client.request(b"GET /x HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
            assert (response.status, response.field("connection")) == (431, "close")
        assert not upstream.seen


async def test_a_transfer_coding_besides_chunked_is_501(tmp_path: Path) -> None:
    """RFC 9112 section 6.1."""
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            response = await client.request(
                b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
            )
            assert (response.status, response.field("connection")) == (501, "close")
        assert not upstream.seen


@pytest.mark.parametrize("line", [b"GET /x", b"GET /x HTTP/0.9", b"GET /x HTTP/2.0"])
async def test_other_versions_are_refused(line: bytes, tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            assert (await client.request(line + b"\r\nHost: a\r\n\r\n")).status == 400
        assert not upstream.seen


async def test_a_connection_with_half_a_request_is_not_used_again(tmp_path: Path) -> None:
    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = b"413 Too Much" if seen.line.startswith(b"POST") else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

    async with (
        ScriptedUpstream(script, read_body=False) as upstream,
        running(upstream.url, tmp_path) as proxy,
    ):
        async with proxy.client() as client:
            response = await client.request(
                b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\npart"
            )
            assert response.status == 413
        assert (await proxy.get("/victim")).status == 200
        assert upstream.connections == 2
        assert upstream.seen[-1].line == b"GET /victim HTTP/1.1"


async def test_a_101_that_nobody_asked_for_is_502(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        assert (await proxy.get("/x")).status == 502


async def test_a_coded_answer_is_not_stripped_of_its_coding(tmp_path: Path) -> None:
    """RFC 9112 section 6.1."""

    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        assert (await proxy.get("/x")).status == 502


async def test_a_framing_error_is_not_written_into_an_answer(tmp_path: Path) -> None:
    async def script(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nAAAAAAAAAA")
        await writer.drain()
        await reader.read()

    async with (
        ScriptedUpstream(script, read_body=False) as upstream,
        running(upstream.url, tmp_path) as proxy,
    ):
        async with proxy.client() as client:
            await client.send(
                b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
            )
            await client.reader.readuntil(b"AAAAAAAAAA")
            await client.send(b"zz\r\n")
            assert b"400" not in await client.ended()


async def test_an_upstream_that_stops_reading_an_upload_is_504(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await done.wait()

    done = asyncio.Event()
    limits = {"idle_timeout": "100ms"}
    async with ScriptedUpstream(script, read_body=False) as upstream:
        async with running(upstream.url, tmp_path, limits=limits) as proxy:
            async with proxy.client() as client:
                length = 64 * 2**20
                client.writer.write(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length)
                client.writer.write(bytes(length))
                assert (await client.receive()).status == 504
            assert proxy.metric("upstream_errors_total", reason="timeout") == 1
            done.set()
