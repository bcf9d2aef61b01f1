"""Clients that are slow to ask: each is ended by a time-out of ours, and nobody else notices."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults.asking import answered, held_is_served, warm
from tests.faults.sick import SickUpstream
from tests.faults.watch import BULK, Watched, watched
from tests.integration.harness import PATIENCE, Client, Response

SOON = "100ms"
HEAD = b"HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: 100000\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
BODIES = {
    "bulk": (b"POST " + BULK.encode() + b" " + HEAD + LENGTH, b'{"userIds":["', "user.bulk"),
    "chunked bulk": (b"POST " + BULK.encode() + b" " + HEAD + CHUNKED, b"10\r\n{", "user.bulk"),
    "login": (b"POST /v1/login " + HEAD + LENGTH, b'{"userId":"', "login"),
    "pass": (b"POST /elsewhere " + HEAD + LENGTH, b"some of it", "passthrough"),
    "chunked pass": (b"POST /elsewhere " + HEAD + CHUNKED, b"10\r\nsome", "passthrough"),
}


@asynccontextmanager
async def hurried(directory: Path, **limits: str) -> AsyncIterator[tuple[Watched, SickUpstream]]:
    """A proxy that holds something, and has little patience with clients."""
    async with SickUpstream() as upstream:
        async with watched(upstream.url, directory, limits=limits) as seen:
            await warm(seen)
            yield seen, upstream


def listener(face: str) -> str:
    return "handshake" if face == "login" else "upstreams.main"


async def dripped(client: Client, drop: bytes) -> bytes:
    """Send a drop each turn until the proxy has closed; what it said."""
    said = bytearray()

    async def listen() -> None:
        with suppress(ConnectionError):  # what it sends on is refused at last
            while data := await client.reader.read(1000):
                said.extend(data)

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(PATIENCE):
        while not listening.done():
            client.writer.write(drop)
            await asyncio.sleep(0)
    return bytes(said)


def parsed(data: bytes) -> Response:
    head, _, body = data.partition(b"\r\n\r\n")
    return Response(head + b"\r\n", body)


@pytest.mark.parametrize("begun", [b"", b"G", b"GET /x HTTP/1.1\r\nHost: a\r\n"])
async def test_a_client_that_hangs_before_its_request_is_there_is_closed(
    begun: bytes, tmp_path: Path
) -> None:
    async with hurried(tmp_path, header_timeout=SOON, idle_timeout=SOON) as (seen, upstream):
        before, lines = len(upstream.upstream.seen), len(seen.lines)
        async with seen.proxy.client() as client, seen.proxy.client("handshake") as other:
            await client.send(begun)
            await other.send(begun)
            await held_is_served(seen)
            assert (await client.ended(), await other.ended()) == (b"", b"")
        await seen.settled()
        # The others asked for what is stale: 3 fills, and nothing else reached the upstream.
        assert len(upstream.upstream.seen) <= before + 3
        routes = {line.get("route") for line in seen.lines[lines:]}
        assert routes <= {"login"}  # of the others


async def test_a_client_that_drips_its_head_is_closed_when_the_time_for_it_is_over(tmp_path: Path) -> None:
    async with hurried(tmp_path, header_timeout=SOON) as (seen, upstream):
        async with seen.proxy.client() as client:
            await client.send(b"GET /never HTTP/1.1\r\nHost: a\r\nX: ")
            assert await dripped(client, b"x") == b""
        await held_is_served(seen)
        await seen.settled()
        assert not upstream.calls(b"/never")


@pytest.mark.parametrize("face", BODIES)
async def test_a_body_that_stops_coming_is_408(face: str, tmp_path: Path) -> None:
    head, part, route = BODIES[face]
    async with hurried(tmp_path, idle_timeout=SOON) as (seen, upstream):
        async with seen.proxy.client(listener(face)) as client:
            await client.send(head + part)
            answer = await client.receive()
            assert (answer.status, answer.field("connection")) == (408, "close")
            assert answer.field("content-type") == "application/problem+json"
            assert answer.json()["status"] == 408
            assert await client.ended() == b""
        assert seen.proxy.metric("requests_total", route=route, code="408", cache="error") == 1
        await seen.settled()
        # The upstream has seen half a request at the most, and was not blamed.
        assert not upstream.calls(b"/elsewhere")
        assert seen.errors() == {}
        await held_is_served(seen)
        seen.says_nothing(answer)


@pytest.mark.parametrize("face", ["bulk", "login"])
async def test_a_body_that_is_held_has_to_arrive_in_time_however_it_drips(face: str, tmp_path: Path) -> None:
    head, part, route = BODIES[face]
    async with hurried(tmp_path, idle_timeout=SOON) as (seen, _upstream):
        async with seen.proxy.client(listener(face)) as client:
            await client.send(head + part)
            assert parsed(await dripped(client, b"x")).status == 408
        assert seen.proxy.metric("requests_total", route=route, code="408") == 1
        await held_is_served(seen)
        assert seen.proxy.app.buffered.used == 0


async def test_an_upload_that_drips_is_passed_on_as_long_as_it_moves(tmp_path: Path) -> None:
    """The counterpart: nothing of it is held, so that it may take its time."""
    arrived: list[bytes] = []

    async def reading(_seen: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while sum(map(len, arrived)) < 300:
            arrived.append(await reader.read(100))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with SickUpstream() as upstream:
        upstream.upstream.read_body = False
        upstream.illness = reading
        async with watched(upstream.url, tmp_path, limits={"idle_timeout": "2s"}) as seen:
            async with seen.proxy.client() as client:
                await client.send(b"POST /elsewhere HTTP/1.1\r\nHost: a\r\nContent-Length: 300\r\n\r\n")
                for number in range(300):
                    await client.send(b"x")
                    async with asyncio.timeout(PATIENCE):
                        while sum(map(len, arrived)) <= number:
                            await asyncio.sleep(0)
                assert (await client.receive()).status == 200


async def test_a_crowd_of_slow_clients_leaves_room_for_the_others(tmp_path: Path) -> None:
    async with hurried(tmp_path, header_timeout="10s", idle_timeout="10s") as (seen, _upstream):
        slow = [seen.proxy.client() for _ in range(200)]
        clients = await asyncio.gather(*(each.__aenter__() for each in slow))
        heads = [b"GET /x HT", b"", BODIES["bulk"][0] + b"{", BODIES["pass"][0] + b"part"]
        for number, client in enumerate(clients):
            await client.send(heads[number % len(heads)])
        await held_is_served(seen)
        assert (await answered(seen, "pass")).status == 200
        for each in slow:
            await each.__aexit__(None, None, None)
        await seen.settled()
        assert json.dumps(seen.lines, default=repr).count('"error"') == 0
