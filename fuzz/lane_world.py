"""A small world behind a listener: resources, some entities held, and an upstream that is played.

It is wired as the program wires it. The ids say what they stand for: `HELD`, `OTHER`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache
from typing import Any, cast

from config.model import Config
from fuzz.lane_pages import answer
from proxy import transparent, wiring
from proxy.core.budget import Budget
from proxy.core.http.fields import RawField, render
from proxy.core.policy import usable_until
from proxy.exchange import Exchange, Fetched, Opened, ResponseHead, UpstreamError
from proxy.invalidations import Invalidations
from proxy.lane import Lane
from proxy.log import Refs
from proxy.messages import Handler
from proxy.metrics import Metrics
from proxy.steady import SteadyClock
from proxy.supervisor import Supervisor
from proxy.tunnel import Tunnel
from proxy.upstream import Upstream
from proxy.web.sharing import CredentialKey
from store.entry import Entry, Key, Write
from store.memory import MemoryTier
from store.tiered import TieredStore

START = 1_800_000_000.0
"""The wall's time when the world is made, in epoch seconds."""
HELD = ("a", "b", "c", "é", "x y", "big", "edge", "huge", "v", "stale", "gone", "husk", "bad", "new")
"""`a`, `b`, `c` are fresh for different times; `big` takes of the budget, `edge` nearly all that a transport takes, and
`huge` more; `v` varies; `gone` is an absence, `husk` was invalidated, `bad` has a field that fits into no head, and
`new` seems to come from the future."""
OTHER = ("d", "none", "slow", "error")
"""`d` is at the upstream alone, `none` is nowhere; for the others the upstream takes a good second, or fails."""
_SLOW = 1.0625
"""Seconds. A little more than who has something stale waits: of two timers at one time either may go first."""
_MEMORY = 2**18
"""Bytes that the lane's table has a part of, so small that it has to make room."""
_USER = {
    "storage": "memory",
    "id": "/id",
    "freshness": {
        "ttl": 30,
        "jitter": 0,
        "stale_while_revalidate": 5,
        "stale_if_error": 60,
        "negative_ttl": 5,
    },
    "bulk": {"path": "/u", "ids": "/ids", "items": "/users", "count": "/count", "max_ids": 3},
    "single": {"path": "/u/{id}"},
}
_TEAM = {
    **_USER,
    "sharing": "service",
    "key_headers": ["x-tenant"],
    "bulk": {**_USER["bulk"], "path": "/t", "method": "PUT", "status": 201, "duplicates": "repeat"},  # type: ignore[dict-item]
    "single": {"path": "/t/{id}"},
}
_NOTE = {
    **_USER,
    "sharing": "per_credential",
    "bulk": {**_USER["bulk"], "path": "/n", "duplicates": "once"},  # type: ignore[dict-item]
    "single": {"path": "/n/{id}"},
}
_PAGE = {
    "freshness": {"ttl": 0, "stale_while_revalidate": 5, "stale_if_error": 60},
    "single": {"path": "/pages/{rest*}"},
}
CONFIG = Config.model_validate(
    {
        "upstreams": {"main": {"url": "http://up.invalid", "listen": "127.0.0.1:0"}},
        "resources": {"user": _USER, "team": _TEAM, "note": _NOTE, "page": _PAGE},
        "memory": {"max_bytes": _MEMORY},
        "limits": {"bulk_body": 1024, "buffered": 80 * 1024, "header_bytes": 512},
    }
)


@lru_cache(maxsize=64)
def item(entity: str, version: int) -> bytes:
    """What the upstream has of an entity."""
    text = {"big": "b" * 20_000, "edge": "e" * 65_200, "huge": "h" * 70_000}.get(entity, "x")
    return json.dumps({"id": entity, "version": version, "text": text}, ensure_ascii=False).encode()


def _entries(now: float) -> list[Entry]:
    """What is held at first."""

    def one(entity: str, lifetime: float, *, old: float = 0.0, **more: Any) -> Entry:
        known = {"key": Key("user", entity), "item": item(entity, 1), "last_synced_at": now, **more}
        return Entry(received_at=now - old, lifetime=lifetime, **known)

    etag, date = (b"ETag", b'"1"'), (b"Date", b"Fri, 15 Jan 2027 08:00:00 GMT")
    json_type = (b"Content-Type", b"application/json")
    return [
        one("a", 300.0, old=1.75),
        one("b", 3.5, old=0.4, must_revalidate=True),
        one("c", 20.1, initial_age=7.3, shareable=True, headers=(etag, date, json_type)),
        one("é", 300.0),
        one("x y", 9.0),
        one("big", 300.0),
        one("edge", 300.0),
        one("huge", 300.0),
        one("v", 300.0, headers=((b"Vary", b"Accept"), (b"Last-Modified", date[1]))),
        one("stale", 10.0, old=12.0),
        one("gone", 4.0, item=b"{}", absent=True, status=404, headers=(json_type,)),
        one("husk", 300.0, item=None),
        one("bad", 300.0, headers=((b"X", b"a\r\nb"),)),
        one("new", 300.0, old=-3.0),
        one("a", 50.0, old=0.3, key=Key("team", "a")),
        one("a", 50.0, old=0.3, key=Key("note", "a")),
    ]


_HELD = _entries(START)


class _Exchange:
    """One exchange with the played upstream, which answers what was sent to it."""

    def __init__(self, upstream: "PlayedUpstream") -> None:
        self._upstream = upstream
        self._sent = bytearray()
        self._page: bytes | None = None
        self._tunnel: Tunnel | None = None

    async def send_head(self, head: bytes, body: bytes = b"") -> None:
        self._sent += head + body

    async def send_body(self, chunk: bytes, *, chunked: bool) -> None:
        del chunked
        self._sent += chunk

    async def end_request(self, *, chunked: bool = False) -> None:
        self._sent += b"<last chunk>" if chunked else b""

    async def receive_head(self, _method: str, *, upgrade: bool = False, **_: object) -> ResponseHead:
        sent = bytes(self._sent)
        line = sent.partition(b"\r\n")[0]
        if b"slow" in line:
            await asyncio.sleep(_SLOW)
        if b"error" in line:
            raise UpstreamError("connect")
        page = answer(sent, self._upstream.version)
        if page is not None:
            head, self._page = page
            return head
        if upgrade:
            return ResponseHead(101, b"", ((b"Upgrade", b"websocket"),), chunked=False, version=(1, 1))
        return ResponseHead(200, b"OK", ((b"X-Seen", b"%d" % len(sent)),), chunked=False, version=(1, 1))

    def arrived(self) -> bytes | None:
        return bytes(self._sent) if self._page is None else self._page

    async def body(self) -> AsyncIterator[bytes]:
        yield bytes(self._sent) if self._page is None else self._page

    def tunnel(self) -> tuple[Tunnel, "_Echo"]:
        self._tunnel = Tunnel.on(_Reading())
        return self._tunnel, _Echo(self._tunnel)

    def abort(self) -> None:
        self._sent += b"<aborted>"
        if self._tunnel is not None:
            self._tunnel.feed_eof()

    def close(self) -> None:
        self._upstream.seen.append(bytes(self._sent))


class _Reading:
    """A protocol of which a tunnel reads."""

    _reading_paused = False

    def set_parser(self, *_: object) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class _Echo:
    """Says what it is told, as the other end of a tunnel."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    async def write(self, data: bytes) -> None:
        self._tunnel.feed_data(b"<" + data + b">")

    async def drain(self) -> None:
        pass


class PlayedUpstream:
    """What `Upstream` is to the rest of the program."""

    name = "main"
    via = b"here"
    host = b"up"
    origin = b"http://up"
    spans = None

    def __init__(self, metrics: Metrics) -> None:
        self.config = CONFIG.upstreams["main"]
        self.version = 1
        self.seen: list[bytes] = []
        """What it was asked, whole."""
        self._metrics = metrics

    def takes(self, _method: str, _target: bytes) -> bool:
        return True

    def render(self, method: str, target: bytes, fields: list[RawField]) -> bytes:
        return render(b"%b %b HTTP/1.1" % (method.encode(), target), fields)

    def answered(self, route: str, status: int, _seconds: float) -> None:
        self._metrics.upstream_answered(self.name, route, status, 0.0)

    def failed(self, reason: str) -> None:
        self._metrics.upstream_failed(self.name, reason)

    def open(self, *, fresh: bool = False, within: float | None = None) -> Opened:
        del fresh, within

        async def begin() -> Exchange:
            return cast("Exchange", _Exchange(self))

        return Opened(begin(), lambda exchange, _: exchange.close())

    async def fetch(
        self, route: str, _method: str, target: bytes, fields: list[RawField], body: bytes = b"", **_: object
    ) -> Fetched:
        """A fill."""
        single = route.endswith(".single")
        ids = [target.decode().rpartition("/")[2]] if single else json.loads(body)["ids"]
        self.seen.append(b"%b %r %b" % (target, fields, body))
        if "slow" in ids:
            await asyncio.sleep(_SLOW)
        if "error" in ids:
            self.failed("connect")
            raise UpstreamError("connect")
        found = [item(entity, self.version) for entity in ids if entity != "none"]
        answer = b'{"users":[%b],"count":%d}' % (b",".join(found), len(found))
        status = 200
        if single:
            status, answer = (200, found[0]) if found else (404, b"{}")
        self.answered(route, status, 0.0)
        head = ResponseHead(status, b"", ((b"ETag", b'"%d"' % self.version),), chunked=False, version=(1, 1))
        return Fetched(head, answer)


class World:
    """All that is behind one listener. `time` gives the seconds since it was made. To be made inside the loop."""

    def __init__(self, metrics: Metrics, time: Callable[[], float]) -> None:
        self.metrics = metrics
        self.upstream = PlayedUpstream(metrics)
        self.failures: list[str] = []
        self.supervisor = Supervisor(lambda name, error: self.failures.append(f"{name}: {error!r}"))
        self._time = time
        refs = Refs(b"refs")
        self.store = TieredStore(
            MemoryTier(2**24, clock=self.clock, on_evict=metrics.evicted),
            None,
            clock=self.clock,
            usable_until=_usable_until,
            on_lookup=metrics.looked_up,
            on_error=metrics.store_failed,
            max_pending=100,
            tables=frozenset(),
            derive_id=lambda key, attempt: f"{key.id}-{attempt}",
        )
        for entry in _HELD:
            self.store.put(Write(entry, {}))
        self.responses = MemoryTier(2**24, clock=self.clock, on_evict=metrics.evicted)
        self.buffered = Budget(CONFIG.limits.buffered)
        upstream = cast("Upstream", self.upstream)
        parts = wiring.Parts(
            config=CONFIG,
            store=self.store,
            upstreams={"main": upstream},
            supervisor=self.supervisor,
            metrics=metrics,
            measured=_never,
            invalidations=Invalidations(metrics, refs, clock=self.clock),
            buffered=self.buffered,
            started_at=START,
            refs=refs,
            via=self.upstream.via,
            clock=SteadyClock(self.clock, self.clock),
            wall=self.clock,
            monotonic=time,
            rng=lambda: 0.0,
            credentials=CredentialKey(None, made=b"fuzz"),
            responses=self.responses,
        )
        self._known = wiring.resources(parts)
        router, lane = transparent.listener(parts, self._known, upstream)
        self.handler: Handler = router
        assert lane is not None
        self.lane: Lane = lane

    def clock(self) -> float:
        """The wall's time, in epoch seconds."""
        return START + self._time()

    def drop(self) -> None:
        """Nothing is in memory any more."""
        self.store.memory.clear()
        self.responses.clear()

    async def invalidate(self, entity: str) -> None:
        """What an unsafe method does."""
        await self._known["user"].resolver.invalidate(entity, "method")

    def renew(self, entity: str) -> None:
        """The upstream has something new, and has told of one entity."""
        self.upstream.version += 1
        now = self.clock()
        new = item(entity, self.upstream.version)
        entry = Entry(key=Key("user", entity), item=new, received_at=now, lifetime=6.0, last_synced_at=now)
        self.store.put(Write(entry, {}))


def _usable_until(entry: Entry) -> float:
    freshness = CONFIG.resources[entry.key.resource].freshness
    return usable_until(entry, wiring.limits_of(freshness), negative_ttl=freshness.negative_ttl)


async def _never() -> list[Any]:
    raise AssertionError


def counted(metrics: Metrics) -> Mapping[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What was counted, but for how long things took."""
    return {
        (name, tuple(sorted(labels.items()))): round(value, 3)  # ages are added in another order
        for name, labels, value in metrics.snapshot()
        if value and not ("duration" in name and name.endswith(("_sum", "_bucket")))
    }
