"""A server on loopback, and a client that sees bytes."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from proxy.core.problem import Problem
from proxy.messages import Answer, Reply, Request
from proxy.server import Server, ServerLimits

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
) -> AsyncIterator[Served]:
    errors: list[tuple[int, BaseException | None]] = []
    limits = ServerLimits(header_bytes, header_timeout, idle_timeout, connections)
    listener = Server(handler, limits, on_error=lambda status, error: errors.append((status, error)))
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
