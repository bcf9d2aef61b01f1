"""The upstream drips, a byte and a pause: a fill ends with its time; what is passed through arrives as it drips."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.asking import CUT, FACES, Outcome, asked_and_checked, heals, held_is_served, warm
from tests.faults.sick import SickUpstream
from tests.faults.watch import watched
from tests.integration.harness import Seen

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n"
PAUSE = 0.02
"""Seconds between two bytes: so long that no time-out of the test passes between them, and 200 are longer than any."""


class Dripping:
    """The script of an upstream that sends `whole` at once, and what follows of 200 bytes one by one."""

    def __init__(self, whole: bytes) -> None:
        self.whole = whole
        self.sent = 0

    async def __call__(self, _seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.whole)
        while self.sent < 200 and not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            self.sent += 1
            try:
                await asyncio.wait_for(reader.read(1), PAUSE)
            except TimeoutError:
                continue
            return


@pytest.mark.parametrize("face", [face for face in FACES if face != "pass"])
async def test_a_fill_has_its_time_and_no_more(face: str, tmp_path: Path) -> None:
    async with SickUpstream() as upstream:
        async with watched(upstream.url, tmp_path, upstream={"timeout": "30s"}) as seen:
            await warm(seen)
            upstream.illness = Dripping(HEAD)
            with seen.hurried("timeout"):
                await asked_and_checked(seen, face, Outcome("timeout"))
                await held_is_served(seen)
            upstream.illness = None
            await heals(seen, face)
            await seen.settled()


@pytest.mark.parametrize("face", FACES)
async def test_a_head_that_drips_has_no_more_either(face: str, tmp_path: Path) -> None:
    async with SickUpstream() as upstream:
        async with watched(upstream.url, tmp_path, upstream={"timeout": "30s"}) as seen:
            await warm(seen)
            upstream.illness = Dripping(b"HTTP/1.1 200 OK\r\nX: ")
            with seen.hurried("timeout"):
                await asked_and_checked(seen, face, Outcome("timeout", passed=504))
                await held_is_served(seen)
            upstream.illness = None
            await heals(seen, face)
            await seen.settled()


async def test_what_is_passed_through_arrives_byte_by_byte(tmp_path: Path) -> None:
    """It may take longer than `timeout`, which is for the head, and than `idle_timeout`, which is for each pause."""
    go_on = asyncio.Event()

    async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
        for _ in range(20):
            await go_on.wait()
            go_on.clear()
            writer.write(b"x")

    async with SickUpstream() as upstream, watched(upstream.url, tmp_path) as seen:
        upstream.illness = script
        async with seen.proxy.client() as client:
            await client.send(b"GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.receive(head_only=True)
            for _ in range(20):  # each byte is there before the next is sent
                go_on.set()
                async with asyncio.timeout(10):
                    assert await client.reader.readexactly(1) == b"x"
        assert seen.errors() == {}
        upstream.illness = None
        await heals(seen, "pass")
        await seen.settled()


async def test_a_drip_that_stops_is_cut(tmp_path: Path) -> None:
    async def script(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"x")
        await reader.read()

    async with SickUpstream() as upstream:
        async with watched(upstream.url, tmp_path, limits={"idle_timeout": "200ms"}) as seen:
            upstream.illness = script
            await asked_and_checked(seen, "pass", Outcome("timeout", passed=CUT))
            upstream.illness = None
            await heals(seen, "pass")
            await seen.settled()
