"""The local database: SQLite through aiosqlite, one writer with group commit and one reader."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from math import ceil
from pathlib import Path
from time import perf_counter

from store.base import StoreError, StoreStats, TableSpec
from store.entry import Entry, Key, Write
from store.migrations import HELD, INVALIDATED, REGISTRY, check_layout
from store.sqlite_files import FOREIGN_ERRORS, Files, OpenError, error_name, store_error
from store.sqlite_pragmas import bounded, checkpoint, connect, rewrite, used, vacuum
from store.sqlite_table import DeriveId, Table, rfc3339
from store.sqlite_writer import Connection, Writer

OnOperation = Callable[[str, float, bool], None]

_ROOM_ATTEMPTS = 3
"""How often a write at the bound may make room: other writes can fill what it has made."""

_PRUNE_ROWS = 200
"""Rows evicted in one transaction: a few milliseconds, so that writes pass in between."""

_FULL, _ROOMY = 0.90, 0.80
"""Shares of the bound: above the first, eviction begins; it ends below the second, so that it is rare."""


class SqliteStore:
    """`store.base.Store` on one file that one process has. Make it with `open`.

    `on_operation(operation, seconds, ok)` is told of each get, put, invalidate, stats and prune.
    """

    def __init__(
        self,
        files: Files,
        writer: Connection,
        reader: Connection,
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
        self._tables = {spec.resource: Table(spec) for spec in tables}
        self._max_bytes = max_bytes
        self._derive_id = derive_id
        self._on_operation = on_operation
        self._making_room = asyncio.Lock()
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
    ) -> "SqliteStore":
        """Open or make the database. `derive_id(key, attempt)` names a new entity, attempt by attempt from 0.

        Raises OpenError (a StoreError), and ValueError for tables that can't stand beside each other.
        """
        check_layout(tables)
        files = Files(Path(path))
        try:
            writer, reader = await connect(files, tables, max_bytes)
        except BaseException:
            files.release()
            raise
        return cls(
            files, writer, reader, tables, max_bytes=max_bytes, derive_id=derive_id, on_operation=on_operation
        )

    def holds(self, resource: str) -> bool:
        """Whether the resource has a table here."""
        return resource in self._tables

    async def get_many(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """The entries that there are; an invalidated row comes back as a husk. Raises StoreError."""
        async with self._operation("get"):
            return await self._reader.run(partial(self._get, keys))

    async def put_many(self, writes: Sequence[Write]) -> dict[Key, Entry]:
        """Store representations in one transaction; each as it now stands, once it is durable.

        Raises StoreError, having stored none of them; ValueError for an absence, a husk, a variant or a resource
        that has no table here. Of several writes of one key the last stands.
        """
        for entry, _ in writes:
            if entry.item is None or entry.absent or not self._has_row(entry.key):
                raise ValueError("only representations are stored, and only where there is a row for them")
        if not writes:
            return {}
        put = partial(self._put, writes)
        async with self._operation("put"):
            for _ in range(_ROOM_ATTEMPTS):
                try:
                    return await self._writer.submit(put, rows=len(writes))
                except sqlite3.OperationalError as error:
                    if error_name(error) != "SQLITE_FULL":
                        raise
                await self._make_room()
            return await self._writer.submit(put, rows=len(writes))

    async def invalidate_many(self, keys: Sequence[Key]) -> None:
        """Forget the representations for every use; keep rows, ids and local attributes. Raises StoreError."""
        if keys:
            async with self._operation("invalidate"):
                await self._writer.submit(partial(self._invalidate, keys), rows=len(keys))

    async def stats(self) -> StoreStats:
        """Sizes and counts, at a cost that does not grow with the rows. Raises StoreError."""
        async with self._operation("stats"):
            return await self._reader.run(self._stats)

    async def prune(self, *, older_than: float) -> int:
        """Evict what was last synced before `older_than` (epoch seconds); above 90 % of the bound, also what was
        longest without, until below 80 %. Returns how many representations went. Raises StoreError.

        In small transactions of its own, between those of others.
        """
        async with self._operation("prune"):
            before = rfc3339(older_than)
            gone = await self._evict_before(HELD, before)
            emptied = await self._evict_before(INVALIDATED, before)
            is_over = await self._reader.run(self._used_with_log) > _FULL * self._max_bytes
            squeezed = await self._make_room() if is_over else 0
            if gone or emptied or is_over:
                await self._give_back()
            return gone + squeezed

    async def close(self) -> None:
        """Finish what is queued, then close. Idempotent; goes on when its caller is cancelled."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="store-close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._writer.close()
        reader, writer = self._connections
        await reader.close()
        # If the log can't be emptied now, the next opening does it.
        with suppress(*FOREIGN_ERRORS):
            await writer.run(checkpoint)
        await writer.close()
        self._files.release()

    @asynccontextmanager
    async def _operation(self, name: str) -> AsyncIterator[None]:
        if self._closing is not None:
            raise StoreError(f"{name}: the store is closed")
        started = perf_counter()
        try:
            yield
        except asyncio.CancelledError:
            raise  # the operation itself goes on
        except FOREIGN_ERRORS as error:
            self._on_operation(name, perf_counter() - started, False)  # noqa: FBT003 - the hook's shape
            raise store_error(name, error) from None
        except StoreError:
            self._on_operation(name, perf_counter() - started, False)  # noqa: FBT003 - the hook's shape
            raise
        self._on_operation(name, perf_counter() - started, True)  # noqa: FBT003 - the hook's shape

    def _has_row(self, key: Key) -> bool:
        return key.resource in self._tables and not key.variant

    def _get(self, keys: Sequence[Key], connection: sqlite3.Connection) -> dict[Key, Entry]:
        found: dict[Key, Entry] = {}
        for resource, table in self._tables.items():
            ids = [key.id for key in keys if key.resource == resource and not key.variant]
            found.update(table.get(connection, ids))
        return found

    def _put(self, writes: Sequence[Write], connection: sqlite3.Connection) -> dict[Key, Entry]:
        with bounded(connection, self._max_bytes):
            return {
                write.entry.key: self._tables[write.entry.key.resource].put(
                    connection, write, self._derive_id
                )
                for write in writes
            }

    def _invalidate(self, keys: Sequence[Key], connection: sqlite3.Connection) -> None:
        for key in keys:
            if self._has_row(key):
                self._tables[key.resource].invalidate(connection, key.id)

    def _stats(self, connection: sqlite3.Connection) -> StoreStats:
        counted = dict(connection.execute(f"SELECT resource, entities FROM {REGISTRY}"))  # noqa: S608 - a constant
        return StoreStats(self._files.size(), {resource: counted[resource] for resource in self._tables})

    async def _evict_before(self, state: int, before: str) -> int:
        total = 0
        for table in self._tables.values():
            evicted = _PRUNE_ROWS
            while evicted == _PRUNE_ROWS:
                evict = partial(
                    table.evict, state=state, before=before, limit=_PRUNE_ROWS, derive_id=self._derive_id
                )
                evicted = await self._writer.submit(evict, rows=_PRUNE_ROWS)
                total += evicted
        return total

    async def _make_room(self) -> int:
        """At its bound the database lets the oldest go for the newest. One caller does it for all that wait.

        Returns how many representations went.
        """
        async with self._making_room:
            is_roomy = await self._reader.run(used) <= _ROOMY * self._max_bytes
            return 0 if is_roomy else await self._evict_for_space()

    async def _evict_for_space(self) -> int:
        in_use = await self._reader.run(used)
        held = sum((await self._reader.run(self._stats)).entities.values())
        wanted = ceil(held * (1 - _ROOMY * self._max_bytes / in_use))
        total = 0
        while total < wanted:
            evicted = await self._writer.submit(self._evict_oldest, rows=_PRUNE_ROWS)
            if not evicted:
                break
            total += evicted
        # Rows that were not neighbours leave holes in pages that stay in use: only a rewrite gives those back.
        if total and await self._reader.run(used) > _ROOMY * self._max_bytes:
            await self._writer.submit(rewrite, is_alone=True)
        return total

    def _evict_oldest(self, connection: sqlite3.Connection) -> int:
        firsts = [(first, table) for table in self._tables.values() if (first := table.first(connection))]
        if not firsts:
            return 0
        _, table = min(firsts, key=lambda pair: pair[0])
        return table.evict(connection, state=HELD, before="~", limit=_PRUNE_ROWS, derive_id=self._derive_id)

    def _used_with_log(self, connection: sqlite3.Connection) -> int:
        return used(connection) + self._files.log_size()

    async def _give_back(self) -> None:
        while await self._writer.submit(vacuum, is_alone=True):
            pass
        await self._writer.submit(checkpoint, is_alone=True)


async def open_or_set_aside(
    path: Path | str,
    tables: Sequence[TableSpec],
    *,
    max_bytes: int,
    derive_id: DeriveId,
    on_operation: OnOperation,
) -> tuple[SqliteStore | None, str | None]:
    """Open the database, whatever state it is in: a cache can be filled again.

    Returns (store, None); or (a new store, why) when the file was corrupt, newer than the program or failed its
    migration, and stands as `<name>.set-aside` now, in place of an older one; or (None, why) when no database can
    be had there. Raises ValueError for tables that can't stand beside each other.
    """
    check_layout(tables)
    opened = partial(
        SqliteStore.open,
        path,
        tables,
        max_bytes=max_bytes,
        derive_id=derive_id,
        on_operation=on_operation,
    )
    try:
        return await opened(), None
    except OpenError as error:
        if error.failure == "impossible":
            return None, str(error)
        why = str(error)
    try:
        files = Files(Path(path))
        try:
            aside = files.set_aside()
        finally:
            files.release()
        return await opened(), f"{why}; the file was renamed to {aside.name}"
    except StoreError as error:
        return None, f"{why}; then {error}"
    except OSError as error:
        return None, f"{why}; set aside: {error_name(error)}"
