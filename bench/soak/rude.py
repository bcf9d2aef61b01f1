"""Clients as nobody wants them: garbage, slow heads, half requests, gone before the answer; and WebSockets."""

import asyncio
import base64
import os
import random
from time import monotonic

from bench.soak.client import PATIENCE, BadFraming, connected, parse_head
from bench.soak.rules import HEADER_TIMEOUT, SLACK, USER
from bench.soak.scene import Scene

_GARBAGE: tuple[tuple[bytes, frozenset[int]], ...] = (
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", frozenset({400})),
    (b"GET / HTTP/1.1\r\n\r\n", frozenset({400})),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", frozenset({400})),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", frozenset({400})),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        frozenset({400}),
    ),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", frozenset({400})),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", frozenset({431, 400})),
    (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", frozenset({405})),
    (b"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", frozenset({400})),
)
_UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"


class Rude:
    """Plays one of them at a time."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene = scene
        self._rng = random.Random(seed)  # noqa: S311 - no secret

    async def one(self) -> None:
        """One misdeed."""
        kinds = (
            self._garbage,
            self._garbage,
            self._slow_head,
            self._gone,
            self._gone,
            self._half_body,
            self._tunnel,
        )
        deed = self._rng.choice(kinds)
        place = deed.__name__.strip("_")
        self._scene.verdicts.requests[place] += 1
        asked = monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                await deed()
        except (OSError, EOFError, TimeoutError, BadFraming) as error:
            if not (place == "tunnel" and self._scene.trouble.upstream(asked)):
                self._wrong(place, "not treated as it should be", repr(error))

    async def _garbage(self) -> None:
        data, statuses = self._rng.choice(_GARBAGE)
        async with connected(self._scene.transparent) as (reader, writer):
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            status, fields = parse_head(head)
            if status not in statuses:
                if status in {502, 504} and self._scene.trouble.upstream(monotonic()):
                    return
                self._wrong("garbage", f"{status} for {data[:30]!r}", "")
            elif ("connection", "close") not in fields:
                self._wrong("garbage", "the connection was to live on", "")
            else:
                await reader.read()

    async def _slow_head(self) -> None:
        began = monotonic()
        async with connected(self._scene.transparent) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n")
            ended = asyncio.ensure_future(reader.read())
            while not ended.done():
                writer.write(b"X: y\r\n")
                await asyncio.wait([ended], timeout=0.2)
            ended.exception()
        if monotonic() - began > HEADER_TIMEOUT + 2 * SLACK:
            self._wrong("slow_head", "had more time than header_timeout", f"{monotonic() - began:.1f} s")

    async def _gone(self) -> None:
        entity = self._scene.crowds["user"].one(self._rng)
        body = f'{{"userIds":["{entity}"]}}'
        head = f"POST {USER.bulk} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        async with connected(self._scene.transparent) as (_, writer):
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            await asyncio.sleep(self._rng.choice((0, 0.001, 0.01)))

    async def _half_body(self) -> None:
        target = self._rng.choice((USER.bulk, "/echo/half"))
        async with connected(self._scene.transparent) as (_, writer):
            writer.write(f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n{{".encode())
            await asyncio.sleep(self._rng.choice((0, 0.01, 0.1)))

    async def _tunnel(self) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        fields = f"{_UPGRADE}Sec-WebSocket-Key: {key}\r\n"
        async with connected(self._scene.transparent) as (reader, writer):
            writer.write(f"GET /ws HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
            status, _ = parse_head(await reader.readuntil(b"\r\n\r\n"))
            if status != 101:
                raise BadFraming(f"status {status}")
            for _ in range(self._rng.randrange(1, 20)):
                data = self._rng.randbytes(self._rng.randrange(1, 20_000))
                writer.write(data)
                if await reader.readexactly(len(data)) != data:
                    self._wrong("tunnel", "other bytes than were sent", "")
        self._scene.verdicts.judged["tunnel"] += 1

    def _wrong(self, place: str, kind: str, detail: str) -> None:
        self._scene.verdicts.violation(monotonic(), kind, place, detail)
