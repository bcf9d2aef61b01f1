"""A drain loses no request: not one that waits in the kernel, nor one that a client was free to send."""

import asyncio
import socket

from proxy.kernel_queues import close_listener
from proxy.messages import Answer, Reply, Request, Streamed, render_head
from tests.unit.served import GET, PATIENCE, Gate, Served, echo, serving

LINGER = 60.0
"""Longer than any test: what ends under it does not end for want of time."""


def sent(served: Served, data: bytes) -> socket.socket:
    """A connection that the kernel has made and whose bytes it has, without a turn of the event loop."""
    client = socket.create_connection(served.address)
    client.sendall(data)
    client.setblocking(False)
    return client


async def all_of(client: socket.socket) -> bytes:
    """What comes until the other side has said that there is no more. Raises ConnectionResetError."""
    loop = asyncio.get_running_loop()
    received = b""
    async with asyncio.timeout(PATIENCE):
        while data := await loop.sock_recv(client, 65536):
            received += data
    return received


async def test_a_connection_that_nobody_has_accepted_yet_is_answered() -> None:
    """Closing a listening socket resets what the kernel keeps for it."""
    async with serving(echo) as served:
        clients = [sent(served, GET) for _ in range(50)]
        draining = asyncio.create_task(served.server.drain(PATIENCE))
        for client in clients:
            answer = await all_of(client)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"Connection: close\r\n" in answer
            client.close()
        await draining


async def test_who_waits_at_any_of_a_listeners_sockets_is_taken() -> None:
    """A name with two addresses is two sockets."""
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(asyncio.Protocol, ["127.0.0.1", "127.0.0.2"], 0)
    clients = [socket.create_connection(each.getsockname()) for each in listening.sockets]
    waiting = close_listener(listening, at_most=10)
    assert {each.getpeername() for each in waiting} == {client.getsockname() for client in clients}
    for each in (*waiting, *clients):
        each.close()


async def test_who_connects_when_the_listener_is_closed_is_refused() -> None:
    async with serving(echo) as served:
        await served.server.drain(PATIENCE)
        with socket.socket() as late:
            late.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(late, served.address)
            except ConnectionRefusedError:
                return
    raise AssertionError("somebody listens still")


async def test_a_request_that_is_in_the_kernel_still_is_answered() -> None:
    """Closing a socket with unread bytes resets the connection."""
    async with serving(echo) as served:
        client = sent(served, GET)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            assert (await loop.sock_recv(client, 65536)).startswith(b"HTTP/1.1 200 OK\r\n")
        for _ in range(3):  # the connection is idle
            await asyncio.sleep(0)
        draining = asyncio.create_task(served.server.drain(PATIENCE))
        client.setblocking(True)
        client.sendall(GET)
        client.setblocking(False)
        answer = await all_of(client)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Connection: close\r\n" in answer
        client.close()
        await draining


async def test_while_it_lingers_idle_and_new_connections_are_served_and_told_to_close() -> None:
    async with serving(echo) as served:
        idle = await served.connect()
        assert (await idle.request(GET)).fields.get(b"Connection") is None
        draining = asyncio.create_task(served.server.drain(4 * LINGER, linger=LINGER))
        while not served.server.draining:
            await asyncio.sleep(0)
        late = await served.connect()
        for client in (idle, late):
            response = await client.request(GET)
            assert (response.status, response.fields[b"Connection"]) == (200, b"close")
            assert await client.end() == b""
        assert not draining.done()
        draining.cancel()


async def test_a_listener_is_closed_though_requests_keep_coming() -> None:
    async with serving(echo) as served:
        limit = 2.0  # of which a quarter is for accepting
        draining = asyncio.create_task(served.server.drain(limit, linger=LINGER))
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    assert (await (await served.connect()).request(GET)).status == 200
                except ConnectionRefusedError:
                    break
            await draining


async def test_an_answer_that_promised_to_keep_the_connection_is_followed_by_another() -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> Answer:
        if request.target != b"/slow":
            return Reply(200, [], b"next")
        head = render_head(request, 200, b"OK", [(b"Content-Length", b"3")], keep_alive=request.keep_alive)
        await request.writer.write(head)
        await gate.wait()
        await request.writer.write(b"abc")
        return Streamed(200, keep_alive=True)

    async with serving(handler) as served:
        client = await served.connect()
        await client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"Connection" not in (await client.head()).fields
        draining = asyncio.create_task(served.server.drain(4 * LINGER, linger=LINGER))
        while not served.server.draining:
            await asyncio.sleep(0)
        gate.set()
        assert await client.reader.readexactly(3) == b"abc"
        response = await client.request(GET)
        assert (response.body, response.fields[b"Connection"]) == (b"next", b"close")
        draining.cancel()


async def test_requests_that_were_sent_ahead_are_answered_all() -> None:
    """RFC 9112 section 9.6: after `close` nothing more would be answered, so the last of them says it."""
    gate = Gate()
    async with serving(gate) as served:
        client = await served.connect()
        await client.send(GET * 3)
        await gate.begun.wait()
        draining = asyncio.create_task(served.server.drain(PATIENCE))
        while not served.server.draining:
            await asyncio.sleep(0)
        gate.opened.set()
        said = [(await client.receive()).fields.get(b"Connection") for _ in range(3)]
        assert said == [None, None, b"close"]
        assert await client.end() == b""
        await draining


async def test_a_server_that_nobody_uses_is_quiet() -> None:
    async with serving(echo) as served:
        assert served.server.is_quiet(LINGER)
        client = await served.connect()
        await client.request(GET)
        assert not served.server.is_quiet(0)
        client.writer.close()
        await served.server._all_closed.wait()
        assert served.server.is_quiet(0)
        assert not served.server.is_quiet(LINGER)
