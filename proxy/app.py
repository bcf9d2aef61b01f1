"""The composition root: builds the parts, starts them in order, stops them in reverse."""

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from config.address import Address
from config.model import Config
from proxy import wiring
from proxy.core.policy import usable_until
from proxy.invalidations import Invalidations
from proxy.log import Refs, logger
from proxy.messages import Handler
from proxy.metrics import Metrics, Sample
from proxy.server import Server, ServerLimits
from proxy.stores import derive_id, table_specs
from proxy.supervisor import Supervisor
from proxy.upstream import Upstream
from proxy.web.handshake.router import OTHER as HANDSHAKE_ROUTE
from proxy.web.ops import OpsHandler
from proxy.wiring import Parts, limits_of
from store.base import StoreError, TableSpec
from store.entry import Entry
from store.memory import MemoryTier
from store.sqlite import SqliteStore, open_or_set_aside
from store.tiered import TieredStore

if TYPE_CHECKING:
    from proxy.tracing import Tracing

# Housekeeping of the database: often enough that a full one makes room soon, seldom enough to cost nothing.
_PRUNE_EVERY = 60.0
_LAG_EVERY = 1.0
# A database that fails does so many times a second; the metric counts each, the log says it now and then.
_STORE_LOG_EVERY = 10.0
# Writes that wait for the database at the most: a few seconds of misses at full speed. What comes beyond is served,
# but not kept.
_MAX_PENDING = 20_000
# Seconds that the last spans have to reach their receiver, plenty for one that is there; and what they have of it even
# when the drain has taken all of its time.
_FLUSH, _FLUSH_AT_LEAST = 3.0, 1.0


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
        self.metrics = Metrics()
        self.started = False
        self.draining = False
        self.addresses: dict[str, str] = {}
        self._clock = clock
        self._monotonic = monotonic
        self._rng = rng
        self._derive_id = partial(derive_id, config.handshake.namespace)
        self._log = logger()
        # The name under which this instance knows itself in Via, and the key of its refs: new with every start.
        self._via = b"handshake-proxy-" + secrets.token_hex(4).encode()
        self._refs = Refs(secrets.token_bytes(16))
        self._stack = AsyncExitStack()
        self._ops: Server | None = None
        self._upstreams: tuple[Upstream, ...] = ()
        self._serving: list[Server] = []
        self._supervisor = Supervisor(self._crashed)
        self._database: SqliteStore | None = None
        self._store: TieredStore | None = None
        self._store_failure_logged = -_STORE_LOG_EVERY
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
        store = await self._open_store()
        upstreams: dict[str, Upstream] = {}
        for name, upstream_config in self.config.upstreams.items():
            upstream = Upstream(
                name,
                upstream_config,
                self.config.limits,
                self.metrics,
                via=self._via,
                clock=self._clock,
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
        parts = Parts(
            config=self.config,
            store=store,
            upstreams=upstreams,
            supervisor=self._supervisor,
            metrics=self.metrics,
            measured=self._measured,
            invalidations=Invalidations(self.metrics, self._refs, clock=self._clock),
            started_at=self._clock(),
            refs=self._refs,
            via=self._via,
            clock=self._clock,
            monotonic=self._monotonic,
            rng=self._rng,
            tracing=tracing,
        )
        known = wiring.resources(parts)
        for name, upstream in upstreams.items():
            router = wiring.transparent(parts, known, upstream)
            listen = self.config.upstreams[name].listen
            self._serving.append(await self._listen(f"upstreams.{name}", router, listen))
        handshake = wiring.handshake(parts, known)
        self._serving.append(await self._listen("handshake", handshake, self.config.handshake.listen))
        self._supervisor.spawn("event loop lag", self._watch_lag())
        self._supervisor.spawn("prune", self._prune())
        self.started = True
        return self.addresses

    async def stop(self) -> None:
        """Drain, then stop everything in reverse. Idempotent."""
        self.draining = True
        # The probes stay up while the rest drains.
        timeout = self.config.limits.drain_timeout
        self._stop_by = asyncio.get_running_loop().time() + timeout
        await asyncio.gather(*(server.drain(timeout) for server in self._serving))
        if self._ops is not None:
            await self._ops.drain(0)
        await self._stack.aclose()

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

    async def _open_store(self) -> TieredStore:
        tables = table_specs(self.config)
        memory = MemoryTier(self.config.memory.max_bytes, clock=self._clock, on_evict=self.metrics.evicted)
        if tables:
            self._database = await self._open_database(tables)
        store = TieredStore(
            memory,
            self._database,
            clock=self._clock,
            usable_until=self._usable_until,
            on_lookup=self.metrics.looked_up,
            on_error=self._store_failed,
            max_pending=_MAX_PENDING,
            tables=frozenset(table.resource for table in tables),
            derive_id=self._derive_id,
        )
        self._store = store
        await store.start()
        self._stack.push_async_callback(store.close)
        return store

    async def _open_database(self, tables: list[TableSpec]) -> SqliteStore | None:
        path = self.config.store.sqlite_path
        if path is None:
            self._log.warning("store_not_available", why="postgresql arrives in a later version")
            return None
        database, why = await open_or_set_aside(
            path,
            tables,
            max_bytes=self.config.store.max_bytes,
            derive_id=self._derive_id,
            on_operation=self.metrics.store_operation,
        )
        if why is not None:
            self._log.error("store_degraded" if database is None else "store_set_aside", why=why)
        if database is not None:
            self._stack.push_async_callback(database.close)
            self._log.info(
                "store_open", scope="replica", note="entities here are this replica's own, not shared"
            )
        return database

    def _usable_until(self, entry: Entry) -> float:
        freshness = self.config.resources[entry.key.resource].freshness
        return usable_until(entry, limits_of(freshness), negative_ttl=freshness.negative_ttl)

    async def _listen(self, name: str, handler: Handler, address: Address) -> Server:
        limits = self.config.limits
        server = Server(
            handler,
            ServerLimits(
                header_bytes=limits.header_bytes,
                header_timeout=limits.header_timeout,
                idle_timeout=limits.idle_timeout,
                connections=limits.connections,
            ),
            on_error=partial(
                self._answered_by_server, HANDSHAKE_ROUTE if name == "handshake" else "passthrough"
            ),
        )
        host, port = await server.listen(address.host, address.port)
        self._stack.push_async_callback(server.drain, 0)
        self.addresses[name] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return server

    def _answered_by_server(self, route: str, code: int, error: BaseException | None) -> None:
        """A request that no handler saw, or whose handler failed; the latter was counted on its way."""
        if error is None:
            self.metrics.request(route, "other", code, "error", 0.0)
        else:
            self._crashed("request handler", error)

    def _crashed(self, name: str, error: BaseException) -> None:
        # The place, never the message: it may quote what was being handled.
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        at = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else ""
        self._log.error("internal_error", task=name, error=type(error).__name__, at=at)

    async def _render_metrics(self, accept: str) -> tuple[bytes, str]:
        await self._measure()
        return self.metrics.render(accept)

    async def _measured(self) -> list[Sample]:
        await self._measure()
        return self.metrics.snapshot()

    async def _measure(self) -> None:
        """Set what is not counted where it happens: sizes and states, as of now."""
        if self._store is not None:
            stats = await self._store.stats()
            self.metrics.store_sizes(
                entities={name: stats.entities.get(name, 0) for name in self.config.resources},
                stale={name: stats.stale.get(name, 0) for name in self.config.resources},
                invalidation_lag=stats.invalidation_lag,
                memory=stats.memory_bytes,
                memory_max=self.config.memory.max_bytes,
                store=stats.database_bytes,
                store_max=self.config.store.max_bytes,
                degraded=self._store.degraded,
            )
        for upstream in self._upstreams:
            self.metrics.circuit(upstream.name, upstream.circuit_state())
        self.metrics.lifecycle(ready=self.ready, draining=self.draining)

    def _store_failed(self, operation: str, why: str | None = None) -> None:
        self.metrics.store_failed(operation)
        now = self._clock()
        if not 0 <= now - self._store_failure_logged < _STORE_LOG_EVERY:
            self._store_failure_logged = now
            known = None if self._database is None else self._database.last_failure
            self._log.error("store_failed", operation=operation, why=why or known)

    async def _watch_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_EVERY
            await asyncio.sleep(_LAG_EVERY)
            self.metrics.loop_lag(max(0.0, loop.time() - due))

    async def _prune(self) -> None:
        while self._database is not None and self._store is not None:
            self._store.retry_invalidations()
            try:
                await self._database.prune(older_than=self._clock() - self.config.store.retention)
            except StoreError as error:
                self._store_failed("prune", str(error))
            await asyncio.sleep(_PRUNE_EVERY)
