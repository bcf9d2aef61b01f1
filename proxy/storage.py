"""Both tiers of one instance: built, started, kept in order while it runs, and closed."""

import asyncio
from collections.abc import Callable
from functools import partial

from config.model import Config
from proxy.lane_table import part_of
from proxy.log import Seldom, logger, place_of
from proxy.metrics import Metrics
from proxy.stores import as_write, derive_id, row_shapes, table_specs
from store.base import Store, StoreError
from store.entry import Entry
from store.memory import MemoryTier
from store.recovering import FIRST_DELAY, MAX_DELAY, Hooks, Loss, RecoveringStore
from store.sqlite import SqliteStore
from store.sqlite_files import OpenFailure
from store.sqlite_opening import Opening
from store.tiered import TieredStore

LOOK_EVERY = 1.0
"""Seconds between looks at the database: what is written into a deleted file within them is lost for a restart. A look
costs three calls of the file system."""

# Housekeeping of the database: often enough that a full one makes room soon, seldom enough to cost nothing.
_PRUNE_EVERY = 60.0
# Writes that wait for the database at the most: a few seconds of misses at full speed. What comes beyond is served,
# but not kept.
_MAX_PENDING = 20_000
# Seconds for which copies wait for others to be written with: so much of what was fetched last is lost when the process
# is killed, unless somebody waits for it.
_PUT_GATHERS = 0.002


class Storage:
    """Owns the database, which may go and come back, and the tiers over it. `clock` gives epoch seconds, and never
    steps back."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        usable_until: Callable[[Entry], float],
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._log = logger()
        self._may_log = Seldom(clock)
        self._opening_failure: str | None = None
        tables = table_specs(config)
        named = partial(derive_id, config.handshake.namespace)
        path = config.store.sqlite_path
        self._database: RecoveringStore | None = None
        if tables and path is None:
            self._log.warning("store_not_available", why="postgresql arrives in a later version")
        elif tables and path is not None:
            opening = Opening(
                path=path,
                tables=tables,
                max_bytes=config.store.max_bytes,
                derive_id=named,
                on_operation=metrics.store_operation,
                clock=clock,
            )
            hooks = Hooks(self._opened, self._not_opened, self._lost, self._remember, self._bring_back)
            self._database = RecoveringStore(opening, hooks)
        database = self._database
        entity_bytes = config.memory.max_bytes - (part_of(config.memory.max_bytes) if config.lane else 0)
        self.tiers = TieredStore(
            MemoryTier(entity_bytes, clock=clock, on_evict=metrics.evicted),
            database,
            clock=clock,
            usable_until=usable_until,
            on_lookup=metrics.looked_up,
            on_error=self._failed,
            max_pending=_MAX_PENDING,
            tables=frozenset(table.resource for table in tables),
            derive_id=named,
            as_write=partial(as_write, row_shapes(config)),
            is_there=lambda: database is not None and database.is_there,
            get_now=(lambda _keys: None) if database is None else database.get_now,
            put_gathers=_PUT_GATHERS,
        )

    @property
    def current(self) -> SqliteStore | None:
        """The database in use."""
        return None if self._database is None else self._database.current

    async def start(self) -> None:
        """Open the database, if one can be had, and begin to write behind."""
        if self._database is not None:
            await self._database.look(asyncio.get_running_loop().time())
        await self.tiers.start()

    async def close(self) -> None:
        """Write what is queued, then close. Idempotent; `keep` must have ended."""
        await self.tiers.close()
        if self._database is not None:
            await self._database.close()

    async def keep(self) -> None:
        """Open what has been lost, heal what has failed, evict what is too much or too old: until cancelled."""
        if self._database is None:
            return
        loop = asyncio.get_running_loop()
        prune_at = retry_at = loop.time()
        delay = FIRST_DELAY
        while True:
            now = loop.time()
            try:
                await self._database.look(now)
                if now >= retry_at:
                    if await self.tiers.recover():
                        delay = FIRST_DELAY
                    else:
                        retry_at, delay = now + delay, min(MAX_DELAY, 2 * delay)
                if now >= prune_at and self._database.is_there:
                    prune_at = now + _PRUNE_EVERY
                    await self._prune(self._database)
            except Exception as error:  # noqa: BLE001 - a defect in one round must not be the end of all
                self._log.error(
                    "internal_error", task="store", error=type(error).__name__, at=place_of(error)
                )
            await asyncio.sleep(LOOK_EVERY)

    async def _prune(self, database: Store) -> None:
        self.tiers.retry_invalidations()
        try:
            await database.prune(older_than=self._clock() - self._config.store.retention)
        except StoreError:
            self._failed("prune")

    def _opened(self, why: str | None, set_aside: OpenFailure | None) -> None:
        self._opening_failure = None
        if set_aside is not None:
            self._metrics.store_set_aside(set_aside)
            self._log.error("store_set_aside", why=why)
        if self.current is not None and self.current.forgotten:
            self._log.warning("rows_forgotten", resources=self.current.forgotten)
        self._log.info("store_open", scope="replica", note="entities here are this replica's own, not shared")

    def _not_opened(self, why: str) -> None:
        if why != self._opening_failure:
            self._opening_failure = why
            self._log.error("store_degraded", why=why)

    def _lost(self, loss: Loss, why: str | None) -> None:
        self._metrics.store_lost(loss)
        self._log.error("store_lost", loss=loss, why=why)
        if loss == "taken":
            self.tiers.distrust()

    async def _remember(self) -> None:
        await self.tiers.remember()

    async def _bring_back(self, database: Store) -> None:
        await self.tiers.bring_back(database)

    def _failed(self, operation: str) -> None:
        self._metrics.store_failed(operation)
        if self._may_log():
            why = None if self._database is None else self._database.last_failure
            self._log.error("store_failed", operation=operation, why=why)
