"""A database that comes back: opened again by itself when it is lost, damaged, or could not be had at first."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from store.base import Adopted, Position, Store, StoreError, StoreStats
from store.effects import Applied, Decide, Delivery
from store.entry import NO_LOCALS, Column, Entry, Key, Write
from store.sqlite import SqliteStore
from store.sqlite_files import Files, OpenFailure
from store.sqlite_opening import Opening

FIRST_DELAY = 1.0
"""Seconds after the first opening that failed; twice as long after each further one."""

MAX_DELAY = 60.0
"""Seconds at the most: who has put right what was wrong does not wait longer than this, and one attempt a minute costs
nothing."""

_HARD_FAILURES = 3
"""Checks in a row that fail on the file itself before it is opened anew: a descriptor may have outlived its mount."""

_PASSING = ("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_LOCKED", "SQLITE_NOMEM")
"""What a new connection would not help against."""

Loss = Literal["corrupt", "deleted", "log", "taken", "unusable"]
"""Why a database was given up: SQLite calls it damaged; its file was deleted or replaced; its log or index was; another
process has it now, and may have changed or erased anything; new connections work where the old ones did not."""


class Hooks(Struct, frozen=True):
    """Who is told what happens, in the order in which it does."""

    on_opened: Callable[[str | None, OpenFailure | None], None]
    """A database is in use: why a file was set aside before, in words and as a word, if one was."""
    on_failed: Callable[[str], None]
    """None can be had now, and why."""
    on_lost: Callable[[Loss, str | None], None]
    """The one in use was given up: SQLite's word for what failed last."""
    remember: Callable[[], Awaitable[None]]
    """Called before it is given up: what is known of its rows may have to be put into the next."""
    bring_back: Callable[[Store], Awaitable[None]]
    """Called with a database that was begun anew before anybody else has it. May raise StoreError."""


class RecoveringStore:
    """`store.base.Store` around a database that may not be there: then every call raises StoreError.

    `look` does all that is to be done; its caller calls it about once a second, and never twice at a time.
    """

    def __init__(self, opening: Opening, hooks: Hooks) -> None:
        self._opening = opening
        self._hooks = hooks
        self._resources = frozenset(spec.resource for spec in opening.tables)
        self._store: SqliteStore | None = None
        self._leaving: SqliteStore | None = None
        self._files: Files | None = None  # locked, while there is no database
        self._why: str | None = None
        self._damaged: str | None = None
        self._is_erasure_due = False
        self._is_anew = False
        self._failures = 0
        self._hard_failures = 0
        self._next_attempt = float("-inf")
        self._is_closed = False

    @property
    def current(self) -> SqliteStore | None:
        """The database in use."""
        return self._store

    @property
    def is_there(self) -> bool:
        """Whether there is one that can be relied on."""
        store = self._store
        return store is not None and not (store.is_damaged or store.is_suspect)

    @property
    def last_failure(self) -> str | None:
        """What failed last, for a log: it quotes nothing of what is stored."""
        return self._why if self._store is None else self._store.last_failure

    async def look(self, now: float) -> None:
        """Give up a database that is lost; open one where there is none, if it is time. `now`: monotonic seconds."""
        store = self._store
        if store is not None:
            if (loss := await self._loss(store)) is not None:
                await self._give_up(store, loss)
            elif self._hard_failures >= _HARD_FAILURES and now >= self._next_attempt:
                await self._replace(store, now)
        if self._store is None and not self._is_closed and now >= self._next_attempt:
            await self._attempt(now)

    def holds(self, resource: str) -> bool:
        """Whether the resource has a table here."""
        return resource in self._resources

    async def get_many(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """See `store.base.Store`."""
        return await self._in_use("get").get_many(keys)

    def get_now(self, keys: Sequence[Key]) -> Mapping[Key, Entry] | None:
        """See `SqliteStore`."""
        return None if self._store is None or not self.is_there else self._store.get_now(keys)

    async def put_many(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        """See `store.base.Store`."""
        return await self._in_use("put").put_many(writes)

    async def invalidate_many(self, keys: Sequence[Key]) -> None:
        """See `store.base.Store`."""
        await self._in_use("invalidate").invalidate_many(keys)

    async def invalidate_all(self) -> None:
        """See `store.base.Store`."""
        await self._in_use("invalidate").invalidate_all()

    async def find(self, resource: str, internal_id: str) -> str | None:
        """See `store.base.Store`."""
        return await self._in_use("find").find(resource, internal_id)

    async def reserve_many(self, keys: Sequence[Key], *, at: float) -> dict[Key, Entry]:
        """See `store.base.Store`."""
        return await self._in_use("reserve").reserve_many(keys, at=at)

    async def change(
        self, key: Key, *, local: Mapping[str, Column] = NO_LOCALS, synced_at: float | None = None
    ) -> Entry | None:
        """See `store.base.Store`."""
        return await self._in_use("change").change(key, local=local, synced_at=synced_at)

    async def apply(self, key: Key, decide: Decide, delivery: Delivery) -> Applied:
        """See `store.base.Store`."""
        return await self._in_use("apply").apply(key, decide, delivery)

    async def erase_many(self, keys: Sequence[Key]) -> None:
        """See `store.base.Store`."""
        await self._in_use("erase").erase_many(keys)

    async def longest_unsynced(
        self, resource: str, *, before: float, after: Position | None, limit: int
    ) -> list[Entry]:
        """See `store.base.Store`."""
        store = self._in_use("unsynced")
        return await store.longest_unsynced(resource, before=before, after=after, limit=limit)

    async def page(self, resource: str, *, after: str | None, limit: int) -> list[Entry]:
        """See `store.base.Store`."""
        return await self._in_use("page").page(resource, after=after, limit=limit)

    async def adopt_many(self, writes: Sequence[Write]) -> Adopted:
        """See `store.base.Store`."""
        return await self._in_use("adopt").adopt_many(writes)

    async def note_used(self, uses: Sequence[tuple[Key, float]]) -> None:
        """See `store.base.Store`."""
        await self._in_use("note").note_used(uses)

    async def recently_used(self, limit: int) -> list[tuple[Key, float]]:
        """See `store.base.Store`."""
        return await self._in_use("recent").recently_used(limit)

    async def check(self) -> None:
        """See `store.base.Store`. One that goes on failing, and not because somebody holds a lock or has filled the
        disk, is opened anew by the next `look`."""
        store = self._in_use("check")
        try:
            await store.check()
        except StoreError:
            self._has_failed(store)
            raise
        if not store.is_suspect:
            self._hard_failures = self._failures = 0

    async def stats(self, *, at: float) -> StoreStats:
        """See `store.base.Store`."""
        return await self._in_use("stats").stats(at=at)

    async def prune(self, *, older_than: float) -> int:
        """See `store.base.Store`. What was set aside seven days ago goes, too."""
        store = self._in_use("prune")
        await store.expire_set_aside()
        return await store.prune(older_than=older_than)

    async def close(self) -> None:
        """Finish what is queued, then close, for good. Idempotent. `look` must have come to its end."""
        self._is_closed = True
        for store in (self._store, self._leaving):
            if store is not None:
                await store.close()
        if self._files is not None:
            self._files.release()
        self._store = self._leaving = self._files = None

    def _in_use(self, operation: str) -> SqliteStore:
        if self._store is None or not self.is_there:
            raise StoreError(f"{operation}: there is no database")
        return self._store

    async def _loss(self, store: SqliteStore) -> Loss | None:
        if store.is_suspect and not store.is_damaged:
            # If that fails it is tried again, and nobody reads the file before.
            try:
                await store.verify()
            except StoreError:
                self._has_failed(store)
        displaced = None if store.is_damaged else await store.displaced()
        return "corrupt" if store.is_damaged else displaced

    def _has_failed(self, store: SqliteStore) -> None:
        if not (store.last_failure or "").startswith(_PASSING):
            self._hard_failures += 1

    async def _replace(self, store: SqliteStore, now: float) -> None:
        """Open it anew beside the connections in use, which stay if the new ones are no better: what can be read goes
        on being read. Nobody uses either meanwhile."""
        self._store, self._leaving = None, store
        why = store.last_failure
        try:
            opened = await self._opening.beside(store.files)
        except StoreError as error:
            self._store, self._leaving = store, None
            self._fail(now, str(error))
            return
        self._hooks.on_lost("unusable", why)
        self._store, self._leaving = opened, store
        self._hard_failures = self._failures = 0
        await store.part()
        self._leaving = None
        self._hooks.on_opened(None, None)

    async def _give_up(self, store: SqliteStore, loss: Loss) -> None:
        """Close it. Of a log without a name all that is in it goes into the database by that, or into a copy."""
        await self._hooks.remember()
        self._store, self._leaving = None, store
        self._hard_failures = 0
        self._why = store.last_failure
        if loss == "corrupt":
            self._damaged = f"in use: {store.last_failure or 'integrity_check'}"
        self._is_anew = self._is_anew or loss in {"corrupt", "deleted", "log"}
        self._is_erasure_due = self._is_erasure_due or store.is_erasure_due
        self._next_attempt = float("-inf")
        self._hooks.on_lost(loss, self._why)
        self._files = await store.part()
        self._leaving = None
        if loss == "log" and store.is_damaged:
            self._damaged = "in use: the log was deleted, and could not be written into the database"

    async def _attempt(self, now: float) -> None:
        files, self._files = self._files, None
        opened = await self._opening.open(
            files=files, damaged=self._damaged, is_erasure_due=self._is_erasure_due
        )
        self._files = opened.files
        if opened.set_aside is not None:
            self._damaged = None
            self._is_erasure_due = False
            self._is_anew = True
        store, why = opened.store, opened.why
        if store is not None and self._is_anew:
            try:
                await self._hooks.bring_back(store)
            except StoreError as error:
                self._files = await store.part()
                store, why = None, f"bring back: {error}"
            except BaseException:
                await store.close()
                raise
        if store is None:
            self._why = why
            self._fail(now, why or "")
            return
        self._store, self._is_anew, self._failures = store, False, 0
        self._hooks.on_opened(why, opened.set_aside)

    def _fail(self, now: float, why: str) -> None:
        self._next_attempt = now + min(MAX_DELAY, FIRST_DELAY * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._hooks.on_failed(why)
