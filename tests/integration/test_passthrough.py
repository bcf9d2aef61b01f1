"""What no resource claims goes through unchanged (RFC 9110 section 7.6, RFC 9112)."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.harness import Client, Proxy, ScriptedUpstream, Seen, running

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def answer_ok(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


async def pass_through(request: bytes, answer: bytes, directory: Path) -> tuple[Seen, bytes]:
    """Send one request through; what the upstream saw, and every byte that came back until the close."""

    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    async with ScriptedUpstream(script) as upstream, running(upstream.url, directory) as proxy:
        async with proxy.client() as client:
            await client.send(request)
            client.writer.write_eof()
            return upstream.seen[0] if upstream.seen else Seen(b""), await client.ended()


async def websocket(proxy: Proxy, client: Client) -> None:
    response = await client.request(
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        head_only=True,
    )
    assert response.status == 101
    assert (response.field("upgrade"), response.field("connection")) == ("websocket", "Upgrade")
    assert response.field("sec-websocket-accept") == "eA"


async def echo_socket(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    fields = {name.lower(): value for name, value in seen.fields}
    assert (fields[b"upgrade"], fields[b"connection"]) == (b"websocket", b"Upgrade")
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: eA\r\n\r\nhello"
    )
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def test_both_heads_keep_order_case_and_bytes(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 299 Odd But True\r\nx-B: 1\r\nX-a: \xff\xfe\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
            b"Connection: x-hop\r\nX-Hop: gone\r\nContent-Length: 2\r\n\r\nok"
        )

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            response = await client.request(
                b"GET /a?b=%zz&c HTTP/1.1\r\nx-Z: 1\r\nhOsT: app\r\nX-bytes: \xe9\xff\r\nx-z: 2\r\n"
                b"Keep-Alive: 5\r\nConnection: x-mine, keep-alive\r\nX-Mine: no\r\nAccept-ENCODING: gzip\r\n\r\n"
            )
        via = [value for name, value in upstream.seen[0].fields if name == b"Via"]
        assert upstream.seen[0].line == b"GET /a?b=%zz&c HTTP/1.1"
        assert upstream.seen[0].fields == [
            (b"x-Z", b"1"),
            (b"hOsT", upstream.url.removeprefix("http://").encode()),
            (b"X-bytes", b"\xe9\xff"),
            (b"x-z", b"2"),
            (b"Accept-ENCODING", b"gzip"),
            (b"Via", via[0]),
        ]
        assert via[0].startswith(b"1.1 handshake-proxy-")
    assert response.head.startswith(b"HTTP/1.1 299 Odd But True\r\n")
    assert response.fields == [
        (b"x-B", b"1"),
        (b"X-a", b"\xff\xfe"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"Content-Length", b"2"),
        (b"Via", via[0]),
    ]
    assert response.body == b"ok"


@pytest.mark.parametrize(
    "target",
    [b"/a?", b"/", b"//x/../y", b"/%zz%41", b"/a?b#c", b"http://elsewhere:1/p?q", b"/a;b=1/%2F"],
)
async def test_the_target_is_passed_on_as_it_was_spelled(target: bytes, tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            assert (await client.request(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        assert upstream.seen[0].line == b"GET " + target + b" HTTP/1.1"


@pytest.mark.parametrize(
    "method", ["GET", "DELETE", "PATCH", "PROPFIND", "MKCOL", "M-SEARCH", "TRACE", "QUERY"]
)
async def test_any_method_that_the_parser_knows_goes_through(method: str, tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            assert (await client.request(f"{method} /x HTTP/1.1\r\nHost: a\r\n\r\n".encode())).status == 200
        assert upstream.seen[0].line == f"{method} /x HTTP/1.1".encode()


async def test_options_asterisk_goes_through(tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.request(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        assert upstream.seen[0].line == b"OPTIONS * HTTP/1.1"


async def test_connect_is_refused(tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            response = await client.request(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
        assert (response.status, response.json()["status"]) == (405, 405)
        assert not upstream.seen


async def test_a_loop_is_answered_508(tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        await proxy.get("/x")
        via = dict(upstream.seen[0].fields)[b"Via"].decode()
        response = await proxy.get("/x", f"Via: 1.0 fred, {via}")
        assert response.status == 508
        assert response.field("content-type") == "application/problem+json"
        assert (await proxy.get("/x", "Via: 1.1 somebody-else")).status == 200


async def test_chunked_bodies_go_both_ways_and_the_connection_ends(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n3\r\nabc\r\n0\r\nx: 1\r\n\r\n"
        )

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            response = await client.request(
                b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"2;ext=1\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: leak\r\n\r\n"
                b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            assert response.body == b"abc"
            assert response.field("connection") == "close"
            assert await client.ended() == b""
        assert upstream.seen[0].body == b"hello"
        assert len(upstream.seen) == 1


async def test_an_answer_that_ends_with_the_connection(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\nX: 1\r\n\r\nuntil the end")
        await writer.drain()
        writer.close()

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            response = await client.get("/x")
            assert response.body == b"until the end"
            assert response.field("transfer-encoding") == "chunked"
            assert response.field("via").startswith("1.0 handshake-proxy-")
            response = await client.request(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (response.body, response.field("connection")) == (b"until the end", "close")


async def test_head_has_its_length_and_no_body(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            for _ in range(2):
                response = await client.request(b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", head_only=True)
                assert response.field("content-length") == "1000"
        # Should the 1000 bytes come after all, nobody takes them for an answer: tests/hostile/test_answers.py.
        assert upstream.connections == 2


async def test_a_not_modified_answer_keeps_the_connection(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n')

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            assert [(await client.get("/x")).status for _ in range(2)] == [304, 304]


async def test_expect_is_answered_when_the_body_is_read(tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.send(
                b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
            )
            assert (await client.receive()).status == 100
            assert (await client.request(b"body")).status == 200
        assert upstream.seen[0].body == b"body"
        assert b"expect" not in {name.lower() for name, _ in upstream.seen[0].fields}


async def test_interim_responses_are_dropped(tmp_path: Path) -> None:
    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK)

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        assert (await proxy.get("/x")).status == 200


async def test_a_websocket_is_a_tunnel(tmp_path: Path) -> None:
    async with ScriptedUpstream(echo_socket) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            await websocket(proxy, client)
            assert await client.reader.readexactly(5) == b"hello"
            payload = bytes(range(256)) * 4096
            send = asyncio.create_task(client.send(payload))
            assert await client.reader.readexactly(len(payload)) == payload
            await send
        await asyncio.wait_for(upstream.closed.wait(), 5)


async def test_a_declined_websocket_is_an_ordinary_answer(tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            response = await client.get("/ws", "Connection: Upgrade", "Upgrade: websocket")
            assert (response.status, response.body, response.field("connection")) == (200, b"ok", "close")


async def test_h2c_is_not_switched_to(tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            response = await client.get(
                "/x", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x"
            )
            assert (response.status, response.field("connection")) == (200, "close")
        names = {name.lower() for name, _ in upstream.seen[0].fields}
        assert not names & {b"upgrade", b"http2-settings", b"connection"}


async def test_a_body_on_get_goes_through(tmp_path: Path) -> None:
    async with ScriptedUpstream(answer_ok) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            assert (
                await client.request(b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
            ).status == 200
        assert upstream.seen[0].body == b"abc"


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async def script(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + seen.line.split()[1][:2])

    async with ScriptedUpstream(script) as upstream, running(upstream.url, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.send(
                b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(5))
            )
            assert [(await client.receive()).body for _ in range(5)] == [
                b"/%d" % number for number in range(5)
            ]
