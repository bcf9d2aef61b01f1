"""A load of prepared requests over kept connections, and how long each took."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import cast


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds, sorted."""

    seconds: tuple[float, ...]
    elapsed: float
    """Of the whole load."""

    def quantile(self, part: float) -> float:
        """The latency that this part of the requests did not exceed."""
        return self.seconds[min(len(self.seconds) - 1, int(len(self.seconds) * part))]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.seconds) / self.elapsed


class _Connection(asyncio.Protocol):
    """One connection with one request at a time; an answer is whole when its Content-Length is there."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answered: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answered is None:
            return
        head = self._received[:end].lower()
        at = head.find(b"content-length: ")
        length = int(head[at + 16 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._received) >= end + 4 + length:
            answer, self._received = self._received, b""
            self._answered.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - a hook of asyncio
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError("the connection was closed"))

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """Send a request; the future has the whole answer, head and body."""
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answered

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()


def post(address: str, path: str, document: object) -> bytes:
    """A request as axios would write it."""
    body = json.dumps(document, separators=(",", ":")).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nAccept: application/json, text/plain, */*\r\nContent-Type: application/json\r\n"
        f"User-Agent: axios/1.7.9\r\nContent-Length: {len(body)}\r\nAccept-Encoding: gzip, compress, deflate, br\r\n"
        f"Host: {address}\r\nConnection: keep-alive\r\n\r\n"
    )
    return head.encode() + body


def get(address: str, path: str) -> bytes:
    """A plain GET."""
    return f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()


async def load(
    address: str,
    requests: Callable[[int], bytes],
    *,
    count: int,
    connections: int = 1,
    rate: float | None = None,
) -> Latencies:
    """Make `count` requests, `requests(0)` first, over so many connections.

    Each connection asks as soon as it was answered; with `rate` (requests a second, all in all) at fixed moments
    instead, and a request that has to wait for its connection is counted from the moment when it was due. Raises
    RuntimeError for an answer other than 200 or 204.
    """
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    opened = [(await loop.create_connection(_Connection, host, int(port)))[1] for _ in range(connections)]
    seconds: list[float] = []
    started = perf_counter()

    async def client(number: int, connection: _Connection) -> None:
        for index in range(number, count, connections):
            due = perf_counter() if rate is None else started + index / rate
            if (wait := due - perf_counter()) > 0:
                await asyncio.sleep(wait)
            answer = await connection.ask(requests(index))
            seconds.append(perf_counter() - due)
            if answer[9:12] not in {b"200", b"204"}:
                raise RuntimeError(answer[:200].decode(errors="replace"))

    try:
        async with asyncio.TaskGroup() as clients:
            for number, connection in enumerate(opened):
                clients.create_task(client(number, connection), name=f"client {number}")
    finally:
        for connection in opened:
            connection.close()
    return Latencies(tuple(sorted(seconds)), perf_counter() - started)
