"""Clients that shut down their side, leave, reset, or read nothing of what they asked for."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.asking import answered, asked, held_is_served, warm
from tests.faults.sick import OK, SickUpstream, says, well
from tests.faults.watch import BULK, HELD, USER, Watched, until, watched
from tests.integration.harness import Client, Response, Seen

LOGIN = json.dumps({"userId": USER, "businessId": "shop"}).encode()
REQUESTS = {
    "bulk": (BULK, json.dumps({"userIds": [USER]}).encode()),
    "single": (f"/users/{USER}", b""),
    "login": ("/v1/login", LOGIN),
    "pass": ("/elsewhere", b""),
    "upload": ("/elsewhere", b"{}"),
}


def request(face: str, version: str = "1.1") -> bytes:
    target, body = REQUESTS[face]
    if not body:
        return f"GET {target} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode()
    head = f"POST {target} HTTP/{version}\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Gate:
    """An upstream that answers when it is let."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrived.set()
        await self.opened.wait()
        await well(seen, reader, writer)


@asynccontextmanager
async def gated(directory: Path, **sections: object) -> AsyncIterator[tuple[Watched, Gate, SickUpstream]]:
    """A proxy that holds something, before an upstream that answers when it is let."""
    async with SickUpstream() as upstream:
        async with watched(upstream.url, directory, **sections) as seen:
            await warm(seen)
            gate = Gate()
            upstream.illness = gate
            try:
                yield seen, gate, upstream
            finally:
                gate.opened.set()


async def final(client: Client) -> tuple[Response, list[int]]:
    """The final response, and the statuses of the interim ones before it."""
    interim = []
    while (answer := await client.receive()).status < 200:
        interim.append(answer.status)
    return answer, interim


def where(face: str) -> str:
    return "handshake" if face == "login" else "upstreams.main"


@pytest.mark.parametrize("face", REQUESTS)
async def test_a_client_that_shuts_down_its_side_gets_its_answer(face: str, tmp_path: Path) -> None:
    async with gated(tmp_path) as (seen, gate, _upstream):
        async with seen.proxy.client(where(face)) as client:
            await client.send(request(face))
            client.writer.write_eof()
            await gate.arrived.wait()
            asking = await client.receive(head_only=True)
            assert asking.status == 100  # is anybody there? Any other is the answer to some clients
            gate.opened.set()
            answer, _ = await final(client)
            assert (answer.status, answer.field("connection")) == (200, "close")
            assert await client.ended() == b""
        assert seen.proxy.metric("requests_total", code="499") == 0
        await seen.settled()


@pytest.mark.parametrize("face", ["bulk", "pass"])
async def test_over_http_1_0_it_can_not_be_asked_and_counts_as_gone(face: str, tmp_path: Path) -> None:
    """RFC 9110 section 15.2: a server must not send a 1xx to an HTTP/1.0 client."""
    async with gated(tmp_path, upstream={"max_connections": 2}) as (seen, gate, _upstream):
        for _ in range(4):  # twice as many as there are connections
            async with seen.proxy.client() as client:
                await client.send(request(face, "1.0"))
                client.writer.write_eof()
                assert await client.ended() == b""
        await gate.arrived.wait()
        if face == "pass":
            await until(lambda: not seen.proxy.app._serving[0].connections)
            await until(lambda: seen.proxy.metric("requests_total", route="passthrough", code="499") == 4)
        gate.opened.set()
        await seen.settled()
        assert (await answered(seen, face)).status == 200


async def test_over_http_1_0_it_gets_its_answer_before_the_first_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.presence._FIRST_LOOK", 60.0)
    async with gated(tmp_path) as (seen, gate, _upstream):
        async with seen.proxy.client() as client:
            await client.send(request("bulk", "1.0"))
            client.writer.write_eof()
            await gate.arrived.wait()
            gate.opened.set()
            answer, interim = await final(client)
            assert (answer.status, interim) == (200, [])
        await seen.settled()


async def test_all_that_it_has_sent_ahead_is_answered(tmp_path: Path) -> None:
    async with gated(tmp_path) as (seen, gate, _upstream):
        async with seen.proxy.client() as client:
            await client.send(request("pass") + request("single") + request("bulk"))
            client.writer.write_eof()
            await gate.arrived.wait()
            gate.opened.set()
            answers = [(await final(client))[0] for _ in range(3)]
            assert [answer.status for answer in answers] == [200, 200, 200]
            assert [answer.field("connection") for answer in answers] == ["", "", "close"]
            assert await client.ended() == b""
        await seen.settled()


@pytest.mark.parametrize("face", ["bulk", "upload"])
async def test_half_a_request_has_no_answer_and_never_looks_whole(face: str, tmp_path: Path) -> None:
    async with gated(tmp_path) as (seen, gate, upstream):
        gate.opened.set()
        calls = len(upstream.upstream.seen)
        async with seen.proxy.client() as client:
            await client.send(request(face)[:-1])
            client.writer.write_eof()
            assert await client.ended() == b""
        await seen.settled()
        assert seen.proxy.metric("requests_total", code="499") == 1
        assert len(upstream.upstream.seen) == calls
        await held_is_served(seen)


@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize("face", ["pass", "upload"])
async def test_a_client_that_leaves_gives_its_connection_to_the_upstream_back(
    how: str, face: str, tmp_path: Path
) -> None:
    async with gated(tmp_path, upstream={"max_connections": 2}) as (seen, gate, _upstream):
        for _ in range(4):  # twice as many as there are connections
            gate.arrived.clear()
            async with seen.proxy.client() as client:
                await client.send(request(face))
                await gate.arrived.wait()
                await leave(client, how)
            await until(lambda: not seen.connections())
        gate.opened.set()
        await seen.settled()
        assert seen.errors() == {}
        assert seen.proxy.metric("requests_total", route="passthrough", code="499") == 4
        assert (await answered(seen, face)).status == 200


async def test_a_client_that_leaves_within_a_long_poll_gives_it_back_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.presence._STILL", 0.05)
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    async with SickUpstream() as upstream, watched(upstream.url, tmp_path) as seen:
        upstream.illness = says(begun, then="hang")
        async with seen.proxy.client() as client:
            await client.send(request("pass"))
            await client.reader.readuntil(b"x\r\n")
            client.writer.close()
            await until(lambda: not seen.connections())
        await seen.settled()
        assert seen.errors() == {}
        assert seen.proxy.metric("requests_total", route="passthrough", code="499") == 1


@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize("face", ["bulk", "single", "login"])
async def test_a_client_that_leaves_cancels_no_fetch_of_others(how: str, face: str, tmp_path: Path) -> None:
    async with gated(tmp_path) as (seen, gate, upstream):
        calls = len(upstream.upstream.seen)
        async with seen.proxy.client(where(face)) as client:
            await client.send(request(face))
            await gate.arrived.wait()
            other = asyncio.create_task(asked(seen, face))
            await until(lambda: seen.proxy.metric("coalesced_ids_total", resource="user") == 1)
            await leave(client, how)
        gate.opened.set()
        answer = await other
        assert isinstance(answer, Response)
        assert answer.status == 200
        await seen.settled()
        about_users = [each for each in upstream.upstream.seen[calls:] if b"users" in each.line]
        assert len(about_users) == 1
        assert seen.errors() == {}
        assert (await answered(seen, face)).status == 200
        assert len([each for each in upstream.upstream.seen[calls:] if b"users" in each.line]) == 1  # held


async def leave(client: Client, how: str) -> None:
    raw: socket.socket = client.writer.get_extra_info("socket")
    if how == "resets":  # to linger for no time is to reset
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.writer.transport.abort()


@pytest.mark.parametrize("face", ["bulk", "single", "login"])
async def test_a_client_that_reads_nothing_ends_after_idle_timeout(face: str, tmp_path: Path) -> None:
    """It asks again and again, and holds no more than the buffers of one connection."""
    async with SickUpstream() as upstream:
        async with watched(upstream.url, tmp_path, limits={"idle_timeout": "200ms"}) as seen:
            await warm(seen)
            upstream.illness = large
            await answered(seen, face)
            upstream.illness = None
            asks = request(face).replace(b"/v1/login", b"/v1/login?include=data")
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setblocking(False)
                host, _, port = seen.proxy.addresses[where(face)].rpartition(":")
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, (host, int(port)))
                asking = asyncio.create_task(_ask_for_ever(client, asks))
                server = seen.proxy.app._serving[face == "login"]
                await until(lambda: any(each.writing_paused for each in server.connections))
                await held_is_served(seen)
                await until(lambda: not server.connections)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            await seen.settled()
            assert seen.proxy.app.buffered.used == 0
            assert seen.logged("internal_error") == 0
            assert (await answered(seen, face)).status == 200


async def large(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Users of 100 kB."""
    item = json.dumps({"id": USER, "x": "y" * 100_000})
    if seen.line.startswith(f"POST {BULK}".encode()):
        item = f'{{"users":[{item}],"count":1}}'
    elif b"/users/" not in seen.line:
        return await well(seen, reader, writer)
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(item)}\r\n\r\n{item}".encode())
    return None


async def _ask_for_ever(client: socket.socket, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    try:
        while True:
            await loop.sock_sendall(client, data)
    except OSError:
        return


async def test_what_a_client_does_not_read_of_a_stream_holds_its_upstream_back(tmp_path: Path) -> None:
    """64 MiB are passed through to somebody who reads none of it: what is held is some buffers."""
    sent = 0

    async def endless(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 2**26)
        while not writer.is_closing() and sent < 2**26:
            writer.write(bytes(2**16))
            sent += 2**16
            await writer.drain()

    async with SickUpstream() as upstream:
        upstream.illness = endless
        async with watched(upstream.url, tmp_path, limits={"idle_timeout": "200ms"}) as seen:
            async with seen.proxy.client() as client:
                client.reader._limit = 1  # type: ignore[attr-defined] # it stops reading at once
                await client.send(request("pass"))
                await until(lambda: bool(seen.proxy.app._serving[0].connections))
                await until(lambda: not seen.proxy.app._serving[0].connections)
            await seen.settled()
            assert 0 < sent < 2**25
            assert seen.proxy.metric("requests_total", route="passthrough", code="499") == 1
            upstream.illness = None
            assert (await answered(seen, "pass")).body == OK[-2:]
            assert (await answered(seen, "bulk", HELD)).status == 200
