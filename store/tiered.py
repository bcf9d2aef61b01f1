"""Memory over a database: what is asked is answered by the first that has it, what is put is in memory at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from store import census
from store.applying import Applying
from store.base import Page, Position, Store, StoreError, StoreStats
from store.catching_up import CatchUp
from store.confirming import Confirming
from store.entry import NO_LOCALS, Column, Entry, Key, Write
from store.forgetting import Forgetting
from store.generation import Generations, Watch
from store.memory import MemoryTier
from store.mending import Mending
from store.rowless import Rowless
from store.rows import GetNow, Rows
from store.shared import SharedStore
from store.sharing import SharedBy, Sharing
from store.warming import Warming
from store.write_behind import WriteBehind


class TieredStore:
    """Both tiers as one. Synchronous where memory is enough; for one event loop.

    `tables`: the resources that are meant for the database; without one for them the store is degraded. Entities of
    all others are rowless: they live in memory alone, under the internal id `derive_id(key, 0)`, which is that of an
    entity without a row. `as_write(entry)` gives a representation with the columns of its table, None if they can't be
    told, `is_there()` says whether there is a database now, and `get_now(keys)` reads it without waiting, where it can.
    `usable_until(entry)` is when the entry is of no use any more (epoch seconds, like `clock`). Puts that nobody waits
    for are gathered for `put_gathers` seconds, into one transaction. `on_lookup(resource, tier, result)`: tier memory
    or database, result hit, miss or error.
    A database that is `shared` gets what was fetched under a lease alone, and `sharing` keeps memory coherent with what
    others change there.
    `on_error(operation)`: get, put, invalidate, erase, find, reserve, change, unsynced, check, stats, note or warm, as
    the database failed it; queue_full when a write was not queued because the database is behind by `max_pending` keys,
    or by `store.write_behind.MAX_BYTES`. The database is its opener's to close, after this.
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
        tables: frozenset[str],
        derive_id: Callable[[Key, int], str],
        as_write: Callable[[Entry], Write | None] = lambda entry: Write(entry, {}),
        is_there: Callable[[], bool] = lambda: True,
        get_now: GetNow = lambda _keys: None,
        put_gathers: float = 0.0,
        shared: tuple[SharedStore, SharedBy] | None = None,
    ) -> None:
        self.memory = memory
        self.sharing: Sharing | None = None
        """Where the database is shared with other replicas."""
        self._database = database
        self._clock = clock
        self._usable_until = usable_until
        self._on_lookup = on_lookup
        self._on_error = on_error
        self._tables = tables
        self._rowless = Rowless(memory, derive_id=derive_id, usable_until=usable_until)
        self._is_there = is_there
        self._catch_up = CatchUp(
            memory, as_write=as_write, derive_id=derive_id, has_row=self._has_row, max_missed=max_pending
        )
        self._mending = Mending(on_error=on_error)
        self._generations = Generations()
        self._erasures = Generations()
        self._behind: WriteBehind | None = None
        self._rows: Rows | None = None
        if database is not None:
            self._behind = WriteBehind(
                database,
                on_confirmed=self._confirmed,
                on_result=self._mending.noted,
                max_pending=max_pending,
                clock=clock,
                on_missed=self._catch_up.missed,
                on_emptied=self._emptied,
                on_refused=self._refused,
                gathers=put_gathers,
            )
            self._rows = Rows(
                database,
                self._behind,
                memory,
                self._generations,
                self._erasures,
                promote=self._promote,
                on_changed=self._catch_up.learned,
                on_lookup=on_lookup,
                on_result=self._mending.noted,
                on_error=on_error,
                get_now=get_now,
                clock=clock,
                on_unanswered=self._unanswered,
            )
            if shared is not None:
                self.sharing = Sharing(
                    shared[0],
                    memory,
                    self._behind,
                    self._rows,
                    self._catch_up,
                    self._generations,
                    self._erasures,
                    shared[1],
                    promote=self._promote,
                    on_error=on_error,
                )

        forgetting = Forgetting(
            memory,
            self._behind,
            self._catch_up,
            self._generations,
            self._erasures,
            has_row=self._has_row,
            is_rowless=self._is_rowless,
            is_degraded=lambda: self.degraded,
            is_shared=self.sharing is not None,
            on_erased=lambda key: self._applying.erased(key),  # noqa: PLW0108 - it is made below
        )
        # Each is described where it is done.
        self.invalidate, self.drop, self.erase = forgetting.invalidate, forgetting.drop, forgetting.erase
        self.retry_invalidations, self.distrust = forgetting.retry_invalidations, forgetting.distrust
        self._applying = Applying(
            memory,
            database,
            self._behind,
            self._generations,
            has_row=self._has_row,
            promote=self._promote,
            as_put=self._rowless.as_put,
            forget=forgetting.invalidate,
            learned=self._catch_up.learned,
            is_shared=self.sharing is not None,
            clock=clock,
        )
        self.apply, self.named = self._applying.apply, self._applying.named
        self.remember, self.bring_back = self._catch_up.remember, self._catch_up.bring_back
        confirming = Confirming(
            memory,
            self._rowless,
            self._behind,
            self._rows,
            is_rowless=self._is_rowless,
            standing=self.rows,
            queue=self._queue,
        )
        self.confirm = confirming.confirm

    @property
    def degraded(self) -> bool:
        """Whether answers may be missing, or not durable, for want of a working database."""
        is_missing = bool(self._tables) and (self._database is None or not self._is_there())
        return is_missing or bool(self._mending.failing)

    @property
    def is_doubtful(self) -> bool:
        """Whether others may have changed what memory has, and nothing is heard of them (`Sharing.believed`)."""
        return self.sharing is not None and self.sharing.is_late

    def believed(self, entry: Entry, now: float) -> Entry:
        """The entry as it may be used at `now` (epoch seconds): see `Sharing.believed`."""
        return entry if self.sharing is None else self.sharing.believed(entry, now)

    def peek(self, key: Key) -> Entry | None:
        """What memory has."""
        entry = self.memory.get(key)
        self._on_lookup(key.resource, "memory", "miss" if entry is None else "hit")
        return entry

    def evicted_recently(self, key: Key) -> bool:
        """Whether memory lost the key for want of space, not long ago."""
        return self.memory.evicted_recently(key)

    async def load(self, keys: Sequence[Key], *, strict: bool = False) -> dict[Key, Entry]:
        """What there is of those keys, in memory, on its way to the database or in it; husks too.

        A database that fails, or is not there, counts as one that has nothing, unless `strict`: then it raises
        StoreError where it can't be known what there is. What is put or invalidated meanwhile wins. What is
        asked for in one turn of the event loop is read together.
        """
        found: dict[Key, Entry] = {}
        asked: list[Key] = []
        for key in keys:
            entry = self.memory.get(key) if self._rows is None else self._rows.known(key)
            if entry is not None:
                found[key] = entry
            elif self._has_row(key):
                asked.append(key)
            elif strict and not self._is_rowless(key):
                raise StoreError("get: there is no database")
        if asked and self._rows is not None:
            found |= await self._rows.load(asked, strict=strict)
        return found

    def take_now(self, keys: Sequence[Key]) -> bool:
        """Take these entities, of which memory has nothing, into it, if all of them can be had without waiting; whether
        they can."""
        return self._rows is not None and all(map(self._has_row, keys)) and self._rows.take_now(keys)

    def watch(self, keys: Iterable[Key]) -> Watch:
        """Have what happens to these keys from here on counted, for `put`. Close the watch at the end."""
        return self._generations.watch(keys)

    def watch_erasures(self, keys: Iterable[Key]) -> Watch:
        """Have erasures of these entities from here on counted, for `confirm`. Close the watch at the end."""
        return self._erasures.watch(keys)

    def put(self, write: Write, *, seen: Watch | None = None) -> bool:
        """Keep the entry: in memory at once; behind that in the database, if it has a row there and is no absence.

        Its internal id, local attributes and version are the store's to say, not the caller's.
        `seen` watches since what brings the entry began: should the key have been put or invalidated since, this
        keeps nothing. Returns whether that was not so.
        """
        if seen is not None and not seen.is_current(write.entry.key):
            return False
        entry = self._as_put(write)
        if entry.item is not None and entry.source_version is None and not entry.absent:
            entry = entry.with_version_known(self._known_version(entry.key))
        self._generations.changed(entry.key)
        if not self._is_rowless(entry.key):
            self._catch_up.replaced(entry.key)
        self.memory.put(entry, self._usable_until(entry))
        self._queue(write._replace(entry=entry))
        return True

    def warming(self, limit: int) -> Warming | None:
        """What notes uses, and loads the last `limit` of them; None where that is 0, or there is no database."""
        if not limit or self._database is None or self._rows is None:
            return None
        return Warming(
            self.memory,
            self._database,
            self._rows,
            limit=limit,
            tables=list(filter(self._database.holds, self._tables)),
            usable_until=self._usable_until,
            on_error=self._on_error,
        )

    async def recover(self) -> bool:
        """Find out whether a database that failed works again, and tell it what it has missed. Whether all is well."""
        if self._database is None or self._behind is None or not self._is_there():
            return not self.degraded
        return await self._mending.recover(
            self._database, self._behind, self._catch_up, self.sharing, queue=self._queue
        )

    async def finish_erasures(self) -> None:
        """Remove from the files what earlier erasures had to leave there. Raises StoreError if it is still there."""
        if self._database is not None:
            await self._database.erase_many([])

    async def rows(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """The rows of these entities that there are, husks too, as the database has them and whatever memory knows.

        A database that fails has none.
        """
        asked = [key for key in keys if self._has_row(key)]
        return {} if self._rows is None or not asked else await self._rows.standing(asked)

    async def find(self, resource: str, internal_id: str) -> str | None:
        """The external id of the entity with that internal id (lower-case UUID), if there is one.

        Raises StoreError, also when there should be a database and is none.
        """
        if resource not in self._tables:
            return self._rowless.find(resource, internal_id)
        return await self._rows_for("find").find(resource, internal_id)

    async def change(
        self, key: Key, *, local: Mapping[str, Column] = NO_LOCALS, synced_at: float | None = None
    ) -> Entry | None:
        """Set local attributes by column, or the time of last sync (epoch seconds), durably.

        Returns the entry as it stands then, without its item if it is forgotten, or None if there is no row, or, of a
        rowless one, no representation. To whoever watches the key nothing has happened. Raises StoreError, as `find`
        does, and ValueError for a local attribute that the entity can't have.
        """
        if self._is_rowless(key):
            return self._rowless.change(key, local, synced_at)
        return await self._rows_for("change").change(key, local, synced_at)

    async def longest_unsynced(
        self, resource: str, *, before: float, after: Position | None, limit: int
    ) -> Page:
        """Up to `limit` (at least 1) representations that were last synced before `before` (epoch seconds), from
        behind `after` on; fewer, too, when there are more. Raises StoreError, as `find` does."""
        if resource in self._tables:
            rows = self._rows_for("unsynced")
            return Page(*await rows.longest_unsynced(resource, before=before, after=after, limit=limit))
        return self._rowless.longest_unsynced(resource, before=before, after=after, limit=limit)

    async def flush(self) -> None:
        """Return when all that is queued now is durable or has failed."""
        if self._behind is not None:
            await self._behind.flush()

    async def stats(self) -> census.TieredStats:
        """Sizes and counts of both tiers; a database that fails has none."""
        stats: StoreStats | None = None
        if self._database is not None:
            _, stats = await self._mending.tried("stats", self._database.stats(at=self._clock()))
        return await census.take(self.memory, stats, self._behind, at=self._clock())

    async def start(self) -> None:
        """Begin to write behind; what was put before waits until then."""
        if self._behind is not None:
            self._behind.start()

    async def close(self) -> None:
        """Write what is queued, then stop; what is put after this stays in memory. Idempotent."""
        await self._applying.close()
        if self._behind is not None:
            await self._behind.close()
        if self._rows is not None:
            await self._rows.close()

    def _has_row(self, key: Key) -> bool:
        """Whether there is a place for the key in the database: a table of its resource has one row an id."""
        return self._database is not None and not key.variant and self._database.holds(key.resource)

    def _is_rowless(self, key: Key) -> bool:
        return key.resource not in self._tables

    def _rows_for(self, operation: str) -> Rows:
        if self._rows is None:
            raise StoreError(f"{operation}: there is no database")
        return self._rows

    def _as_put(self, write: Write) -> Entry:
        """The entry with what is known of it before a database has confirmed it."""
        entry = write.entry
        if self._is_rowless(entry.key):
            return self._rowless.as_put(entry)
        if entry.durable or entry.internal_id is not None:
            # Made out of one that was confirmed: it has to be stored again to be so.
            entry = entry.unconfirmed()
        held = self.memory.look_at(entry.key)
        if self.sharing is None or write.lease is not None or entry.item is None or held is None:
            return entry
        # It may be long until it is stored: what was shown with the copy before goes on being known.
        version = held.version + (held.item != entry.item)
        return replace(entry, internal_id=held.internal_id, local=held.local, version=version)

    def _known_version(self, key: Key) -> str | None:
        held = self.memory.look_at(key)
        return self.named(key) or (None if held is None else held.source_version)

    def _promote(self, entry: Entry) -> None:
        usable_until = self._usable_until(entry)
        # What is of no use is still returned, but would only push out something in memory.
        if usable_until > self._clock():
            self.memory.put(entry, usable_until)

    def _queue(self, write: Write) -> bool:
        entry = write.entry
        if self._behind is None or entry.absent or entry.item is None or not self._has_row(entry.key):
            return False
        if self.sharing is not None and write.lease is None:
            # What others have done to it since it was fetched nobody knows: it is stored once that is known.
            self._catch_up.missed(entry.key)
            return False
        is_queued = self._behind.put(write)
        if not is_queued:
            self._on_error("queue_full")
        return is_queued

    def _confirmed(self, sent: Entry, confirmed: Entry) -> None:
        self._catch_up.confirmed(sent.key)
        held = self.memory.look_at(sent.key)  # nobody has asked for it
        if held is sent:
            self.memory.put(confirmed, self._usable_until(confirmed))
        elif held is not None and self._behind is not None and not self._behind.is_forgotten(sent.key):
            self._catch_up.learned(confirmed)

    def _unanswered(self, key: Key) -> None:
        if self.sharing is not None:
            self.sharing.unanswered(key)

    def _refused(self, sent: Entry) -> None:
        """Another replica has changed the entity, or stored it, since this was fetched."""
        if self.memory.look_at(sent.key) is sent:
            self.memory.drop(sent.key)

    async def _emptied(self) -> None:
        await self._catch_up.unconfirm(self.memory.keys())
