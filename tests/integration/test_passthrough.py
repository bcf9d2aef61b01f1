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
        assert upstream.connections == 1


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
