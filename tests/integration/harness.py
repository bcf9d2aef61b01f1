"""Real sockets for tests: a scripted upstream, the whole proxy in process, a client that speaks bytes."""

import asyncio
import json
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from config.load import load
from proxy.app import App
from proxy.metrics import Metrics
from tests.integration import transcript

PATIENCE = 10.0
"""Seconds after which a test gives up on a peer; nothing waits that long when all is well."""


@dataclass
class Seen:
    """One request as the upstream saw it."""

    head: bytes
    body: bytes = b""

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        return parse_fields(self.head)


Script = Callable[[Seen, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class ScriptedUpstream:
    """An upstream that writes what the test tells it to, byte for byte."""

    script: Script
    read_body: bool = True
    tls: ssl.SSLContext | None = None
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def start(self, bound: socket.socket | None = None) -> None:
        """Listen, on a socket of the caller's if there is one."""
        where: dict[str, Any] = {"host": "127.0.0.1", "port": 0} if bound is None else {"sock": bound}
        self._server = await asyncio.start_server(self._serve, limit=2**22, ssl=self.tls, **where)

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Refuse connections from here on, and cut those that there are. Idempotent."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        base = "https://localhost" if self.tls else "http://127.0.0.1"
        return f"{base}:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                seen = Seen((await reader.readuntil(b"\r\n\r\n"))[:-2])
                if self.read_body:
                    seen.body = await read_body(seen.head, reader)
                self.seen.append(seen)
                await self.script(seen, reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            self._writers.discard(writer)
            writer.close()


def parse_fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """The field lines of a head, raw."""
    lines = head.split(b"\r\n")[1:]
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines if line)]


async def read_body(head: bytes, reader: asyncio.StreamReader, *, to_eof: bool = False) -> bytes:
    """The body that follows a head, decoded from whichever framing it has."""
    lower = {name.lower(): value for name, value in parse_fields(head)}
    if lower.get(b"transfer-encoding") == b"chunked":
        parts = []
        while True:
            size = int((await reader.readline()).split(b";")[0], 16)
            parts.append(await reader.readexactly(size))
            await reader.readline()
            if not size:
                return b"".join(parts)
    if b"content-length" in lower:
        return await reader.readexactly(int(lower[b"content-length"]))
    return await reader.read() if to_eof else b""


@dataclass
class Response:
    """One response as the client saw it."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        return parse_fields(self.head)

    def field(self, name: str) -> str:
        """The last value of a field, or an empty string."""
        found = [value for key, value in self.fields if key.lower() == name.lower().encode()]
        return found[-1].decode() if found else ""

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One client connection that writes bytes as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str = "app") -> None:
        self.reader = reader
        self.writer = writer
        self.host = host
        self._said = transcript.new_client()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self, *, head_only: bool = False) -> Response:
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n"))[:-2]
            status = int(head.split(b" ", 2)[1])
            is_bodiless = head_only or status in {204, 304} or status < 200
            body = b"" if is_bodiless else await read_body(head, self.reader, to_eof=True)
        self._said += [head, body]
        return Response(head, body)

    async def request(self, data: bytes, *, head_only: bool = False) -> Response:
        await self.send(data)
        return await self.receive(head_only=head_only)

    async def get(self, target: str, *fields: str) -> Response:
        lines = "".join(f"{line}\r\n" for line in fields)
        return await self.request(f"GET {target} HTTP/1.1\r\nHost: {self.host}\r\n{lines}\r\n".encode())

    async def post(self, target: str, body: bytes, *fields: str) -> Response:
        lines = "".join(f"{line}\r\n" for line in (*fields, f"Content-Length: {len(body)}"))
        if not any(line.lower().startswith("content-type") for line in fields):
            lines += "Content-Type: application/json\r\n"
        return await self.send_body("POST", target, body, lines)

    async def send_body(self, method: str, target: str, body: bytes, lines: str) -> Response:
        head = f"{method} {target} HTTP/1.1\r\nHost: {self.host}\r\n{lines}\r\n"
        return await self.request(head.encode() + body)

    async def call(self, method: str, target: str, document: object = None, *fields: str) -> Response:
        """A call of the handshake API."""
        body = b"" if document is None else json.dumps(document).encode()
        lines = "".join(f"{line}\r\n" for line in fields)
        if document is not None:
            lines += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return await self.send_body(method, target, body, lines)

    async def users(self, *ids: str) -> Response:
        return await self.post("/main/api/v3/users/bulk", json.dumps({"userIds": ids}).encode())

    async def ended(self) -> bytes:
        """What still comes until the proxy closes the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


class Clock:
    """Wall time that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += seconds


class Reachable:
    """Something that clients can connect to."""

    addresses: dict[str, str]

    @asynccontextmanager
    async def client(self, listener: str = "upstreams.main") -> AsyncIterator[Client]:
        host, _, port = self.addresses[listener].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**22)
        try:
            client = Client(reader, writer, "localhost" if listener == "handshake" else "app")
            if listener == "ops":
                client._said = []  # what is counted is compared for itself
            yield client
        finally:
            writer.close()

    async def users(self, *ids: str) -> Response:
        async with self.client() as client:
            return await client.users(*ids)

    async def call(self, method: str, target: str, document: object = None, *fields: str) -> Response:
        """A call of the handshake API, on a connection of its own."""
        async with self.client("handshake") as client:
            return await client.call(method, target, document, *fields)


@dataclass
class Proxy(Reachable):
    """A whole proxy in this process."""

    app: App
    clock: Clock
    addresses: dict[str, str]

    async def get(self, target: str, *fields: str) -> Response:
        async with self.client() as client:
            return await client.get(target, *fields)

    async def durable(self) -> None:
        """Wait until everything answered so far is in the database."""
        await self.app._storage.tiers.flush()

    async def quiet(self) -> None:
        """Wait until every client's connection is gone, and what its requests did with it."""
        async with asyncio.timeout(PATIENCE):
            for server in self.app._serving:
                while server.connections:
                    await asyncio.sleep(0)

    @property
    def calls(self) -> int:
        """How many calls of its own are under way, or stand in line. (How many tasks there are says nothing of them:
        one that looks after a database ends where there is none.)"""
        return sum(task.get_name().startswith(("flight ", "fill ")) for task in self.app._supervisor._tasks)

    def metric(self, name: str, **labels: str) -> float:
        return metric(self.app.metrics, name, **labels)


def metric(metrics: Metrics, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    metrics._count()
    # This metric alone: to render them all takes milliseconds, which some tests would spend thousands of times.
    families = metrics.registry.restricted_registry([f"handshake_proxy_{name}"]).collect()
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"handshake_proxy_{name}" and labels.items() <= sample.labels.items()
    )


def let_go(app: App) -> None:
    """What is past its end goes, whether or not anybody has asked for it."""
    for memory in (app._storage.tiers.memory, app._storage.responses):
        if memory is not None:
            memory.keys()


@asynccontextmanager
async def running(url: str, directory: Path, **sections: Any) -> AsyncIterator[Proxy]:
    """The proxy before one upstream; `sections` are laid over the built-in configuration, key by key. Its monotonic
    clock is the other one, unless there is a `monotonic` of its own among them; a `clock` among them is both."""
    monotonic = sections.pop("monotonic", None)
    clock = sections.pop("clock", None) or Clock()
    file = directory / "proxy.yaml"
    main: dict[str, Any] = {"url": url, "listen": "127.0.0.1:0", **sections.pop("upstream", {})}
    document: dict[str, Any] = {
        "upstreams": {"main": main, **sections.pop("upstreams_too", {})},
        "handshake": {"listen": "127.0.0.1:0"},
        "ops": {"listen": "127.0.0.1:0"},
        "store": {"url": f"sqlite:///{directory / 'handshake.db'}"},
        "lane": transcript.LANE.on,
        **sections,
        # A test that stops is in a hurry.
        "limits": {"drain_linger": "0s", **sections.get("limits", {})},
    }
    await asyncio.to_thread(file.write_text, yaml.dump(document, Dumper=yaml.CSafeDumper))
    # The same chances in each run, so that two runs can be compared.
    app = App(load(file, {}), clock=clock, monotonic=monotonic or clock, rng=random.Random(7).random)
    addresses = await app.start()
    try:
        yield Proxy(app, clock, addresses)
    finally:
        let_go(app)
        await app.stop()
        transcript.count(app.metrics)
