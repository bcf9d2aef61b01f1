"""Two proxies, one with the fast lane and one without, before two equal upstreams: whatever is sent to both, they
answer with the same bytes, and count the same."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count, zip_longest
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import pytest

from proxy import wiring
from proxy.core.bulk import RequestShape
from proxy.core.http.plain import PlainRequest
from proxy.lane import Lane, LaneServer
from proxy.lane_table import Table
from proxy.loader import Loader
from proxy.ready import Ready
from proxy.server import Connection
from tests.integration.harness import (
    PATIENCE,
    Client,
    Clock,
    Proxy,
    Response,
    ScriptedUpstream,
    Seen,
    let_go,
    running,
)
from tests.integration.people import BULK
from tests.integration.transcript import counts, neutral

USER: dict[str, Any] = {
    "id": "/id",
    "single": {"path": "/users/{id}"},
    "bulk": {"path": BULK, "ids": "/userIds", "items": "/users", "count": "/count"},
    "freshness": {"ttl": "60s", "jitter": 0, "stale_while_revalidate": "30s", "stale_if_error": "10m"},
}
WARMING = 6
"""Times that a plain request is sent until it is answered by its bytes. After the one that fills, an answer is kept
when it is found for the second time, and so are the bytes that ask for it then."""


def user(**over: Any) -> dict[str, Any]:
    """The resources: one, with these keys laid over `USER`."""
    return {"user": USER | over}


def get(target: str, *lines: str, version: str = "1.1") -> bytes:
    """A GET with these field lines after its Host."""
    fields = "".join(f"{line}\r\n" for line in ("Host: a", *lines))
    return f"GET {target} HTTP/{version}\r\n{fields}\r\n".encode("latin-1")


def bulk(*ids: str, lines: Sequence[str] = (), path: str = BULK, method: str = "POST") -> bytes:
    """A bulk call for these ids with these field lines."""
    return post(json.dumps({"userIds": ids}).encode(), *lines, path=path, method=method)


def post(body: bytes, *lines: str, path: str = BULK, method: str = "POST") -> bytes:
    """A call with this body."""
    known = any(line.lower().startswith("content-type") for line in lines)
    own = ["Host: a", *([] if known else ["Content-Type: application/json"]), f"Content-Length: {len(body)}"]
    fields = "".join(f"{line}\r\n" for line in [*own, *lines])
    return f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode("latin-1") + body


class Origin:
    """An upstream of users that know how often they were changed. What it says follows from what it was asked alone."""

    def __init__(self) -> None:
        self.upstream = ScriptedUpstream(self._script)
        self.versions: dict[str, int] = {}
        self.fields = 'Cache-Control: max-age=60\r\nETag: "1"\r\n'
        """Further lines of the answers to single calls."""
        self.is_down = False
        self.hidden: set[str] = set()
        self.padding = 0
        """Bytes by which each item is larger."""
        self.gate = asyncio.Event()
        """What is asked for waits until it is open."""
        self.gate.set()

    def _item(self, entity: str) -> dict[str, object]:
        return {"id": entity, "v": self.versions.get(entity, 0), "pad": "x" * self.padding}

    async def _script(self, seen: Seen, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.gate.wait()
        method, target = seen.line.decode("latin-1").split(" ")[:2]
        entity = unquote(target.partition("?")[0].rsplit("/", 1)[-1])
        status, lines, document = "200 OK", "", dict[str, object]()
        if self.is_down:
            status = "503 Down"
        elif (asked := RequestShape("userIds").parse(seen.body)) and target == BULK:
            ids = [one for one in asked if one not in self.hidden]
            document = {"users": [self._item(one) for one in ids], "count": len(ids)}
        elif method not in {"GET", "HEAD"}:
            self.versions[entity] = self.versions.get(entity, 0) + 1
        elif entity in self.hidden:
            status = "404 No"
        else:
            lines, document = self.fields, self._item(entity)
        body = json.dumps(document).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + (b"" if method == "HEAD" else body))


class Pair:
    """A connection to each of the two, the one with the lane first."""

    def __init__(self, twins: "Twins", clients: tuple[Client, Client]) -> None:
        self._twins = twins
        self._clients = clients

    async def send(self, *pieces: bytes) -> None:
        """Send the same to both, piece by piece; each is read before the next is written."""
        for piece in pieces:
            for client in self._clients:
                with suppress(ConnectionError):  # it was refused before its end
                    await client.send(piece)
            for _ in range(4):  # the proxies read it in this same loop
                await asyncio.sleep(0)

    async def receive(self, *, head_only: bool = False) -> Response:
        """The next answer of both, which are the same."""
        fast, slow = [await client.receive(head_only=head_only) for client in self._clients]
        assert (neutral(fast.head), fast.body) == (neutral(slow.head), slow.body)
        return fast

    async def ask(self, request: bytes) -> Response:
        """What both answer to one request."""
        await self.send(request)
        return await self.receive(head_only=request.startswith(b"HEAD"))

    async def times(self, times: int, request: bytes) -> Response:
        """The same, so many times in a row; the last answer."""
        for _ in range(times - 1):
            await self.ask(request)
        return await self.ask(request)

    async def warm(self, request: bytes) -> Response:
        """Ask until it is answered by its bytes alone; the last answer, which is."""
        await self.ask(request)
        await self._twins.settled()  # what the database confirms is put together anew
        self._twins.clock.tick(
            0.01
        )  # at the moment at which it came its head would be written anew each time
        await self.times(WARMING - 2, request)
        assert self._twins.knows(request)
        unread = self._twins.unread
        answer = await self.ask(request)
        assert self._twins.unread == unread + 1
        return answer

    async def final(self) -> Response:
        """The next answer of both that is none of the interim ones."""
        while (answer := await self.receive()).status < 200:
            pass
        return answer

    async def rest(self) -> None:
        """Send no more once all is answered that can be; all that still comes from both is the same. What is reset may
        have lost it on its way.

        Where an answer is due still, it is chance whether it is written before the end is seen, and so whether it says
        `Connection: close`: `leave` is for that.
        """
        await self._twins.answered()
        for client in self._clients:
            with suppress(OSError):
                client.writer.write_eof()
        fast, slow = [await _all(client) for client in self._clients]
        assert fast == slow or None in {fast, slow}, (fast, slow)

    async def leave(self, request: bytes, *, is_hit: bool) -> bytes:
        """Send the last request and the end in one; all that comes from both, which is the same.

        Of hits that is all but `Connection: close`, which the lane does not say (proxy/lane.py). What else is asked for
        waits at the upstream until both have seen the end.
        """
        if not is_hit:
            self._twins.change(lambda origin: origin.gate.clear())
        for client in self._clients:
            client.writer.write(request)
            client.writer.write_eof()
        if not is_hit:
            await self._twins.have_seen_ends()
            self._twins.change(lambda origin: origin.gate.set())
        answers = [await _all(client) for client in self._clients]
        assert None not in answers
        # Who has sent his end is asked whether he is there still, if his answer takes long (proxy/presence.py).
        fast, slow = [(answer or b"").replace(_STILL_THERE, b"") for answer in answers]
        if is_hit:
            assert fast.replace(_CLOSE, b"") == slow.replace(_CLOSE, b""), (fast, slow)
        else:
            assert fast == slow, (fast, slow)
        return fast

    async def ended(self) -> bytes:
        """What still comes from both until they close the connection."""
        fast, slow = await asyncio.gather(*(client.ended() for client in self._clients))
        assert neutral(fast) == neutral(slow)
        return fast


_TURNS = 500
"""Of the event loop: a hit takes some ten."""
_STILL_THERE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE = b"Connection: close\r\n"


def _connections(*proxies: Proxy) -> list[Connection]:
    """The servers' sides of all connections."""
    servers = [server for proxy in proxies for server in proxy.app._serving]
    return [cast("Connection", one) for server in servers for one in server.connections]


def _is_busy(proxy: Proxy) -> bool:
    """Whether a request is under way, be it half of one."""
    return any(not one._is_waiting for one in _connections(proxy))


def _owes(connection: Connection) -> bool:
    """Whether an answer is due that does not wait for the client."""
    is_half = not connection._last_payload.is_eof() and not connection._messages
    return not connection._is_waiting and not is_half


async def _all(client: Client) -> bytes | None:
    """What still comes until the end; None if that is a reset."""
    async with asyncio.timeout(PATIENCE):
        try:
            return neutral(await client.reader.read())
        except ConnectionError:
            return None


class Twins:
    """The two, the one with the lane first, with their upstreams and their clock."""

    def __init__(
        self,
        proxies: tuple[Proxy, Proxy],
        origins: tuple[Origin, Origin],
        clock: Clock,
        loaders: Sequence[Loader],
    ) -> None:
        self.proxies = proxies
        self.origins = origins
        self.clock = clock
        self.numbers = count()
        """For what differs each time."""
        self._loaders = loaders
        for server in proxies[0].app._serving:
            if isinstance(server, LaneServer):
                self._watch(server.lane)

    def _watch(self, lane: Lane) -> None:
        find, known = lane.find, lane.known

        masked = b""

        def knowing(data: bytes) -> Ready | None:
            nonlocal masked
            ready = known(data)
            masked = data if ready is not None else b""
            self.masked += ready is not None
            return ready

        def finding(request: PlainRequest, data: bytes, now: float) -> Ready | None:
            is_known = data in lane.table.exact or known(data) is not None
            ready = find(request, data, now)
            self.found += ready is not None and not is_known
            self.read += ready is not None
            self.masked -= data is masked
            return ready

        lane.find = finding  # type: ignore[method-assign]
        lane.known = knowing  # type: ignore[method-assign]

    found = 0
    """Answers of the lane to requests that it has had to read."""
    read = 0
    """Answers to requests that it has read, though it may have known their bytes: their heads were written anew."""
    masked = 0
    """Answers to requests that it has known by their bytes without the fields that differ each time, and not read."""

    @property
    def tables(self) -> list[Table]:
        """The lane's tables."""
        return self.proxies[0].app._tables

    def knows(self, request: bytes) -> bool:
        """Whether the lane knows the request by its bytes."""
        return any(request in table.exact for table in self.tables)

    @property
    def in_lane(self) -> int:
        """Answers of the lane since `same_counts`."""
        return sum(tally.requests for tally in self.proxies[0].app.metrics._tallies.values())

    @property
    def by_bytes(self) -> int:
        """How many of those were to requests that it knew by their bytes."""
        return self.in_lane - self.found

    @property
    def unread(self) -> int:
        """How many of those it has given without a look into the request."""
        return self.in_lane - self.read

    def change(self, work: Callable[[Origin], object]) -> None:
        """Do the same to both upstreams."""
        for origin in self.origins:
            work(origin)

    @asynccontextmanager
    async def pair(self, listener: str = "upstreams.main") -> AsyncIterator[Pair]:
        """A new connection to each."""
        fast, slow = self.proxies
        async with fast.client(listener) as one, slow.client(listener) as other:
            yield Pair(self, (one, other))

    async def both(self, work: Callable[[Proxy], Awaitable[Response]]) -> Response:
        """What both answer to a call of another kind: the same but for their own ids."""
        fast, slow = [await work(proxy) for proxy in self.proxies]
        assert (neutral(fast.head), neutral(fast.body)) == (neutral(slow.head), neutral(slow.body))
        return fast

    async def settled(self) -> None:
        """The same, and until all that came is in the database."""
        await self.calm()
        for proxy in self.proxies:
            await proxy.durable()

    async def calm(self) -> None:
        """Wait for the end of the calls behind the answers, and of what is done behind an answer's last byte: there
        some requests are counted."""
        async with asyncio.timeout(PATIENCE):
            for proxy in self.proxies:
                while proxy.calls or _is_busy(proxy) or self._are_awaited():
                    await asyncio.sleep(0)

    def _are_awaited(self) -> bool:
        """Whether flights are due, be they yet to take off."""
        return any(loader._flights for loader in self._loaders)

    async def answered(self) -> None:
        """Wait until both have answered what they can. Half a request stays under way, and may be refused before its
        end: it has so many turns."""
        async with asyncio.timeout(PATIENCE):
            while any(map(_owes, _connections(*self.proxies))):
                await asyncio.sleep(0)
        for _ in range(_TURNS):
            if not any(map(_is_busy, self.proxies)):
                return
            await asyncio.sleep(0)

    async def have_seen_ends(self) -> None:
        """Wait until both have seen of each client who is connected that it sends no more."""
        async with asyncio.timeout(PATIENCE):
            while any(one._presence is None for one in _connections(*self.proxies)):
                await asyncio.sleep(0)

    def same_counts(self) -> None:
        """Both have counted the same, and asked their upstreams the same."""
        for proxy in self.proxies:
            let_go(proxy.app)
        fast, slow = (counts(proxy.app.metrics) for proxy in self.proxies)
        self.found = self.read = self.masked = 0
        assert fast == slow, {key: (fast.get(key), slow.get(key)) for key, _ in fast.items() ^ slow.items()}
        # Two calls that nobody waits for come in either order.
        asked, asked_too = (
            sorted((seen.line, seen.body) for seen in origin.upstream.seen) for origin in self.origins
        )
        assert asked == asked_too, next(pair for pair in zip_longest(asked, asked_too) if pair[0] != pair[1])
        self.change(lambda origin: origin.upstream.seen.clear())


@asynccontextmanager
async def twins(
    directory: Path, resources: dict[str, Any] | None = None, **sections: Any
) -> AsyncIterator[Twins]:
    """Both, with these sections; at the end they must have counted the same."""
    clock = Clock()
    origins = Origin(), Origin()
    loaders: list[Loader] = []
    places = [directory / "lane", directory / "slow"]
    settings = [sections.pop("fast", {}), sections.pop("slow", {})]
    for place in places:
        place.mkdir()

    def one(index: int, *, lane: bool) -> Any:
        document = {"resources": resources or user(), **sections, **settings[index]}
        return running(origins[index].upstream.url, places[index], clock=clock, lane=lane, **document)

    def loading(*args: Any, **how: Any) -> Loader:
        # What gathers for half a second would be counted by one of them only when it happens to be looked at between.
        loaders.append(Loader(*args, **how, refresh_gathers=0.0))
        return loaders[-1]

    async with AsyncExitStack() as stack:
        for origin in origins:
            await stack.enter_async_context(origin.upstream)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wiring, "Loader", loading)
            fast = await stack.enter_async_context(one(0, lane=True))
            slow = await stack.enter_async_context(one(1, lane=False))
        there = Twins((fast, slow), origins, clock, loaders)
        yield there
        await there.settled()
        there.same_counts()
