"""A simulated replica: the program's own resolver, loader, fetcher, keeper and tiers, before an owner in memory."""

import asyncio
import itertools
import json
import random
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import cast

from bench.fleet.databases import Rows, SharedRows
from config.load import load
from proxy.core.http.fields import RawField
from proxy.core.policy import Limits, usable_until
from proxy.exchange import Fetched, ResponseHead
from proxy.fetcher import Fetcher
from proxy.fleet import Fleet
from proxy.keeper import Keeper
from proxy.loader import Loader
from proxy.metrics import Metrics
from proxy.resolver import Resolver
from proxy.supervisor import Supervisor
from proxy.upstream import Upstream
from store.entry import Entry
from store.memory import MemoryTier
from store.sharing import SharedBy
from store.tiered import TieredStore

_CONFIG = load(None, {"HANDSHAKE_UPSTREAMS__MAIN__URL": "http://owner.invalid"})
USER = _CONFIG.resources["user"]
"""The resource of the built-in configuration."""

UNPOLLED = 1e9
"""Seconds: the log is read when a notification comes. What reading it besides costs is a matter of arithmetic
(`bench.fleet.load.log_reads`)."""

POLL_INTERVAL = _CONFIG.store.poll_interval
"""Seconds, of the built-in configuration."""

Clock = Callable[[], float]


class Owner:
    """The user service: it knows every user, and how often each has changed. `takes`: seconds of a call."""

    def __init__(self, takes: float) -> None:
        self.config = SimpleNamespace(timeout=4.0)
        self._takes = takes
        self.versions: dict[str, int] = {}
        self.calls = 0
        self.ids = 0

    def failed(self, reason: str) -> None:
        """It never does."""
        raise RuntimeError(reason)

    async def fetch(
        self,
        _route: str,
        _method: str,
        _target: bytes,
        _fields: list[RawField],
        body: bytes = b"",
        *,
        max_body: int,
        within: float,
        own_credential: bool = True,
    ) -> Fetched:
        """What `Upstream.fetch` does for a bulk call: the answer is as of when the call has come half-way."""
        del max_body, within, own_credential
        ids = json.loads(body)["userIds"]
        self.calls += 1
        self.ids += len(ids)
        await asyncio.sleep(self._takes / 2)
        users = [{"id": entity, "v": self.versions.get(entity, 0)} for entity in ids]
        await asyncio.sleep(self._takes / 2)
        answer = json.dumps({"users": users, "count": len(users)}).encode()
        return Fetched(ResponseHead(200, b"", (), chunked=False, version=(1, 1)), answer)


class Replica:
    """One pod's proxy. `clock` gives simulated epoch seconds; a shared log is read each `poll_interval` seconds. The
    metrics are nobody's, and may be those of all replicas."""

    _numbers = itertools.count(1)

    def __init__(
        self,
        owner: Owner,
        database: Rows,
        clock: Clock,
        rng: random.Random,
        metrics: Metrics,
        poll_interval: float = UNPOLLED,
    ) -> None:
        self._owner = owner
        self._database = database
        self._supervisor = Supervisor(_defect)
        self._tasks: list[asyncio.Task[None]] = []
        freshness = USER.freshness
        limits = Limits(freshness.stale_while_revalidate, freshness.stale_if_error)

        def useful_until(entry: Entry) -> float:
            return usable_until(entry, limits, negative_ttl=freshness.negative_ttl)

        shared = None
        if isinstance(database, SharedRows):
            by = SharedBy(poll_interval, clock, lambda: next(self._numbers), _ignore, _ignore)
            shared = (database, by)
        self.store = TieredStore(
            MemoryTier(_CONFIG.memory.max_bytes, clock=clock, on_evict=_ignore),
            database,
            clock=clock,
            usable_until=useful_until,
            on_lookup=_ignore,
            on_error=_ignore,
            max_pending=20_000,
            tables=frozenset({"user"}),
            derive_id=lambda key, attempt: f"{key.id}-{attempt}",
            put_gathers=0.002,
            shared=shared,
        )
        fetcher = Fetcher(
            "user",
            USER,
            cast("Upstream", owner),
            Keeper("user", USER, self.store, clock=clock, wall=clock, rng=rng.random),
            metrics=metrics,
            clock=clock,
            wall=clock,
            monotonic=clock,
            rng=rng.random,
            max_body=2**23,
            warn=_ignore,
        )
        sharing = self.store.sharing
        fleet = None
        if sharing is not None:
            fleet = Fleet("user", sharing, timeout=fetcher.timeout, metrics=metrics, clock=clock)
        loader = Loader(
            fetcher,
            watch=self.store.watch,
            supervisor=self._supervisor,
            metrics=metrics,
            monotonic=clock,
            parallel=32,
            max_waiters=10_000,
            max_pending=1024,
            fleet=fleet,
        )
        self.resolver = Resolver(
            loader,
            self.store,
            limits,
            patience=freshness.revalidate_timeout,
            metrics=metrics,
            on_invalidated=_ignore,
            clock=clock,
        )

    async def start(self) -> None:
        """Begin with an empty memory."""
        await self.store.start()
        sharing = self.store.sharing
        if sharing is not None and isinstance(self._database, SharedRows):
            self._database.server.listeners[sharing.wake] = None
            await sharing.read_log()
            self._tasks.append(asyncio.create_task(sharing.keep(), name="change log"))

    async def stop(self) -> None:
        """End as a pod does; memory goes with it."""
        if self.store.sharing is not None and isinstance(self._database, SharedRows):
            self._database.server.listeners.pop(self.store.sharing.wake, None)
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._supervisor.close()
        await self.store.close()


def _ignore(*_: object) -> None:
    """A hook that the simulation has no use for."""


def _defect(name: str, error: BaseException) -> None:
    raise RuntimeError(name) from error
