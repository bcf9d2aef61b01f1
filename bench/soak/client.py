"""A client that takes nothing on trust: each answer must be framed as HTTP wants it, to the byte."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from bench.soak.rules import IDLE_TIMEOUT
from bench.soak.upstream import read_chunked

PATIENCE = 12.0
"""Seconds that an answer may take at the very most: more than any time-out of the proxy under test."""
_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*")
_FIELD = re.compile(rb"([!#-'*+.0-9A-Z^-z|~-]+): ([^\r\n\0]*)")
_NO_BODY = frozenset({204, 304})


class Cut(Exception):
    """The connection ended before the answer did; `begun`: some of the answer had come."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__()
        self.begun = begun


class BadFraming(Exception):
    """An answer that is no HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer, and when it was asked for and there (monotonic seconds)."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    asked: float
    answered: float
    has_body: bool = True
    """False where HTTP has none: after HEAD, and with 204 and 304."""

    def field(self, name: str) -> str | None:
        """The value of a field that may be there once. Raises BadFraming if it is there twice."""
        found = [value for key, value in self.fields if key == name]
        if len(found) > 1:
            raise BadFraming(f"{name} twice")
        return found[0] if found else None

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. `chunked`: the body in so many chunks."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    chunked: int = 0

    def render(self, host: str) -> bytes:
        """The bytes."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.fields]
        body = self.body or b""
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
            size = max(1, len(body) // self.chunked)
            parts = [body[at : at + size] for at in range(0, len(body), size)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        elif self.body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body


class Client:
    """One connection to a listener at a time, kept as long as the proxy keeps it."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.address = address
        self._host, self._port = host, int(port)
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used = 0.0

    async def ask(self, request: Request) -> Answer:
        """Send a request and read its answer. Raises Cut, BadFraming, TimeoutError, and OSError if none listens."""
        if self._open is not None and (self._open[0].at_eof() or monotonic() > self._used + IDLE_TIMEOUT / 2):
            self.close()  # the proxy has closed it, or may be about to
        if self._open is None:
            self._open = await asyncio.open_connection(self._host, self._port, limit=2**21)
        reader, writer = self._open
        keep = False
        asked = monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                writer.write(request.render(self.address))
                answer, keep = await _read(reader, request.method, asked)
        finally:
            if not keep:
                self.close()
        self._used = answer.answered
        return answer

    def close(self) -> None:
        """End the connection."""
        if self._open is not None:
            self._open[1].transport.abort()
            self._open = None


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection, cut at the end."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**21)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader, method: str, asked: float) -> tuple[Answer, bool]:
    begun = False
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        begun = True
        status, fields = parse_head(head)
        body = await _body(reader, method, status, fields)
    except asyncio.IncompleteReadError as error:
        raise Cut(begun=begun or bool(error.partial)) from None
    except ConnectionError:
        raise Cut(begun=begun) from None
    except ValueError as error:
        raise BadFraming(str(error)) from None
    keep = ("connection", "close") not in [(name, value.lower()) for name, value in fields]
    has_body = method != "HEAD" and status not in _NO_BODY
    return Answer(status, fields, body, asked, monotonic(), has_body), keep


def parse_head(head: bytes) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Status and fields, names in lower case. Raises BadFraming."""
    line, *rest = head[:-4].split(b"\r\n")
    status = _LINE.fullmatch(line)
    matches = [_FIELD.fullmatch(field) for field in rest]
    if status is None or not all(matches):
        raise BadFraming(f"a head that is no HTTP: {head[:40]!r}")
    fields = tuple((match[1].decode().lower(), match[2].decode("latin-1")) for match in matches if match)
    return int(status[1]), fields


async def _body(
    reader: asyncio.StreamReader, method: str, status: int, fields: tuple[tuple[str, str], ...]
) -> bytes:
    lengths = [value for name, value in fields if name == "content-length"]
    codings = [value for name, value in fields if name == "transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        raise BadFraming("two framings")
    if method == "HEAD" or status in _NO_BODY:
        return b""
    if codings == ["chunked"]:
        return await read_chunked(reader)
    if not lengths:
        raise BadFraming("neither length nor chunks")
    return await reader.readexactly(int(lengths[0]))
