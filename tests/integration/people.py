"""Upstreams of users for the tests of the bulk face, and the bytes that they answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.demo.services import Services
from tests.integration.harness import Proxy, ScriptedUpstream, Seen, running

ODD = {
    "1": b'{"id":"1","name":"Ana",  "email":"ana@example.org"}',
    "2": b'{ "id" : "2", "name": "Zo\\u00eb", "balance": 1.50, "big": 9223372036854775807 }',
    "3": b'{"id":3,"n":[1, 2 ,3],"huge":123456789012345678901234567890,"e":1E5}',
    "4": '{"id":"4","name":"日本","slash":"a\\/b"}'.encode(),
}


BULK = "/main/api/v3/users/bulk"


HEAD = f"POST {BULK} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n".encode()


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def services() -> AsyncIterator[Services]:
    upstream = Services()
    upstream.users.clear()
    upstream.users.update(ODD)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


def envelope(*items: bytes) -> bytes:
    return b'{"users":[' + b",".join(items) + b'],"count":%d}' % len(items)


async def serve_scripted(answers: list[bytes], directory: Path, **sections: Any) -> "Scripted":
    return Scripted(answers, directory, sections)


class Scripted:
    """An upstream that gives prepared bulk bodies, one a call, and the proxy before it."""

    def __init__(self, answers: list[bytes], directory: Path, sections: dict[str, Any]) -> None:
        self.answers = answers
        self.directory = directory
        self.sections = sections

    async def __aenter__(self) -> tuple[ScriptedUpstream, Proxy]:
        async def script(_seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            body = self.answers[min(len(self.upstream.seen), len(self.answers)) - 1]
            if not body.startswith(b"HTTP/"):
                body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            writer.write(body)
            if b"close\r\n" in body:
                await writer.drain()
                writer.close()

        self.upstream = ScriptedUpstream(script)
        await self.upstream.__aenter__()
        self._running = running(self.upstream.url, self.directory, **self.sections)
        return self.upstream, await self._running.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self._running.__aexit__(None, None, None)
        await self.upstream.__aexit__()
