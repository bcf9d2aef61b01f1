"""Bodies of an opaque resource without an end, such as events: each piece reaches the client as it comes."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.harness import PATIENCE, Client, Seen
from tests.integration.herd import (
    END,
    MINUTE,
    OWN,
    Gate,
    before,
    chunk,
    chunked,
    clients,
    connections,
    held,
    leave,
    said,
    until,
)
from tests.integration.test_opaque_streams import BOUND, GET, PART, broken, took


class Telling:
    """An origin of events: each that a test tells it goes out by itself."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._told: asyncio.Queue[bytes] = asyncio.Queue()
        self.calls = 0
        self.has_ended = asyncio.Event()

    def tell(self, event: bytes) -> None:
        self._told.put_nowait(event)

    async def __call__(
        self, _seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.calls += 1
        writer.write(self._head)
        try:
            while event := await self._told.get():
                writer.write(event)
                await writer.drain()
        finally:
            self.has_ended.set()


EVENTS = "Content-Type: text/event-stream"


@pytest.mark.parametrize(
    "fields", [("Cache-Control: no-cache",), (OWN,), (MINUTE,)], ids=["no-cache", "own", "kept"]
)
async def test_events_arrive_one_by_one(fields: tuple[str, ...], tmp_path: Path) -> None:
    origin = Telling(chunked(EVENTS, *fields))
    async with before(origin, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.send(GET)
            assert (await client.receive(head_only=True)).field("content-type") == "text/event-stream"
            for number in range(5):
                event = chunk(b"data: %d\n\n" % number)
                origin.tell(event)
                assert await took(client, len(event)) == event
            origin.tell(END)
            assert await took(client, len(END)) == END
            origin.tell(b"")
        assert held(proxy) == (fields == (MINUTE,))


async def test_two_who_listen_have_a_call_each(tmp_path: Path) -> None:
    origin = Telling(chunked(EVENTS, OWN))
    async with before(origin, tmp_path) as proxy:
        async with proxy.client() as first, proxy.client() as second:
            for number, client in enumerate((first, second), 1):
                await client.send(GET)
                assert (await client.receive(head_only=True)).status == 200
                assert origin.calls == number
            for client in (first, second):
                leave(client)
                origin.tell(b"")


async def test_events_may_come_to_more_than_is_ever_kept(tmp_path: Path) -> None:
    origin = Telling(chunked(EVENTS, MINUTE))
    event = chunk(PART)
    async with before(origin, tmp_path, limits=BOUND) as proxy:
        async with proxy.client() as client:
            await client.send(GET)
            await client.receive(head_only=True)
            for _ in range(40):
                origin.tell(event)
                got = await _unchunked(client, len(PART))
                assert got == PART
            assert proxy.app.buffered.used == 0
            origin.tell(END)
            origin.tell(b"")
            assert (await took(client, len(END))) == END


async def _unchunked(client: Client, size: int) -> bytes:
    """So many bytes of a body in chunks, whichever those are."""
    got = b""
    async with asyncio.timeout(PATIENCE):
        while len(got) < size:
            length = int(await client.reader.readline(), 16)
            got += await client.reader.readexactly(length)
            await client.reader.readexactly(2)
    return got


@pytest.mark.parametrize("fields", [(OWN,), (MINUTE,)], ids=["own", "kept so far"])
async def test_who_leaves_while_nothing_comes_gives_the_call_back(
    fields: tuple[str, ...], tmp_path: Path
) -> None:
    """Nobody is there for what may come: the origin must not go on with it until it does."""
    origin = Telling(chunked(EVENTS, *fields))
    async with before(origin, tmp_path, upstream={"max_connections": 1}) as proxy:
        async with proxy.client() as client:
            await client.send(GET)
            await client.receive(head_only=True)
            leave(client)
        await until(lambda: not clients(proxy))
        if fields == (OWN,):
            await until(lambda: not connections(proxy))
        else:  # somebody may come for it
            assert connections(proxy) == 1
        origin.tell(b"")


async def test_a_body_that_stands_still_is_cut(tmp_path: Path) -> None:
    gate = Gate(said(b"half", MINUTE, length=8), b"rest")
    async with before(gate.upstream, tmp_path, limits={"idle_timeout": "100ms"}) as proxy:
        gate.let()
        got = await broken(proxy)
        assert got.endswith(b"half")
        gate.let()
        await until(lambda: not connections(proxy))
        assert held(proxy) == 0
        assert proxy.metric("upstream_errors_total", reason="timeout") == 1
