"""A server on loopback, and a client that sees bytes."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from proxy.core import cache_status
from proxy.core.http.fields import RawField
from proxy.core.http.plain import PlainHead, Plainness
from proxy.core.problem import Problem
from proxy.lane import Lane, LaneServer
from proxy.messages import Answer, Reply, Request
from proxy.ready import Ready, head
from proxy.server import Server, ServerLimits
from proxy.tallies import Tally
from proxy.web.resource import age, date
from store.entry import Entry
from store.slot import Slot

PATIENCE = 5.0
"""Seconds after which a test gives up on a peer; nothing waits that long when all is well."""
SOON = 0.05
"""Seconds: a limit of the server that a test waits for."""
HEADER_BYTES = 4096
LARGE_HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(
    b"X-%d: %s\r\n" % (number, b"x" * 500) for number in range(12)
)


def changed(what: str, recheck: str) -> str:
    return f"aiohttp {aiohttp.__version__}: {what} has changed; re-check {recheck}"


@asynccontextmanager
async def unserved() -> AsyncIterator[Server]:
    """A server that listens nowhere."""

    async def never(_request: Request) -> Answer:
        raise AssertionError

    yield Server(never, ServerLimits(HEADER_BYTES, 1, 1, 1), on_error=lambda _status, _error: None)


Handling = Callable[[Request], Awaitable[Answer]]


@dataclass
class Response:
    """One response as it came."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def fields(self) -> dict[bytes, bytes]:
        return dict(line.split(b": ", 1) for line in self.head.split(b"\r\n")[1:] if line)


@dataclass
class Client:
    """A client that writes bytes as they are."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> Response:
        async with asyncio.timeout(PATIENCE):
            return Response((await self.reader.readuntil(b"\r\n\r\n"))[:-2], b"")

    async def receive(self) -> Response:
        response = await self.head()
        async with asyncio.timeout(PATIENCE):
            response.body = await self.reader.readexactly(int(response.fields.get(b"Content-Length", b"0")))
        return response

    async def request(self, data: bytes) -> Response:
        await self.send(data)
        return await self.receive()

    async def end(self) -> bytes:
        """What still comes until the server closes the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@dataclass
class Served:
    """A server on loopback."""

    server: Server
    address: tuple[str, int]
    errors: list[tuple[int, BaseException | None]]
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection(*self.address))
        self.clients.append(client)
        return client

    async def request(self, data: bytes) -> Response:
        return await (await self.connect()).request(data)


@asynccontextmanager
async def serving(
    handler: Handling,
    *,
    header_bytes: int = HEADER_BYTES,
    header_timeout: float = PATIENCE,
    idle_timeout: float = PATIENCE,
    connections: int = 100,
    lane: Lane | None = None,
) -> AsyncIterator[Served]:
    errors: list[tuple[int, BaseException | None]] = []
    limits = ServerLimits(header_bytes, header_timeout, idle_timeout, connections)

    def on_error(status: int, error: BaseException | None) -> None:
        errors.append((status, error))

    if lane is None:
        listener = Server(handler, limits, on_error=on_error)
    else:
        listener = LaneServer(handler, limits, on_error=on_error, lane=lane)
    served = Served(listener, await listener.listen("127.0.0.1", 0), errors)
    try:
        yield served
    finally:
        for client in served.clients:
            client.writer.transport.abort()
        async with asyncio.timeout(PATIENCE):
            await listener.drain(0)


async def echo(request: Request) -> Answer:
    """Answers with what it read."""
    body, _ = await request.read_at_most(2**20)
    return Reply(200, [(b"X-Target", request.target)], request.method.encode() + b" " + body)


async def unread(_request: Request) -> Answer:
    return Reply(200, [], b"unread")


class Gate:
    """A handler that says when it has begun and waits to be let on."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.opened = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, request: Request) -> Answer:
        self.begun.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return Reply(200, [], request.target)


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def is_problem(response: Response, failure: Problem) -> bool:
    return (
        response.status == failure.status
        and response.fields[b"Content-Type"] == b"application/problem+json"
        and response.fields[b"Connection"] == b"close"
        and json.loads(response.body)["status"] == failure.status
        and response.body == failure.body()
    )


class JudgedHead(PlainHead):
    """Counts the heads that it is asked about."""

    def __init__(self, *, body: bool) -> None:
        super().__init__(telling=(b"x-tenant",), credentials=(b"x-secret",), body=body)
        self.judged = 0

    def judge(self, fields: Iterable[RawField]) -> Plainness:
        self.judged += 1
        return super().judge(fields)


class Face:
    """Answers for what is in its slots, by name, with what moves on in a head: Date, Age and the freshness left."""

    def __init__(self, *, body: bool = False) -> None:
        self.is_doubtful = False
        self._judged = JudgedHead(body=body)
        self.head: PlainHead = self._judged
        self.tally = Tally((0.1,), (1, 10, 60, 600))
        self.slots: dict[str, Slot] = {}
        self.used: list[tuple[list[Slot], float]] = []
        self.made = 0
        """Heads."""

    @property
    def judged(self) -> int:
        """Heads of requests that were looked into."""
        return self._judged.judged

    def put(self, entry: Entry, now: float) -> Slot:
        slot = self.slots.setdefault(entry.key.id, Slot())
        slot.fill(entry, now)
        return slot

    def ready(self, entity: str, body: bytes, now: float) -> Ready | None:
        """`body` names entities with commas between them."""
        names = [entity] if entity else body.decode().split(",")
        slots = [self.slots[name] for name in names if name in self.slots]
        entries = [slot.entry for slot in slots if slot.entry is not None and slot.fresh_until > now]
        if len(entries) < len(names):
            return None
        return Ready(self, slots, entries, b"".join(entry.item or b"" for entry in entries), now)

    def head_of(self, oldest: Entry, soonest: Entry, length: int, now: float) -> bytes:
        self.made += 1
        status = cache_status.hit(soonest.ttl(now))
        return head(200, [date(now), age(oldest.age(now)), (cache_status.NAME, status)], length)

    def use(self, slots: Sequence[Slot], now: float) -> None:
        self.used.append((list(slots), now))
