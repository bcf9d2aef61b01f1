"""Both tiers of one instance: built, started, kept in order while it runs, and closed."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial

from config.model import Config
from proxy.backing import Backing, postgres_backing, sqlite_backing
from proxy.lane_table import part_of
from proxy.log import Seldom, logger, place_of
from proxy.metrics import Metrics
from proxy.stores import as_write, derive_id, row_shapes
from store.base import StoreError
from store.entry import Entry
from store.memory import MemoryTier
from store.recovering import FIRST_DELAY, MAX_DELAY, RecoveringStore
from store.sqlite import SqliteStore
from store.tiered import TieredStore
from store.warming import Warming

LOOK_EVERY = 1.0
"""Seconds between looks at the database: what is written into a deleted file within them is lost for a restart. A look
costs three calls of the file system."""

# Housekeeping of the database: often enough that a full one makes room soon, seldom enough to cost nothing.
_PRUNE_EVERY = 60.0
# So much of when entities were last used is lost when the process is killed (`memory.warm`).
_NOTE_EVERY = 300.0
# Seconds that the last of it has at a stop: what is not noted by then is loaded by no start, and nothing else.
_NOTE_WITHIN = 5.0
# Writes that wait for the database at the most: a few seconds of misses at full speed. What comes beyond is served,
# but not kept.
_MAX_PENDING = 20_000
# Seconds for which copies wait for others to be written with: so much of what was fetched last is lost when the process
# is killed, unless somebody waits for it.
_PUT_GATHERS = 0.002


class Storage:
    """Owns the database, which may go and come back, and the tiers over it. `clock` gives epoch seconds, and never
    steps back, `monotonic` seconds that never step. `on_doubt()` is told when memory counts as stale, for it is not
    known what others have changed, or was forgotten."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        usable_until: Callable[[Entry], float],
        on_doubt: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._log = logger()
        self._may_log = Seldom(clock)
        tables = frozenset(row_shapes(config))
        self._backing: Backing | None = None
        if not tables:
            pass
        elif config.store.sqlite_path is not None:
            self._backing = sqlite_backing(config, metrics, clock=clock, tiers=self._tiers)
        else:
            self._backing = postgres_backing(
                config, metrics, monotonic=monotonic, tiers=self._tiers, on_doubt=on_doubt
            )
        backing = self._backing
        entity_bytes = config.memory.max_bytes - (part_of(config.memory.max_bytes) if config.lane else 0)
        self.responses: MemoryTier | None = None
        """Those of opaque resources, where there are such: in a bound of their own, so that what is large does not take
        the place of entities."""
        if any(resource.id is None for resource in config.resources.values()):
            # Whether or not there is a lane, which changes speed only.
            response_bytes = int(
                (config.memory.max_bytes - part_of(config.memory.max_bytes)) * config.memory.opaque
            )
            entity_bytes -= response_bytes
            self.responses = MemoryTier(response_bytes, clock=clock, on_evict=metrics.evicted)
        self.tiers = TieredStore(
            MemoryTier(entity_bytes, clock=clock, on_evict=metrics.evicted),
            None if backing is None else backing.store,
            clock=clock,
            usable_until=usable_until,
            on_lookup=metrics.looked_up,
            on_error=self._failed,
            max_pending=_MAX_PENDING,
            tables=tables,
            derive_id=partial(derive_id, config.handshake.namespace),
            as_write=partial(as_write, row_shapes(config)),
            is_there=lambda: backing is not None and backing.is_there(),
            get_now=(lambda _keys: None) if backing is None else backing.get_now,
            put_gathers=_PUT_GATHERS,
            shared=None if backing is None else backing.shared,
        )
        self._warming = self.tiers.warming(config.memory.warm)

    @property
    def current(self) -> SqliteStore | None:
        """The SQLite database in use."""
        store = None if self._backing is None else self._backing.store
        return store.current if isinstance(store, RecoveringStore) else None

    @property
    def is_hearing(self) -> bool:
        """Whether other replicas' changes are heard of as they are made."""
        return self._backing is not None and self._backing.is_hearing()

    async def start(self) -> None:
        """Open the database, if one can be had, and begin to write behind."""
        if self._backing is not None:
            await self._backing.look(asyncio.get_running_loop().time())
            if self.tiers.sharing is not None and self._backing.is_there():
                await self.tiers.sharing.read_log()
        await self.tiers.start()

    async def close(self) -> None:
        """Write what is queued, then close. Idempotent; `keep` must have ended."""
        warming, self._warming = self._warming, None
        if warming is not None and self._backing is not None and self._backing.is_there():
            with suppress(TimeoutError):
                async with asyncio.timeout(_NOTE_WITHIN):
                    await self.tiers.flush()  # of what has no row yet nothing is noted
                    await warming.note(moved_by=0.0)
        await self.tiers.close()
        if self._backing is not None:
            await self._backing.close()

    async def keep(self) -> None:
        """Open what has been lost, heal what has failed, evict what is too much or too old, hear of what others
        change, and load what was used last: until cancelled."""
        if self._backing is None:
            return
        async with asyncio.TaskGroup() as tasks:
            if self.tiers.sharing is not None:
                work = self._ever_again("change log", self.tiers.sharing.keep)
                tasks.create_task(work, name="change log")
            if self._backing.listen is not None:
                tasks.create_task(self._ever_again("listener", self._backing.listen), name="listener")
            if self._warming is not None:
                tasks.create_task(self._warm_up(self._warming), name="warm-up")
                note = partial(self._note_uses, self._backing, self._warming)
                tasks.create_task(self._ever_again("last uses", note), name="last uses")
            await self._ever_again("store", partial(self._look_after, self._backing))

    async def _ever_again(self, name: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - a defect in one round must not be the end of all
                self._log.error("internal_error", task=name, error=type(error).__name__, at=place_of(error))
            await asyncio.sleep(LOOK_EVERY)

    async def _look_after(self, backing: Backing) -> None:
        loop = asyncio.get_running_loop()
        prune_at = retry_at = loop.time()
        delay = FIRST_DELAY
        while True:
            now = loop.time()
            await backing.look(now)
            if now >= retry_at:
                if await self.tiers.recover():
                    delay = FIRST_DELAY
                else:
                    retry_at, delay = now + delay, min(MAX_DELAY, 2 * delay)
            if now >= prune_at and backing.is_there():
                prune_at = now + _PRUNE_EVERY
                await self._prune(backing)
            await asyncio.sleep(LOOK_EVERY)

    async def _warm_up(self, warming: Warming) -> None:
        try:
            entities = await warming.warm()
        except Exception as error:  # noqa: BLE001 - nothing depends on it
            self._log.error("internal_error", task="warm-up", error=type(error).__name__, at=place_of(error))
        else:
            self._log.info("memory_warm", entities=entities)

    async def _note_uses(self, backing: Backing, warming: Warming) -> None:
        while True:
            await asyncio.sleep(_NOTE_EVERY)
            if backing.is_there():
                await warming.note()

    async def _prune(self, backing: Backing) -> None:
        self.tiers.retry_invalidations()
        try:
            await backing.store.prune(older_than=self._clock() - self._config.store.retention)
        except StoreError:
            self._failed("prune")

    def _tiers(self) -> TieredStore:
        return self.tiers

    def _failed(self, operation: str) -> None:
        self._metrics.store_failed(operation)
        if self._may_log():
            why = None if self._backing is None else self._backing.last_failure()
            self._log.error("store_failed", operation=operation, why=why)
