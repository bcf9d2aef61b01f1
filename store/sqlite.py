"""The local database: SQLite through aiosqlite, one writer with group commit and one reader."""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from store import sqlite_deliveries, sqlite_used
from store.base import Adopted, DeriveId, Position, StoreError, StoreStats, TableSpec, Unfinished
from store.effects import Applied, Decide, Delivery
from store.entry import NO_LOCALS, Column, Entry, Key, Write
from store.migrations import check_layout
from store.operation import OnOperation, Operation
from store.sqlite_adopt import Adoption, adopt_all
from store.sqlite_direct import DirectReader
from store.sqlite_erasure import Remains
from store.sqlite_files import (
    FOREIGN_ERRORS,
    Displaced,
    Files,
    SuspectError,
    error_name,
    is_damage,
    store_error,
)
from store.sqlite_pragmas import connect, empty_for_good, is_whole, touch
from store.sqlite_room import Room
from store.sqlite_table import Table, filled, representations
from store.sqlite_tables import Tables
from store.sqlite_writer import Connection, Run, Writer, in_thread

T = TypeVar("T")


class SqliteStore:
    """`store.base.Store` on one file that one process has. Make it with `open`.

    `on_operation(operation, seconds, ok)` is told of each get, put, invalidate, find, reserve, change, apply, erase,
    unsynced, page, adopt, note, recent, stats and prune.
    """

    def __init__(
        self,
        files: Files,
        writer: Connection,
        reader: Connection,
        remains: Remains,
        tables: Sequence[TableSpec],
        *,
        max_bytes: int,
        derive_id: DeriveId,
        on_operation: OnOperation,
    ) -> None:
        self._files = files
        self._connections = (reader, writer)
        self._reader = reader
        self._writer = Writer(writer)
        self._remains = remains
        self._tables = {spec.resource: Table(spec) for spec in tables}
        self._all = Tables(self._tables, derive_id)
        self._adoptions = {spec.resource: Adoption(spec, self._tables[spec.resource]) for spec in tables}
        self._room = Room(
            files,
            self._writer,
            reader,
            self._tables.values(),
            max_bytes=max_bytes,
            derive_id=derive_id,
        )
        self._derive_id = derive_id
        self._on_operation = on_operation
        self.last_failure: str | None = None
        """SQLite's name for what failed last, such as SQLITE_BUSY; for a log, since it quotes nothing."""
        self.is_damaged = False
        """Whether SQLite has called the file corrupt."""
        self.is_suspect = False
        """Whether a row was not what had been put there: `verify` finds out what that means."""
        self._direct: DirectReader | None = None
        self.forgotten: list[str] = []
        """Resources whose rows the opening has forgotten, for they were filled in another's name."""
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: Path | str,
        tables: Sequence[TableSpec],
        *,
        max_bytes: int,
        derive_id: DeriveId,
        on_operation: OnOperation,
        files: Files | None = None,
    ) -> "SqliteStore":
        """Open or make the database. `derive_id(key, attempt)` names a new entity, attempt by attempt from 0.

        `files`: those of the path, if the caller has them locked already; they stay so if the opening fails.
        Raises OpenError (a StoreError), and ValueError for tables that can't stand beside each other.
        """
        check_layout(tables)
        ours = files is None
        files = files or Files(Path(path))
        remains = Remains(files)
        try:
            writer, reader, forgotten = await connect(files, tables, max_bytes, upkeep=remains.at_opening)
        except BaseException:
            if ours:
                files.release()
            raise
        store = cls(
            files,
            writer,
            reader,
            remains,
            tables,
            max_bytes=max_bytes,
            derive_id=derive_id,
            on_operation=on_operation,
        )
        store.forgotten = forgotten
        with suppress(*FOREIGN_ERRORS):  # one can do without it
            store._direct = await in_thread(partial(DirectReader, files, store._all.get))
        return store

    def holds(self, resource: str) -> bool:
        """Whether the resource has a table here."""
        return resource in self._tables

    async def get_many(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """The entries that there are; an invalidated row comes back as a husk. Raises StoreError."""
        return await self._read("get", partial(self._all.get, keys))

    def get_now(self, keys: Sequence[Key]) -> Mapping[Key, Entry] | None:
        """What `get_many` would give, without waiting; None if that can't be had, for whatever reason."""
        if self._direct is None or self._closing is not None or self.is_suspect or self.is_damaged:
            return None
        began = perf_counter()
        rows = self._direct.get(keys)
        if rows is not None:
            self._on_operation("get", perf_counter() - began, True)  # noqa: FBT003 - the hook's shape
        return rows

    async def put_many(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        """Store representations in one transaction; each as it now stands, once it is durable.

        Raises StoreError, having stored none of them; ValueError for an absence, a husk, a variant or a resource
        that has no table here. Of several writes of one key the last stands.
        """
        for entry, _, _ in writes:
            if entry.item is None or entry.absent or not self._all.has_row(entry.key):
                raise ValueError("only representations are stored, and only where there is a row for them")
        if not writes:
            return {}
        with self._operation("put"):
            return await self._room.grow(partial(self._all.put, writes), rows=len(writes))

    async def invalidate_many(self, keys: Sequence[Key]) -> None:
        """Forget the representations for every use; keep rows, ids and local attributes. Raises StoreError."""
        if keys:
            with self._operation("invalidate"):
                await self._writer.submit(partial(self._all.invalidate, keys), rows=len(keys))

    async def invalidate_all(self) -> None:
        """Forget every representation for every use. Rows go, unless they have local attributes or an id that could
        not be derived again. In small transactions between those of others. Raises StoreError."""
        with self._operation("invalidate"):
            await self._room.empty()

    async def find(self, resource: str, internal_id: str) -> str | None:
        """The external id of the row with that internal id (lower-case UUID), if there is one. Raises StoreError."""
        table = self._tables.get(resource)
        if table is None:
            return None
        return await self._read("find", partial(table.find, internal_id=internal_id))

    async def reserve_many(self, keys: Sequence[Key], *, at: float) -> dict[Key, Entry]:
        """Each as it stands, once that is durable; a husk, last synced `at` (epoch seconds), where there was no row.

        Raises StoreError, having made none of them; ValueError for what has no row here.
        """
        if not all(self._all.has_row(key) for key in keys):
            raise ValueError("ids are given only to what has a row here")
        if not keys:
            return {}
        with self._operation("reserve"):
            return await self._room.grow(partial(self._all.reserve, keys, at), rows=len(keys))

    async def change(
        self, key: Key, *, local: Mapping[str, Column] = NO_LOCALS, synced_at: float | None = None
    ) -> Entry | None:
        """Set local attributes by column, or the time of last sync (epoch seconds); what is not named stays.

        Returns the entry as it stands then, once it is durable, or None if there is no row. Raises StoreError, and
        ValueError for a column that is no local one of the resource.
        """
        table = self._tables.get(key.resource)
        if not local.keys() <= set(table.locals if table else ()):
            raise ValueError("only local attributes of the resource are changed")
        if table is None or key.variant:
            return None
        change = partial(table.change, external_id=key.id, local=dict(local), synced_at=synced_at)
        with self._operation("change"):
            return await self._room.grow(change)

    async def apply(self, key: Key, decide: Decide, delivery: Delivery) -> Applied:
        """Do to an entity what a message says, and remember the message; see `store.base.Store`."""
        work = partial(sqlite_deliveries.apply, self._tables, key, decide, delivery, self._derive_id)
        with self._operation("apply"):
            return await self._room.grow(work)

    async def erase_many(self, keys: Sequence[Key]) -> None:
        """Forget the entities altogether: rows, ids, local attributes, and every byte of them in the files.

        Raises StoreError; Unfinished if the rows are gone and only bytes are not, which the next erasure (be it without
        keys) or `prune` tries again; so does an opening after a crash.
        """
        keys = [key for key in keys if self._all.has_row(key)]
        if not keys and not self._remains.is_due:
            return
        with self._operation("erase"):
            if keys:
                await self._writer.submit(partial(self._erase, keys), rows=len(keys))
            try:
                await self._writer.submit(self._remains.remove, is_alone=True)
            except FOREIGN_ERRORS as error:
                self._failed(error)
                raise Unfinished(f"erase: {error_name(error)}") from None
            except StoreError as error:
                raise Unfinished(str(error)) from None

    async def longest_unsynced(
        self, resource: str, *, before: float, after: Position | None, limit: int
    ) -> list[Entry]:
        """Up to `limit` representations that were last synced before `before` (epoch seconds), the longest unsynced
        first, from behind `after` on. Raises StoreError."""
        table = self._tables.get(resource)
        if table is None:
            return []
        with self._operation("unsynced"):
            return await filled(self._reader.run, partial(table.unsynced, before=before, after=after), limit)

    async def page(self, resource: str, *, after: str | None, limit: int) -> list[Entry]:
        """Up to `limit` rows, husks too, in the order of their internal ids, from behind that of `after` on.

        Raises StoreError.
        """
        table = self._tables.get(resource)
        if table is None:
            return []
        with self._operation("page"):
            return await filled(self._reader.run, partial(table.page, after=after), limit)

    async def adopt_many(self, writes: Sequence[Write]) -> Adopted:
        """Take rows over, in one transaction, as another store or table had them; see `store.base.Store`.

        By the row, 20,000 at once cost half as much as 1,000 at once. Other writes wait meanwhile.
        Raises StoreError, having taken none of them; ValueError for an absence, a variant, a resource that has no
        table here or a column that is no local one of it.
        """
        for entry, _, _ in writes:
            if entry.absent or not self._all.has_row(entry.key):
                raise ValueError(
                    "only representations and husks are taken over, where there is a row for them"
                )
            if not entry.local.keys() <= set(self._tables[entry.key.resource].locals):
                raise ValueError("only local attributes of the resource are set")
        if not writes:
            return Adopted()
        with self._operation("adopt"):
            # An import that does not fit is to be told so, and not to push out what it has just brought.
            adopt = partial(adopt_all, self._adoptions, writes, self._derive_id)
            return await self._room.grow(adopt, rows=len(writes), may_evict=False)

    async def note_used(self, uses: Sequence[tuple[Key, float]]) -> None:
        """Note when entities were last used (epoch seconds), of those that have rows; see `store.base.Store`. In small
        transactions between those of others; nothing is evicted for it. Raises StoreError."""
        read, write = partial(self._read, "note"), partial(self._write, "note", rows=sqlite_used.NOTED)
        await sqlite_used.note(self._tables, uses, read=read, write=write)

    async def recently_used(self, limit: int) -> list[tuple[Key, float]]:
        """Up to `limit` entities and when each was last used, as noted, the most recently used first. Looks at every
        row, in slices. Raises StoreError."""
        return await sqlite_used.recent(self._tables, limit, read=partial(self._read, "recent"))

    async def stats(self, *, at: float) -> StoreStats:
        """Sizes and counts, at a cost that grows with the stale rows alone: 70 ms for a million. Raises
        StoreError."""
        return await self._read("stats", partial(self._all.stats, at, self._files.size))

    async def prune(self, *, older_than: float) -> int:
        """Evict what was last synced before `older_than` (epoch seconds); above 90 % of the bound, also what was
        longest without, until below 80 %. Returns how many representations went. Raises StoreError.

        In small transactions of its own, between those of others.
        """
        with self._operation("prune"):
            await self._retry_erasure()
            return await self._room.prune(older_than=older_than)

    async def expire_set_aside(self) -> None:
        """Remove what was set aside seven days ago. What can't be removed now is tried again with the next call."""
        with suppress(OSError):
            await in_thread(self._files.expire_set_aside)

    async def check(self) -> None:
        """Find out whether the database can be read and written now. Raises StoreError."""
        with self._operation("check"):
            await self._reader.run(representations)
            await self._writer.submit(touch)

    async def verify(self) -> bool:
        """Whether the file is whole, as far as SQLite can tell: a second or two for 256 MiB. If it is, rows that are
        not what had been put there are left out from then on, as if there were none. Raises StoreError."""
        is_good = await self._read("verify", is_whole)
        self.is_damaged |= not is_good
        self.is_suspect = False
        for table in self._tables.values():
            table.is_lenient = True
        return is_good

    async def displaced(self) -> Displaced | None:
        """What has happened to the files' names while they are in use, if anything; and whether it `is_damaged`, as far
        as a glance at the file shows."""
        displaced = await in_thread(self._files.displaced)
        self.is_damaged |= displaced is None and not await in_thread(self._files.is_database)
        return displaced

    @property
    def files(self) -> Files:
        """Those in use, for another store in this process that is to take this one's place."""
        return self._files

    @property
    def is_erasure_due(self) -> bool:
        """Whether bytes of what was erased may be in the files still."""
        return self._remains.is_due

    async def close(self) -> None:
        """Finish what is queued, then close. Idempotent; goes on when its caller is cancelled."""
        await self.part()
        self._files.release()

    async def part(self) -> Files:
        """Close, and hand out the files, which stay locked."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="store-close")
        await asyncio.shield(self._closing)
        return self._files

    async def _close(self) -> None:
        await self._writer.close()
        reader, writer = self._connections
        if self._direct is not None:
            self._direct.close()
        # A file that is damaged may fail to be closed; its thread has ended all the same.
        with suppress(*FOREIGN_ERRORS):
            await reader.close()
        with suppress(*FOREIGN_ERRORS):
            self.is_damaged |= not await writer.run(partial(empty_for_good, files=self._files))
        with suppress(*FOREIGN_ERRORS):
            await writer.close()

    async def _read(self, name: str, run: Run[T]) -> T:
        with self._operation(name):
            return await self._reader.run(run)

    async def _write(self, name: str, run: Run[T], *, rows: int) -> T:
        with self._operation(name):
            return await self._room.grow(run, rows=rows, may_evict=False)

    def _operation(self, name: str) -> Operation:
        if self._closing is not None:
            raise StoreError(f"{name}: the store is closed")
        return Operation(
            name,
            on_end=self._on_operation,
            on_failure=self._failed,
            foreign=FOREIGN_ERRORS,
            as_ours=store_error,
        )

    def _failed(self, error: BaseException) -> None:
        self.last_failure = error_name(error)
        self.is_damaged |= is_damage(error)
        self.is_suspect |= isinstance(error, SuspectError)

    async def _retry_erasure(self) -> None:
        if self._remains.is_due:
            # Whoever asked for it was told that it failed: that it fails again is no failure of what goes on here.
            with suppress(StoreError), self._operation("erase"):
                await self._writer.submit(self._remains.remove, is_alone=True)

    def _erase(self, keys: Sequence[Key], connection: sqlite3.Connection) -> None:
        self._remains.expect(connection)
        for key in keys:
            self._remains.add(key.id, self._tables[key.resource].erase(connection, key.id))
