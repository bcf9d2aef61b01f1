"""An upstream that keeps every byte that it is sent, and answers each whole request by what it was."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Self

from config.json_pointer import Pointer
from proxy.core.bulk import AnswerShape, RequestShape
from tests.hostile.corpus import Line
from tests.hostile.parsers import read, strict
from tests.integration.people import BULK


@dataclass
class RecordingUpstream:
    """Answers each request by what it was taken for; a connection with bytes that are none is closed."""

    received: dict[int, bytearray] = field(default_factory=dict)
    """The bytes of each connection, by its number, since `forget`."""
    connections: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def forget(self) -> None:
        """Leave out what came until now."""
        self.received.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._writers.add(writer)
        pending = b""
        try:
            while piece := await reader.read(2**16):
                self.received.setdefault(number, bytearray()).extend(piece)
                pending += piece
                lines, stopped = read(strict, pending)
                if stopped == "unended":
                    continue
                if stopped:
                    return
                pending = b""
                for line in lines:
                    writer.write(answer(line))
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


def answer(line: Line) -> bytes:
    """A whole answer; but for a bulk's it is one that nobody may store."""
    fields = b"" if _ids(line) else b"Cache-Control: no-store\r\n"
    said = answered(line)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n" % (
        fields,
        len(said),
    )
    return head if line[0] == b"HEAD" else head + said


def answered(line: Line) -> bytes:
    """A bulk's items to a bulk; else the request as JSON, in Latin-1."""
    ids = _ids(line)
    if ids:
        return AnswerShape(items="users", count="count", id_pointer=Pointer.parse("/id")).assemble(
            json.dumps({"id": one}, separators=(",", ":")).encode() for one in ids
        )
    method, target, body = (part.decode("latin-1") for part in line)
    return json.dumps({"method": method, "target": target, "body": body}).encode()


def _ids(line: Line) -> list[str]:
    method, target, body = line
    is_bulk = method == b"POST" and target.endswith(BULK.encode())
    return RequestShape("userIds").parse(body) or [] if is_bulk else []
