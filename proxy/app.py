"""The composition root: builds the parts, starts them in order, stops them in reverse."""

import asyncio
import errno
import os
import random
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from config.address import Address
from config.model import Config
from proxy import transparent, wiring
from proxy.auditor import Auditor
from proxy.core.budget import Budget
from proxy.core.policy import usable_until
from proxy.invalidations import Invalidations
from proxy.keeper import is_own_copy
from proxy.lane import Lane, LaneServer
from proxy.lane_table import Table
from proxy.log import Refs, logger, place_of
from proxy.messages import Handler
from proxy.metrics import Metrics, Sample
from proxy.refresher import Refresher
from proxy.server import Server, ServerLimits
from proxy.steady import SteadyClock
from proxy.storage import Storage
from proxy.supervisor import Supervisor
from proxy.upstream import Upstream
from proxy.web.handshake.router import OTHER as HANDSHAKE_ROUTE
from proxy.web.ops import OpsHandler
from proxy.web.resource import Resource
from proxy.web.webhooks import ROUTE as EVENTS_ROUTE
from proxy.wiring import Parts, limits_of
from store.census import stale_in
from store.entry import Entry

if TYPE_CHECKING:
    from proxy.tracing import Tracing

_LAG_EVERY = 1.0
# Seconds that the system's clock is set back at a time before that is worth a line.
_CLOCK_STEP = 1.0
# Seconds that the last spans have to reach their receiver, plenty for one that is there; and what they have of it even
# when the drain has taken all of its time.
_FLUSH, _FLUSH_AT_LEAST = 3.0, 1.0
# Seconds that a probe or a scrape under way may take when all else has ended.
_OPS_DRAIN = 1.0
# The route of a request that no handler saw, by listener.
_ROUTES = {"handshake": HANDSHAKE_ROUTE, "webhooks": EVENTS_ROUTE}


class App:
    """One running instance."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.perf_counter,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.config = config
        self.metrics = Metrics(is_shared=config.store.is_shared)
        self.buffered = Budget(config.limits.buffered)
        self.started = False
        self.draining = False
        self.addresses: dict[str, str] = {}
        self._clock = SteadyClock(clock, monotonic)
        self._wall = clock
        self._monotonic = monotonic
        self._rng = rng
        self._log = logger()
        # The name under which this instance knows itself in Via, and the key of its refs: new with every start.
        self._via = b"handshake-proxy-" + secrets.token_hex(4).encode()
        self._refs = Refs(secrets.token_bytes(16))
        self._stack = AsyncExitStack()
        self._ops: Server | None = None
        self._upstreams: tuple[Upstream, ...] = ()
        self._serving: list[Server] = []
        self._tables: list[Table] = []
        self._supervisor = Supervisor(self._crashed)
        self._limits = {name: limits_of(resource.freshness) for name, resource in config.resources.items()}
        self._storage = Storage(
            config,
            self.metrics,
            clock=self._clock,
            monotonic=monotonic,
            usable_until=self._usable_until,
            on_doubt=self._doubt,
        )
        self._is_out_of_descriptors = False
        self._told_ahead = 0.0
        self._stop_by: float | None = None

    @property
    def ready(self) -> bool:
        """Whether the listeners are up and the store is open or given up, and the instance is not draining."""
        return self.started and not self.draining

    async def start(self) -> dict[str, str]:
        """Start everything; return the bound addresses by listener. Raises OSError if one can't be bound."""
        try:
            return await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _start(self) -> dict[str, str]:
        tracing = self._open_tracing()
        self._stack.push_async_callback(self._storage.close)
        await self._storage.start()
        upstreams: dict[str, Upstream] = {}
        for name, upstream_config in self.config.upstreams.items():
            upstream = Upstream(
                name,
                upstream_config,
                self.config.limits,
                self.metrics,
                via=self._via,
                buffered=self.buffered,
                clock=self._wall,
                monotonic=self._monotonic,
                rng=self._rng,
                spans=tracing.upstream(name, upstream_config.url) if tracing else None,
            )
            await upstream.start()
            self._stack.push_async_callback(upstream.close)
            upstreams[name] = upstream
        # Its tasks end before the upstreams that they call: none takes our own closing for a failure of theirs.
        self._stack.push_async_callback(self._supervisor.close)
        self._upstreams = tuple(upstreams.values())
        ops = OpsHandler(self, self._render_metrics)
        self._ops = await self._listen("ops", ops, self.config.ops.listen)
        auditor, refresher = self._auditor(), self._refresher()
        parts = Parts(
            config=self.config,
            store=self._storage.tiers,
            upstreams=upstreams,
            supervisor=self._supervisor,
            metrics=self.metrics,
            measured=self._measured,
            invalidations=Invalidations(self.metrics, self._refs, clock=self._clock),
            buffered=self.buffered,
            started_at=self._clock(),
            refs=self._refs,
            via=self._via,
            clock=self._clock,
            wall=self._wall,
            monotonic=self._monotonic,
            rng=self._rng,
            credentials=wiring.credential_key(self.config),
            tracing=tracing,
            auditor=auditor,
            refresher=refresher,
            responses=self._storage.responses,
        )
        known = wiring.resources(parts)
        for name, upstream in upstreams.items():
            router, lane = transparent.listener(parts, known, upstream)
            listen = self.config.upstreams[name].listen
            if lane is not None:
                self._tables.append(lane.table)
            self._serving.append(await self._listen(f"upstreams.{name}", router, listen, lane))
        handshake = wiring.handshake(parts, known)
        self._serving.append(await self._listen("handshake", handshake, self.config.handshake.listen))
        await self._listen_for_events(parts, known)
        self._supervisor.spawn("event loop lag", self._watch_lag())
        self._supervisor.spawn("store", self._storage.keep())
        if auditor is not None:
            self._supervisor.spawn("audit", auditor.run())
        if refresher is not None:
            self._supervisor.spawn("refresher", refresher.run())
        self.started = True
        return self.addresses

    async def stop(self) -> None:
        """Drain, then stop everything in reverse. Idempotent."""
        self.draining = True
        # The probes stay up while the rest drains.
        timeout, linger = self.config.limits.drain_timeout, self.config.limits.drain_linger
        self._stop_by = asyncio.get_running_loop().time() + timeout
        if all(server.is_quiet(linger) for server in self._serving):
            linger = 0.0  # nobody is there to be waited for
        await asyncio.gather(*(server.drain(timeout, linger=linger) for server in self._serving))
        if self._ops is not None:
            await self._ops.drain(_OPS_DRAIN)
        await self._stack.aclose()

    def _doubt(self) -> None:
        """What memory has counts as stale: no answer that was put together before stands."""
        for table in self._tables:
            table.clear()

    def _open_tracing(self) -> "Tracing | None":
        endpoint = self.config.tracing.endpoint
        if endpoint is None:
            return None
        # An extra, and large: without an endpoint it is never imported.
        from proxy.tracing import Tracing  # noqa: PLC0415
        from proxy.tracing_export import Exports  # noqa: PLC0415

        exports = Exports(endpoint)

        async def close() -> None:
            stop_by = self._stop_by
            left = _FLUSH if stop_by is None else stop_by - asyncio.get_running_loop().time()
            await exports.close(min(_FLUSH, max(_FLUSH_AT_LEAST, left)))

        self._stack.push_async_callback(close)
        return Tracing(self.config, exports.processor)

    def _auditor(self) -> Auditor | None:
        if not self.config.audit.sample_ratio:
            return None
        return Auditor(self.config.audit, metrics=self.metrics, rng=self._rng, on_crash=self._crashed)

    def _refresher(self) -> Refresher | None:
        if not self.config.refresh.enabled:
            return None
        return Refresher(
            self.config.refresh,
            metrics=self.metrics,
            clock=self._clock,
            monotonic=self._monotonic,
            rng=self._rng,
            on_crash=self._crashed,
        )

    def _usable_until(self, entry: Entry) -> float:
        resource = self.config.resources[entry.key.resource]
        freshness = resource.freshness
        return usable_until(
            entry,
            self._limits[entry.key.resource],
            negative_ttl=freshness.negative_ttl,
            at_most=freshness.ttl if is_own_copy(resource, entry.key.variant) else None,
        )

    async def _listen(
        self, name: str, handler: Handler, address: Address, lane: Lane | None = None
    ) -> Server:
        limits = self.config.limits
        bounds = ServerLimits(
            header_bytes=limits.header_bytes,
            header_timeout=limits.header_timeout,
            idle_timeout=limits.idle_timeout,
            connections=limits.connections,
        )
        route = _ROUTES.get(name, "passthrough")
        on_error = partial(self._answered_by_server, route)
        if lane is None:
            server = Server(handler, bounds, on_error=on_error)
        else:
            server = LaneServer(handler, bounds, on_error=on_error, lane=lane)
        host, port = await server.listen(address.host, address.port)
        self._stack.push_async_callback(server.drain, 0)
        self.addresses[name] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return server

    async def _listen_for_events(self, parts: Parts, known: Mapping[str, Resource]) -> None:
        config = self.config.webhooks
        if config.listen is None or config.secret_file is None:
            return
        events = wiring.events(parts, known)
        self._stack.callback(events.close)
        router = wiring.webhooks(parts, events, config.listen, config.secret_file)
        self._serving.append(await self._listen("webhooks", router, config.listen))

    def _answered_by_server(self, route: str, code: int, error: BaseException | None) -> None:
        """A request that no handler saw, or whose handler failed; the latter was counted on its way."""
        if error is None:
            self.metrics.request(route, "other", code, "error", 0.0)
        else:
            self._crashed("request handler", error)

    def _crashed(self, name: str, error: BaseException) -> None:
        self._log.error("internal_error", task=name, error=type(error).__name__, at=place_of(error))

    async def _render_metrics(self, accept: str) -> tuple[bytes, str]:
        await self._measure()
        return self.metrics.render(accept)

    async def _measured(self) -> list[Sample]:
        await self._measure()
        return self.metrics.snapshot()

    async def _measure(self) -> None:
        """Set what is not counted where it happens: sizes and states, as of now."""
        tiers = self._storage.tiers
        stats = await tiers.stats()
        entities, stale, memory = stats.entities, stats.stale, stats.memory_bytes
        responses = self._storage.responses
        if responses is not None:
            entities = {**entities, **responses.counts()}
            stale = {**stale, **await stale_in(responses, self._clock())}
            memory += responses.bytes
        self.metrics.store_sizes(
            entities={name: entities.get(name, 0) for name in self.config.resources},
            stale={name: stale.get(name, 0) for name in self.config.resources},
            invalidation_lag=stats.invalidation_lag,
            memory=memory + sum(table.bytes for table in self._tables),
            memory_max=self.config.memory.max_bytes,
            store=stats.database_bytes,
            store_max=self.config.store.max_bytes,
            degraded=tiers.degraded,
        )
        if tiers.sharing is not None:
            self.metrics.change_log(lag=tiers.sharing.lag(), listening=self._storage.is_hearing)
        for upstream in self._upstreams:
            self.metrics.circuit(upstream.name, upstream.circuit_state())
        self.metrics.lifecycle(ready=self.ready, draining=self.draining)
        self.metrics.tasks(len(asyncio.all_tasks()))

    async def _watch_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_EVERY
            await asyncio.sleep(_LAG_EVERY)
            self.metrics.loop_lag(max(0.0, loop.time() - due))
            self._watch_descriptors()
            self._watch_clock()
            for table in self._tables:
                table.sweep()

    def _watch_clock(self) -> None:
        """Say when the system's clock was set back: Date fields and times in the database are ahead of it until it has
        caught up, or the program starts anew."""
        ahead = self._clock.ahead()
        if ahead > self._told_ahead + _CLOCK_STEP:
            self._log.warning("clock_set_back", seconds=round(ahead))
        else:  # what it has caught up may be lost again
            ahead = min(self._told_ahead, ahead)
        self._told_ahead = ahead

    def _watch_descriptors(self) -> None:
        """Say when there is no file descriptor left, and when there is one again: whoever can't be accepted for that
        is closed by the event loop, which tells nobody."""
        try:
            os.close(os.dup(0))
        except OSError as error:
            exhausted = error.errno in {errno.EMFILE, errno.ENFILE}
        else:
            exhausted = False
        if exhausted != self._is_out_of_descriptors:
            self._is_out_of_descriptors = exhausted
            if exhausted:
                self._log.error("descriptors_exhausted")
            else:
                self._log.info("descriptors_available")
