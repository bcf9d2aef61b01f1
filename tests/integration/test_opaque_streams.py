"""Bodies of an opaque resource that are large, slow or broken: they reach the client as they arrive."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.lane_table import part_of
from tests.integration.harness import PATIENCE, Client, Proxy, Seen
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
    said,
    standing_still,
    until,
)

MIB = 2**20
PART = bytes(range(256)) * 256
"""64 KiB."""
GET = b"GET /a HTTP/1.1\r\nHost: app\r\n\r\n"
BOUND = {"cached_response": 100_000}
LARGE = PART * 4


async def took(client: Client, size: int) -> bytes:
    """So many bytes as they come."""
    async with asyncio.timeout(PATIENCE):
        return await client.reader.readexactly(size)


# What is larger than `limits.cached_response`.


@pytest.mark.parametrize(
    "answer",
    [said(LARGE, MINUTE), chunked(MINUTE) + b"".join(map(chunk, [PART] * 4)) + END],
    ids=["length", "chunks"],
)
async def test_what_is_larger_than_may_be_kept_is_streamed(answer: bytes, tmp_path: Path) -> None:
    gate = Gate(answer)
    async with before(gate.upstream, tmp_path, limits=BOUND) as proxy:
        for calls in (1, 2):
            gate.let()
            assert (await proxy.get("/a")).body == LARGE
            assert (gate.calls, held(proxy)) == (calls, 0)
        assert proxy.app.buffered.used == 0
        assert proxy.metric("upstream_errors_total") == 0


@pytest.mark.parametrize(
    "answer",
    [said(b"x" * 100_000, MINUTE), chunked(MINUTE) + chunk(b"x" * 100_000) + END],
    ids=["length", "chunks"],
)
async def test_what_is_just_as_large_is_kept(answer: bytes, tmp_path: Path) -> None:
    gate = Gate(answer)
    async with before(gate.upstream, tmp_path, limits=BOUND) as proxy:
        gate.let()
        for _ in range(2):
            assert (await proxy.get("/a")).body == b"x" * 100_000
        assert (gate.calls, held(proxy)) == (1, 1)


async def test_a_larger_one_takes_the_place_of_what_was_held(tmp_path: Path) -> None:
    """RFC 9111 section 4: what may not be kept is newer than what was."""
    gate = Gate(lambda number: said(b"small" if number == 1 else LARGE, "Cache-Control: max-age=1"))
    async with before(gate.upstream, tmp_path, limits=BOUND) as proxy:
        gate.let(3)
        assert (await proxy.get("/a")).body == b"small"
        proxy.clock.tick(2)
        assert (await proxy.get("/a")).body == LARGE
        assert (await proxy.get("/a", "Cache-Control: max-stale")).body == LARGE


async def test_the_rest_of_a_part_may_be_larger_than_may_be_kept(tmp_path: Path) -> None:
    """RFC 9111 section 3.3: a part that is held helps where it can, and else is as if it were not there."""
    etag, asked = 'ETag: "1"', []

    async def ranged(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fields = dict(seen.fields)
        asked.append(fields.get(b"Range", b""))
        if b"Range" not in fields:
            writer.write(said(LARGE, MINUTE, etag))
            return
        first, _, last = fields[b"Range"].removeprefix(b"bytes=").decode().partition("-")
        end = int(last) + 1 if last else len(LARGE)
        placed = f"Content-Range: bytes {first}-{end - 1}/{len(LARGE)}"
        writer.write(said(LARGE[int(first) : end], MINUTE, etag, placed, status="206 Partial Content"))

    async with before(ranged, tmp_path, limits=BOUND) as proxy:
        assert (await proxy.get("/a", "Range: bytes=0-9")).body == LARGE[:10]
        assert held(proxy) == 1
        for _ in range(2):
            answer = await proxy.get("/a")
            assert (answer.status, len(answer.body)) == (200, len(LARGE))
            assert answer.body == LARGE
        assert (await proxy.get("/a", "Range: bytes=2-3")).body == LARGE[2:4]
    assert proxy.metric("upstream_errors_total") == 0


async def test_what_there_is_no_room_for_is_streamed(tmp_path: Path) -> None:
    """`limits.buffered` is spent."""
    gate = Gate(said(b"x" * MIB, MINUTE))
    async with before(gate.upstream, tmp_path) as proxy:
        proxy.app.buffered.used = proxy.app.buffered.limit - MIB // 2
        gate.let()
        assert (await proxy.get("/a")).body == b"x" * MIB
        assert held(proxy) == 0
        assert proxy.app.buffered.used == proxy.app.buffered.limit - MIB // 2


@pytest.mark.parametrize("lane", [True, False])
@pytest.mark.parametrize("opaque", [0, 0.25, 0.5, 0.99])
async def test_all_that_memory_is_for_is_within_its_bound(opaque: float, lane: bool, tmp_path: Path) -> None:
    gate = Gate(said(b"x" * 10_000, MINUTE))
    memory = {"max_bytes": MIB, "opaque": opaque}
    async with before(gate.upstream, tmp_path, memory=memory, lane=lane) as proxy:
        storage = proxy.app._storage
        assert storage.responses is not None
        tables = part_of(MIB) if lane else 0
        assert storage.tiers.memory.max_bytes + storage.responses.max_bytes + tables <= MIB
        gate.let(2)
        for _ in range(2):
            assert len((await proxy.get("/a")).body) == 10_000
        assert (gate.calls, held(proxy)) == ((1, 1) if opaque else (2, 0))


@pytest.mark.parametrize("fields", [(MINUTE,), (OWN,)], ids=["kept", "own"])
async def test_a_client_of_http_1_0_knows_the_end_by_the_close(
    fields: tuple[str, ...], tmp_path: Path
) -> None:
    """RFC 9112 section 6.3."""
    gate = Gate(chunked(*fields) + chunk(PART), chunk(PART) + END)
    async with before(gate.upstream, tmp_path) as proxy:
        gate.let(4)
        for _ in range(2):
            async with proxy.client() as client:
                await client.send(GET.replace(b"1.1", b"1.0"))
                head, _, body = (await client.ended()).partition(b"\r\n\r\n")
            assert b"chunked" not in head
            assert body == PART * 2
        assert gate.calls == (1 if fields == (MINUTE,) else 2)


# Clients that read slowly.


class Pouring:
    """An origin that writes a body as fast as it is read."""

    def __init__(self, size: int, *fields: str) -> None:
        self._head = said(b"", *fields, length=size)
        self._size = size
        self.written = 0

    async def __call__(
        self, _seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.written = 0
        writer.write(self._head)
        for _ in range(self._size // len(PART)):
            writer.write(PART)
            await writer.drain()
            self.written += len(PART)


@contextmanager
def reading_nothing(proxy: Proxy) -> Iterator[socket.socket]:
    """A client that asks, and has little room for the answer."""
    host, _, port = proxy.addresses["upstreams.main"].rpartition(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, int(port)))
        client.sendall(GET)
        client.setblocking(False)
        yield client


async def read_all(client: socket.socket, size: int) -> int:
    """Bytes of a body that come, of so many that are due."""
    loop, seen, got = asyncio.get_running_loop(), b"", 0
    async with asyncio.timeout(PATIENCE):
        while b"\r\n\r\n" not in seen:
            seen += await loop.sock_recv(client, 2**16)
        got = len(seen.partition(b"\r\n\r\n")[2])
        while got < size and (data := await loop.sock_recv(client, 2**20)):
            got += len(data)
    return got


@pytest.mark.parametrize("fields", [(OWN,), (MINUTE,)], ids=["own", "too large"])
async def test_a_slow_client_of_what_is_not_kept_holds_the_origin_back(
    fields: tuple[str, ...], tmp_path: Path
) -> None:
    """So that nothing is held for him but what sockets hold."""
    size = 48 * MIB
    origin = Pouring(size, *fields)
    async with before(origin, tmp_path, limits=BOUND) as proxy:
        with reading_nothing(proxy) as client:
            await until(lambda: origin.written > 0)
            assert await standing_still(lambda: origin.written) < size // 2
            assert proxy.app.buffered.used == 0
            assert await read_all(client, size) == size
        assert origin.written == size


async def test_a_slow_client_of_what_is_kept_does_not(tmp_path: Path) -> None:
    """Others wait for it."""
    size = 32 * MIB
    origin = Pouring(size, MINUTE)
    limits = {"cached_response": "32MiB", "buffered": "256MiB"}
    async with before(origin, tmp_path, limits=limits, memory={"max_bytes": "256MiB"}) as proxy:
        with reading_nothing(proxy) as client:
            await until(lambda: held(proxy) == 1)
            assert origin.written == size
            assert len((await proxy.get("/a")).body) == size
            assert await read_all(client, size) == size
        await until(lambda: not clients(proxy))
        assert proxy.app.buffered.used == 0


async def test_a_slow_client_of_what_turns_out_too_large_holds_the_origin_back_from_there(
    tmp_path: Path,
) -> None:
    written = 0

    async def pouring(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(chunked(MINUTE))
        for _ in range(48 * MIB // len(PART)):
            writer.write(chunk(PART))
            await writer.drain()
            written += len(PART)
        writer.write(END)

    async with before(pouring, tmp_path, limits=BOUND) as proxy:
        with reading_nothing(proxy) as client:
            await until(lambda: written > 0)
            assert await standing_still(lambda: written) < 24 * MIB
            assert await read_all(client, 48 * MIB) >= 48 * MIB
        assert held(proxy) == 0


# Bodies that break off.


async def broken(proxy: Proxy) -> bytes:
    """What a client is sent, to the end of its connection."""
    async with proxy.client() as client:
        await client.send(GET)
        return await client.ended()


CUTS = {
    "length": said(b"half", MINUTE, length=8),
    "chunks": chunked(MINUTE) + chunk(b"half"),
    "within a chunk": chunked(MINUTE) + b"8\r\nhalf",
    "own": said(b"half", OWN, length=8),
}


@pytest.mark.parametrize("how", CUTS)
async def test_a_body_that_breaks_off_is_never_taken_for_a_whole_one(how: str, tmp_path: Path) -> None:
    """RFC 9111 section 3.3: it is not stored, and the client sees that it is not all (RFC 9112 section 8)."""

    async def breaking(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CUTS[how])
        await writer.drain()
        raise ConnectionAbortedError

    async with before(breaking, tmp_path) as proxy:
        for calls in (1, 2):
            got = await broken(proxy)
            assert got.endswith(b"half") or b"HTTP/1.1 502 " in got or b"4\r\nhalf\r\n" in got
            assert not got.endswith(END)
            assert held(proxy) == 0
            assert proxy.metric("upstream_errors_total") == calls
        assert proxy.app.buffered.used == 0
        assert not connections(proxy)


@pytest.mark.parametrize("fields", [(MINUTE,), (OWN,)], ids=["kept", "own"])
async def test_so_is_one_of_which_something_has_been_passed_on(
    fields: tuple[str, ...], tmp_path: Path
) -> None:
    goes_on = asyncio.Event()

    async def breaking(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said(b"half", *fields, length=8))
        await goes_on.wait()
        raise ConnectionAbortedError

    async with before(breaking, tmp_path) as proxy:
        async with proxy.client() as client:
            await client.send(GET)
            assert (await client.receive(head_only=True)).status == 200
            assert await took(client, 4) == b"half"
            goes_on.set()
            assert await client.ended() == b""
        await until(lambda: proxy.metric("requests_total", code="502", cache="error") == 1)
        assert held(proxy) == 0


async def test_who_waits_for_a_body_that_breaks_off_asks_by_himself(tmp_path: Path) -> None:
    goes_on, calls = asyncio.Event(), 0

    async def breaking(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            writer.write(said(b"whole", MINUTE))
            return
        writer.write(said(b"half", MINUTE, length=8))
        await goes_on.wait()
        raise ConnectionAbortedError

    async with before(breaking, tmp_path) as proxy:
        async with proxy.client() as first, proxy.client() as second:
            await first.send(GET)
            await until(lambda: calls == 1)
            await second.send(GET)
            await until(lambda: proxy.metric("coalesced_ids_total", resource="all") == 1)
            goes_on.set()
            assert (await second.receive()).body == b"whole"
