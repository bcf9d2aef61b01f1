"""The composition root: builds the parts, starts them in order, stops them in reverse."""

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid5

from config.address import Address
from config.model import Config, FreshnessConfig, ResourceConfig
from config.path_template import PathTemplate
from proxy.core.policy import Limits, usable_until
from proxy.fetcher import Fetcher
from proxy.keeper import Keeper
from proxy.loader import Loader
from proxy.log import Refs, logger
from proxy.metrics import Metrics
from proxy.resolver import Resolver
from proxy.server import Server, ServerLimits
from proxy.supervisor import Supervisor
from proxy.upstream import Upstream
from proxy.web.bulk import BulkHandler
from proxy.web.ops import OpsHandler
from proxy.web.passthrough import PassThrough
from proxy.web.resource import Resource
from proxy.web.router import Router
from proxy.web.sharing import Sharing
from proxy.web.single import SingleHandler
from store.base import StoreError, TableSpec
from store.entry import Entry, Key
from store.memory import MemoryTier
from store.sqlite import SqliteStore, open_or_set_aside
from store.tiered import TieredStore

# Housekeeping of the database: often enough that a full one makes room soon, seldom enough to cost nothing.
_PRUNE_EVERY = 60.0
_LAG_EVERY = 1.0
# A database that fails does so many times a second; the metric counts each, the log says it now and then.
_STORE_LOG_EVERY = 10.0
# Writes that wait for the database at the most: a few seconds of misses at full speed. What comes beyond is served,
# but not kept.
_MAX_PENDING = 20_000
# Attributes of a user that belong to the attendance service; they survive every refresh.
_LOCAL_COLUMNS = {"user": (("department_id", "TEXT"), ("is_field_worker", "INTEGER"))}


def table_specs(config: Config) -> list[TableSpec]:
    """The tables that a database has for a configuration."""
    return [
        TableSpec(name, tuple(resource.columns), _LOCAL_COLUMNS.get(name, ()))
        for name, resource in config.resources.items()
        if resource.storage == "database" and resource.id is not None
    ]


def _limits(freshness: FreshnessConfig) -> Limits:
    return Limits(freshness.stale_while_revalidate, freshness.stale_if_error)


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
        self._log = logger()
        # The name under which this instance knows itself in Via, and the key of its refs: new with every start.
        self._via = b"handshake-proxy-" + secrets.token_hex(4).encode()
        self._refs = Refs(secrets.token_bytes(16))
        self._stack = AsyncExitStack()
        self._ops: Server | None = None
        self._upstreams: tuple[Upstream, ...] = ()
        self._transparent: list[Server] = []
        self._supervisor = Supervisor(self._crashed)
        self._database: SqliteStore | None = None
        self._store: TieredStore | None = None
        self._store_failure_logged = -_STORE_LOG_EVERY

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
        store = await self._open_store()
        self._stack.push_async_callback(self._supervisor.close)
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
            )
            await upstream.start()
            self._stack.push_async_callback(upstream.close)
            upstreams[name] = upstream
        self._upstreams = tuple(upstreams.values())
        ops = OpsHandler(self, self._render_metrics)
        self._ops = await self._listen("ops", ops, self.config.ops.listen)
        for name, upstream in upstreams.items():
            router = self._router(upstream, store)
            listen = self.config.upstreams[name].listen
            self._transparent.append(await self._listen(f"upstreams.{name}", router, listen))
        self._supervisor.spawn("event loop lag", self._watch_lag())
        self._supervisor.spawn("prune", self._prune())
        self.started = True
        return self.addresses

    async def stop(self) -> None:
        """Drain, then stop everything in reverse. Idempotent."""
        self.draining = True
        # The probes stay up while the rest drains.
        timeout = self.config.limits.drain_timeout
        await asyncio.gather(*(server.drain(timeout) for server in self._transparent))
        if self._ops is not None:
            await self._ops.drain(0)
        await self._stack.aclose()

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
            wanted=bool(tables),
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

    def _derive_id(self, key: Key, attempt: int) -> str:
        """UUIDv5 (RFC 9562 section 5.5) of resource and external id; a taken one is followed by the next attempt."""
        suffix = f"#{attempt}" if attempt else ""
        return str(uuid5(self.config.handshake.namespace, f"{key.resource}:{key.id}{suffix}"))

    def _usable_until(self, entry: Entry) -> float:
        freshness = self.config.resources[entry.key.resource].freshness
        return usable_until(entry, _limits(freshness), negative_ttl=freshness.negative_ttl)

    def _router(self, upstream: Upstream, store: TieredStore) -> Router:
        limits = self.config.limits
        passthrough = PassThrough(upstream, limits, clock=time.perf_counter)
        bulks: dict[tuple[str, bytes], BulkHandler] = {}
        singles: list[tuple[PathTemplate, SingleHandler]] = []
        for name, config in self.config.resources.items():
            if config.upstream != upstream.name or config.id is None:
                continue
            resource = self._resource(name, config, upstream, store, passthrough)
            if config.bulk is not None:
                bulks[config.bulk.method, str(config.bulk.path).encode()] = BulkHandler(resource)
            if config.single is not None:
                singles.append((config.single.path, SingleHandler(resource)))
        log_requests = self.config.log.level == "debug"
        return Router(bulks, singles, passthrough, self.metrics, via=self._via, log_requests=log_requests)

    def _resource(
        self,
        name: str,
        config: ResourceConfig,
        upstream: Upstream,
        store: TieredStore,
        passthrough: PassThrough,
    ) -> Resource:
        def warn(event: str) -> None:
            self._log.warning(event, resource=name)

        fetcher = Fetcher(
            name,
            config,
            upstream,
            Keeper(name, config, store, clock=self._clock, rng=self._rng),
            metrics=self.metrics,
            clock=self._clock,
            monotonic=self._monotonic,
            rng=self._rng,
            max_body=self.config.limits.cached_response,
            warn=warn,
        )
        loader = Loader(
            fetcher,
            watch=store.watch,
            supervisor=self._supervisor,
            metrics=self.metrics,
            monotonic=self._monotonic,
            # Half of the pool, so that a huge bulk leaves room for what is passed through.
            parallel=max(1, upstream.config.max_connections // 2),
            max_waiters=self.config.limits.connections,
        )
        resolver = Resolver(
            loader,
            store,
            _limits(config.freshness),
            patience=config.freshness.revalidate_timeout,
            metrics=self.metrics,
            clock=self._clock,
        )
        own_credential = upstream.config.credential_file is not None
        return Resource(
            name=name,
            config=config,
            upstream=upstream,
            resolver=resolver,
            request_shape=fetcher.shape,
            answer_shape=fetcher.answer,
            sharing=Sharing(config, own_credential=own_credential, warn=warn),
            passthrough=passthrough,
            limits=self.config.limits,
            metrics=self.metrics,
            refs=self._refs,
            clock=self._clock,
        )

    async def _listen(self, name: str, handler: OpsHandler | Router, address: Address) -> Server:
        limits = self.config.limits
        server = Server(
            handler,
            ServerLimits(
                header_bytes=limits.header_bytes,
                header_timeout=limits.header_timeout,
                idle_timeout=limits.idle_timeout,
                connections=limits.connections,
            ),
            on_error=self._answered_by_server,
        )
        host, port = await server.listen(address.host, address.port)
        self._stack.push_async_callback(server.drain, 0)
        self.addresses[name] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return server

    def _answered_by_server(self, code: int, error: BaseException | None) -> None:
        """A request that no handler saw, or whose handler failed; the latter was counted on its way."""
        if error is None:
            self.metrics.request("passthrough", "other", code, "error", 0.0)
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
        if self._store is not None:
            stats = await self._store.stats()
            self.metrics.store_sizes(
                entities={name: stats.entities.get(name, 0) for name in self.config.resources},
                memory=stats.memory_bytes,
                memory_max=self.config.memory.max_bytes,
                store=stats.database_bytes,
                store_max=self.config.store.max_bytes,
                degraded=self._store.degraded,
            )
        for upstream in self._upstreams:
            self.metrics.circuit(upstream.name, upstream.circuit_state())
        self.metrics.lifecycle(ready=self.ready, draining=self.draining)
        return self.metrics.render(accept)

    def _store_failed(self, operation: str, why: str | None = None) -> None:
        self.metrics.store_failed(operation)
        now = self._clock()
        if not 0 <= now - self._store_failure_logged < _STORE_LOG_EVERY:
            self._store_failure_logged = now
            self._log.error("store_failed", operation=operation, why=why)

    async def _watch_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_EVERY
            await asyncio.sleep(_LAG_EVERY)
            self.metrics.loop_lag(max(0.0, loop.time() - due))

    async def _prune(self) -> None:
        while self._database is not None:
            try:
                await self._database.prune(older_than=self._clock() - self.config.store.retention)
            except StoreError as error:
                self._store_failed("prune", str(error))
            await asyncio.sleep(_PRUNE_EVERY)
