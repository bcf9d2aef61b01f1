"""A resolver with all that hangs on it, before an upstream that the test plays: no sockets, and time by hand."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from config.model import ResourceConfig
from proxy.core.http.fields import RawField
from proxy.core.policy import Limits, usable_until
from proxy.exchange import Fetched, ResponseHead, UpstreamError
from proxy.fetcher import Fetcher
from proxy.keeper import Keeper
from proxy.loader import Loader
from proxy.metrics import Metrics
from proxy.outcomes import Resolution
from proxy.resolver import Resolver
from proxy.supervisor import Supervisor
from proxy.upstream import Upstream
from store.base import Store
from store.entry import Entry
from store.memory import MemoryTier
from store.tiered import TieredStore

BULK = {"path": "/users/bulk", "ids": "/userIds", "items": "/users", "count": "/count"}
SINGLE = {"path": "/users/{id}"}
ONE = {"path": "/b", "ids": "/userIds", "items": "/users", "max_ids": 1}
"""A bulk call of one id at a time."""
STALE = {"stale_while_revalidate": 500}
_LONG_AGO = b"Sun, 13 Sep 2020 12:26:40 GMT"


@dataclass
class Call:
    """One call as the upstream got it."""

    ids: tuple[str, ...]
    single: bool
    fields: tuple[RawField, ...]
    within: float


class FakeUpstream:
    """Has users with versions; answers at once, or when the test lets it."""

    def __init__(self, timeout: float, metrics: Metrics) -> None:
        self.failed = partial(metrics.upstream_failed, "main")
        self.config = SimpleNamespace(timeout=timeout)
        self.users: dict[str, int] = {}
        self.item = item
        """How it writes a user of that version."""
        self.calls: list[Call] = []
        self.status = 200
        self.fields: tuple[RawField, ...] = ()
        self.coarse = False
        """It validates by a Last-Modified that is too coarse to tell two versions apart, and has no ETag."""
        self.error: UpstreamError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.invalidated: Counter[str] = Counter()
        """How often each entity was invalidated: the test counts, and calls from before are no twins of later ones."""
        self.twins: list[str] = []
        """Ids that were asked for while they were asked for already."""
        self._in_the_air: list[tuple[str, bytes, int]] = []
        self.most_calls = 0
        self._calls_now = 0

    @property
    def ids(self) -> Counter[str]:
        """How often each id was asked for."""
        return Counter(entity for call in self.calls for entity in call.ids)

    async def fetch(
        self,
        route: str,
        _method: str,
        target: bytes,
        fields: list[RawField],
        body: bytes = b"",
        *,
        max_body: int,
        within: float,
        own_credential: bool = True,
    ) -> Fetched:
        """What Upstream.fetch does, as the test has arranged it."""
        single = route.endswith(".single")
        ids = (target.decode().rsplit("/", 1)[1],) if single else tuple(json.loads(body)["userIds"])
        self.calls.append(Call(ids, single, tuple(fields), within))
        tenant = dict(fields).get(b"x-tenant", b"")
        flying = [(entity, tenant, self.invalidated[entity]) for entity in ids]
        self.twins += [seat[0] for seat in flying if seat in self._in_the_air]
        self._in_the_air += flying
        self._calls_now += 1
        self.most_calls = max(self.most_calls, self._calls_now)
        self.arrived.set()
        # The answer is made when the call comes, as a slow network would have it: it may be old when it arrives.
        answer = self._answer(ids, single=single, fields=fields)
        try:
            async with asyncio.timeout(within):
                await asyncio.sleep(0)
                await self.gate.wait()
        except TimeoutError:
            raise UpstreamError("timeout") from None
        finally:
            for seat in flying:
                self._in_the_air.remove(seat)
            self._calls_now -= 1
        if self.error is not None:
            raise self.error
        if len(answer.body) > max_body:
            raise UpstreamError("too_large")
        return answer

    def _answer(self, ids: tuple[str, ...], *, single: bool, fields: list[RawField]) -> Fetched:
        if self.status != 200:
            return fetched(self.status, b"", self.fields)
        if not single:
            items = [self.item(entity, self.users[entity]) for entity in ids if entity in self.users]
            return fetched(200, b'{"users":[%b]}' % b",".join(items), self.fields)
        version = self.users.get(ids[0])
        if version is None:
            return fetched(404, b'{"why":"none"}', self.fields)
        validator = (b"Last-Modified", _LONG_AGO) if self.coarse else (b"ETag", b'"%d"' % version)
        asked = (b"If-Modified-Since" if self.coarse else b"If-None-Match", validator[1])
        if asked in fields:
            return fetched(304, b"", (*self.fields, validator))
        return fetched(200, self.item(ids[0], version), (*self.fields, validator))


def fetched(status: int, body: bytes, fields: tuple[RawField, ...] = ()) -> Fetched:
    return Fetched(ResponseHead(status, b"", fields, chunked=False, version=(1, 1)), body)


def item(entity: str, version: int) -> bytes:
    return json.dumps({"id": entity, "v": version}).encode()


@dataclass
class World:
    """All parts; `ask` is what a handler does."""

    upstream: FakeUpstream
    store: TieredStore
    loader: Loader
    resolver: Resolver
    metrics: Metrics
    supervisor: Supervisor
    warnings: list[str] = field(default_factory=list)
    now: float = 1_800_000_000.0

    def tick(self, seconds: float) -> None:
        self.now += seconds

    async def ask(self, *ids: str, **how: Any) -> Resolution:
        return await self.resolver.resolve(ids, **how)

    async def invalidate(self, entity: str) -> None:
        """What an unsafe method does; it is acknowledged when this returns."""
        self.upstream.invalidated[entity] += 1
        await self.resolver.invalidate(entity, "method")

    async def idle(self) -> None:
        """Wait until no flight is under way."""
        while len(self.supervisor) or self.loader._flights:
            await asyncio.sleep(0)


def populated(there: World, count: int = 300) -> None:
    """Have the upstream know so many users, by number."""
    there.upstream.users |= {str(number): 1 for number in range(count)}


def versions(resolution: Resolution) -> dict[str, int | None]:
    """What a resolution says of each id; None where it says that there is none."""
    return {
        entity: None if outcome.entry.absent else json.loads(outcome.entry.item or b"")["v"]
        for entity, outcome in resolution.outcomes.items()
    }


def sources(resolution: Resolution) -> Sequence[str]:
    return [outcome.source for outcome in resolution.outcomes.values()]


@asynccontextmanager
async def world(
    *,
    database: Store | None = None,
    upstream_timeout: float = 4.0,
    max_waiters: int = 100_000,
    max_pending: int = 1024,
    parallel: int = 24,
    refresh_gathers: float = 0.0,
    memory_bytes: int = 2**26,
    **resource: Any,
) -> AsyncIterator[World]:
    """A world of one resource; `resource` is laid over a bulk call of at most 100 ids, fresh for 100 s."""
    freshness = {"ttl": 100, "jitter": 0, "stale_while_revalidate": 0, "stale_if_error": 1000}
    freshness |= resource.pop("freshness", {})
    document = {"id": "/id", "storage": "memory", "bulk": BULK, "freshness": freshness} | resource
    config = ResourceConfig.model_validate(document)
    limits = Limits(config.freshness.stale_while_revalidate, config.freshness.stale_if_error)
    metrics = Metrics()
    failures: list[str] = []
    supervisor = Supervisor(lambda name, error: failures.append(f"{name}: {error!r}"))
    upstream = FakeUpstream(upstream_timeout, metrics)
    made: list[World] = []

    def clock() -> float:
        return made[0].now if made else 1_800_000_000.0

    def useful_until(entry: Entry) -> float:
        return usable_until(entry, limits, negative_ttl=config.freshness.negative_ttl)

    store = TieredStore(
        MemoryTier(memory_bytes, clock=clock, on_evict=metrics.evicted),
        database,
        clock=clock,
        usable_until=useful_until,
        on_lookup=metrics.looked_up,
        on_error=metrics.store_failed,
        max_pending=20_000,
        tables=frozenset() if database is None else frozenset({"user"}),
        derive_id=lambda key, attempt: f"{key.id}-{attempt}",
    )
    await store.start()
    warnings: list[str] = []
    fetcher = Fetcher(
        "user",
        config,
        cast("Upstream", upstream),
        Keeper("user", config, store, clock=clock, wall=clock, rng=lambda: 0.0),
        metrics=metrics,
        clock=clock,
        wall=clock,
        monotonic=clock,
        rng=lambda: 0.0,
        max_body=2**20,
        warn=warnings.append,
    )
    loader = Loader(
        fetcher,
        watch=store.watch,
        supervisor=supervisor,
        metrics=metrics,
        monotonic=clock,
        parallel=parallel,
        max_waiters=max_waiters,
        max_pending=max_pending,
        refresh_gathers=refresh_gathers,
    )
    resolver = Resolver(
        loader,
        store,
        limits,
        patience=config.freshness.revalidate_timeout,
        metrics=metrics,
        on_invalidated=lambda key, source: metrics.invalidated(key.resource, source),
        clock=clock,
    )
    made.append(World(upstream, store, loader, resolver, metrics, supervisor, warnings))
    try:
        yield made[0]
    finally:
        upstream.gate.set()
        await supervisor.close()
        await store.close()
    assert not failures, failures
    assert not upstream.twins, "fetched twice at a time"
