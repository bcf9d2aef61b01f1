"""Limits, drains and ends of connections that the fast lane answers on, and room for what it answers."""

import asyncio
import socket
import struct

import pytest

from proxy.core.budget import FREE
from tests.unit.laned import BULK, A, is_hit, is_slow, pieces, track
from tests.unit.served import PATIENCE


async def test_a_draining_listener_answers_on_the_slow_way_which_says_that_it_closes() -> None:
    async with track() as on:
        await on.known(A, BULK)
        clients = [await on.served.connect() for _ in range(2)]
        for client in clients:
            assert is_hit(await client.request(A))
        before = on.hits
        on.served.server.draining = True
        for client, request in zip(clients, (A, BULK), strict=True):
            answer = await client.request(request)
            assert (is_slow(answer), answer.fields[b"Connection"]) == (True, b"close")
            assert await client.end() == b""
        assert on.hits == before
        on.served.server.draining = False


async def test_a_drain_closes_connections_that_have_had_hits_alone() -> None:
    async with track() as on:
        client = await on.served.connect()
        assert is_hit(await client.request(A))
        async with asyncio.timeout(PATIENCE):
            await on.served.server.drain(PATIENCE)
        assert await client.end() == b""


async def test_a_connection_that_is_refused_is_not_answered() -> None:
    async with track(connections=1) as on:
        first = await on.served.connect()
        for _ in range(4):
            assert is_hit(await first.request(A))
        before = on.hits
        second = await on.served.connect()
        second.writer.write(A)
        assert (await second.receive()).status == 503
        assert await second.end() == b""
        assert on.hits == before
        assert is_hit(await first.request(A))


async def test_a_hit_keeps_its_connection_and_an_idle_one_is_closed() -> None:
    """The time is that of the loop, which asks for it: it is moved by hand."""
    async with track(idle_timeout=PATIENCE) as on:
        await on.known(A)
        client, connection = await on.client()
        loop = asyncio.get_running_loop()
        for request in (A, A[:-2] + b"X-A: 1\r\n\r\n"):
            connection._next_keepalive_close_time = 0.0
            before = loop.time()
            assert is_hit(await client.request(request))
            assert before + PATIENCE <= connection._next_keepalive_close_time <= loop.time() + PATIENCE
        connection._process_keepalive()
        assert connection.transport is not None, "it has been used since"
        connection._next_keepalive_close_time = 0.0
        connection._process_keepalive()
        assert await client.end() == b""


@pytest.mark.parametrize("before", [0, 1, 5])
async def test_a_connection_that_has_had_hits_alone_is_closed_when_it_is_idle(before: int) -> None:
    """RFC 9112 section 9.8."""
    async with track(idle_timeout=0.05) as on:
        client = await on.served.connect()
        for _ in range(before):
            assert is_hit(await client.request(A))
        assert await client.end() == b""


async def test_a_client_that_has_had_hits_alone_leaves_a_listener_that_is_not_quiet_yet() -> None:
    async with track() as on:
        client = await on.served.connect()
        server = on.served.server
        for request in (A, A[:-2] + b"X-A: 1\r\n\r\n"):
            assert is_hit(await client.request(request))
        server.active_at = 0.0
        assert not server.is_quiet(0), "somebody is connected"
        client.writer.close()
        await server._all_closed.wait()
        assert server.is_quiet(0)
        assert not server.is_quiet(PATIENCE)


async def test_an_answer_for_which_there_is_no_room_goes_the_slow_way() -> None:
    async with track(size=FREE + 1, budget=1000) as on:
        await on.known(A)
        client = await on.served.connect()
        before = on.hits
        on.buffered.used = on.buffered.limit
        assert is_slow(await client.request(A))
        assert is_slow(await client.request(A[:-2] + b"X-A: 1\r\n\r\n"))
        assert on.hits == before
        on.buffered.used = 0
        assert is_hit(await client.request(A))
        assert on.buffered.used == 0


async def test_an_answer_that_takes_no_room_needs_none() -> None:
    async with track(size=FREE, budget=0) as on:
        client = await on.served.connect()
        for _ in range(4):
            assert is_hit(await client.request(A))


async def test_an_answer_that_is_more_than_a_transport_takes_goes_the_slow_way() -> None:
    async with track(size=64 * 1024 + 1) as on:
        client = await on.served.connect()
        for _ in range(3):
            assert is_slow(await client.request(A))
        assert on.hits == (0, 0)


async def test_a_client_that_does_not_read_is_left_to_the_slow_way() -> None:
    """Which waits for it, and holds no more for it than its share."""
    async with track(size=FREE) as on:
        await on.known(A)
        client, connection = await on.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        transport = connection.transport
        assert transport is not None
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        asked = 0
        while not transport.get_write_buffer_size():
            before = sum(on.hits)
            await pieces(connection, client, A)
            asked += 1
            assert sum(on.hits) == before + 1
        before = sum(on.hits)
        held = transport.get_write_buffer_size()
        assert held <= FREE + 1000, "one answer at the most"
        await pieces(connection, client, A)
        asked += 1
        assert sum(on.hits) == before, "nothing is written ahead of what is not read"
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        answers = [await client.receive() for _ in range(asked)]
        assert [is_hit(one) for one in answers] == [True] * (asked - 1) + [False]
        assert is_hit(await client.request(A)), "it has read all"


async def test_a_client_that_resets_its_connection_leaves_nothing_behind() -> None:
    async with track() as on:
        await on.known(A)
        client, connection = await on.client()
        assert is_hit(await client.request(A))
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.write(A)
        client.writer.transport.abort()
        async with asyncio.timeout(PATIENCE):
            while connection in on.served.server.connections:
                await asyncio.sleep(0)
        assert connection.transport is None
