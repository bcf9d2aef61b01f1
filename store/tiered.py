"""Memory over a database: what is asked is answered by the first that has it, what is put is in memory at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

from store.base import Store, StoreError, StoreStats
from store.entry import Entry, Key, Write
from store.gathered_reads import GatheredReads
from store.generation import Generations, Watch
from store.memory import MemoryTier
from store.write_behind import WriteBehind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TieredStats:
    """What the ops listener shows of both tiers."""

    memory_bytes: int
    memory_max_bytes: int
    database_bytes: int
    """0 without a database."""
    entities: dict[str, int]
    """Representations by resource: of the database where there is a table, of memory otherwise."""
    pending: int
    """Keys whose last change the database has not confirmed."""


class TieredStore:
    """Both tiers as one. Synchronous where memory is enough; for one event loop.

    `usable_until(entry)` is when the entry is of no use any more (epoch seconds, like `clock`).
    `on_lookup(resource, tier, result)`: tier memory or database, result hit, miss or error.
    `on_error(operation)`: get, put, invalidate or stats, as the database failed it; queue_full when a write was not
    queued because the database is behind by `max_pending` keys. `wanted` says that without a database the store is
    degraded. The database is its opener's to close, after this.
    """

    def __init__(
        self,
        memory: MemoryTier,
        database: Store | None,
        *,
        clock: Callable[[], float],
        usable_until: Callable[[Entry], float],
        on_lookup: Callable[[str, str, str], None],
        on_error: Callable[[str], None],
        max_pending: int,
        wanted: bool = False,
    ) -> None:
        self.memory = memory
        self._database = database
        self._clock = clock
        self._usable_until = usable_until
        self._on_lookup = on_lookup
        self._on_error = on_error
        self._is_missing = wanted and database is None
        self._failing: set[str] = set()  # the operations that failed when they were last tried
        self._generations = Generations()
        self._reads: GatheredReads | None = None
        self._behind: WriteBehind | None = None
        if database is not None:
            self._reads = GatheredReads(database, on_result=self._noted)
            self._behind = WriteBehind(
                database, on_confirmed=self._confirmed, on_result=self._noted, max_pending=max_pending
            )

    @property
    def degraded(self) -> bool:
        """Whether answers may be missing, or not durable, for want of a working database."""
        return self._is_missing or bool(self._failing)

    def peek(self, key: Key) -> Entry | None:
        """What memory has."""
        entry = self.memory.get(key)
        self._on_lookup(key.resource, "memory", "miss" if entry is None else "hit")
        return entry

    def evicted_recently(self, key: Key) -> bool:
        """Whether memory lost the key for want of space, not long ago."""
        return self.memory.evicted_recently(key)

    async def load(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """What there is of those keys, in memory, on its way to the database or in it; husks too.

        A database that fails counts as one that has nothing. What is put or invalidated meanwhile wins. What is
        asked for in one turn of the event loop is read together.
        """
        found: dict[Key, Entry] = {}
        asked: list[Key] = []
        for key in keys:
            entry = self._known(key)
            if entry is not None:
                found[key] = entry
            elif self._has_row(key):
                asked.append(key)
        if asked and self._reads is not None:
            found.update(await self._read(self._reads, asked))
        return found

    def watch(self, keys: Iterable[Key]) -> Watch:
        """Have what happens to these keys from here on counted, for `put`. Close the watch at the end."""
        return self._generations.watch(keys)

    def put(self, write: Write, *, seen: Watch | None = None) -> bool:
        """Keep the entry: in memory at once; behind that in the database, if it has a row there and is no absence.

        `seen` watches since what brings the entry began: should the key have been put or invalidated since, this
        keeps nothing. Returns whether that was not so.
        """
        if seen is not None and not seen.is_current(write.entry.key):
            return False
        if write.entry.durable:
            # Made out of one that was: it has to be stored again to be so.
            write = write._replace(entry=replace(write.entry, durable=False))
        self._generations.changed(write.entry.key)
        self.memory.put(write.entry, self._usable_until(write.entry))
        self._queue(write)
        return True

    def invalidate(self, keys: Iterable[Key]) -> asyncio.Future[None]:
        """Forget the entities, every variant of each: in memory at once, in the database behind that.

        Await the future to know it durable. It raises StoreError when the database failed; then this process goes
        on treating them as forgotten, and tells the database again with what it tells it next.
        """
        waiters: list[asyncio.Future[None]] = []
        for key in keys:
            entity = key._replace(variant="")
            self._generations.invalidated(entity)
            self.memory.discard(entity)
            if self._behind is not None and self._has_row(entity):
                waiters.append(self._behind.invalidate(entity))
        return _all(waiters)

    def drop(self, key: Key) -> None:
        """Forget this representation alone, and no other variant: in memory at once, in the database behind that."""
        self._generations.changed(key)
        self.memory.drop(key)
        if self._behind is not None and self._has_row(key):
            self._behind.invalidate(key)

    async def persist(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        """Have these entries, which were put before, durable; return them as the database holds them.

        What is on its way is waited for, also when it is newer; what could not be queued or stored is tried once
        more, while memory still has it. Raises StoreError when some can't be had durable.
        """
        waiters: dict[Key, asyncio.Future[Entry]] = {}
        others: list[Key] = []
        for write in writes:
            key = write.entry.key
            waiter = self._written(write)
            if waiter is None:
                others.append(key)
            else:
                waiters[key] = waiter
        found = dict(zip(waiters, await asyncio.gather(*waiters.values()), strict=True))
        loaded = await self.load(others)
        found |= {key: entry for key, entry in loaded.items() if entry.durable and entry.item is not None}
        if not found.keys() >= {write.entry.key for write in writes}:
            raise StoreError("put: not durable")
        return found

    async def flush(self) -> None:
        """Return when all that is queued now is durable or has failed."""
        if self._behind is not None:
            await self._behind.flush()

    async def stats(self) -> TieredStats:
        """Sizes and counts of both tiers; a database that fails has none."""
        database: StoreStats | None = None
        if self._database is not None:
            database = await self._tried("stats", self._database.stats())
        return TieredStats(
            memory_bytes=self.memory.bytes,
            memory_max_bytes=self.memory.max_bytes,
            database_bytes=0 if database is None else database.bytes,
            entities=self.memory.counts() | ({} if database is None else database.entities),
            pending=0 if self._behind is None else len(self._behind),
        )

    async def start(self) -> None:
        """Begin to write behind; what was put before waits until then."""
        if self._behind is not None:
            self._behind.start()

    async def close(self) -> None:
        """Write what is queued, then stop; what is put after this stays in memory. Idempotent."""
        if self._behind is not None:
            await self._behind.close()
        if self._reads is not None:
            await self._reads.close()

    def _has_row(self, key: Key) -> bool:
        """Whether there is a place for the key in the database: a table of its resource has one row an id."""
        return self._database is not None and not key.variant and self._database.holds(key.resource)

    def _known(self, key: Key) -> Entry | None:
        """What is known of the key without the database."""
        entry = self.memory.get(key)
        if entry is None and self._behind is not None:
            entry = self._behind.entry(key)
            if entry is not None:
                self._promote(entry)
        return entry

    async def _read(self, reads: GatheredReads, keys: Sequence[Key]) -> dict[Key, Entry]:
        # What is still to be forgotten when the read begins may be in its answer, even if it is forgotten by then.
        were_forgotten = {key for key in keys if self._is_forgotten(key)}
        found: dict[Key, Entry] = {}
        with closing(self._generations.watch(keys)) as watch:
            answers = await reads.get(keys)
            for key in keys:
                # An answer from before a change is not the truth any more.
                entry = answers.get(key) if watch.is_current(key) else None
                if entry is not None and (key in were_forgotten or self._is_forgotten(key)):
                    entry = replace(entry, item=None, headers=())
                if entry is None:
                    entry = self._known(key)
                elif entry.item is not None and self.memory.get(key) is None:
                    self._promote(entry)
                if entry is not None:
                    found[key] = entry
                result = "hit" if entry is not None and entry.item is not None else "miss"
                self._on_lookup(key.resource, "database", result if key in answers else "error")
        return found

    def _is_forgotten(self, key: Key) -> bool:
        return self._behind is not None and self._behind.is_forgotten(key)

    def _promote(self, entry: Entry) -> None:
        usable_until = self._usable_until(entry)
        # What is of no use is still returned, but would only push out something in memory.
        if usable_until > self._clock():
            self.memory.put(entry, usable_until)

    def _queue(self, write: Write) -> bool:
        entry = write.entry
        if self._behind is None or entry.absent or entry.item is None or not self._has_row(entry.key):
            return False
        is_queued = self._behind.put(write)
        if not is_queued:
            self._on_error("queue_full")
        return is_queued

    def _written(self, write: Write) -> asyncio.Future[Entry] | None:
        """The write that is on its way, or of one more attempt; None when there is nothing to wait for."""
        key = write.entry.key
        if self._behind is None:
            return None
        waiter = self._behind.written(key)
        # Sent again only if memory still has it: otherwise it was invalidated, replaced or stored.
        if (
            waiter is None
            and self.memory.get(key) is write.entry
            and not write.entry.durable
            and self._queue(write)
        ):
            waiter = self._behind.written(key)
        return waiter

    def _confirmed(self, sent: Entry, confirmed: Entry) -> None:
        if self.memory.get(sent.key) is sent:
            self.memory.put(confirmed, self._usable_until(confirmed))

    def _noted(self, operation: str, ok: bool) -> None:  # noqa: FBT001 - a hook's shape
        if ok:
            self._failing.discard(operation)
        else:
            self._failing.add(operation)
            self._on_error(operation)

    async def _tried(self, operation: str, asked: Awaitable[T]) -> T | None:
        try:
            answer = await asked
        except StoreError:
            self._noted(operation, ok=False)
            return None
        self._noted(operation, ok=True)
        return answer


def _all(waiters: Sequence[asyncio.Future[None]]) -> asyncio.Future[None]:
    """Done when all are; nobody has to await it, and cancelling it cancels none of them."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(outcomes: asyncio.Future[list[BaseException | None]]) -> None:
        errors = [outcome for outcome in outcomes.result() if outcome is not None]
        if done.done():
            return
        if errors:
            done.set_exception(errors[0])
            done.exception()  # it has been counted: who does not await it need not hear of it
        else:
            done.set_result(None)

    if waiters:
        asyncio.gather(*waiters, return_exceptions=True).add_done_callback(tell)
    else:
        done.set_result(None)
    return done
