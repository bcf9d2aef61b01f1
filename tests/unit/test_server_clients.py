"""What the server owes to slow, early and late clients: bounds, order, and an end."""

import asyncio
import socket

import pytest

from proxy.core import problem
from proxy.core.budget import Budget
from proxy.messages import Answer, Handler, Reply, Request, Streamed, render_head
from proxy.presence import Presence
from proxy.server import Connection
from tests.unit.served import (
    GET,
    HEADER_BYTES,
    LARGE_HEAD,
    PATIENCE,
    SOON,
    Client,
    Gate,
    Served,
    echo,
    is_problem,
    serving,
)


async def test_a_body_that_comes_after_its_head_is_not_taken_for_a_head() -> None:
    begun = asyncio.Event()

    async def handler(request: Request) -> Answer:
        begun.set()
        return await echo(request)

    async with serving(handler) as served:
        client = await served.connect()
        size = HEADER_BYTES + 1
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        await begun.wait()
        assert (await client.request(b"x" * size)).status == 200


async def test_the_time_of_a_head_does_not_run_on_after_a_body() -> None:
    begun = asyncio.Event()
    gate = Gate()

    async def handler(request: Request) -> Answer:
        begun.set()
        await request.read_at_most(9)
        return await gate(request)

    async with serving(handler, header_timeout=SOON) as served:
        client, other = await served.connect(), await served.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
        await begun.wait()
        await client.send(b"abc")
        await gate.begun.wait()
        await other.send(b"GET")
        assert await other.end() == b""  # by now the time of a head is over
        gate.opened.set()
        assert (await client.receive()).status == 200


async def test_a_refused_head_is_answered_behind_the_requests_before_it() -> None:
    """RFC 9112 section 9.3.2."""
    gate = Gate()
    async with serving(gate) as served:
        client = await served.connect()
        await client.send(GET)
        await gate.begun.wait()
        await client.send(LARGE_HEAD)
        refused, other = client, await served.connect()
        await other.send(LARGE_HEAD)
        assert is_problem(await other.receive(), problem.HEADERS_TOO_LARGE)
        gate.opened.set()
        assert (await refused.receive()).status == 200


def streaming(gate: asyncio.Event) -> Handler:
    """An answer that begins at once, with the promise to keep the connection, and ends when it is let."""

    async def handler(request: Request) -> Answer:
        kept = request.keep_alive
        head = render_head(request, 200, b"OK", [(b"Content-Length", b"3")], keep_alive=kept)
        await request.writer.write(head)
        await gate.wait()
        await request.writer.write(b"abc")
        return Streamed(200, keep_alive=kept)

    return handler


async def half_closed(served: Served) -> tuple[Client, Connection]:
    """A client that has seen its answer begin, and sends no more."""
    client = await served.connect()
    await client.send(GET)
    assert b"Connection" not in (await client.head()).fields
    client.writer.write_eof()
    (connection,) = served.server.connections
    assert isinstance(connection, Connection)
    async with asyncio.timeout(PATIENCE):
        while connection._presence is None:
            await asyncio.sleep(0)
    return client, connection


async def test_a_connection_on_which_no_more_is_sent_is_closed_behind_its_answer() -> None:
    gate = asyncio.Event()
    async with serving(streaming(gate), idle_timeout=60) as served:
        client, connection = await half_closed(served)
        assert connection._presence is not None
        connection._presence.stop()  # it would see to it a little later
        gate.set()
        assert await client.end() == b"abc"


async def test_an_answer_that_brings_nothing_more_to_who_sends_no_more_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """He may have left: nothing can ask him within an answer."""
    monkeypatch.setattr("proxy.presence._STILL", SOON)
    async with serving(streaming(asyncio.Event()), idle_timeout=60) as served:
        client, _ = await half_closed(served)
        assert await client.end() == b""
        await served.server._all_closed.wait()


async def test_who_sends_no_more_once_his_answer_has_ended_is_closed() -> None:
    """Behind the answer, and before the connection waits for a request again."""
    async with serving(echo, idle_timeout=60) as served:
        client = await served.connect()
        await client.request(GET)
        (connection,) = served.server.connections
        assert isinstance(connection, Connection)
        transport = connection._real_transport
        assert transport is not None
        Presence(transport, lambda: None, lambda: connection._is_waiting)
        assert await client.end() == b""


async def test_an_answer_whose_head_can_not_be_rendered_gives_back_what_it_holds() -> None:
    budget = Budget(2**20)

    async def handler(_request: Request) -> Answer:
        reply = Reply(200, [(b"X", b"a\r\nb")], b"x" * 500_000)
        reply.held = budget.share()
        assert reply.held.take(500_000)
        return reply

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(GET)
        assert await client.end() == b""
        assert budget.used == 0


async def test_a_drain_closes_a_connection_when_its_streamed_answer_ends() -> None:
    gate = asyncio.Event()
    async with serving(streaming(gate), idle_timeout=60) as served:
        client = await served.connect()
        await client.send(GET)
        await client.head()
        draining = asyncio.create_task(served.server.drain(60))
        await asyncio.sleep(0)
        gate.set()
        assert await client.end() == b"abc"
        async with asyncio.timeout(PATIENCE):
            await draining


async def stalled(client: socket.socket, served: Served) -> Connection:
    """A connection whose client has asked for much and reads nothing, once its answers wait for it."""
    loop = asyncio.get_running_loop()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await loop.sock_connect(client, served.address)
    await loop.sock_sendall(client, GET * 300)
    async with asyncio.timeout(PATIENCE):
        while not any(connection.writing_paused for connection in served.server.connections):
            await asyncio.sleep(0)
    (connection,) = served.server.connections
    assert isinstance(connection, Connection)
    return connection


async def large(_request: Request) -> Answer:
    return Reply(200, [], b"x" * 30_000)


async def test_a_drain_ends_although_a_client_reads_nothing() -> None:
    async with serving(large) as served:
        with socket.socket() as client:
            await stalled(client, served)
            async with asyncio.timeout(PATIENCE):
                await served.server.drain(SOON)


async def test_what_a_client_does_not_read_is_bounded() -> None:
    async with serving(large, idle_timeout=60) as served:
        with socket.socket() as client:
            connection = await stalled(client, served)
            for _ in range(1000):
                await asyncio.sleep(0)
            assert connection.transport is not None
            assert connection.transport.get_write_buffer_size() < 2**18
            await served.server.drain(0)


async def test_a_client_that_does_not_read_is_cut_after_idle_timeout() -> None:
    async with serving(large, idle_timeout=SOON) as served:
        with socket.socket() as client:
            await stalled(client, served)
            async with asyncio.timeout(PATIENCE):
                await served.server._all_closed.wait()
