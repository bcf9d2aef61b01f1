"""A listener with a fast lane on loopback, before faces that a test fills by hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

from proxy.core.budget import Budget
from proxy.core.http.varying import Varying
from proxy.lane import Lane, LaneConnection
from proxy.lane_table import Table
from proxy.messages import Answer, Reply, Request
from proxy.steady import SteadyClock
from tests.unit.served import PATIENCE, Client, Face, Handling, Response, Served, serving
from tests.unit.store.samples import NOW, entry, user

A = b"GET /users/a HTTP/1.1\r\nHost: h\r\n\r\n"
B = b"GET /users/b HTTP/1.1\r\nHost: h\r\n\r\n"
UNHELD = b"GET /users/unheld HTTP/1.1\r\nHost: h\r\n\r\n"
BULK = b"POST /bulk HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\na,b"
LARGE = 1 << 30
HIT = b"handshake-proxy; hit; ttl=59"


async def slowly(request: Request) -> Answer:
    """Says that this is the slow way."""
    body, _ = await request.read_at_most(2**20)
    return Reply(200, [(b"X-Slow", b"1")], request.method.encode() + b" " + request.target + b" " + body)


@dataclass
class Track:
    """A lane with two faces, and a clock by hand."""

    served: Served
    lane: Lane
    single: Face
    bulk: Face
    buffered: Budget

    @property
    def hits(self) -> tuple[int, int]:
        """That were counted by the faces, single and bulk."""
        return self.single.tally.requests, self.bulk.tally.requests

    @property
    def judged(self) -> int:
        """Heads that were looked into: those of requests that are known by their bytes are not."""
        return self.single.judged + self.bulk.judged

    @property
    def connections(self) -> list[LaneConnection]:
        found = self.served.server.connections
        return [one for one in found if isinstance(one, LaneConnection)]

    async def client(self) -> tuple[Client, LaneConnection]:
        """A client that has asked the slow way once, and its connection."""
        known = set(self.connections)
        client = await self.served.connect()
        assert is_slow(await client.request(UNHELD))
        (connection,) = set(self.connections) - known
        return client, connection

    async def known(self, *requests: bytes) -> None:
        """Have the table know these bytes."""
        client = await self.served.connect()
        for request in requests:
            for _ in range(3):
                assert is_hit(await client.request(request))
            assert request in self.lane.table.exact


class Now:
    def __init__(self) -> None:
        self.now = NOW + 0.25
        self.set_forward = 0.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.set_forward


@asynccontextmanager
async def track(
    *,
    handler: Handling = slowly,
    size: int = 10,
    budget: int = LARGE,
    clock: Now | None = None,
    idle_timeout: float = PATIENCE,
    connections: int = 100,
    header_bytes: int = 4096,
) -> AsyncIterator[Track]:
    single, bulk, buffered = Face(), Face(body=True), Budget(budget)
    now = clock or Now()
    for name in "ab":
        one = entry(user(name), name.encode() * size)
        bulk.slots[name] = single.put(one, NOW)

    def face(method: bytes, target: bytes) -> tuple[Face, str] | None:
        if method == b"POST" and target == b"/bulk":
            return bulk, ""
        return (
            (single, target.removeprefix(b"/users/").decode())
            if method == b"GET" and target.startswith(b"/users/")
            else None
        )

    ticks = count()
    # Each look at the monotonic clock is a nanosecond later than the last, so that what lies between takes some time.
    steady = SteadyClock(now.wall, lambda: now() - NOW + next(ticks) * 1e-9)
    varying = Varying(single.head.telling | bulk.head.telling)
    starts = (b"POST /bulk ", b"GET /users/")
    lane = Lane(face, Table(LARGE), varying, buffered, clock=steady, starts=starts)
    async with serving(
        handler,
        lane=lane,
        idle_timeout=idle_timeout,
        connections=connections,
        header_bytes=header_bytes,
    ) as served:
        yield Track(served, lane, single, bulk, buffered)


def is_hit(response: Response) -> bool:
    return response.status == 200 and b"Cache-Status" in response.fields


def is_slow(response: Response) -> bool:
    return response.status == 200 and b"X-Slow" in response.fields


class Reads(asyncio.Protocol):
    """Stands before a connection and sees what is read for it."""

    def __init__(self, connection: LaneConnection) -> None:
        self._connection = connection
        self.came: asyncio.Queue[bytes] = asyncio.Queue()

    def data_received(self, data: bytes) -> None:
        self._connection.data_received(data)
        self.came.put_nowait(data)

    def eof_received(self) -> bool:
        return self._connection.eof_received()

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)


async def pieces(connection: LaneConnection, client: Client, *parts: bytes) -> None:
    """Send these so that each is read by itself."""
    transport = connection.transport
    assert transport is not None
    reads = Reads(connection)
    transport.set_protocol(reads)
    for part in parts:
        await client.send(part)
        async with asyncio.timeout(PATIENCE):
            assert await reads.came.get() == part
    transport.set_protocol(connection)
