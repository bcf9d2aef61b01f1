"""A relay between a client and a PostgreSQL, by which a test breaks the connections between the two."""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from tests.postgres.server import HOST, Database

_PIECE = 2**16
"""Bytes that are forwarded at once. A few times as many wait in the relay, each way; the rest waits in the kernel."""
_KEPT = 2**12
_REQUEST_OF_TLS = b"\0\0\0\x08\x04\xd2\x16\x2f"
"""SSLRequest of the protocol's message formats."""
_LISTEN = re.compile(rb"(?<!UN)LISTEN\s", re.IGNORECASE)


@dataclass
class Sent:
    """What a client has sent until now, as far as it is kept."""

    last: bytearray = field(default_factory=bytearray)
    """The end of it, a few thousand bytes."""
    listens: bool = False
    """Whether there was a LISTEN in it."""

    def add(self, data: bytes) -> None:
        """Take note of what the client sends."""
        before = len(self.last)
        self.last += data
        # A statement may come in two pieces.
        self.listens = self.listens or bool(_LISTEN.search(self.last, max(0, before - 16)))
        del self.last[:-_KEPT]


@dataclass(eq=False)
class Connection:
    """One connection of a client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    """None until the server has been reached."""
    task: asyncio.Task[None] | None = None
    sent: Sent = field(default_factory=Sent)

    def reset(self) -> None:
        """Reset both ends. What has been taken from one and not been sent to the other is lost."""
        for writer in (self.writer, self.server):
            if writer is not None:
                _reset(writer)


Which = Callable[[Connection], bool]


def _all(_connection: Connection) -> bool:
    return True


def _none(_connection: Connection) -> bool:
    return False


def _listeners(connection: Connection) -> bool:
    return connection.sent.listens


class Relay:
    """Forwards connections to a port of this machine, on a port of its own, which it keeps while it refuses.

    A fault is in force from the call to `heal`. With `tls`, connections to the relay are encrypted, which the server
    that the tests have can't do.
    """

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.target = port
        """Where new connections go. Another one is a failover behind an address that stays."""
        self.accepted = 0
        """Connections until now."""
        self.connections: set[Connection] = set()
        """Those that there are."""
        self._reserved = _bound(0)
        self._listener: asyncio.Server | None = None
        self._tls = tls
        self._swallowed: Which = _none
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.heal()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse()
        self.cut()
        self._reserved.close()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    @property
    def port(self) -> int:
        port: int = self._reserved.getsockname()[1]
        return port

    def url(self, database: Database, **parameters: str) -> str:
        """The database through the relay."""
        return database.at(self.port, **parameters)

    def cut(self, which: Which = _all) -> None:
        """Reset the connections that there are, or some of them. New ones are welcome."""
        for connection in [one for one in self.connections if which(one)]:
            connection.reset()
            self.connections.discard(connection)
            if connection.task is not None:
                connection.task.cancel()

    def cut_listeners(self) -> None:
        """Reset those on which a LISTEN has been sent."""
        self.cut(_listeners)

    def refuse(self) -> None:
        """Refuse new connections. Those that there are go on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def swallow(self, which: Which = _all) -> None:
        """Go silent, as where packets are dropped: connections stay, are even accepted, and nothing gets through.

        Not so is that the kernel acknowledges what is sent, as far as its buffers take it, and answers keep-alives.
        `which` is asked again as a client sends more, before that is forwarded.
        """
        self._swallowed = which
        self._look_again()

    def swallow_listeners(self) -> None:
        """Go silent on the connections on which a LISTEN has been sent, or will be: it is not forwarded then."""
        self.swallow(_listeners)

    async def heal(self) -> None:
        """Forward again, also what was held back meanwhile, as by retransmission; accept new connections."""
        self._swallowed = _none
        self._look_again()
        if self._listener is None:
            # Not a coroutine function: its task would be nobody's.
            self._listener = await asyncio.start_server(self._accept, sock=_bound(self.port), limit=_PIECE)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = Connection(reader, writer)
        self.connections.add(connection)
        connection.task = asyncio.create_task(self._serve(connection), name=f"relay {self.accepted}")
        self._tasks.append(connection.task)

    async def _serve(self, connection: Connection) -> None:
        try:
            await self._open(connection)
            if self._tls is not None:
                await _encrypt(connection, self._tls)
            reader, connection.server = await asyncio.open_connection(HOST, self.target, limit=_PIECE)
            await self._carry(connection, reader, connection.server)
        except (OSError, asyncio.IncompleteReadError):
            connection.reset()
        finally:
            connection.writer.close()
            if connection.server is not None:
                connection.server.close()
            self.connections.discard(connection)

    async def _carry(
        self, connection: Connection, reader: asyncio.StreamReader, server: asyncio.StreamWriter
    ) -> None:
        """Until one of the two has ended: no peer here closes half a connection. Raises ConnectionError."""
        ways = {
            asyncio.create_task(self._forward(connection, connection.reader, server), name="relay to server"),
            asyncio.create_task(self._forward(connection, reader, connection.writer), name="relay to client"),
        }
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        for way in done:
            way.result()

    async def _forward(
        self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            piece = await reader.read(_PIECE)
            if reader is connection.reader:
                connection.sent.add(piece)
            await self._open(connection)  # for an end is not told either
            if not piece:
                return
            writer.write(piece)
            await writer.drain()

    async def _open(self, connection: Connection) -> None:
        """Wait while nothing gets through."""
        while self._swallowed(connection):
            await self._changed.wait()

    def _look_again(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _bound(port: int) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind((HOST, port))
    return one


async def _encrypt(connection: Connection, tls: ssl.SSLContext) -> None:
    """As a server with `hostssl` only. Raises ConnectionError for who does not ask for TLS."""
    if await connection.reader.readexactly(len(_REQUEST_OF_TLS)) != _REQUEST_OF_TLS:
        raise ConnectionError
    connection.writer.write(b"S")
    await connection.writer.start_tls(tls)


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    if raw.fileno() != -1:
        # To linger for no time is to reset.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
