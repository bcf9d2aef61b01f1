"""Limits, drains and ends of the connections of a server on loopback."""

import asyncio
import json

import pytest

from proxy.core import problem
from proxy.messages import Answer, ClientDisconnected, Reply, Request, Streamed, render_head
from tests.unit.served import (
    GET,
    PATIENCE,
    SOON,
    Gate,
    changed,
    echo,
    is_problem,
    serving,
    unread,
    unserved,
)


@pytest.mark.parametrize("partial", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: "])
async def test_a_head_that_takes_too_long_ends_the_connection(partial: bytes) -> None:
    async with serving(echo, header_timeout=SOON) as served:
        client = await served.connect()
        await client.send(partial)
        assert await client.end() == b""
        assert served.server.requests_count == 0


async def test_the_head_of_a_later_request_is_bounded_in_time_too() -> None:
    async with serving(echo, header_timeout=SOON) as served:
        client = await served.connect()
        assert (await client.request(GET)).status == 200
        await client.send(b"GET / HT")
        assert await client.end() == b""


async def test_a_head_in_pieces_is_taken() -> None:
    async with serving(echo) as served:
        client = await served.connect()
        for position in range(len(GET)):
            await client.send(GET[position : position + 1])
        assert (await client.receive()).status == 200


@pytest.mark.parametrize("before", [b"", GET])
async def test_an_idle_connection_is_closed(before: bytes) -> None:
    """RFC 9112 section 9.8."""
    async with serving(echo, idle_timeout=SOON) as served:
        client = await served.connect()
        if before:
            assert (await client.request(before)).status == 200
        assert await client.end() == b""


async def test_a_request_in_progress_is_not_idle() -> None:
    gate = Gate()
    async with serving(gate, idle_timeout=SOON) as served:
        client, idle = await served.connect(), await served.connect()
        await client.send(GET)
        assert await idle.end() == b""
        gate.opened.set()
        assert (await client.receive()).status == 200


async def test_a_connection_beyond_the_limit_is_told_to_come_back() -> None:
    """RFC 9110 sections 10.2.3 and 15.6.4."""
    async with serving(echo, connections=1) as served:
        first = await served.connect()
        assert (await first.request(GET)).status == 200
        second = await served.connect()
        response = await second.receive()
        assert (response.status, response.fields[b"Retry-After"]) == (503, b"1")
        assert response.fields[b"Content-Type"] == b"application/problem+json"
        assert response.fields[b"Connection"] == b"close"
        assert json.loads(response.body)["status"] == 503
        assert await second.end() == b""
        assert (await first.request(GET)).status == 200, "the refusal has touched another connection"


async def test_a_connection_that_has_ended_makes_room() -> None:
    async with serving(echo, connections=1) as served:
        for _ in range(3):
            client = await served.connect()
            assert (
                await client.request(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            ).status == 200
            assert await client.end() == b""


async def test_a_drain_closes_idle_connections_and_lets_requests_finish() -> None:
    """RFC 9112 section 9.6."""
    gate = Gate()

    async def handler(request: Request) -> Answer:
        return await (echo if request.method == "HEAD" else gate)(request)

    async with serving(handler) as served:
        idle, busy = await served.connect(), await served.connect()
        await idle.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        await idle.head()
        await busy.send(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
        await gate.begun.wait()
        draining = asyncio.create_task(served.server.drain(PATIENCE))
        assert await idle.end() == b""
        assert not draining.done()
        with pytest.raises(ConnectionRefusedError):
            await served.connect()
        gate.opened.set()
        response = await busy.receive()
        assert (response.status, response.body, response.fields[b"Connection"]) == (200, b"/busy", b"close")
        assert await busy.end() == b""
        async with asyncio.timeout(PATIENCE):
            await draining
        assert not gate.cancelled.is_set()


async def test_a_drain_lets_an_upload_finish() -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> Answer:
        gate.set()
        return await echo(request)

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        await gate.wait()
        draining = asyncio.create_task(served.server.drain(PATIENCE))
        response = await client.request(b"def")
        assert (response.body, response.fields[b"Connection"]) == (b"POST abcdef", b"close")
        await draining


async def test_a_drain_cuts_what_does_not_end() -> None:
    gate = Gate()
    async with serving(gate) as served:
        client = await served.connect()
        await client.send(GET)
        await gate.begun.wait()
        async with asyncio.timeout(PATIENCE):
            await served.server.drain(SOON)
        assert gate.cancelled.is_set()
        assert await client.end() == b""
        assert served.server.connections == []


async def test_a_drain_without_connections_ends_at_once() -> None:
    async with serving(echo) as served:
        async with asyncio.timeout(PATIENCE):
            await served.server.drain(60)
    async with unserved() as listener:
        await listener.drain(60)


async def test_a_client_that_goes_away_is_noticed_once() -> None:
    noticed: list[bool] = []
    gone, begun = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> Answer:
        def notice() -> None:
            noticed.append(request.disconnected)
            gone.set()

        request.on_disconnect(notice)
        begun.set()
        await gone.wait()
        return Reply(200, [])

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(GET)
        await begun.wait()
        client.writer.close()
        async with asyncio.timeout(PATIENCE):
            await gone.wait()
    assert noticed == [True], changed("RequestHandler.connection_lost", "Request._cancel")


async def test_a_client_that_stays_is_not_said_to_have_gone() -> None:
    noticed: list[bool] = []

    async def handler(request: Request) -> Answer:
        request.on_disconnect(lambda: noticed.append(True))
        return Reply(200, [])

    async with serving(handler) as served:
        client = await served.connect()
        await client.request(GET)
        client.writer.close()
        await served.server.drain(PATIENCE)
    assert noticed == [], changed("RequestHandler.finish_response", "Request._finish")


async def test_a_client_that_goes_away_in_its_body_is_noticed_by_the_reader() -> None:
    raised: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    begun = asyncio.Event()

    async def handler(request: Request) -> Answer:
        begun.set()
        try:
            return await echo(request)
        except ClientDisconnected as error:
            raised.set_result(error)
            raise

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        await begun.wait()
        client.writer.close()
        async with asyncio.timeout(PATIENCE):
            assert isinstance(await raised, ClientDisconnected)


async def test_an_error_of_a_handler_is_a_problem_that_quotes_nothing() -> None:
    """RFC 9457."""
    error = RuntimeError("SECRET")

    async def handler(_request: Request) -> Answer:
        raise error

    async with serving(handler) as served:
        client = await served.connect()
        response = await client.request(GET)
        assert is_problem(response, problem.INTERNAL)
        assert await client.end() == b""
        assert served.errors == [(500, error)]


async def test_an_error_in_the_middle_of_an_answer_cuts_it_off() -> None:
    """RFC 9112 section 8: an incomplete message must be seen to be incomplete."""

    async def handler(request: Request) -> Answer:
        head = render_head(request, 200, b"OK", [(b"Content-Length", b"9")], keep_alive=True)
        await request.writer.write(head + b"abc")
        raise RuntimeError

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(GET)
        try:
            received = (await client.head()).head
        except (asyncio.IncompleteReadError, ConnectionResetError):
            received = b""
        received += await client.end()
        assert received.count(b"HTTP/1.1") <= 1
        assert b"500" not in received
        assert [status for status, _ in served.errors] == [500]


async def test_a_handler_can_write_its_answer_by_itself() -> None:
    async def handler(request: Request) -> Answer:
        fields = [(b"Content-Length", b"6")]
        await request.writer.write(render_head(request, 200, b"OK", fields, keep_alive=request.keep_alive))
        for part in (b"abc", b"def"):
            await request.writer.write(part)
        return Streamed(200, keep_alive=request.keep_alive)

    async with serving(handler) as served:
        client = await served.connect()
        assert [(await client.request(GET)).body for _ in range(2)] == [b"abcdef"] * 2


UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"


async def test_a_connection_can_leave_http() -> None:
    """RFC 9110 section 7.8."""

    async def handler(request: Request) -> Answer:
        assert request.upgrade == "websocket"
        stream = request.tunnel().reader
        await request.writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        while data := await stream.readany():
            await request.writer.write(data.upper())
        return Streamed(101, keep_alive=False)

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(UPGRADE + b"early ")
        assert (await client.head()).status == 101
        await client.send(GET.lower())
        async with asyncio.timeout(PATIENCE):
            expected = b"EARLY " + GET.upper()
            assert await client.reader.readexactly(len(expected)) == expected
        client.writer.close()
        await served.server.drain(PATIENCE)


async def test_after_a_declined_upgrade_the_connection_is_closed() -> None:
    """RFC 9110 section 7.8: a server may ignore it."""
    async with serving(unread) as served:
        client = await served.connect()
        response = await client.request(UPGRADE)
        assert (response.status, response.fields[b"Connection"]) == (200, b"close")
        assert await client.end() == b""
