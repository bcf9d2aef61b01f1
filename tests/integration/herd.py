"""An origin that answers when it is let, and the proxy before it with one opaque resource that is all of it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.integration import harness
from tests.integration.harness import PATIENCE, Client, Proxy, Response, Script, ScriptedUpstream, Seen

END = b"0\r\n\r\n"
"""The end of a body in chunks."""
MINUTE, OWN = "Cache-Control: max-age=60", "Cache-Control: no-store"


def said(body: bytes, *fields: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """An answer with these field lines; `length` is what it declares, if that is not the body's."""
    declared = len(body) if length is None else length
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, f"Content-Length: {declared}", "", ""]).encode() + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(*fields: str) -> bytes:
    """The head of an answer that comes in chunks."""
    return "\r\n".join(["HTTP/1.1 200 OK", *fields, "Transfer-Encoding: chunked", "", ""]).encode()


class Gate:
    """Lets each of its requests get as far as the test says: `parts` of an answer to each, of which `let` lets go."""

    def __init__(self, *parts: bytes | Callable[[int], bytes]) -> None:
        self._parts = parts
        self._let = asyncio.Semaphore(0)
        self.upstream = ScriptedUpstream(self._script)

    @property
    def calls(self) -> int:
        """How many requests have come."""
        return len(self.upstream.seen)

    def let(self, parts: int = 1) -> None:
        """Let so many parts go, whosever they are."""
        for _ in range(parts):
            self._let.release()

    async def _script(self, _seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.calls
        for part in self._parts:
            await self._let.acquire()
            writer.write(part(number) if callable(part) else part)
            await writer.drain()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, as long as a test is patient."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0)


async def standing_still(moved: Callable[[], int]) -> int:
    """What `moved` gives when it has been the same for a thousand turns of the loop."""
    async with asyncio.timeout(PATIENCE):
        last, turns = -1, 0
        while turns < 1000:
            now = moved()
            last, turns = now, turns + 1 if now == last else 0
            await asyncio.sleep(0)
        return last


@asynccontextmanager
async def before(
    origin: ScriptedUpstream | Script, directory: Path, *, resource: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[Proxy]:
    """The proxy; `resource` goes over the resource's keys, `more` over the configuration's sections."""
    upstream = origin if isinstance(origin, ScriptedUpstream) else ScriptedUpstream(origin)
    opaque = {"id": None, "single": {"path": "/{rest*}"}, "freshness": {"ttl": "0s"}, **(resource or {})}
    sections = {"resources": {"all": opaque}, **more}
    # A fill that hangs is to be seen by the test's own patience, not by ours.
    sections["upstream"] = {"timeout": "60s", **more.get("upstream", {})}
    async with upstream, harness.running(upstream.url, directory, **sections) as proxy:
        yield proxy


def asking(proxy: Proxy, count: int, *fields: str, target: str = "/a") -> list[asyncio.Task[Response]]:
    """So many requests at a time, each on a connection of its own."""
    tasks = [asyncio.create_task(proxy.get(target, *fields)) for _ in range(count)]
    for task in tasks:
        task.add_done_callback(_seen)
    return tasks


def _seen(task: asyncio.Task[Response]) -> None:
    if not task.cancelled():
        task.exception()  # of a test that has failed nobody asks for it


async def waiting(proxy: Proxy, count: int) -> None:
    """Wait until so many requests have joined a call under way."""
    await until(lambda: proxy.metric("coalesced_ids_total", resource="all") == count)


def leave(client: Client) -> None:
    """Have a client reset its connection: it is gone at once, as nobody need ask."""
    raw: socket.socket = client.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.writer.transport.abort()


def notes(answers: list[Response]) -> Iterator[str]:
    """What each says of the cache, without its name."""
    return (answer.field("cache-status").removeprefix("handshake-proxy; ") for answer in answers)


def held(proxy: Proxy) -> int:
    """How many responses are held."""
    responses = proxy.app._storage.responses
    assert responses is not None
    return responses.count("all")


def clients(proxy: Proxy) -> int:
    """Connections of clients to the transparent listener."""
    return proxy.app._serving[0]._open


def connections(proxy: Proxy) -> int:
    """Connections to the origin that a call has now."""
    connectors = (upstream._connector for upstream in proxy.app._upstreams)
    return sum(len(connector._acquired) for connector in connectors if connector is not None)
