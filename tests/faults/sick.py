"""An upstream that is well until a test says what ails it, and well again when the test says so."""

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from tests.faults.watch import BULK, BUSINESSES
from tests.integration.harness import Script, ScriptedUpstream, Seen

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# Connections that fill a listener with no backlog, with some to spare.
_FILLING = 8


class SickUpstream:
    """Users and businesses, each with the id that is asked for; `illness` takes the place of the answers.

    Its port stays its own while nobody listens on it, so that nobody else's test gets its connections.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.illness: Script | None = None
        self.upstream = ScriptedUpstream(self._script, tls=tls)
        self._reserved = _bound(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.upstream.stop()
        self._reserved.close()

    async def start(self) -> None:
        """Listen, again or for the first time."""
        await self.upstream.start(_bound(self.port))

    async def stop(self) -> None:
        """Refuse connections from here on, and cut those that there are."""
        await self.upstream.stop()

    @property
    def port(self) -> int:
        port: int = self._reserved.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return self.upstream.url

    def calls(self, path: bytes) -> int:
        """How many requests there were for a path, query included."""
        return sum(seen.line.split()[1] == path for seen in self.upstream.seen)

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """With `stop` before it: connections are neither accepted nor refused."""
        with _bound(self.port) as listener:
            listener.listen(0)
            callers = [socket.socket() for _ in range(_FILLING)]
            try:
                for caller in callers:
                    caller.setblocking(False)
                    caller.connect_ex(("127.0.0.1", self.port))
                yield
            finally:
                for caller in callers:
                    caller.close()

    async def _script(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (self.illness or well)(seen, reader, writer)


def _bound(port: int) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind(("127.0.0.1", port))
    return one


async def well(seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The script of an upstream that nothing ails."""
    path = seen.line.split()[1].decode()
    if path == BULK:
        body = _listed("users", json.loads(seen.body)["userIds"])
    elif path == BUSINESSES:
        body = _listed("businesses", json.loads(seen.body)["businessIds"])
    elif path.startswith("/users/"):
        body = json.dumps({"id": path.removeprefix("/users/")}).encode()
    else:
        writer.write(OK)
        return
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def _listed(items: str, ids: list[str]) -> bytes:
    return json.dumps({items: [{"id": entity} for entity in ids], "count": len(ids)}).encode()


def says(data: bytes, *, then: str = "close") -> Script:
    """Writes these bytes; `then` closes, resets, or waits for the proxy to go away (`hang`)."""

    async def script(_seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await END[then](reader, writer)

    return script


async def _close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    # To linger for no time is to reset.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def _hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _go_on(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """The next request, please."""


END = {"close": _close, "reset": _reset, "hang": _hang, "go on": _go_on}
"""How an answer can end."""


@dataclass(frozen=True)
class Endless:
    """The script of an answer without an end: `begin`, then `part` until the proxy goes away."""

    begin: bytes
    part: bytes

    async def __call__(
        self, _seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(self.begin)
        while not writer.is_closing():
            writer.write(self.part)
            await writer.drain()
            await asyncio.sleep(0)  # a drain gives nobody a turn while there is room
