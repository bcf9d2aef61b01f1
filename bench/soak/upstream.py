"""The upstream of a soak: it knows the truth, and meets the faults."""

import asyncio
import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic

from bench.soak.rules import KINDS, Kind
from bench.soak.trouble import Trouble
from bench.soak.truth import Truth, etag

_HEAD = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n((?:[!#-'*+.0-9A-Z^-z|~-]+: ?[^\r\n\0]*\r\n)*)\r\n")
_PATIENCE = 10.0
"""Seconds after which even a call that hangs is given up."""
_DRIP = 0.15
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TICKET = "x-soak"
"""A field that each request of the load has a number in: what is passed on bears it, and a fill never does."""
_OWN = frozenset({"authorization", "cookie", "x-api-key", TICKET})

_WRITES = frozenset({"PUT", "DELETE"})

Fields = dict[str, str]


class Upstream:
    """Answers bulk and single calls out of the truth, echoes everything else, and speaks WebSocket at /ws.

    `lie(body)` may change the answer to a fill: so a run can show that its checks find something.
    """

    def __init__(
        self,
        truth: Truth,
        trouble: Trouble,
        *,
        wrong: Callable[[str], object],
        lie: Callable[[bytes], bytes] | None,
    ) -> None:
        self._truth = truth
        self._trouble = trouble
        self._wrong = wrong
        self._lie = lie
        self._server: asyncio.Server | None = None
        self._writers: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self.port = 0
        self.calls: Counter[str] = Counter()
        self.tickets: Counter[str] = Counter()
        """How often each request of the load arrived; whoever sent it takes it out."""
        self.made: dict[str, int] = {}
        """The version that a write has made, by its ticket; whoever sent it takes it out."""

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._writers)

    async def start(self) -> None:
        """Listen, on the port of the last time if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**21)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections, and cut those that there are."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            serving = [task for task in self._writers.values() if task is not None]
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.gather(*serving)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers[writer] = asyncio.current_task()
        used = False
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if not await self._one(head, reader, writer, used=used):
                    return
                used = True
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        finally:
            del self._writers[writer]
            writer.transport.abort()

    async def _one(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, used: bool
    ) -> bool:
        """Answer one request; whether the connection lives on."""
        match = _HEAD.fullmatch(head)
        if match is None:
            self._wrong("a head that is no HTTP")
            return False
        method, target = match[1].decode(), match[2].decode()
        fields = _fields(match[3])
        body = await _body(fields, reader)
        ticket = fields.get(TICKET)
        if ticket is not None:
            self.tickets[ticket] += 1
        if target == "/ws":
            return await _tunnel(fields, reader, writer)
        fault = self._trouble.draw()
        if fault == "close_reused":
            if used:
                return False
            fault = None
        status, answered, answer = self._answer(method, target, fields, body, fault)
        if ticket is None:
            self._check_fill(method, fields)
            if self._lie is not None and status == 200:
                answer = self._lie(answer)
        elif fault in {"not_json", "too_long"}:
            fault = None  # passed on, these would be the upstream's word
        answered = {"Content-Type": "application/json; charset=utf-8", **answered}
        return await _Sending(reader, writer, method).send(fault, status, answered, answer)

    def _check_fill(self, method: str, fields: Fields) -> None:
        self.calls["fill"] += 1
        if _OWN & fields.keys():
            self._wrong("a fill bears a field of a client")
        if method not in {"GET", "POST"}:
            self._wrong(f"a fill by {method}")

    def _answer(
        self, method: str, target: str, fields: Fields, body: bytes, fault: str | None
    ) -> tuple[int, Fields, bytes]:
        path = target.partition("?")[0]
        for kind in KINDS:
            if path == kind.bulk:
                return self._bulk(kind, body)
            entity = path.removeprefix(kind.single(""))
            if entity != path:
                if method in _WRITES and not (fault or "").startswith("status"):
                    self.made[fields[TICKET]] = self._truth.change(
                        kind, entity, monotonic(), present=method == "PUT"
                    )
                return self._single(kind, method, entity, fields)
        self.calls["echo"] += 1
        return 200, {"X-Sum": hashlib.sha256(body).hexdigest(), "X-Target": target}, body

    def _bulk(self, kind: Kind, body: bytes) -> tuple[int, Fields, bytes]:
        self.calls[f"{kind.name}.bulk"] += 1
        try:
            ids: Sequence[str] = json.loads(body)[kind.ids]
        except (ValueError, KeyError):
            return 400, {}, b'{"message":"Bad Request"}'
        found = [item for entity in ids if (item := self._truth.current(kind, entity)[1]) is not None]
        return 200, {}, envelope(kind, found)

    def _single(self, kind: Kind, method: str, entity: str, fields: Fields) -> tuple[int, Fields, bytes]:
        self.calls[f"{kind.name}.single"] += 1
        number, item = self._truth.current(kind, entity)
        if method == "DELETE":
            return 204, {}, b""
        if item is None:
            return 404, {}, b'{"message":"Not Found"}'
        answered = policy_fields(kind, entity, number)
        if method == "GET" and fields.get("if-none-match") == answered.get("ETag", ""):
            return 304, answered, b""
        return 200, answered, item


def policy_fields(kind: Kind, entity: str, number: int) -> Fields:
    """What a single answer says about itself: by the entity's last digit a validator, or that it is not to be kept."""
    last = entity[-1]
    if last in "13579":
        return {"ETag": etag(kind, entity, number)}
    return {"Cache-Control": "no-store"} if last == "8" else {}


def envelope(kind: Kind, items: Sequence[bytes]) -> bytes:
    """A bulk answer as the upstream writes it, which is not as the proxy does."""
    return b'{ "%b" : [ %b ] , "count" : %d }' % (kind.plural.encode(), b" , ".join(items), len(items))


def _fields(lines: bytes) -> Fields:
    pairs = (line.partition(":") for line in lines.decode("latin-1").split("\r\n") if line)
    return {name.lower(): value.strip() for name, _, value in pairs}


async def _body(fields: Fields, reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(_PATIENCE):
        if fields.get("transfer-encoding") == "chunked":
            return await read_chunked(reader)
        return await reader.readexactly(int(fields.get("content-length", "0")))


async def read_chunked(reader: asyncio.StreamReader) -> bytes:
    """A chunked body, without trailers. Raises ValueError if it is none."""
    parts: list[bytes] = []
    while True:
        size = int((await reader.readuntil(b"\r\n"))[:-2], 16)
        data = await reader.readexactly(size + 2)
        if data[-2:] != b"\r\n":
            raise ValueError("a chunk is longer than it says")
        if not size:
            return b"".join(parts)
        parts.append(data[:-2])


async def _tunnel(fields: Fields, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    digest = hashlib.sha1(fields.get("sec-websocket-key", "").encode() + _GUID).digest()  # noqa: S324 - RFC 6455
    accept = base64.b64encode(digest).decode()
    head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    writer.write(f"{head}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
    return False


class _Sending:
    """One answer on its way, well or with a fault."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str) -> None:
        self._reader = reader
        self._writer = writer
        self._method = method

    async def send(self, fault: str | None, status: int, fields: Fields, body: bytes) -> bool:
        """Send it; whether the connection lives on."""
        match fault:
            case "hang":
                return await self._wait()
            case "slow":
                await asyncio.sleep(0.1)
            case "status_500" | "status_503" | "status_429":
                status, fields, body = _refusal(int(fault[-3:]))
            case "not_json":
                body = body[: len(body) // 2] + b"<html>"
            case "too_long":
                self._head(status, fields, max(0, len(body) - 5))
                self._writer.write(body)
                await self._writer.drain()
                return False
        if fault in {None, "slow", "not_json"} or fault.startswith("status"):
            self._head(status, fields, len(body))
            self._writer.write(b"" if self._bodiless(status) else body)
            await self._writer.drain()
            return True
        return await self._partly(fault, status, fields, body)

    async def _partly(self, fault: str, status: int, fields: Fields, body: bytes) -> bool:
        """Faults in the body; an answer without one is cut before its head."""
        if self._bodiless(status):
            return False
        self._head(status, fields, len(body) + (10 if fault == "too_short" else 0))
        if fault == "drip":
            return await self._drip(body)
        if fault != "hang_after_head":
            self._writer.write(body if fault == "too_short" else body[: len(body) // 2])
        await self._writer.drain()
        return await self._wait() if fault == "hang_after_head" else False

    async def _drip(self, body: bytes) -> bool:
        """Twenty drops: a fill has no time for them, what is streamed has."""
        drop = max(1, len(body) // 20)
        for at in range(0, len(body), drop):
            self._writer.write(body[at : at + drop])
            await self._writer.drain()
            await asyncio.sleep(_DRIP)
        return True

    async def _wait(self) -> bool:
        async with asyncio.timeout(_PATIENCE):
            await self._reader.read()
        return False

    def _bodiless(self, status: int) -> bool:
        return self._method == "HEAD" or status in {204, 304}

    def _head(self, status: int, fields: Fields, length: int) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        size = "" if status in {204, 304} else f"Content-Length: {length}\r\n"
        self._writer.write(f"HTTP/1.1 {status} Soak\r\n{lines}{size}\r\n".encode())


def _refusal(status: int) -> tuple[int, Fields, bytes]:
    fields = {"Content-Type": "application/json"} | ({} if status == 500 else {"Retry-After": "1"})
    return status, fields, b'{"message":"not now"}'
