"""Heads, bodies and framing of a server on loopback: what aiohttp could change, and what is ours."""

import asyncio

import pytest

from proxy import server
from proxy.core import problem
from proxy.messages import Answer, BadBodyError, ClientDisconnected, Reply, Request
from tests.unit.served import (
    GET,
    HEADER_BYTES,
    LARGE_HEAD,
    changed,
    echo,
    is_problem,
    serving,
    unread,
)


@pytest.mark.parametrize(
    "data",
    [
        b"SECRET\r\n\r\n",
        b"SECRET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /SECRET HTTP/9.9\r\n\r\n",
        b"GET /SECRET HTTP/1.1\r\n\r\n",
        b"get /SECRET HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET SECRET HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nSECRET\r\n\r\n",
        b"GET / HTTP/1.1\r\nSEC RET: SECRET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: SECRET\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: SECRET\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nSECRET",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nSECRET",
        b"\x16\x03\x01SECRET\r\n\r\n",
    ],
)
async def test_a_parse_error_is_a_problem_that_quotes_nothing(
    data: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """RFC 9112 sections 3, 5 and 6.3; RFC 9457."""
    caplog.set_level(0)
    async with serving(echo) as served:
        client = await served.connect()
        response = await client.request(data)
        rest = await client.end()
        assert is_problem(response, problem.BAD_REQUEST)
        assert b"SECRET" not in response.head + response.body + rest
        assert served.errors == [(400, None)]
    assert "SECRET" not in caplog.text
    assert "SECRET" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"x" * HEADER_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * HEADER_BYTES + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x" * HEADER_BYTES + b": 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (HEADER_BYTES // 2) + b"\r\nY: " + b"y" * HEADER_BYTES,
    ],
)
async def test_a_line_that_is_too_long_is_refused(data: bytes) -> None:
    """RFC 6585 section 5."""
    async with serving(echo) as served:
        client = await served.connect()
        response = await client.request(data)
        assert is_problem(response, problem.HEADERS_TOO_LARGE)
        assert await client.end() == b""
        assert served.errors == [(431, None)]


async def test_too_many_fields_are_refused() -> None:
    """RFC 6585 section 5."""
    async with serving(echo, header_bytes=65536) as served:
        fields = b"".join(b"X-%d: 1\r\n" % number for number in range(server._MAX_FIELDS + 1))
        response = await served.request(b"GET / HTTP/1.1\r\n" + fields + b"\r\n")
        assert is_problem(response, problem.HEADERS_TOO_LARGE), changed(
            "'Too many headers received'", "Connection.handle_error, which knows the error by this message"
        )
        assert served.errors == [(431, None)]


async def test_as_many_fields_as_are_allowed_are_taken() -> None:
    async with serving(echo, header_bytes=65536) as served:
        fields = b"".join(b"X-%d: 1\r\n" % number for number in range(server._MAX_FIELDS - 2))
        assert (await served.request(GET[:-2] + fields + b"\r\n")).status == 200


async def test_a_head_whose_lines_are_too_much_together_is_refused() -> None:
    """RFC 6585 section 5."""
    async with serving(echo) as served:
        client = await served.connect()
        assert is_problem(await client.request(LARGE_HEAD + b"\r\n"), problem.HEADERS_TOO_LARGE)
        assert await client.end() == b""
        assert served.errors == [(431, None)]


async def test_a_head_that_does_not_end_is_refused() -> None:
    """RFC 6585 section 5."""
    async with serving(echo) as served:
        client = await served.connect()
        assert is_problem(await client.request(LARGE_HEAD), problem.HEADERS_TOO_LARGE)
        assert await client.end() == b""
        assert served.errors == [(431, None)]


async def test_a_request_is_given_as_it_stood_on_the_wire() -> None:
    """RFC 9110 section 5.3; RFC 9112 section 3.2."""
    seen: list[Request] = []

    async def handler(request: Request) -> Answer:
        seen.append(request)
        return Reply(204, [])

    fields = [(b"x-B", b"2"), (b"HOST", b"a"), (b"X-b", b"caf\xe9"), (b"x-B", b"1"), (b"X", b"")]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    async with serving(handler) as served:
        await served.request(b"PATCH //a/../b%2f%zz?q=// HTTP/1.1\r\n" + lines + b"\r\n")
    assert list(seen[0].fields) == fields, changed(
        "RawRequestMessage.raw_headers", "proxy.messages.Request.fields"
    )
    assert (seen[0].method, seen[0].version) == ("PATCH", (1, 1))
    assert seen[0].target == b"//a/../b%2f%zz?q=//", changed(
        "RawRequestMessage.path", "proxy.messages.Request.target"
    )


async def test_an_answer_is_written_as_it_is() -> None:
    """RFC 9110 section 5.3."""

    async def handler(_request: Request) -> Answer:
        return Reply(299, [(b"x-B", b"caf\xe9"), (b"X-a", b""), (b"x-B", b"1")], b"ok", reason=b"Any How")

    async with serving(handler) as served:
        response = await served.request(GET)
        assert response.head == (
            b"HTTP/1.1 299 Any How\r\nx-B: caf\xe9\r\nX-a: \r\nx-B: 1\r\nContent-Length: 2\r\n"
        ), changed("the way a response is written", "Reply.prepare: something has added or changed a field")


async def test_a_coded_body_is_not_decoded() -> None:
    """RFC 9110 section 8.4: codings are end-to-end."""
    async with serving(echo) as served:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"
        assert (await served.request(head + b"abc")).body == b"POST abc"


async def test_a_connection_is_kept_for_further_requests() -> None:
    """RFC 9112 section 9.3."""
    async with serving(echo) as served:
        client = await served.connect()
        for body in (b"", b"one", b"", b"two"):
            head = b"POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (body, len(body))
            response = await client.request(head + body)
            assert (response.status, response.body) == (200, b"POST " + body)
            assert b"Connection" not in response.fields
        assert len(served.server.connections) == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    """RFC 9112 section 9.3.2."""
    async with serving(echo) as served:
        client = await served.connect()
        await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(100)))
        assert [(await client.receive()).fields[b"X-Target"] for _ in range(100)] == [
            b"/%d" % n for n in range(100)
        ]


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"]
)
async def test_a_connection_is_closed_when_the_client_wants_no_more(data: bytes) -> None:
    """RFC 9112 section 9.6."""
    async with serving(echo) as served:
        client = await served.connect()
        assert (await client.request(data + GET)).fields[b"Connection"] == b"close"
        assert await client.end() == b""


async def test_a_client_of_http_1_0_can_keep_its_connection() -> None:
    """RFC 9112 appendix C.2.2."""
    async with serving(echo) as served:
        client = await served.connect()
        for _ in range(2):
            response = await client.request(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert response.fields[b"Connection"] == b"keep-alive"
            assert response.body == b"GET "


async def test_a_head_is_told_the_length_and_given_no_body() -> None:
    """RFC 9110 section 9.3.2."""
    async with serving(unread) as served:
        client = await served.connect()
        await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        assert (await client.head()).fields == {b"Content-Length": b"6"}
        assert (await client.receive()).body == b"unread"


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_gets_none(status: int) -> None:
    """RFC 9110 section 8.6; RFC 9112 section 6.3."""

    async def handler(_request: Request) -> Answer:
        return Reply(status, [], b"never sent")

    async with serving(handler) as served:
        client = await served.connect()
        for _ in range(2):
            response = await client.request(GET)
            assert (response.status, response.fields) == (status, {})


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"


@pytest.mark.parametrize("trailers", [b"", b"X-Leak: 1\r\n", b"X-Leak: 1\r\nX-More: 2\r\n"])
async def test_after_a_chunked_request_the_connection_is_closed_and_nothing_behind_is_answered(
    trailers: bytes,
) -> None:
    """RFC 9112 sections 7.1.2 and 9.6. aiohttp would show the last trailer as a field of the next request."""
    seen: list[Request] = []

    async def handler(request: Request) -> Answer:
        seen.append(request)
        return await echo(request)

    async with serving(handler) as served:
        client = await served.connect()
        response = await client.request(CHUNKED + trailers + b"\r\n" + GET)
        assert (response.fields[b"Connection"], response.body) == (b"close", b"POST abc")
        assert await client.end() == b""
    assert len(seen) == 1
    assert b"X-Leak" not in dict(seen[0].fields), changed("the parser", "Request.fields: it shows a trailer")


async def test_a_chunked_body_that_breaks_its_framing_is_said_to_be_bad() -> None:
    """RFC 9112 section 7.1."""
    raised: list[BaseException] = []

    begun = asyncio.Event()

    async def handler(request: Request) -> Answer:
        begun.set()
        try:
            return await echo(request)
        except (BadBodyError, ClientDisconnected) as error:
            raised.append(error)
            return Reply.of_problem(problem.BAD_REQUEST, close=True)

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await begun.wait()
        await client.send(b"SECRET\r\n")
        assert is_problem(await client.receive(), problem.BAD_REQUEST)
        assert b"SECRET" not in await client.end()
    assert [type(error) for error in raised] == [BadBodyError], changed(
        "a body's framing error", "Request.body and Connection.data_received"
    )


EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"


async def test_an_expectation_is_met_when_the_body_is_read() -> None:
    """RFC 9110 section 10.1.1."""
    gate = asyncio.Event()

    async def handler(request: Request) -> Answer:
        await gate.wait()
        return await echo(request)

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(EXPECTING)
        gate.set()
        interim = await client.head()
        assert (interim.status, interim.fields) == (100, {})
        response = await client.request(b"abc")
        assert (response.status, response.body) == (200, b"POST abc")
        assert b"Connection" not in response.fields
        assert (await client.request(GET)).status == 200


@pytest.mark.parametrize("name", [b"Expect: 100-Continue", b"EXPECT: 100-continue"])
async def test_an_expectation_is_not_met_when_the_body_is_not_read(name: bytes) -> None:
    """RFC 9110 section 10.1.1: a final status instead; whether the body follows is then unknown, so we close."""
    async with serving(unread) as served:
        client = await served.connect()
        response = await client.request(EXPECTING.replace(b"Expect: 100-continue", name))
        assert (response.status, response.fields[b"Connection"]) == (200, b"close")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
async def test_an_expectation_without_a_body_or_of_http_1_0_is_ignored(data: bytes) -> None:
    """RFC 9110 section 10.1.1."""
    async with serving(echo) as served:
        assert (await served.request(data)).status == 200
